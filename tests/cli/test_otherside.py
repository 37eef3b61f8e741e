from pathlib import Path

import pytest

from mcastd.cli import main

EXAMPLE = Path(__file__).parents[2] / "etc" / "mcastd.toml"
SECOND = """
[peers.other]
local = "10.1.1.246"
remote = "177.54.214.21"
local_id = "222.45.67.1"
remote_id = "177.54.214.21"
psk_file = "other.psk"
proposals = ["aes256-sha256-modp2048"]
children.other-gre = { local_ts = "10.44.6.2/32", remote_ts = "10.44.7.2/32", proposals = ["aes256-sha256"] }
[tunnels.gre2]
child = "other-gre"
local = "10.44.6.2"
remote = "10.44.7.2"
address = "10.44.4.10/30"
pim = { bootstrap = true }
[[groups]]
group = "239.2.2.2"
tunnel = "gre2"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mcastd.toml"
    path.write_text(EXAMPLE.read_text().replace('group = "239.1.1.1"', 'group = "239.1.1.1"\ntunnel = "gre1"') + SECOND)
    return path


COMMANDS = [("params",), ("peer-config", "--vendor", "ios-xe"), ("peer-config", "--vendor", "frr-strongswan")]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_peer_gets_what_is_its_own(
    command: tuple[str, ...], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "-c", str(file), "--peer", "other"]) == 0
    other = capsys.readouterr().out
    assert main([*command, "-c", str(file), "--peer", "dc-tun"]) == 0
    first = capsys.readouterr().out
    for own, theirs, foreign in ((other, "10.44.7.2", "10.44.7.1"), (first, "10.44.7.1", "10.44.7.2")):
        assert theirs in own
        assert foreign not in own
    assert "239.2.2.2" not in first


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("which", "words"), [((), "there are several"), (("--peer", "none"), "there is no peer none")])
def test_which_peer_has_to_be_clear(
    command: tuple[str, ...], which: tuple[str, ...], words: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "-c", str(file), *which]) == 2
    assert f"{file}:1: peers: {words}; allowed: --peer dc-tun, --peer other" in capsys.readouterr().err
