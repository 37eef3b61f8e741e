import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from mcastd.cli import check, main
from mcastd.tools.check.facts import Facts, Interface

EXAMPLE = Path(__file__).parents[2] / "etc" / "mcastd.toml"
SECRET = "correct horse battery staple"


def run(*arguments: str) -> int:
    return main(["check", *arguments])


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """This host is the one that the example is for."""
    interfaces = (Interface("eth0", (IPv4Address("10.1.1.246"),)),)
    facts = Facts(now=datetime(2026, 6, 1, tzinfo=UTC), interfaces=interfaces, has_vici=True)
    monkeypatch.setattr(check, "look", lambda _config, _report: facts)


@pytest.fixture
def file(tmp_path: Path, here: None) -> Path:
    (tmp_path / "dc-tun.psk").write_text(f"{SECRET}\n")
    (tmp_path / "dc-tun.psk").chmod(0o600)
    path = tmp_path / "mcastd.toml"
    drop_in = EXAMPLE.parents[1] / "packaging" / "strongswan.d" / "mcastd.conf"
    text = EXAMPLE.read_text().replace("/etc/mcastd/dc-tun.psk", "dc-tun.psk")
    path.write_text(text.replace("[daemon]", f'[daemon]\nstrongswan_conf = "{drop_in}"'))
    return path


def test_a_valid_file_is_summed_up_in_a_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-c", str(file)) == 0
    out, err = capsys.readouterr()
    assert out == f"{file}: ok, 1 peer, 2 children, 1 tunnel, 1 group\n"
    assert err.startswith(f"note: {file}:")
    assert err.count("\n") == 1


def test_settings_of_charon_that_are_missing_are_a_note(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file.parent / "strongswan.conf").write_text("charon { }")
    text = re.sub("(?m)^strongswan_conf = .*", f'strongswan_conf = "{file.parent}/strongswan.conf"', file.read_text())
    file.write_text(text.replace('lifetime = "4h"', "reauthentication = true", 1))
    assert run("-c", str(file)) == 0
    err = capsys.readouterr().err
    assert "daemon.strongswan_conf: make_before_break is not on" in err
    assert "only after 165 s" in err


def test_a_refused_file_is_listed_line_by_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = file.read_text().replace('mtu = "auto"', "mtu = 1476").replace('"239.1.1.1"', '"232.1.1.1"')
    file.write_text(text.replace("reply = true", "replay = true"))
    (file.parent / "dc-tun.psk").chmod(0o644)
    assert run("--config", str(file)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    keys = [line.split(": ")[1] for line in err.splitlines()]
    assert keys == ["peers.dc-tun.psk_file", "tunnels.gre1.mtu", "tunnels.gre1.keepalive.replay", "groups[0].sources"]
    assert all(line.startswith(f"{file}:") for line in err.splitlines())
    assert SECRET not in err


def test_a_missing_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-c", str(tmp_path / "none.toml")) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run("--help")
    assert caught.value.code == 0
    assert "$ mcastd check -c mcastd.toml" in capsys.readouterr().out


def test_it_loads_none_of_the_daemons_libraries() -> None:
    heavy = "{'asyncio', 'structlog', 'pyroute2', 'vici', 'scapy', 'rich', 'systemd'}"
    code = f"import sys; from mcastd.cli import check; print(sorted({heavy} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_file_may_be_named_without_an_option(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(file)) == 0
    assert capsys.readouterr().out.startswith(f"{file}: ok")


def test_what_would_be_waited_for_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    kinds = {tmp_path / "pipe": "it is a pipe", Path("/dev/zero"): "it is a device", tmp_path: "Is a directory"}
    for path, said in kinds.items():
        assert run(str(path)) == 2
        assert f"{path}:1: " in (err := capsys.readouterr().err)
        assert said in err
        assert "; allowed: a" in err


def test_this_host_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mcastd.toml"
    path.write_text("")
    assert run(str(path)) == 2
    assert f"{path}:1: nothing is configured; allowed: " in capsys.readouterr().err
    path.write_text('[tunnels.lo9]\naddress = "10.9.0.1/30"\nlocal = "127.0.0.1"\nremote = "10.8.0.2"\n')
    assert run(str(path)) == 2
    assert "a loopback address" in capsys.readouterr().err
