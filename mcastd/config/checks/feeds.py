"""Rules for ``[[feeds]]``, and for the hours of groups and feeds."""

from mcastd.config.line_numbers import KeyPath
from mcastd.config.model import Config, Feed, Group
from mcastd.config.report import Report


def check(config: Config, report: Report) -> None:
    """Apply every rule to every feed."""
    names: dict[str, KeyPath] = {}
    first: dict[tuple[object, int | None], KeyPath] = {}
    for index, feed in enumerate(config.feeds):
        at = report.table("feeds", index)
        if (other := names.setdefault(feed.label, at["name"])) != at["name"]:
            text = f"{feed.label} is the name of the feed at line {report.line(other)} already"
            at.refuse("name", f"{text}; allowed: another name", other)
        for place, groups in enumerate(feed.groups):
            where = at["groups", place]
            if (other := first.setdefault((groups, feed.port), where)) != where:
                text = f"{groups} with this port is in the feed at line {report.line(other)} already"
                at.refuse(("groups", place), f"{text}; allowed: each once", "port", other)
    tables: tuple[tuple[str, tuple[Group | Feed, ...]], ...] = (("groups", config.groups), ("feeds", config.feeds))
    for name, found in tables:
        for index, one in enumerate(found):
            if one.hours and one.max_silence is None:
                text = "they matter for max_silence only, which is missing; allowed: both, or neither"
                report.table(name, index).refuse("hours", text, "max_silence")
