"""Tables to structs by their annotations, with small structs of every form."""

from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, Struct

from mcastd.config.line_numbers import LineNumbers
from mcastd.config.report import Report
from mcastd.config.schema import Implied, Inline, keys, read_table
from mcastd.config.value_types import auto, integer


class Options(Struct, frozen=True):
    ttl: Annotated[int, Meta(ge=1, le=255)] = 64
    mark: Annotated[int, Meta(ge=0, le=9)] | None = None


class Point(Struct, frozen=True, kw_only=True):
    at: IPv4Address


class Link(Struct, frozen=True, kw_only=True):
    name: str
    mode: Literal["fast", "safe"] = "safe"
    pause: Annotated[float, Meta(ge=0.0, le=10.0)] = 1.0
    size: Annotated[int | None, auto(integer(10, 20))] = None
    options: Annotated[Options, Inline] = Options()
    towards: Annotated[IPv4Address, Implied("the peer's")]
    points: tuple[Point, ...] = ()
    nearest: Point | None = None
    hosts: tuple[IPv4Address, ...] = ()


class Whole(Struct, frozen=True, kw_only=True):
    links: tuple[Link, ...] = ()
    on: bool = True


def read(document: dict[str, Any]) -> tuple[Whole, dict[str, str]]:
    """What is read, and what is reported, by key."""
    report = Report(Path("x.toml"), LineNumbers({}))
    whole = read_table(Whole, document, report, ())
    return whole, {problem.key: problem.text for problem in report.problems}


def link(**values: Any) -> dict[str, Any]:
    return {"links": {"a": {"towards": "10.0.0.1"} | values}}


def test_every_form_of_key() -> None:
    values = {
        "mode": "fast",
        "pause": "500ms",
        "size": "auto",
        "ttl": 1,
        "mark": 9,
        "points": [{"at": "10.0.0.2"}],
        "nearest": {"at": "10.0.0.3"},
        "hosts": ["10.0.0.4", "10.0.0.5"],
    }
    whole, problems = read(link(**values) | {"on": False})
    assert problems == {}
    assert whole == Whole(
        on=False,
        links=(
            Link(
                name="a",
                mode="fast",
                pause=0.5,
                size=None,
                options=Options(1, 9),
                towards=IPv4Address("10.0.0.1"),
                points=(Point(at=IPv4Address("10.0.0.2")),),
                nearest=Point(at=IPv4Address("10.0.0.3")),
                hosts=(IPv4Address("10.0.0.4"), IPv4Address("10.0.0.5")),
            ),
        ),
    )


def test_what_is_missing_has_its_default() -> None:
    whole, problems = read(link())
    assert problems == {}
    assert whole.links == (Link(name="a", towards=IPv4Address("10.0.0.1")),)
    assert read({}) == (Whole(), {})


@pytest.mark.parametrize(
    ("document", "key", "text"),
    [
        (link(mode="slow"), "links.a.mode", '"slow"; allowed: "fast" or "safe"'),
        (link(mode=True), "links.a.mode", 'it is a boolean; allowed: "fast" or "safe"'),
        (link(pause=11), "links.a.pause", "11 is out of range; allowed: a duration from 0s to 10s"),
        (link(size=9), "links.a.size", '9 is out of range; allowed: an integer from 10 to 20, or "auto"'),
        (link(ttl=0), "links.a.ttl", "0 is out of range; allowed: an integer from 1 to 255"),
        (link(mark="x"), "links.a.mark", "it is a string; allowed: an integer from 0 to 9"),
        (link(options={}), "links.a.options", "there is no such key"),
        (link(name="b"), "links.a.name", "there is no such key"),
        (link(hots=[]), "links.a.hots", "there is no such key; did you mean hosts?"),
        (link(zzz=1), "links.a.zzz", "there is no such key; allowed: hosts, mark, mode, nearest, pause, points, size"),
        (link(hosts=["10.0.0.4", 5]), "links.a.hosts[1]", "it is an integer; allowed: a unicast IPv4 address"),
        (link(hosts="10.0.0.4"), "links.a.hosts", "it is a string; allowed: an array"),
        (link(points=[3]), "links.a.points[0]", "it is an integer; allowed: a table, [[links.a.points]]"),
        (link(points={}), "links.a.points", "it is a table; allowed: an array of tables, [[links.a.points]]"),
        (link(points=[{}]), "links.a.points[0].at", "it is missing from [links.a.points[0]]"),
        (link(nearest=[]), "links.a.nearest", "it is an array; allowed: a table, [links.a.nearest]"),
        ({"links": {"towards": ["10.0.0.1"]}}, "links.towards", "it is an array; allowed: a table, [links.NAME]"),
        ({"links": {"a": [{}]}}, "links.a", "it is an array; allowed: a table, [links.a]"),
        (
            link(**{"100": {}}),
            "links.a.100",
            'there is no such key; allowed: a name with a dot in quotes, [links."a.100"]',
        ),
        (link(remote=1), "links.a.remote", "there is no such key; allowed: "),
        ({"links": []}, "links", "it is an array; allowed: tables by name, [links.NAME]"),
        ({"links": {"a": {}}}, "links.a.towards", "it is missing from [links.a]"),
    ],
)
def test_what_is_wrong_is_reported_once_at_its_key(document: dict[str, Any], key: str, text: str) -> None:
    whole, problems = read(document)
    assert problems.keys() == {key}
    assert problems[key].startswith(text)
    assert isinstance(whole, Whole)


def test_a_table_that_is_none_lacks_nothing_more() -> None:
    whole, problems = read({"links": {"a": 1}})
    assert problems.keys() == {"links.a"}
    assert [one.name for one in whole.links] == ["a"]


def test_keys_are_in_the_order_of_their_declaration() -> None:
    named = ["mode", "pause", "size", "ttl", "mark", "towards", "points", "nearest", "hosts"]
    assert [key.name for key in keys(Link)] == named
    declared = {key.name: key.declared_in for key in keys(Link)}
    assert declared["ttl"] is Options
    assert declared["mode"] is Link
    assert {key.name: key.implied for key in keys(Link)}["towards"] == "the peer's"
    assert {key.name: key.holds for key in keys(Link) if key.holds} == {"points": Point, "nearest": Point}
