"""The groups of ``mcastd status``: those that do not arrive by why they do not, and a table, these first. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from mcastd.cli.layout import Block, Cell, Column, Row, Style, Table, Text
from mcastd.cli.units import count, duration
from mcastd.listed import listed, with_names
from mcastd.status import GroupStatus

SHOWN = 40
"""Rows of the table, if not all are asked for."""

_NAMED = 6  # groups in a line on what is wrong with them
_COLUMNS = (
    Column("group"),
    Column("feed", rank=1),
    Column("tunnel"),
    Column("state"),
    Column("rp", rank=3),
    Column("upstream", rank=4),
    Column("for", right=True),
    Column("origin", rank=2),
    Column("arrives"),
)


def head(groups: tuple[GroupStatus, ...]) -> Iterator[Text]:
    """How many there are in each state, and the first ones that are not joined or silent, by tunnel and reason."""
    if groups:
        yield Text(f"groups: {', '.join(f'{count(number)} {state}' for state, number in _states(groups))}")
    found = defaultdict[tuple[str, str], list[GroupStatus]](list)
    for one in groups:
        if reason := _reason(one):
            found[one.tunnel, reason].append(one)
    totals = Counter(one.tunnel for one in groups)
    for (tunnel, reason), same in sorted(found.items(), key=lambda item: _severity(item[1][0])):
        entries = [with_names(one.group, one.feeds) + (f" from {one.source}" if one.source else "") for one in same]
        names = listed(entries, _NAMED)
        what = f"{tunnel}: {count(len(same))} of {count(totals[tunnel])} groups {reason}"
        yield Text(f"{what}: {names}", _style(same[0]))


def blocks(groups: tuple[GroupStatus, ...], *, everything: bool) -> Iterator[Block]:
    """The table."""
    if not groups:
        return
    rows = sorted(groups, key=_severity)
    shown = rows if everything else rows[:SHOWN]
    yield Text()
    yield Table(_COLUMNS, tuple(map(_row, shown)))
    if more := len(rows) - len(shown):
        yield Text(f"... and {count(more)} more (--all)", "dim")


def _states(groups: tuple[GroupStatus, ...]) -> Iterator[tuple[str, int]]:
    """What is wrong first."""
    ordered = sorted(groups, key=_severity)
    return iter(Counter((one.arrival or one.state).replace("_", " ") for one in ordered).items())


def _row(group: GroupStatus) -> Row:
    age = "" if group.uptime is None else duration(group.uptime)
    arrival = "" if group.arrival is None else group.arrival.replace("_", " ")
    return (
        _entry(group),
        ", ".join(group.feeds),
        group.tunnel,
        group.state,
        group.rp or "",
        group.upstream or "",
        age,
        ",".join(group.origins),
        Cell(group.problem or arrival, _style(group)),
    )


def _entry(group: GroupStatus) -> str:
    return f"({group.source or '*'}, {group.group})"


def _reason(group: GroupStatus) -> str:
    """Why it is shown first; empty if all is well as far as is known."""
    if group.problem is not None:
        return f"{group.state} ({group.problem})"
    if group.arrival in ("silent", "never_arrived"):
        return group.arrival.replace("_", " ")
    return "not joined" if group.state == "not joined" else ""


def _severity(group: GroupStatus) -> int:
    if group.problem is not None or group.state == "not joined":
        return 0
    return 1 if group.arrival == "silent" else 2 if group.arrival == "never_arrived" else 3


def _style(group: GroupStatus) -> Style:
    return ("bad", "warn", "warn", "good")[_severity(group)] if group.arrival or group.problem else "plain"
