"""The words of ``mcastd lab``: what is refused before anything is built, and what runs where."""

import os
import sys
from types import SimpleNamespace

import pytest

from mcastd.cli import main
from mcastd.lab.commands import wait_for
from mcastd.lab.nodes import Nodes, Options
from mcastd.lab.scene import Scene


@pytest.mark.parametrize("group", ["10.0.0.1", "239.1.1", "239.1.1.1@source", "@100.15.30.10"])
def test_a_group_that_is_none_is_wrong_usage(
    group: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit) as ended:
        main(["lab", "up", "--groups", group])
    assert ended.value.code == 2
    assert f"{group}: " in capsys.readouterr().err


@pytest.mark.parametrize("words", [["up"], ["down"], ["run", "--seconds", "1"], ["exec", "dc", "true"]])
def test_without_root_it_says_so(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["lab", *words]) == 1
    assert f"needs root: sudo mcastd lab {words[0]}" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "3", "two"])
def test_there_are_one_or_two_data_centres(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["lab", "up", "--data-centres", number])
    assert ended.value.code == 2
    assert "--data-centres" in capsys.readouterr().err


def test_a_node_that_the_lab_does_not_have_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Scene, "attach", lambda _scene: None)
    assert main(["lab", "exec", "dc2", "true"]) == 1
    assert "dc2: not in this lab" in capsys.readouterr().err


def test_missing_programs_are_said_with_the_packages_that_have_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda program: None if "charon" in program or "vtysh" in program else program)
    assert main(["lab", "up"]) == 1
    assert "apt install charon-systemd frr\n" in capsys.readouterr().err


def test_commands_in_a_place_find_the_parts_of_the_scene() -> None:
    nodes = Nodes(Options(prefix="mcastd-test-words"))
    folder = "/run/mcastd-test-words-lab"
    inside = ["ip", "netns", "exec", "mcastd-test-words-dc"]
    assert nodes.argv("dc", ["ip", "addr"]) == [*inside, "ip", "addr"]
    assert nodes.argv("dc", ["vtysh", "-c", "show ip mroute"]) == [
        *inside, "vtysh", "--vty_socket", f"{folder}/dc/frr", "-c", "show ip mroute",
    ]  # fmt: skip
    assert nodes.argv("dc", ["swanctl", "-l"]) == [
        *inside,
        "env",
        f"STRONGSWAN_CONF={folder}/dc/strongswan.conf",
        "swanctl",
        "-l",
        "--uri",
        f"unix://{folder}/dc/charon.vici",
    ]
    assert nodes.argv("dc", ["mcastd", "status"]) == [*inside, sys.executable, "-m", "mcastd", "status"]
    assert nodes.environment()["MCASTD_CONFIG"] == f"{folder}/mcastd.toml"


def test_what_is_waited_for_has_half_of_the_time_where_asking_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = 0.0, 0

    def ready() -> bool:
        nonlocal now, asked
        now, asked = now + 0.5, asked + 1
        return now > 8.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr("mcastd.lab.commands.time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
    wait_for("the end", ready)
    assert asked == 9
