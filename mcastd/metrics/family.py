"""A metric, declared by the field of status that it shows, and how its samples are written. Pure.

The text of a sample is the same in both formats, Prometheus' text format 0.0.4 and OpenMetrics 1.0; what is written
above the samples of a metric differs.
"""

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, Literal, TypeAlias, get_args

from msgspec import Struct

Kind = Literal["gauge", "counter", "histogram", "info"]

Point: TypeAlias = tuple[str, float]
"""A sample: the labels that it has beside those of its item, and the value."""

Read: TypeAlias = Callable[[Any, float], Iterable[Point]]
"""The samples of an item; the number is the time, in seconds since 1970."""


class Family(Struct, frozen=True):
    """One metric. ``shows`` are the fields that it is made of: of the table's struct, or with another one's name.

    ``labels`` are those of its own.
    """

    name: str
    kind: Kind
    help: str
    shows: tuple[str, ...]
    read: Read
    labels: tuple[str, ...] = ()

    @property
    def sample(self) -> str:
        """The name of its samples."""
        return f"{self.name}_bucket" if self.kind == "histogram" else self.name


class Table(Struct, frozen=True):
    """The metrics of one kind of item, and the labels that each of them has, with the fields that they show."""

    of: type[Struct]
    families: tuple[Family, ...]
    labels: dict[str, str] = {}

    def shows(self) -> set[str]:
        """The fields that it shows, each as STRUCT.FIELD."""
        found = (*self.labels.values(), *(one for family in self.families for one in family.shows))
        return {one if "." in one else f"{self.of.__name__}.{one}" for one in found}


def value(kind: Kind, name: str, text: str, field: str, *more: str) -> Family:
    """The value of a field; none where it is None. ``more`` are further fields that it shows."""
    get = attrgetter(field)

    def read(item: Any, _now: float) -> Iterable[Point]:
        found = get(item)
        return () if found is None else (("", found),)

    return Family(name, kind, text, more or (field,), read)


def gauge(name: str, text: str, field: str, *shows: str) -> Family:
    """A field that goes up and down."""
    return value("gauge", name, text, field, *shows)


def counter(name: str, text: str, field: str, *shows: str) -> Family:
    """A field that only grows, until it is counted from 0 again."""
    return value("counter", name, text, field, *shows)


def is_set(name: str, text: str, field: str, wanted: str | None) -> Family:
    """1 where a field has a value, else 0."""
    get = attrgetter(field)
    return Family(name, "gauge", text, (field,), lambda item, _now: (("", get(item) == wanted),))


def ago(name: str, text: str, field: str) -> Family:
    """The time of something whose age a field has."""
    return _time(name, text, field, -1)


def ahead(name: str, text: str, field: str) -> Family:
    """The time of something that a field says how far away it is."""
    return _time(name, text, field, 1)


def _time(name: str, text: str, field: str, sign: int) -> Family:
    get = attrgetter(field)

    def read(item: Any, now: float) -> Iterable[Point]:
        found = get(item)
        return () if found is None else (("", round(now + sign * found, 3)),)

    return Family(name, "gauge", text, (field,), read)


def size(name: str, text: str, field: str) -> Family:
    """How many there are of what a field lists."""
    get = attrgetter(field)
    return Family(name, "gauge", text, (field,), lambda item, _now: (("", len(get(item))),))


def states(name: str, text: str, field: str, words: Any, label: str = "state") -> Family:
    """A sample for each word of a Literal: 1 for that which a field has, else 0."""
    get, known = attrgetter(field), tuple((word, labels(**{label: word})) for word in get_args(words))

    def read(item: Any, _now: float) -> Iterable[Point]:
        found = get(item)
        return [(shown, word == found) for word, shown in known]

    return Family(name, "gauge", text, (field,), read, (label,))


def code(name: str, text: str, field: str) -> Family:
    """1 with the code that a field has; none where it has none."""
    get = attrgetter(field)

    def read(item: Any, _now: float) -> Iterable[Point]:
        found = get(item)
        return () if found is None else ((labels(code=found), 1),)

    return Family(name, "gauge", text, (field,), read, ("code",))


def by_key(kind: Kind, name: str, text: str, field: str, label: str, *shows: str) -> Family:
    """A sample for each key of a dictionary."""
    get = attrgetter(field)

    def read(item: Any, _now: float) -> Iterable[Point]:
        return [(labels(**{label: key}), count) for key, count in get(item).items()]

    return Family(name, kind, text, shows or (field,), read, (label,))


def each(kind: Kind, name: str, text: str, label: str, fields: dict[str, str]) -> Family:
    """A sample for each of a few fields, by the word that they are known by; none for one that is None."""
    known = tuple((attrgetter(field), labels(**{label: word})) for word, field in fields.items())

    def read(item: Any, _now: float) -> Iterable[Point]:
        found = [(shown, get(item)) for get, shown in known]
        return [(shown, count) for shown, count in found if count is not None]

    return Family(name, kind, text, tuple(fields.values()), read, (label,))


def as_labels(name: str, text: str, **fields: str) -> Family:
    """1, with fields as labels: what changes only with the configuration."""

    def read(item: Any, _now: float) -> Iterable[Point]:
        found = {label: getattr(item, field) for label, field in fields.items()}
        return ((labels(**{label: "" if one is None else str(one) for label, one in found.items()}), 1),)

    return Family(name, "info", text, tuple(fields.values()), read, tuple(fields))


def labels(**names: str) -> str:
    """Labels as they are written."""
    return ",".join(f'{name}="{_escaped(text)}"' for name, text in names.items())


def _escaped(text: str) -> str:
    if "\\" in text or '"' in text or "\n" in text:
        return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return text


def number(found: float) -> str:
    """A value as it is written."""
    return f"{found:d}" if isinstance(found, int) else repr(found)


def head(family: Family, *, openmetrics: bool) -> str:
    """What is written above the samples: in OpenMetrics the name is without the suffix that the kind gives it."""
    name, kind = family.name, family.kind
    if not openmetrics:
        kind = "gauge" if kind == "info" else kind
    elif kind == "counter":
        name = name.removesuffix("_total")
    elif kind == "info":
        name = name.removesuffix("_info")
    return f"# HELP {name} {family.help}\n# TYPE {name} {kind}\n"
