from pathlib import Path

import pytest

from mcastd.cli import main

EXAMPLE = Path(__file__).parents[2] / "etc" / "mcastd.toml"
FILES = ("swanctl.conf", "frr.conf", "tunnels.sh")


def run(*arguments: str, config: Path = EXAMPLE) -> int:
    return main(["peer-config", "-c", str(config), *arguments])


def test_ios_xe_is_printed_as_it_would_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--vendor", "ios-xe", "--outside", "GigabitEthernet1") == 0
    out = capsys.readouterr().out
    assert out.startswith("! ")
    assert "\ninterface GigabitEthernet1\n crypto map mcastd\n" in out
    assert out.endswith("\nend\n")


def test_linux_is_printed_file_by_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--vendor", "frr-strongswan", "--inside", "lan0") == 0
    out = capsys.readouterr().out
    assert [line.split()[2] for line in out.splitlines() if line.startswith("# =====")] == list(FILES)
    assert "interface lan0" in out


def test_the_files_are_written_for_nobody_else_and_never_over_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "other"
    assert run("--vendor", "frr-strongswan", "--output", str(folder)) == 0
    assert capsys.readouterr().out.split() == [str(folder / name) for name in FILES]
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == dict.fromkeys(FILES, 0o600)
    (folder / "frr.conf").write_text("mine")
    assert run("--vendor", "frr-strongswan", "--output", str(folder)) == 1
    assert "exists and is not overwritten" in capsys.readouterr().err
    assert (folder / "frr.conf").read_text() == "mine"


def test_what_the_vendor_has_not_is_refused_with_its_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mcastd.toml"
    file.write_text(EXAMPLE.read_text().replace("aes256-sha256-modp2048", "camellia256-sha256-modp2048"))
    assert run("--vendor", "ios-xe", config=file) == 1
    assert "peers.dc-tun.proposals: Cisco IOS XE has none of camellia256" in capsys.readouterr().err
    assert run("--vendor", "frr-strongswan", config=file) == 0


def test_a_vendor_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run()
    assert caught.value.code == 2
    assert "--vendor" in capsys.readouterr().err
