"""``./dev alerts [NAME ...]``: inject faults into the lab, where a real Prometheus has the alerts of etc/.

Before, on a healthy path that a reload and a restart interrupt, none may fire; with each fault its alerts must, their
runbooks must lead to it, and without it all must be resolved. NAME is a case or an alert. Prometheus scrapes each
second, and the times of the rules are 15 times as short as in etc/. The exit status is 1 if something is not so.
"""

import argparse
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mcastd.daemon import HAND_OVER
from mcastd.errors import LabError
from mcastd.lab.commands import wait_for
from tests.alerts.case import FIRES, RESOLVES, Case, Observed
from tests.alerts.cases import CASES, command_line
from tests.alerts.prometheus import Prometheus
from tests.alerts.rules import alerts
from tests.alerts.scene import GROUPS, configure
from tests.faults.lab import Lab
from tests.faults.steps import between_keepalives

_HEALTHY = 25.0  # seconds without an alert: the longest ``for`` is 20 s here
_POLL = 0.5
_PAGE = Path(__file__).parents[2] / "docs" / "monitoring.md"
_HEAD = "| alert | fault | fired after | first step | what it showed |\n|---|---|---|---|---|\n"
_RATE = 200.0  # packets a second, of which a busy machine loses none


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="./dev alerts", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which (default: all)")
    parser.add_argument("--sample", type=int, metavar="N", help="N cases, others each day")
    parser.add_argument("--write", action="store_true", help="put what the runbooks led to into docs/monitoring.md")
    asked = parser.parse_args()
    known = {name for case in CASES for name in (case.name, *case.alerts)}
    if unknown := [name for name in asked.names if name not in known]:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    chosen = [case for case in CASES if not asked.names or {case.name, *case.alerts} & set(asked.names)]
    if asked.sample is not None:
        chosen = random.Random(time.strftime("%F")).sample(chosen, min(asked.sample, len(chosen)))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        return _run(chosen, write=asked.write)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except LabError as error:
        print(f"alerts: {error}", file=sys.stderr)
        return 1


def _run(chosen: list[Case], *, write: bool) -> int:
    missed = 0
    with Lab("mcastd-alerts", GROUPS, _RATE) as lab:
        configure(lab.scene)
        lab.configuration = lab.scene.config.read_text()
        lab.start()
        prometheus = Prometheus(lab.scene)
        wait_for("a scrape", lambda: prometheus.query("mcastd_health"))
        _, lost, _ = lab.received()
        if fired := _on_a_healthy_path(lab, prometheus):
            _, lost_now, _ = lab.received()
            names = ", ".join(sorted(fired))
            print(
                f"MISS on a healthy path there were {names}; the application lost {lost_now - lost} packets", flush=True
            )
            missed += 1
        for case in chosen:
            began = time.monotonic()
            seen = _observe(lab, prometheus, case)
            misses = seen.misses(case)
            print(f"{time.monotonic() - began:5.0f} s  {seen.line(case)}", flush=True)
            for miss in misses:
                print(f"         MISS: {miss}", flush=True)
            missed += bool(misses)
            if write and not misses:
                _write(seen.rows(case))
            if seen.resolved is None:
                break
        lab.injected.close()
        lab.stop()
    print(f"{missed} not as expected")
    return 1 if missed else 0


def _write(rows: dict[str, str]) -> None:
    """Put rows into the page, in the order of the alerts; the others stay as they are."""
    before, head, rest = _PAGE.read_text().partition(_HEAD)
    table, _, after = rest.partition("\n\n") if rest.startswith("|") else ("", "", rest.removeprefix("\n"))
    known = {line.split("`")[1]: line for line in table.splitlines()} | rows
    lines = [known[alert["alert"]] for alert in alerts() if alert["alert"] in known]
    _PAGE.write_text(before + head + "\n".join(lines) + "\n\n" + after)


def _on_a_healthy_path(lab: Lab, prometheus: Prometheus) -> set[str]:
    """What fires while all is well, and the daemon is reloaded and restarted."""
    fired = set[str]()
    restart = between_keepalives(lambda lab: lab.manager.restart(HAND_OVER))
    actions: list[Callable[[], object]] = [lambda: lab.mcastd("reload"), lambda: restart(lab)]
    until = time.monotonic() + _HEALTHY
    while time.monotonic() < until:
        fired |= prometheus.firing()
        if actions and time.monotonic() > until - _HEALTHY * 0.8:
            actions.pop()()
        time.sleep(_POLL)
    return fired


def _observe(lab: Lab, prometheus: Prometheus, case: Case) -> Observed:
    """Inject a fault, see what fires, run the runbooks' commands, undo it, and see that nothing fires any more."""
    seen = Observed()
    try:
        with lab.injected:
            began = time.monotonic()
            case.inject(lab)
            while case.alerts.keys() - seen.fired.keys() and time.monotonic() < began + FIRES:
                for alert in prometheus.firing():
                    seen.fired.setdefault(alert, time.monotonic() - began)
                time.sleep(_POLL)
            seen.shown = {command: lab.mcastd(*command_line(command)) for command, _ in case.alerts.values()}
        undone = time.monotonic()
        case.undo(lab)
        wait_for("a healthy path", lambda: (status := lab.status()) is not None and status.healthy, RESOLVES, _POLL)
        wait_for("no alert", lambda: not prometheus.firing(), RESOLVES, _POLL)
        seen.resolved = time.monotonic() - undone
    except LabError as error:
        seen.error = str(error)
    return seen


if __name__ == "__main__":
    sys.exit(main())
