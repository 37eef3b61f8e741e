"""A members file -> the groups in it. Pure.

::

    {
      "schema": 1,
      "groups": [
        {"group": "239.1.7.1"},
        {"group": "239.1.7.2", "sources": ["100.15.30.10"]}
      ]
    }

It is JSON, so that a file which is not written to its end is none; and whole or refused, as a configuration file is.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Final, TypeAlias

import msgspec

from mcastd.config.downstream import MAX_JOINS
from mcastd.config.value_types import LINK_LOCAL_GROUPS
from mcastd.errors import McastdError
from mcastd.membership import ANY_SOURCE, DesiredGroup
from mcastd.wanted import can_send

LONGEST: Final = 2 << 20
"""Bytes of a file."""
_EXAMPLE: Final = '{"schema": 1, "groups": [{"group": "239.1.7.1", "sources": ["100.15.30.10"]}, ...]}'
_EXAMPLE_OF_GROUP: Final = '{"group": "239.1.7.1"}, or with "sources": ["100.15.30.10"]'
_STEP: Final = 100  # groups or sources that are read at once: a millisecond
_COMMAS: Final = 3 * MAX_JOINS  # of a file: two for each group and one for each further source, so fewer than that

Groups: TypeAlias = dict[IPv4Address, DesiredGroup]


class MembersFileError(McastdError):
    """The file is refused: ``LINE: what is wrong; allowed: what is``."""

    def __init__(self, line: int, wrong: str, allowed: str) -> None:
        super().__init__(f"{line}: {wrong}; allowed: {allowed}")


class _File(msgspec.Struct, forbid_unknown_fields=True):
    schema: int
    groups: list[msgspec.Raw]


class _Group(msgspec.Struct, forbid_unknown_fields=True):
    group: str
    sources: list[str] | None = None


def parse(data: bytes, found: Groups) -> Iterator[None]:
    """Read a file into ``found``, in steps, between which other work has a turn. Raises MembersFileError."""
    if len(data) > LONGEST:
        raise MembersFileError(1, f"the file is longer than {LONGEST >> 20} MiB", "at most that")
    if data.count(b",") > _COMMAS:
        raise MembersFileError(1, "there are too many groups and sources", f"at most {MAX_JOINS}")
    try:
        file = msgspec.json.decode(data, type=_File)
    except msgspec.ValidationError as error:
        raise MembersFileError(1, str(error), _EXAMPLE) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MembersFileError(_line_of_byte(data, str(error)), f"no JSON: {error}", _EXAMPLE) from None
    except RecursionError:
        raise MembersFileError(1, "arrays or objects are nested too deeply", _EXAMPLE) from None
    if file.schema != 1:
        raise MembersFileError(1, f"schema {file.schema} is not known", "1")
    if len(file.groups) > MAX_JOINS:
        raise MembersFileError(1, f"there are {len(file.groups)} groups", f"at most {MAX_JOINS}")
    decoder, entries = msgspec.json.Decoder(_Group), 0
    for number, raw in enumerate(file.groups):
        try:
            one = decoder.decode(raw)
            entries += len(one.sources or ()) or 1
            if entries > MAX_JOINS:
                raise ValueError("with this group there are too many groups and sources", f"at most {MAX_JOINS}")
            group, sources = _group(one), set[IPv4Address]()
            if group in found:
                raise ValueError(f"{group} is there already", "each group once, with all its sources")
            for place, text in enumerate(one.sources or (), 1):
                sources.add(_source(text))
                if not place % _STEP:
                    yield
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MembersFileError(_line(data, file.groups, number), str(error), _EXAMPLE_OF_GROUP) from None
        except ValueError as error:
            raise MembersFileError(_line(data, file.groups, number), *error.args) from None
        found[group] = DesiredGroup(sources=frozenset(sources)) if sources else ANY_SOURCE
        if not (number + 1) % _STEP:
            yield


def _group(one: _Group) -> IPv4Address:
    """Raises ValueError with what is wrong, and what is allowed."""
    group = _address(one.group)
    if group is None or not group.is_multicast or group in LINK_LOCAL_GROUPS:
        raise ValueError(f"{one.group[:80]!r} is no group that can be forwarded", "224.0.1.0 to 239.255.255.255")
    if one.sources is not None and not one.sources:
        raise ValueError(f"{group} has no sources", "at least one, or no sources at all, for any")
    return group


def _source(text: str) -> IPv4Address:
    """Raises ValueError likewise."""
    source = _address(text)
    if source is None or not can_send(source):
        raise ValueError(f"{text[:80]!r} cannot be a source", "the IPv4 address of a sender")
    return source


def _address(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except ValueError:
        return None


def _line(data: bytes, groups: list[msgspec.Raw], number: int) -> int:
    """The line of a group; those before it are where they are found one after the other."""
    place = data.find(b'"groups"')
    for raw in groups[: number + 1]:
        place = data.find(bytes(raw), place) + len(bytes(raw))
    return data.count(b"\n", 0, place - len(bytes(groups[number]))) + 1


def _line_of_byte(data: bytes, error: str) -> int:
    """The line of the byte that msgspec names, or the last one, where the file has ended too early."""
    _, _, place = error.rpartition("(byte ")
    number = place.rstrip(")")
    return data.count(b"\n", 0, int(number) if number.isdecimal() else len(data)) + 1
