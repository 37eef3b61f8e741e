"""What ``mcastd status`` shows: what is wrong first, then a table for each kind of thing, then what happened. Pure."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from mcastd.cli import path_lines, status_groups, status_overlay, status_sas, status_tunnels
from mcastd.cli.layout import Block, Style, Text
from mcastd.cli.units import count, duration
from mcastd.listed import listed
from mcastd.status import FirewallStatus, HistoryStatus, ProblemStatus, Status

_SHOWN_PROBLEMS = 3  # of one code
_SHOWN_HISTORY = 10
_HEALTH: Final[dict[str, Style]] = {"ok": "good", "degraded": "bad", "down": "bad"}


def blocks(status: Status, clock: float, *, everything: bool) -> Iterator[Block]:
    """Everything; ``clock`` is the time in seconds since 1970. Long lists are cut, but for ``everything``."""
    yield _health(status)
    yield from _problems(status.problems, clock, everything)
    yield from status_groups.head(status.groups)
    yield from path_lines.lines(status.paths)
    yield from (Text(f"note: {note}", "warn") for note in status.notes)
    yield Text(f"mcastd {status.version}, pid {status.pid}, up {duration(status.uptime)}, {status.config_file}", "dim")
    yield from status_sas.blocks(status.peers)
    yield from status_tunnels.blocks(status.tunnels, {group.tunnel for group in status.groups})
    yield from status_tunnels.forward(status.forward)
    yield from status_overlay.blocks(status.overlay, everything=everything)
    if status.firewall is not None:
        yield Text()
        yield from _firewall(status.firewall)
    yield from status_groups.blocks(status.groups, everything=everything)
    yield from _history(status.history)


def _health(status: Status) -> Text:
    """The summary names the problems, which follow."""
    number = len(status.problems)
    summary = f"{number} problem{'' if number == 1 else 's'}" if number else status.summary
    return Text(f"{status.health if status.healthy else status.health.upper()}: {summary}", _HEALTH[status.health])


def _problems(problems: tuple[ProblemStatus, ...], clock: float, everything: bool) -> Iterator[Text]:
    """The problems by their codes, in the order in which the codes come first; of each code the first ones."""
    found = defaultdict[str, list[ProblemStatus]](list)
    for one in problems:
        found[one.code].append(one)
    for code, same in found.items():
        shown = len(same) if everything or len(same) <= _SHOWN_PROBLEMS + 1 else _SHOWN_PROBLEMS
        for one in same[:shown]:
            age = duration(max(0.0, clock - datetime.fromisoformat(one.since).timestamp()))
            yield Text(f"problem {code} of {one.subject} for {age}: {one.text}", "bad")
        if rest := [one.subject for one in same[shown:]]:
            yield Text(f"problem {code} also of {listed(rest, 5)} (--all)", "bad")


def _firewall(firewall: FirewallStatus) -> Iterator[Text]:
    guard = "off" if not firewall.guard else "on" if firewall.in_place else "not in place"
    leaks = f"dropped {count(firewall.leaks_out)} leaving and {count(firewall.leaks_in)} arriving unencrypted"
    yield Text(f"firewall: guard {guard}, {leaks}")
    parts = []
    if firewall.igmp_kept:
        parts.append(f"IGMP reports kept from tunnels {count(firewall.igmp_kept)}")
    if firewall.snat_packets:
        parts.append(f"SNAT {count(firewall.snat_packets)} packets")
    if firewall.mss_clamped:
        parts.append(f"MSS clamped {count(firewall.mss_clamped)}")
    if parts:
        yield Text(", ".join(parts), "dim", indent=2)
    if dropped := [f"{name} {number}" for name, number in firewall.leaks_by_child.items() if number]:
        yield Text(f"kept from leaving unencrypted, by CHILD_SA: {', '.join(dropped)}", indent=2)
    if firewall.problem:
        yield Text(f"problem: {firewall.problem}", "bad", indent=2)


def _history(history: tuple[HistoryStatus, ...]) -> Iterator[Text]:
    if not history:
        return
    yield Text()
    yield Text("in the last hour:", "title")
    for one in history[:_SHOWN_HISTORY]:
        times = f"{one.count} times, the last" if one.count > 1 else "once,"
        yield Text(f"{one.subject}: {one.what} {one.event} {times} {duration(one.last_age)} ago", indent=2)
    if (more := len(history) - _SHOWN_HISTORY) > 0:
        yield Text(f"... and {more} more (--json)", "dim", indent=2)
