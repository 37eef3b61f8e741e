"""Since when each problem has been there, and what began, ended and was repaired in the last hour.

A problem that begins again and again (``flapping``), and a thing that is repaired again and again because another
program changes it (``changed_by_another_program``), are problems themselves until a minute has passed without.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from mcastd.problems import Problem, ProblemCode
from mcastd.status import HistoryEvent, HistoryStatus, ProblemStatus
from mcastd.system.log import Logger

_KEPT: Final = 3600.0  # seconds
_MINUTE: Final = 60.0
_TIMES: Final = 100  # of one entry that are kept; more are counted as so many
_ENTRIES: Final = 500  # the least recent are dropped
_FLAPS: Final = 3  # beginnings within a minute
_REPAIRS: Final = 3  # repairs within a minute that are logged one by one
_CAN_FLAP: Final[frozenset[ProblemCode]] = frozenset({"tunnel_down", "child_sa_down", "peer_down", "nothing_joined"})

Key = tuple[HistoryEvent, str, str]
"""What happened, to what, and the problem's code or the repair's text."""


class History:
    """``log`` gets a line for each repair; ``clock`` returns monotonic seconds."""

    def __init__(self, log: Logger, clock: Callable[[], float] = lambda: time.monotonic()) -> None:
        self._log = log
        self._clock = clock
        self._since: dict[tuple[ProblemCode, str], float] = {}  # when each problem that is there now began
        self._observed = False  # whether the state at the start is known
        self._entries: dict[Key, deque[float]] = {}  # when each happened, the most recent entry last
        self._warned: set[str] = set()  # what another program is changing, which has been logged

    def observe(self, problems: Iterable[Problem]) -> None:
        """Take note of the problems that there are now; to be called after each change.

        What was there from the start has not gone down: it is no beginning.
        """
        now = self._clock()
        keys = {(problem.code, problem.subject) for problem in problems}
        for code, subject in keys - self._since.keys():
            self._since[code, subject] = now
            if self._observed:
                self._add("began", subject, code, now)
        self._observed = True
        for code, subject in self._since.keys() - keys:
            del self._since[code, subject]
            self._add("ended", subject, code, now)

    def since(self, problem: Problem) -> float:
        """When a problem that was observed began (monotonic)."""
        return self._since.get((problem.code, problem.subject), self._clock())

    def shown(self, problems: Iterable[Problem]) -> tuple[ProblemStatus, ...]:
        """Problems that were observed, each with the time when it began."""
        start = datetime.now(UTC) - timedelta(seconds=self._clock())
        return tuple(ProblemStatus(one.code, one.subject, _text(start, self.since(one)), one.text) for one in problems)

    def repaired(self, subject: str, what: str) -> None:
        """``what`` of ``subject`` had been changed by another program and is now as it should be again.

        Logged one by one, or as one warning when there are more than a few in a minute.
        """
        now = self._clock()
        self._add("repaired", subject, what, now)
        if self._repairs(subject, now) <= _REPAIRS:
            self._log.warning("repaired", subject=subject, what=what)
            self._warned.discard(subject)
        elif subject not in self._warned:
            self._log.warning("changed_by_another_program", subject=subject, what=what)
            self._warned.add(subject)

    def problems(self) -> Iterator[Problem]:
        """What flaps, and what another program keeps changing."""
        now = self._clock()
        for (event, subject, code), times in self._entries.items():
            if event == "began" and code in _CAN_FLAP and (count := _recent(times, now)) >= _FLAPS:
                yield Problem("flapping", subject, f"{subject} flaps: {code} began {count} times in the last minute")
        for subject in dict.fromkeys(subject for event, subject, _ in self._entries if event == "repaired"):
            if (count := self._repairs(subject, now)) > _REPAIRS:
                text = f"another program is changing {subject}: repaired {count} times in the last minute"
                yield Problem("changed_by_another_program", subject, text)

    def status(self) -> tuple[HistoryStatus, ...]:
        """The last hour, the most recent first."""
        now = self._clock()
        shown = ((key, [now - when for when in times if now - when < _KEPT]) for key, times in self._entries.items())
        return tuple(HistoryStatus(*key, count=len(ages), last_age=ages[-1]) for key, ages in shown if ages)[::-1]

    def _add(self, event: HistoryEvent, subject: str, what: str, now: float) -> None:
        times = self._entries.pop((event, subject, what), None) or deque(maxlen=_TIMES)
        times.append(now)
        self._entries[event, subject, what] = times
        if len(self._entries) > _ENTRIES:
            del self._entries[next(iter(self._entries))]

    def _repairs(self, subject: str, now: float) -> int:
        found = (times for (event, of, _), times in self._entries.items() if (event, of) == ("repaired", subject))
        return sum(_recent(times, now) for times in found)


def _text(start: datetime, seconds: float) -> str:
    return (start + timedelta(seconds=seconds)).isoformat(timespec="seconds").replace("+00:00", "Z")


def _recent(times: Iterable[float], now: float) -> int:
    return sum(now - when < _MINUTE for when in times)
