import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from mcastd.system import log
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


class Journal:
    """Stands for systemd's: keeps what it is sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.records: list[dict[str, Any]] = []
        self._monkeypatch = monkeypatch
        monkeypatch.setattr("systemd.journal.send", self._send)

    def configure(self, level: str = "info") -> None:
        """Configure as a service would whose stderr is the journal."""
        found = os.fstat(sys.stderr.fileno())
        self._monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        log.configure(level)

    def _send(self, message: str, **fields: Any) -> None:
        self.records.append({"MESSAGE": message, **fields})


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    yield Journal(monkeypatch)
    structlog.reset_defaults()


def test_a_line_for_people_has_the_level_the_event_and_its_fields(terminal: Callable[[], list[str]]) -> None:
    log.configure()
    logger = log.get_logger().bind(tunnel="gre1")
    logger.info("tunnel up", mtu=1398, took_ms=12.34567, reason="GRE on ipsec0 of 1400", nothing="")
    logger.error("tunnel failed")
    assert terminal() == [
        'info    tunnel up  tunnel=gre1 mtu=1398 took_ms=12.346 reason="GRE on ipsec0 of 1400" nothing=""',
        "error   tunnel failed  tunnel=gre1",
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


def test_the_journal_gets_fields_that_can_be_asked_for(journal: Journal) -> None:
    journal.configure()
    log.get_logger().bind(tunnel="gre1").warning("keepalives have stopped", period=1.5)
    log.get_logger().info("joined")
    assert journal.records == [
        {
            "MESSAGE": "keepalives have stopped: tunnel=gre1 period=1.500",
            "PRIORITY": 4,
            "SYSLOG_IDENTIFIER": "mcastd",
            "MESSAGE_ID": EVENTS["keepalives have stopped"].message_id,
            "MCASTD_TUNNEL": "gre1",
            "MCASTD_PERIOD": "1.5",
        },
        {"MESSAGE": "joined", "PRIORITY": 6, "SYSLOG_IDENTIFIER": "mcastd"},
    ]


def test_without_systemd_s_library_the_journal_gets_lines_and_is_told_so(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "systemd", None)
    journal.configure()
    log.get_logger().info("joined", group="239.1.1.1")
    first, second = (line[13:] for line in capfd.readouterr().err.splitlines())
    assert first == "warning the journal gets lines without fields  missing=systemd-python"
    assert second == "info    joined  group=239.1.1.1"
    assert journal.records == []


def test_the_levels_are_syslog_s(journal: Journal) -> None:
    journal.configure("debug")
    logger = log.get_logger()
    for say in (logger.debug, logger.info, logger.warning, logger.error, logger.critical):
        say("x")
    assert [record["PRIORITY"] for record in journal.records] == [7, 6, 4, 3, 2]


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
