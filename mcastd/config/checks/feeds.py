"""Rules for ``[[feeds]]``, and for the hours of groups and feeds."""

from ipaddress import IPv4Network
from typing import TypeAlias

from mcastd.config.line_numbers import KeyPath
from mcastd.config.model import Config, Feed, Group
from mcastd.config.report import Report, Table
from mcastd.config.value_types import LINK_LOCAL_GROUPS

_Places: TypeAlias = dict[tuple[IPv4Network, int | None], KeyPath]


def check(config: Config, report: Report) -> None:
    """Apply every rule to every feed."""
    names: dict[str, KeyPath] = {}
    first: _Places = {}
    for index, feed in enumerate(config.feeds):
        at = report.table("feeds", index)
        if (other := names.setdefault(feed.label, at["name"])) != at["name"]:
            text = f"{feed.label} is the name of the feed at {report.line(other, at['name'])} already"
            at.refuse("name", f"{text}; allowed: another name", other)
        if not feed.groups and not feed.pair:
            at.refuse("groups", "it is missing, and so is pair; allowed: one of them", "pair")
        for place, groups in enumerate(feed.groups):
            if groups.subnet_of(LINK_LOCAL_GROUPS):
                text = f"{groups} never leaves its link; allowed: ranges outside {LINK_LOCAL_GROUPS}"
                at.refuse(("groups", place), text)
            _check_place(("groups", place), groups, feed.port, at, first)
        _check_pair(feed, at, first)
    tables: tuple[tuple[str, tuple[Group | Feed, ...]], ...] = (("groups", config.groups), ("feeds", config.feeds))
    for name, found in tables:
        for index, one in enumerate(found):
            if one.hours and one.max_silence is None:
                text = "they matter for max_silence only, which is missing; allowed: both, or neither"
                report.table(name, index).refuse("hours", text, "max_silence")


def _check_place(key: KeyPath, groups: IPv4Network, port: int | None, at: Table, first: _Places) -> None:
    where = at[key]
    if (other := first.setdefault((groups, port), where)) != where:
        text = f"{groups} with this port is in the feed at {at.report.line(other, where)} already"
        at.refuse(key, f"{text}; allowed: each once", "port", other)


def _check_pair(feed: Feed, at: Table, first: _Places) -> None:
    """A pair is of two groups with numbers of which a thousand can be distinguished."""
    if not feed.pair:
        return
    if feed.sequence is None:
        at.refuse("pair", "it needs sequence, which is missing; allowed: both, or neither", "sequence")
    elif feed.sequence.number.size == 1:
        at.refuse(
            "pair", "numbers of one byte are too few to compare; allowed: a sequence of 2 bytes or more", "sequence"
        )
    a, b = feed.sides
    if a == b:
        at.refuse("pair", f"both are {a}; allowed: two groups, or two ports of one", "port")
        return
    if (a.port is None) != (b.port is None):
        at.refuse("pair", "only one of them has a port; allowed: both, or neither", "port")
    for index, one in enumerate(feed.sides):
        if IPv4Network(one.group) not in feed.groups or one.port != feed.port:
            _check_place(("pair", index), IPv4Network(one.group), one.port, at, first)
