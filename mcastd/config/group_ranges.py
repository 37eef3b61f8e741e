"""``group`` in ``[[groups]]``: one group, a range or a prefix of groups, or an array of these. Pure.

A table with several groups becomes one for each of them before it is read, as if each were written by itself; what is
reported of them has the line of the table, or of the element of its array.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

from mcastd.config.line_numbers import KeyPath
from mcastd.config.report import Place, Report, shown
from mcastd.config.value_types import GROUP_ADDRESS, ValueType, WrongValueError

LARGEST: Final = 20_000
"""Groups of one range or prefix."""
MOST: Final = 100_000
"""Groups of the whole file."""


def parse(text: str) -> range:
    """The groups of ``239.1.1.1``, ``239.1.1.1-239.1.1.20`` or ``239.1.1.0/28``, as numbers. Raises WrongValueError."""
    if "/" in text:
        try:
            network = IPv4Network(text, strict=False)
        except ValueError:
            raise WrongValueError(f"{shown(text)} is no IPv4 prefix") from None
        first, last = _group(str(network[0])), _group(str(network[-1]))
    else:
        first, last = (_group(end.strip()) for end in (text.split("-", 1) if "-" in text else (text, text)))
    if last < first:
        raise WrongValueError(f"{shown(text)} ends before it begins")
    if last - first >= LARGEST:
        raise WrongValueError(f"{shown(text)} is {last - first + 1} groups, more than {LARGEST}")
    return range(first, last + 1)


def spelled(groups: Iterable[IPv4Address]) -> Iterator[str]:
    """Groups in words, sorted: those that follow one another as a range."""
    first = last = -1
    for number in [*sorted({int(group) for group in groups}), 1 << 32]:
        if number != last + 1 or first < 0:
            if first >= 0:
                yield "-".join(str(IPv4Address(end)) for end in dict.fromkeys((first, last)))
            first = number
        last = number


def expand(document: dict[str, Any], report: Report) -> None:
    """Replace each table of ``groups`` that has several by one for each. What cannot be used is left as it is."""
    tables = document.get("groups")
    if not isinstance(tables, list) or not any(
        isinstance(one, dict) and _is_several(one.get("group")) for one in tables
    ):
        return
    expanded: list[object] = []
    places: list[Place] = []
    cut: list[tuple[KeyPath, str]] = []
    for index, table in enumerate(tables):
        place = report.place(("groups", index))
        if not isinstance(table, dict) or not _is_several(table.get("group")):
            expanded.append(table)
            places.append(place)
            continue
        for where, value in _elements(table["group"]):
            for group in _groups(value, MOST - len(expanded)):
                expanded.append({**table, "group": group})
                places.append(place.of_range(("group", *where)))
            if (note := _host_bits(value)) is not None:
                cut.append((("groups", len(expanded) - 1, "group"), note))
    document["groups"] = expanded
    report.moved("groups", dict(enumerate(places)))
    for path, text in cut:
        report.note(path, text)


def _read(value: object, _report: Report, _path: KeyPath) -> IPv4Address:
    if isinstance(value, list):
        raise WrongValueError("it is an array" if value else "it is empty")
    if isinstance(value, str) and _is_several(value):
        if len(parse(value)) > 1:  # one that would have been expanded otherwise
            raise WrongValueError(f"with {shown(value)} there are more than {MOST} groups in all")
        value = str(IPv4Address(parse(value)[0]))
    address: IPv4Address = GROUP_ADDRESS.parse(value, _report, _path)
    return address


GROUP: Final = ValueType(
    f"{GROUP_ADDRESS.allowed}, a range or a prefix of these, or an array of them",
    _read,
    GROUP_ADDRESS.stand_in,
    ', for instance "239.1.1.1", "239.1.1.1-239.1.1.20" or "239.1.1.0/28"',
)
"""The key, of a table that has one group."""


def _is_several(value: object) -> bool:
    return isinstance(value, list) or (isinstance(value, str) and ("-" in value or "/" in value))


def _elements(value: object) -> Iterator[tuple[KeyPath, object]]:
    if isinstance(value, list) and value:
        yield from (((index,), one) for index, one in enumerate(value))
    else:
        yield (), value


def _groups(value: object, left: int) -> Iterator[object]:
    """The groups of one element; itself if it cannot be used, or there are more of them than are left."""
    try:
        found = parse(value) if isinstance(value, str) else None
    except WrongValueError:
        found = None
    if found is None or len(found) > left:
        yield value
    else:
        yield from map(str, map(IPv4Address, found))


def _host_bits(value: object) -> str | None:
    """What to note of a prefix that has some."""
    if not isinstance(value, str) or "/" not in value:
        return None
    try:
        network = IPv4Network(value, strict=False)
    except ValueError:
        return None
    same = value.partition("/")[0] == str(network[0])
    return None if same else f"{value} means {network}, its host bits are cut off"


def _group(text: str) -> int:
    address: IPv4Address = GROUP_ADDRESS.parse(text, None, ())  # type: ignore[arg-type]  # it reports nothing
    return int(address)
