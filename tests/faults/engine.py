"""Runs faults in the lab, one after the other, each from a healthy path on."""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Literal

from mcastd.errors import LabError
from tests.faults.fault import SETTLED, Fault, Observed
from tests.faults.lab import Lab, LabNotReadyError
from tests.lab.datapath import RATE

_POLL = 0.2  # seconds between two looks at the status
_BEFORE = 5.0  # seconds of a healthy path before a fault: what it carries has to be known
_AFTER = 1.0  # seconds for the last gap to show
_HEALTH: tuple[Literal["ok", "degraded", "down"], ...] = ("ok", "degraded", "down")
_SILENT = 1.0  # seconds: a shorter gap of the feed is not the sign of a fault


@dataclass
class Watch:
    """What the status has shown, with the times of it (monotonic)."""

    codes: dict[str, float] = field(default_factory=dict)
    worst: Literal["ok", "degraded", "down"] = "ok"
    silent_since: float | None = None  # when the last packet came before the feed fell silent

    def look(self, lab: Lab) -> None:
        """Look once. A daemon that does not answer shows what ``mcastd status`` says then."""
        status, now = lab.status(), time.monotonic()
        if status is None:
            self.codes.setdefault("no_answer_from_daemon", now)
            self.worst = "down"
        else:
            for problem in status.problems:
                self.codes.setdefault(problem.code, now)
            self.worst = max(self.worst, status.health, key=_HEALTH.index)
        _, _, last = lab.received()
        if self.silent_since is None and now - last > _SILENT:
            self.silent_since = last


def run(faults: Iterable[Fault], *, injected: bool = True) -> Iterator[tuple[Fault, Observed]]:
    """Run faults in as few labs as can be; ``injected`` False to see that the engine notices what does not happen."""
    with ExitStack() as stack:
        lab: Lab | None = None
        for fault in faults:
            seen: Observed | None = None
            while seen is None:
                used = lab is not None
                try:
                    lab = lab or stack.enter_context(Lab())
                    seen = observe(lab, fault, injected=injected)
                except LabError as error:
                    if not (used and isinstance(error, LabNotReadyError)):
                        seen = Observed(error=f"the lab failed: {error}")
                if seen is None or seen.error or seen.back is None or seen.settled is None:
                    stack.close()
                    lab = None
            yield fault, seen


def observe(lab: Lab, fault: Fault, *, injected: bool) -> Observed:
    """Run one fault from the daemon's start to its end by SIGTERM."""
    lab.scene.config.write_text(lab.configuration)
    with lab.set_up:
        fault.setup(lab)
        lab.start()
        time.sleep(_BEFORE)
        _, lost, _ = lab.received()
        with lab.injected:
            if injected:
                fault.inject(lab)
            began = time.monotonic()
            watch, told = _hold(lab, fault, began + fault.lasts)
            undone = time.monotonic()
            if injected:
                fault.undo(lab)
        back = lab.next_packet(fault.recovery + SETTLED)
        settled = _ok_again(lab, SETTLED)
        time.sleep(_AFTER)
        _, lost_now, _ = lab.received()
        left = lab.stop()
    sign = watch.silent_since or began
    return Observed(
        lost=lost_now - lost,
        lasted=undone - began,
        rate=RATE,
        shown={code: max(0.0, when - sign) for code, when in watch.codes.items()},
        worst=watch.worst,
        doctor=told.problem,
        doctor_took=told.took,
        asked=told.asked,
        back=None if back is None else back - undone,
        settled=None if settled is None else settled - undone,
        left=left,
    )


@dataclass(frozen=True)
class Told:
    """What the doctor said: the first problem, the seconds that it took, and what may be the other side's."""

    problem: str | None = None
    took: float = 0.0
    asked: tuple[str, ...] = ()


def _doctor(lab: Lab) -> Told:
    began = time.monotonic()
    with suppress(ValueError):
        findings = json.loads(lab.mcastd("doctor", "--json"))["findings"]
        asked = tuple(one["problem"] for one in findings if one["side"] != "here")
        return Told(findings[0]["problem"] if findings else None, time.monotonic() - began, asked)
    return Told()


def _hold(lab: Lab, fault: Fault, until: float) -> tuple[Watch, Told]:
    """Watch the status while the fault lasts; then ask the doctor."""
    watch = Watch()
    while time.monotonic() < until:
        watch.look(lab)
        if fault.until_shown and not watch.codes.keys().isdisjoint(fault.codes):
            break
        time.sleep(_POLL)
    told = _doctor(lab) if fault.doctor else Told()
    watch.look(lab)
    return watch, told


def _ok_again(lab: Lab, timeout: float) -> float | None:
    """When health was ok; None if it was not within ``timeout`` seconds."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        status = lab.status()
        if status is not None and status.health == "ok":
            return time.monotonic()
        time.sleep(_POLL)
    return None
