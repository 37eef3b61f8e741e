"""What a fault is, what must come of it, what was observed, and whether the two agree. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from tests.faults.lab import Lab

Step = Callable[[Lab], object]
"""Something that is done to the lab."""

RULE = 5.0
"""Seconds after its first sign within which status must show a fault of the path."""

SETTLED = 75.0
"""Seconds within which health is ``ok`` again: a warning about what happened often within a minute stays as long."""


def nothing(_: Lab) -> None:
    """The step of a fault that needs no undoing."""


class Group(Enum):
    """The chapters of docs/reliability.md, in their order."""

    PATH = "The path"
    HOST = "Changes of the host by other programs"
    CHARON = "charon"
    CREDENTIALS = "charon's credentials and connections"
    FAR = "The other side"
    DAEMON = "The daemon itself"
    FILES = "Its files"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault, and what must come of it.

    ``setup`` is done before the daemon starts. ``inject`` begins the fault, ``undo`` ends it ``lasts`` seconds later;
    with ``undo`` nothing, the daemon alone has to cope.
    """

    name: str
    group: Group
    what: str  # for the table: what happens
    inject: Step
    undo: Step = nothing
    setup: Step = nothing
    lasts: float = 7.0  # seconds
    until_shown: bool = False  # it ends sooner, when status has shown one of the codes
    lost: float | None = 0.0  # of the feed, in seconds, at most, from the injection to the end; None: not bounded
    recovery: float = 10.0  # seconds from the undoing until the feed arrives
    codes: tuple[str, ...] = ()  # status shows one of them within ``within`` seconds of the first sign
    within: float = RULE
    health: tuple[Literal["ok", "degraded", "down"], ...] = ("ok",)  # the worst that status says while it lasts
    doctor: tuple[str, ...] = ()  # the doctor finds one of these; empty: it is not asked
    ours: bool = False  # nothing that the doctor finds is to be asked of the other side
    left: tuple[str, ...] = ()  # what may be left after SIGTERM, by the beginning of the line
    machine: bool = False  # only in a virtual machine, since it would harm this one
    needs: tuple[str, ...] = ()  # abilities of the kernel (tests/vm/abilities.py)


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What came of a fault. Times are in seconds; ``shown`` and ``unhealthy`` count from the first sign."""

    lost: int = 0  # packets
    lasted: float = 0.0  # from the injection to the undoing, the doctor's look included
    rate: float = 1000.0  # packets a second that are sent
    shown: dict[str, float] = field(default_factory=dict)  # when each code was first shown
    worst: Literal["ok", "degraded", "down"] = "ok"
    doctor: str | None = None  # the problem that the doctor found
    doctor_took: float = 0.0  # seconds
    asked: tuple[str, ...] = ()  # what it found that may be the other side's
    back: float | None = 0.0  # from the undoing until the feed arrived; None: it did not
    settled: float | None = 0.0  # from the undoing until health was ok; None: it was not
    left: tuple[str, ...] = ()  # after SIGTERM
    error: str | None = None  # what kept the engine from going on


def judge(fault: Fault, seen: Observed) -> list[str]:
    """What is not as it must be; empty if all is."""
    if seen.error is not None:
        return [seen.error]
    return [miss for miss in (*_feed(fault, seen), *_status(fault, seen), *_afterwards(fault, seen)) if miss]


def _feed(fault: Fault, seen: Observed) -> list[str]:
    misses = []
    if fault.lost is not None and seen.lost > fault.lost * seen.rate:
        misses.append(f"{seen.lost} packets lost, {fault.lost * seen.rate:.0f} at most expected")
    if seen.back is None:
        misses.append("the feed did not come back")
    elif seen.back > fault.recovery:
        misses.append(f"the feed was back after {seen.back:.1f} s, not {fault.recovery:.0f}")
    return misses


def _status(fault: Fault, seen: Observed) -> list[str]:
    misses = []
    in_time = [code for code in fault.codes if seen.shown.get(code, fault.within + 1) <= fault.within]
    if fault.codes and not in_time:
        shown = ", ".join(f"{code} after {after:.1f} s" for code, after in seen.shown.items()) or "nothing"
        misses.append(f"status showed {shown}; one of {', '.join(fault.codes)} within {fault.within:.0f} s expected")
    if seen.worst not in fault.health:
        shown = f" ({', '.join(seen.shown)})" if seen.shown else ""
        misses.append(f"health was {seen.worst}{shown}, {' or '.join(fault.health)} expected")
    if fault.doctor and seen.doctor not in fault.doctor:
        found = f"found {seen.doctor}" if seen.doctor else "said that nothing is broken"
        misses.append(f"the doctor {found}, not {' or '.join(fault.doctor)}")
    if fault.ours and seen.asked:
        misses.append(f"the doctor asks the other side for {', '.join(seen.asked)}, which is this side's")
    return misses


def _afterwards(fault: Fault, seen: Observed) -> list[str]:
    misses = []
    if seen.settled is None:
        misses.append(f"health was not ok within {SETTLED:.0f} s")
    if left := [line for line in seen.left if not line.startswith(fault.left or ("\0",))]:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        misses.append(f"left after SIGTERM: {'; '.join(left[:3])}{more}")
    return misses
