import contextlib
import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from mcastd.system import journal, log
from mcastd.system.events import EVENTS


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[str]]]:
    """A function that returns the lines logged since it was last called, without their time."""
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)

    def lines() -> list[str]:
        logged = capsys.readouterr().err.splitlines()
        assert all(re.match(r"\d\d:\d\d:\d\d\.\d{3} ", line) for line in logged)
        return [line[13:] for line in logged]

    yield lines
    structlog.reset_defaults()


class Journald:
    """A journald that keeps what it is sent; ``configure`` as a service would whose stderr is the journal."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log = folder / "log"
        self._path = folder / "journal"
        self._monkeypatch = monkeypatch
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        monkeypatch.setattr("mcastd.system.journal.SOCKET", str(self._path))
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder))

    def start(self) -> None:
        self._sock.bind(str(self._path))

    def stop(self) -> None:
        self._path.unlink()

    def close(self) -> None:
        self._sock.close()

    def configure(self, level: str = "info") -> journal.Journal:
        found = os.fstat(sys.stderr.fileno())
        self._monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        configured = log.configure(level)
        assert configured is not None
        return configured

    def read(self) -> list[dict[str, str]]:
        """The records since it was last asked."""
        records = []
        with contextlib.suppress(BlockingIOError):
            while True:
                records.append(_record(self._sock.recv(1 << 20)))
        return records


def _record(data: bytes) -> dict[str, str]:
    record = {}
    while data:
        name, _, rest = data.partition(b"\n")
        (length,) = struct.unpack("<Q", rest[:8])
        record[name.decode()] = rest[8 : 8 + length].decode()
        assert rest[8 + length : 9 + length] == b"\n"
        data = rest[9 + length :]
    return record


@pytest.fixture
def journald(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journald]:
    found = Journald(tmp_path, monkeypatch)
    yield found
    found.close()
    structlog.reset_defaults()


def test_a_line_for_people_has_the_level_the_event_and_its_fields(terminal: Callable[[], list[str]]) -> None:
    log.configure()
    logger = log.get_logger().bind(tunnel="gre1")
    logger.info("tunnel_up", mtu=1398, took_ms=12.34567, reason="GRE on ipsec0 of 1400", nothing="")
    logger.error("tunnel_failed")
    assert terminal() == [
        'info    tunnel up  tunnel=gre1 mtu=1398 took_ms=12.346 reason="GRE on ipsec0 of 1400" nothing=""',
        "error   tunnel could not be set up  tunnel=gre1",
    ]
    log.get_logger().warning("bare")
    assert terminal() == ["warning bare"]


def test_the_level_says_what_is_left_out(terminal: Callable[[], list[str]]) -> None:
    for level, seen in (("debug", 4), ("info", 3), ("warning", 2), ("error", 1)):
        log.configure(level)
        logger = log.get_logger()
        logger.debug("a")
        logger.info("b")
        logger.warning("c")
        logger.error("d")
        assert len(terminal()) == seen


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("two\nlines", r'"two\nlines"'),
        ("a\x1b[31mred", r'"a\x1b[31mred"'),
        ('say "no"', r'"say \"no\""'),
        ('"', r'"\""'),
        ("back\\slash", r"back\slash"),
        ("имя", "имя"),
    ],
)
def test_whatever_a_field_holds_it_stays_one_line(terminal: Callable[[], list[str]], value: str, shown: str) -> None:
    """Charon's words, and so the other side's, end up in fields."""
    log.configure()
    log.get_logger().info("peer failed", problem=value)
    assert terminal() == [f"info    peer failed  problem={shown}"]


def test_the_journal_gets_fields_that_can_be_asked_for(journald: Journald) -> None:
    journald.start()
    assert journald.configure().problem is None
    log.get_logger().bind(tunnel="gre1").warning("keepalives_stopped", period=1.5, why="two\nlines")
    log.get_logger().info("joined")
    assert journald.read() == [
        {
            "MESSAGE": r'GRE keepalives have stopped: tunnel=gre1 period=1.500 why="two\nlines"',
            "PRIORITY": "4",
            "SYSLOG_IDENTIFIER": "mcastd",
            "MCASTD_EVENT": "keepalives_stopped",
            "MESSAGE_ID": EVENTS["keepalives_stopped"].message_id,
            "MCASTD_TUNNEL": "gre1",
            "MCASTD_PERIOD": "1.5",
            "MCASTD_WHY": "two\nlines",
        },
        {"MESSAGE": "joined", "PRIORITY": "6", "SYSLOG_IDENTIFIER": "mcastd", "MCASTD_EVENT": "joined"},
    ]


def test_what_journald_does_not_take_is_in_a_file_and_the_journal_says_so_later(journald: Journald) -> None:
    sink = journald.configure()
    log.get_logger().info("joined", group="239.1.1.1")
    log.get_logger().error("tunnel_failed")
    assert [line[13:] for line in journald.log.read_text().splitlines()] == [
        "info    joined  group=239.1.1.1",
        "error   tunnel could not be set up",
    ]
    why = "the journal accepts no records (No such file or directory)"
    assert sink.problem == f"{why}: the last lines are in {journald.log}"
    journald.start()
    log.get_logger().info("joined")
    log.get_logger().info("joined")
    missed = f"the journal did not accept 2 lines: lines=2 file={journald.log}"
    assert [record["MESSAGE"] for record in journald.read()] == [missed, "joined", "joined"]
    assert sink.problem is None


def test_a_journald_that_does_not_read_holds_nobody_up(journald: Journald) -> None:
    journald.start()
    sink = journald.configure()
    while sink.problem is None:
        log.get_logger().info("joined")
    assert "(Resource temporarily unavailable)" in sink.problem
    taken = journald.read()
    log.get_logger().info("pruned")
    assert {record["MESSAGE"] for record in taken} == {"joined"}
    assert [record["MESSAGE"].partition(":")[0] for record in journald.read()] == [
        "the journal did not accept 1 lines", "pruned",
    ]  # fmt: skip


def test_the_file_does_not_grow_without_end_and_what_cannot_be_kept_is_said_to_be_lost(
    journald: Journald, tmp_path: Path
) -> None:
    sink = journald.configure()
    for number in range(30):
        log.get_logger().info("joined", number=number, padding="x" * (100 << 10))
    files = [tmp_path / "log.old", tmp_path / "log"]
    assert all(0 < file.stat().st_size < 2 << 20 for file in files)
    kept = re.findall(r"number=(\d+)", "".join(file.read_text() for file in files))
    assert kept[-1] == "29"
    journald.log.unlink()
    journald.log.mkdir()
    log.get_logger().info("joined")
    assert sink.problem is not None
    assert f"the last lines are lost, because {journald.log} cannot be written either (Is a directory)" in sink.problem


def test_a_service_that_systemd_started_without_a_journald_is_known_by_its_stderr(
    journald: Journald, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    monkeypatch.delenv("INVOCATION_ID", raising=False)
    with Path(os.devnull).open("w") as nowhere:
        monkeypatch.setattr(sys, "stderr", nowhere)
        assert log.configure() is None
        monkeypatch.setenv("INVOCATION_ID", "1")
        assert log.configure() is not None
        # StandardError=null: whoever wants no log has journald beside it.
        journald.start()
        assert log.configure() is None


def test_the_levels_are_syslog_s(journald: Journald) -> None:
    journald.start()
    journald.configure("debug")
    logger = log.get_logger()
    for say in (logger.debug, logger.info, logger.warning, logger.error, logger.critical):
        say("x")
    assert [record["PRIORITY"] for record in journald.read()] == ["7", "6", "4", "3", "2"]


def test_another_stream_s_journal_is_not_ours(
    terminal: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    log.configure()
    log.get_logger().info("on the terminal")
    assert terminal() == ["info    on the terminal"]


def test_rich_is_left_as_it_was() -> None:
    """structlog must not load rich, and whoever has loaded it, or loads it later, must find it."""
    script = """
import sys
{before}
import mcastd.system.log
assert ("rich" in sys.modules) is {loaded}, sorted(name for name in sys.modules if name.startswith("rich"))
import rich
assert rich is not None
"""
    for before, loaded in (("", False), ("import rich", True)):
        code = script.format(before=before, loaded=loaded)
        subprocess.run((sys.executable, "-c", code), check=True)


@pytest.mark.parametrize("level", ["info", "error"])
def test_a_line_that_cannot_be_written_is_lost_and_ends_nothing(
    terminal: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    assert log.configure() is None
    with monkeypatch.context() as patched, contextlib.suppress(OSError), Path("/dev/full").open("w") as full:
        patched.setattr(sys, "stderr", full)
        getattr(log.get_logger(), level)("starting")
        is_reached = True
    assert is_reached
    log.get_logger().info("stopped")
    assert len(terminal()) == 1
