"""``mcastd receive --print``: which overlay, which addresses, and what is refused."""

from pathlib import Path

import pytest

from mcastd.cli import main

OVERLAY = """
[overlay.{name}]
vni = {vni}
local = "10.1.2.246"
address = "10.20.0.246/24"
members = ["10.1.2.0/25", "10.1.3.246"]
"""
TUNNEL = """
[tunnels.gre1]
local = "10.0.0.1"
remote = "10.0.0.2"
address = "10.44.4.6/30"
pim.neighbor = "10.44.4.5"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mcastd.toml"
    path.write_text(TUNNEL + OVERLAY.format(name="vx0", vni=7))
    return path


def run(file: Path, *arguments: str) -> int:
    return main(["receive", "--print", "-c", str(file), *arguments])


def test_the_commands_of_the_only_overlay(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file) == 0
    out, err = capsys.readouterr()
    assert "\nip link add vx0 type vxlan id 7 dstport 4789 remote 10.1.2.246\n" in out
    assert "\nip address add <ADDRESS>/24 dev vx0\nip link set vx0 up\n" in out
    assert err == ""


def test_the_commands_for_one_machine_with_two_head_ends(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--local", "10.1.2.17", "--address", "10.20.0.17/24", "--head-end", "10.1.3.246")
    assert run(file, *options) == 0
    out = capsys.readouterr().out
    assert "remote 10.1.2.246 local 10.1.2.17\nip address add 10.20.0.17/24 dev vx0\n" in out
    assert "bridge fdb append 00:00:00:00:00:00 dev vx0 dst 10.1.3.246\n" in out
    assert "<" not in out.replace("<<'END'", "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--overlay", "vx9"), "--overlay: there is no overlay vx9; allowed: --overlay vx0"),
        (("--local", "10.1.2.200"), "--local: 10.1.2.200 may not take part in vx0; allowed: another address in "),
        (("--local", "10.1.2.246"), "--local: 10.1.2.246 may not take part"),
        (("--address", "10.20.0.246/24"), "--address: 10.20.0.246/24 is not for a receiver; allowed: such as 10.20.0."),
        (("--address", "10.21.0.1/24"), "--address: 10.21.0.1/24 is not for a receiver; allowed: such as 10.20.0.1/24"),
    ],
)
def test_what_cannot_be_is_refused(
    file: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str
) -> None:
    assert run(file, *options) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{file}:1: {said}")


def test_of_several_one_is_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    second = OVERLAY.format(name="vx1", vni=8).replace("10.20.0.", "10.21.0.")
    file.write_text(file.read_text() + second)
    assert run(file) == 2
    assert "there are several; allowed: --overlay vx0, --overlay vx1" in capsys.readouterr().err
    assert run(file, "--overlay", "vx1") == 0
    assert "type vxlan id 8 " in capsys.readouterr().out


def test_without_an_overlay_it_is_said_what_makes_one(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(TUNNEL)
    assert run(file) == 2
    assert "there is no overlay; allowed: a file with [overlay.NAME]" in capsys.readouterr().err


def test_without_print_it_is_wrong_usage(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["receive", "-c", str(file)])
    assert "--print" in capsys.readouterr().err
