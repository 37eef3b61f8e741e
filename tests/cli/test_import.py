from pathlib import Path

import pytest
from msgspec.structs import replace

from mcastd.cli import main
from mcastd.config.checks.host import Host
from mcastd.config.load import load
from mcastd.config.model import Config
from mcastd.system import own_networks

ARTICLE = Path(__file__).parents[1] / "tools" / "importer" / "article.ipsec.conf"
EXAMPLE = Path(__file__).parents[2] / "etc" / "mcastd.toml"
SECRET = "correct horse battery staple"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    path = tmp_path / "ipsec.secrets"
    path.write_text(f'222.45.67.1 177.54.214.20 : PSK "{SECRET}"\n')
    return path


@pytest.fixture(autouse=True)
def _another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_networks, "read", Host)


def run(*arguments: object) -> int:
    return main(["import", *map(str, arguments)])


def without_what_an_ipsec_conf_cannot_say(config: Config) -> list[object]:
    return [
        replace(
            peer,
            psk_file=None,
            children=tuple(replace(child, snat=None, snat_loopback=False) for child in peer.children),
        )
        for peer in config.peers
    ]


def test_the_articles_ipsec_conf_gives_the_peers_of_the_example_and_passes_check(
    tmp_path: Path, secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / "mcastd.toml"
    assert run(ARTICLE, secrets, "-o", out) == 0
    assert main(["check", "-c", str(out)]) == 0
    assert without_what_an_ipsec_conf_cannot_say(load(out).config) == without_what_an_ipsec_conf_cannot_say(
        load(EXAMPLE, check_files=False).config
    )
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err + out.read_text()


def test_the_key_is_in_a_file_of_its_own_for_nobody_else(tmp_path: Path, secrets: Path) -> None:
    out = tmp_path / "made" / "mcastd.toml"
    run(ARTICLE, secrets, "-o", out)
    key = out.parent / "dc-tun.psk"
    assert key.read_text() == f"{SECRET}\n"
    assert key.stat().st_mode & 0o777 == 0o600


def test_on_standard_output_there_is_no_key(
    secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(ARTICLE, secrets) == 0
    said = capsys.readouterr()
    assert said.out.startswith("# mcastd")
    assert SECRET not in said.out + said.err
    assert f"note: {ARTICLE}:20: dpdtimeout: " in said.err
    assert f"#   {ARTICLE}:20: dpdtimeout: " in said.out
    assert "the pre-shared key of dc-tun is not written to standard output: write it to dc-tun.psk" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["ipsec.secrets"]


@pytest.mark.parametrize("there", ["mcastd.toml", "dc-tun.psk"])
def test_nothing_that_is_there_is_touched(
    tmp_path: Path, secrets: Path, there: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / there).write_text("mine")
    assert run(ARTICLE, secrets, "-o", tmp_path / "mcastd.toml") == 1
    assert f"{there} exists and is not overwritten" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["ipsec.secrets", there])
    assert (tmp_path / there).read_text() == "mine"


def test_what_has_to_be_filled_in_is_said_and_is_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ipsec.conf"
    file.write_text(ARTICLE.read_text().replace("left=10.1.1.246", "left=%defaultroute"))
    assert run(file) == 1
    said = capsys.readouterr()
    assert '#? local = "10.1.1.246"' in said.out
    assert "ipsec.conf:11 has %defaultroute" in said.out
    assert "the result is incomplete" in said.err


def test_what_does_not_go_together_is_said_as_check_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ipsec.conf"
    again = "\nconn again\n\talso=dc-tun\n\tleftsubnet=10.44.6.1/32\n\trightsubnet=10.44.7.1/32\n\tauto=start\n"
    file.write_text(ARTICLE.read_text() + again)
    assert run(file) == 1
    said = capsys.readouterr().err
    assert "peers.dc-tun.children.again: it has the same traffic selectors as dc-tun-gre" in said


def test_what_is_not_understood_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ipsec.conf"
    file.write_text("conn one\nleft=10.0.0.1\n")
    assert run(file) == 2
    assert f"{file}:2: not the start of a section" in capsys.readouterr().err
