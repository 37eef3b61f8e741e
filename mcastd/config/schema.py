"""The keys of each table, declared once: by the annotations of the structs that ``mcastd.config.model`` has.

A field of a struct is a key, and the string below it is its line of help. Its type is a ``ValueType`` in
``Annotated``, or follows from the annotation: an integer or, for a float, a duration with the bounds of a
``msgspec.Meta``; an address, a prefix, a path; one of the words of a ``Literal``; an array for a tuple. A struct is
otherwise a table, a tuple of structs an array of tables or, where they have names, tables by name.
"""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import cache, partial
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Meta, Struct
from msgspec.structs import fields

from mcastd.config import value_types
from mcastd.config.line_numbers import KeyPath
from mcastd.config.report import Report, dotted
from mcastd.config.value_types import ValueType, WrongValueError, toml_type

S = TypeVar("S", bound=Struct)

_PLAIN: Final[dict[object, ValueType]] = {
    bool: value_types.BOOLEAN,
    IPv4Address: value_types.HOST_ADDRESS,
    IPv4Interface: value_types.INTERFACE_ADDRESS,
    IPv4Network: value_types.prefix(),
    Path: value_types.file_path(),
}
_BOUNDED: Final[dict[object, Callable[[Any, Any], ValueType]]] = {int: value_types.integer, float: value_types.duration}

_CLOSE: Final = 0.7  # of get_close_matches; below it are words that share a part: hello_interval, query_interval


class Inline:
    """In ``Annotated``: the keys of this struct are in the table of the struct that contains it."""


class Implied(msgspec.Struct, frozen=True):
    """In ``Annotated``: a missing key follows from other keys; ``text`` is the default in the reference."""

    text: str


class Key(msgspec.Struct, frozen=True):
    """One key of a table."""

    name: str
    values: ValueType
    default: Any  # NODEFAULT: it is required
    declared_in: type[Struct]
    field: str  # the name of the struct's field: another one where the key is a word of Python
    holds: type[Struct] | None = None  # the struct of the tables below this key
    implied: str | None = None  # the text of Implied


@cache
def keys(struct: type[Struct]) -> tuple[Key, ...]:
    """The keys of a table, in the order of their declaration."""
    found: list[Key] = []
    for field in fields(struct):
        base, *extras = get_args(field.type) if get_origin(field.type) is Annotated else (field.type,)
        if Inline in extras:
            found += keys(base)
        elif field.name != "name" and field.name not in getattr(struct, "without", ()):
            implied = next((one.text for one in extras if isinstance(one, Implied)), None)
            values = _type(base, extras)
            holds = None if values in extras else _struct_in(base)
            declared_in = next(one for one in struct.__mro__ if field.name in vars(one).get("__annotations__", ()))
            found.append(Key(field.encode_name, values, field.default, declared_in, field.name, holds, implied))
    return tuple(found)


def read_table(struct: type[S], value: object, report: Report, path: KeyPath, **given: Any) -> S:
    """Read a table into a struct. What is wrong is reported, and replaced by its default or a stand-in."""
    table = value if isinstance(value, dict) else {}
    if isinstance(value, dict):
        _report_unknown(table, path, [key.name for key in keys(struct)], report)
    else:
        header = _header(value, path, by_name="name" in given)
        report.wrong(path, f"it is {toml_type(value)}; allowed: a table, {header}")
    values = dict(given)
    for key in keys(struct):
        where = (*path, key.name)
        otherwise = key.values.stand_in if key.default is NODEFAULT else key.default
        if key.name in table:
            values[key.field] = key.values.read(table[key.name], report, where, otherwise)
        else:
            values[key.field] = otherwise
            if key.default is NODEFAULT and not report.is_wrong(path):
                there = dotted(report.place(path).path)
                allowed = f"{key.values.allowed}{key.values.hint}"
                report.wrong(where, f"it is missing from [{there}]; allowed: {allowed}")
    return _nested(struct, values)


def _nested(struct: type[S], values: dict[str, Any]) -> S:
    """The struct from its keys; those of inline structs become a struct first."""
    for name, inner in _inline(struct):
        values[name] = inner(**{key.field: values.pop(key.field) for key in keys(inner)})
    return struct(**values)


@cache
def _inline(struct: type[Struct]) -> tuple[tuple[str, type[Struct]], ...]:
    """The fields whose keys are in the table of the struct itself, each with its struct."""
    annotated = [(field.name, get_args(field.type)) for field in fields(struct) if get_origin(field.type) is Annotated]
    return tuple((name, arguments[0]) for name, arguments in annotated if Inline in arguments)


def _header(value: object, path: KeyPath, *, by_name: bool) -> str:
    """The header of a table that is to be where another value is: a key of the tables by name is probably no name."""
    if isinstance(path[-1], int):
        return f"[[{dotted(path[:-1])}]]"
    is_named = isinstance(value, list) and all(isinstance(one, dict) for one in value)  # [[peers.dc]]
    return f"[{dotted(path)}]" if is_named or not by_name else f"[{dotted((*path[:-1], 'NAME'))}]"


def _report_unknown(table: Mapping[str, object], path: KeyPath, known: Iterable[str], report: Report) -> None:
    for key in table.keys() - set(known):
        close = [one for one in known if one.startswith(f"{key}_")] or get_close_matches(key[:80], known, 1, _CLOSE)
        hint = f"did you mean {close[0]}?" if close else f"allowed: {', '.join(sorted(known))}"
        if isinstance(table[key], dict) and key.isdecimal():  # [forward.eth1.100]
            name = dotted((*path[:-1], f"{path[-1]}.{key}"))
            hint = f"allowed: a name with a dot in quotes, [{name}]; else {', '.join(sorted(known))}"
        if key == "include":
            hint = "include is a key of the file itself; allowed: above its first table"
        report.wrong((*path, key), f"there is no such key; {hint}")


def _type(annotation: Any, extras: Iterable[object] = ()) -> ValueType:
    """The type of value that an annotation declares."""
    base, *more = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    extras = [*extras, *more]
    for extra in extras:
        if isinstance(extra, ValueType):
            return extra
    if NoneType in get_args(base):
        return _type(next(one for one in get_args(base) if one is not NoneType), extras)
    for extra in extras:
        if isinstance(extra, Meta):
            return _BOUNDED[base](extra.ge, extra.le)
    struct = _struct_in(base)
    if get_origin(base) is Literal:
        return value_types.choice(*get_args(base))
    if get_origin(base) is tuple:
        return _tables(struct) if struct else value_types.array(_type(get_args(base)[0]))
    return ValueType("a table", partial(read_table, struct)) if struct else _PLAIN[base]


def _struct_in(annotation: Any) -> type[Struct] | None:
    found = (annotation, *get_args(annotation))
    return next((one for one in found if isinstance(one, type) and issubclass(one, Struct)), None)


def _tables(struct: type[Struct]) -> ValueType:
    """Tables by name if the struct has one, else an array of tables."""
    by_name = "name" in struct.__struct_fields__

    def parse(value: object, report: Report, path: KeyPath) -> tuple[Struct, ...]:
        if not isinstance(value, dict if by_name else list):
            raise WrongValueError(f"it is {toml_type(value)}")
        if isinstance(value, dict):
            return tuple(read_table(struct, one, report, (*path, name), name=name) for name, one in value.items())
        return tuple(read_table(struct, one, report, (*path, index)) for index, one in enumerate(value))

    return ValueType("tables by name, [PATH.NAME]" if by_name else "an array of tables, [[PATH]]", parse, ())
