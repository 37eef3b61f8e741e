"""The types of values in the file: how each is read, and what is reported of one that is wrong."""

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from mcastd.config.hours import Hours
from mcastd.config.hours import parse as parse_hours
from mcastd.config.line_numbers import KeyPath
from mcastd.config.proposals import Protocol, problem_with
from mcastd.config.report import Report, dotted, shown

MULTICAST: Final = IPv4Network("224.0.0.0/4")
LINK_LOCAL_GROUPS: Final = IPv4Network("224.0.0.0/24")
LOCAL_GROUPS: Final = (LINK_LOCAL_GROUPS, IPv4Network("239.255.0.0/16"))
"""The link, and the smallest scope of administrators (RFC 2365, section 6.1), whose groups stay where they are.

SSDP and the like join some of them on every interface.
"""
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_THIS_NETWORK: Final = IPv4Network("0.0.0.0/8")
_LONGEST_LABEL: Final = 63
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)")
_TOML_TYPES: Final = {
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "a table",
}


class WrongValueError(Exception):
    """A value that is not of its type; the text says what is wrong."""


class ValueType(msgspec.Struct, frozen=True):
    """What a key may be set to: ``allowed`` (PATH stands for the key) and, for messages, more detail in ``hint``.

    ``parse`` converts a value of TOML, or raises WrongValueError. ``stand_in`` replaces a required value that is wrong,
    so that the rest is still checked.
    """

    allowed: str
    parse: Callable[[Any, Report, KeyPath], Any]
    stand_in: Any = None
    hint: str = ""

    @property
    def name(self) -> str:
        """The type in the reference: what is allowed, without an article."""
        return re.sub("^(an?|the) ", "", self.allowed)

    def read(self, value: object, report: Report, path: KeyPath, otherwise: object) -> Any:
        """The parsed value; if it is wrong, that is reported, and ``otherwise`` is returned."""
        try:
            return self.parse(value, report, path)
        except WrongValueError as wrong:
            report.wrong(path, f"{wrong}; allowed: {self.allowed.replace('PATH', dotted(path))}{self.hint}")
            return otherwise


def toml_type(value: object) -> str:
    """What TOML calls the type of a value."""
    return _TOML_TYPES.get(type(value), "a date or time")


def _of(allowed: str, stand_in: Any, parse: Callable[[Any], Any], hint: str = "", types: Any = (str,)) -> ValueType:
    """A type of value that has one of these types in TOML."""

    def checked(value: object, _report: Report, _path: KeyPath) -> Any:
        if type(value) not in types:
            raise WrongValueError(f"it is {toml_type(value)}")
        return parse(value)

    return ValueType(allowed, checked, stand_in, hint)


def _example(*values: str) -> str:
    return f", for instance {' or '.join(map(shown, values))}"


def _within(low: float, high: float, value: Any, number: Any) -> Any:
    if not low <= number <= high:
        raise WrongValueError(f"{shown(value)} is out of range")
    return number


BOOLEAN: Final = _of("true or false", False, bool, types=(bool,))


def integer(low: int, high: int) -> ValueType:
    """A whole number, bounds included."""
    return _of(f"an integer from {low} to {high}", low, lambda value: _within(low, high, value, value), types=(int,))


def number(low: float, high: float) -> ValueType:
    """A number, bounds included."""
    allowed = f"a number from {low:g} to {high:g}"
    return _of(allowed, low, lambda value: float(_within(low, high, value, value)), types=(int, float))


def duration(low: float, high: float) -> ValueType:
    """Seconds, or a string with a unit (``"500ms"``, ``"30s"``, ``"5m"``, ``"4h"``, ``"1d"``), bounds included."""

    def parse(value: str | float) -> Any:
        if not isinstance(value, str):
            return _within(low, high, value, float(max(-1e12, min(value, 1e12))))
        found = seconds(value)
        if found is None:
            raise WrongValueError(f"{shown(value)} is no duration")
        return _within(low, high, value, found)

    hint = ', as seconds or as "500ms", "30s", "5m", "4h", "1d"'
    return _of(f"a duration from {spell(low)} to {spell(high)}", low, parse, hint, (str, int, float))


def seconds(text: str) -> float | None:
    """A duration in the syntax of the file; None if it is none."""
    match = _DURATION.fullmatch(text)
    return None if match is None else float(match[1]) * _UNITS[match[2]]


def spell(seconds: float) -> str:
    """A duration in the syntax of the file: ``4h``, ``500ms``."""
    for unit in ("d", "h", "m", "s"):
        if seconds >= _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:g}{unit}"
    return f"{seconds * 1000:g}ms" if seconds else "0s"


def choice(*words: str | int) -> ValueType:
    """One of a few values."""

    def parse(value: str | int) -> str | int:
        if value not in words:
            raise WrongValueError(shown(value))
        return value

    return _of(_listed(words), words[0], parse, types=(str, int))


def _listed(words: Iterable[object]) -> str:
    *others, last = map(shown, words)
    return f"{', '.join(others)} or {last}"


def text(name: str) -> ValueType:
    """The name of another table or of an interface."""
    return _of(f"the {name}", "", str)


def _label(value: str) -> str:
    if not 1 <= len(value) <= _LONGEST_LABEL or not value.isprintable() or value != value.strip():
        raise WrongValueError(f"{shown(value)} is not that")
    return value


LABEL: Final = _of("a name of 1 to 63 characters", "", _label, ", printable and without blanks around it")


def _address(value: str) -> IPv4Address:
    try:
        return IPv4Address(value)
    except ValueError:
        raise WrongValueError(f"{shown(value)} is not an IPv4 address") from None


def _host(value: str) -> IPv4Address:
    address = _address(value)
    if address.is_multicast or address.is_reserved or address in _THIS_NETWORK:
        raise WrongValueError(f"{address} is no address of a host")
    if address.is_loopback:
        raise WrongValueError(f"{address} is a loopback address, which no other host reaches")
    return address


def _group(value: str) -> IPv4Address:
    address = _address(value)
    if not address.is_multicast:
        raise WrongValueError(f"{address} is not a multicast group")
    if address in LINK_LOCAL_GROUPS:
        raise WrongValueError(f"{address} is in {LINK_LOCAL_GROUPS}, which never leaves its link")
    return address


class GroupPort(NamedTuple):
    """A group, and a UDP port or all of them."""

    group: IPv4Address
    port: int | None = None

    def __str__(self) -> str:
        return f"{self.group}" if self.port is None else f"{self.group}:{self.port}"


def _group_port(value: str) -> GroupPort:
    address, colon, port = value.partition(":")
    if not colon:
        return GroupPort(_group(address))
    if not port.isdecimal() or len(port) > 5 or not 1 <= int(port) <= 65535:
        raise WrongValueError(f"{shown(port)} is not a port from 1 to 65535")
    return GroupPort(_group(address), int(port))


class Endpoint(NamedTuple):
    """An address and a TCP port."""

    address: IPv4Address
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


def _endpoint(value: str) -> Endpoint:
    address, _, port = value.partition(":")
    if not port.isdecimal() or len(port) > 5 or not 1 <= int(port) <= 65535:
        raise WrongValueError(f"{shown(value)} has no port from 1 to 65535")
    return Endpoint(_address(address), int(port))


def _interface(value: str) -> IPv4Interface:
    if "/" not in value:
        raise WrongValueError(f"{shown(value)} has no prefix length")
    try:
        interface = IPv4Interface(value)
    except ValueError:
        raise WrongValueError(f"{shown(value)} is not an address with a prefix length") from None
    _host(str(interface.ip))
    network = interface.network
    if network.prefixlen < 31 and interface.ip in (network.network_address, network.broadcast_address):
        raise WrongValueError(f"{interface.ip} is the network or broadcast address of {network}")
    return interface


HOST_ADDRESS: Final = _of("a unicast IPv4 address", IPv4Address(0), _host, _example("10.44.6.1"))
GROUP_ADDRESS: Final = _of(
    "a multicast group from 224.0.1.0 to 239.255.255.255", IPv4Address("239.255.255.255"), _group
)
GROUP_PORT: Final = _of(
    "a multicast group, also with a port", GroupPort(IPv4Address("239.255.255.255")),
    _group_port, _example("239.1.1.1", "239.1.1.1:5000"),
)  # fmt: skip
ENDPOINT: Final = _of("an IPv4 address and a port", None, _endpoint, _example("127.0.0.1:9464"))
INTERFACE_ADDRESS: Final = _of(
    "an IPv4 address and its prefix length", IPv4Interface(0), _interface, _example("10.44.4.6/30")
)


def prefix(within: IPv4Network | None = None) -> ValueType:
    """A prefix; host bits are cut off with a note, and an address without a length is a /32."""

    def parse(value: str) -> IPv4Interface:
        try:
            return IPv4Interface(value)
        except ValueError:
            raise WrongValueError(f"{shown(value)} is no IPv4 prefix") from None

    def network(value: Any, report: Report, path: KeyPath) -> IPv4Network:
        interface: IPv4Interface = kind.parse(value, report, path)
        if within is not None and not interface.network.subnet_of(within):
            raise WrongValueError(f"{interface.network} is not within {within}")
        if interface.ip != interface.network.network_address:
            report.note(path, f"{value} means {interface.network}, its host bits are cut off")
        return interface.network

    allowed = f"an IPv4 prefix{f' in {within}' if within else ''}"
    example = "239.0.0.0/8" if within else "10.45.8.16/28"
    kind = _of(allowed, within or IPv4Network(0), parse, _example(example))
    return replace(kind, parse=network)


def two(element: ValueType) -> ValueType:
    """An array of exactly two."""

    def parse(value: object, report: Report, path: KeyPath) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) != 2:
            raise WrongValueError("it is not an array of two")
        return tuple(element.read(one, report, (*path, index), element.stand_in) for index, one in enumerate(value))

    return ValueType(f"an array of two ({element.name})", parse, ())


def proposal(protocol: Protocol) -> ValueType:
    """One of charon's proposals, for IKE or for ESP."""
    example = "aes256-sha256-modp2048"

    def parse(value: str) -> str:
        if problem := problem_with(value, protocol):
            raise WrongValueError(f"{shown(value)}: {problem}")
        return value

    return _of("a proposal", example, parse, f" in the syntax of strongSwan{_example(example)}")


def preference(*words: str) -> ValueType:
    """One of a few words, or an array of them without repetition, the most preferred first."""

    def parse(value: str | list[object]) -> tuple[object, ...]:
        found = value if isinstance(value, list) else [value]
        if not found or any(one not in words for one in found) or len(set(found)) < len(found):
            raise WrongValueError(shown(value) if isinstance(value, str) else "it is an array of other values")
        return tuple(found)

    hint = ", the most preferred first"
    return _of(f"{_listed(words)}, or an array of them", words[:1], parse, hint, (str, list))


def _identity(value: str) -> str:
    if not value.strip("@#") or not value.isprintable() or value != value.strip() or len(value.encode()) > 255:
        raise WrongValueError(f"{shown(value)} is empty, too long, unprintable or has blanks around it")
    return value


IDENTITY: Final = _of("an IKE identity", "", _identity, _example("222.45.67.1", "vpn.example.com", "%any"))


def _hours(value: str) -> Hours:
    try:
        return parse_hours(value)
    except ValueError as error:
        raise WrongValueError(f"{shown(value)}: {error}") from None


HOURS: Final = _of(
    "hours of the week",
    Hours("", (), 0, 0),
    _hours,
    _example("Mon-Fri 07:00-23:00", "Sun-Fri 17:00-16:00 America/Chicago"),
)


def file_path(*, absolute: bool = False, longest: int = 4095) -> ValueType:
    """The path of a file; a relative path starts at the folder of the configuration file."""

    def parse(value: str) -> Path:
        usable = value and value.isprintable() and len(value.encode()) <= longest
        if not usable or (absolute and not value.startswith("/")):
            raise WrongValueError(f"{shown(value)} is not that")
        return Path(value)

    kind = _of("an absolute path" if absolute else "a path", Path(), parse, f" of at most {longest} bytes")
    return replace(kind, parse=lambda value, report, path: report.folder / kind.parse(value, report, path))


def or_word(other: ValueType, words: Mapping[str, Any]) -> ValueType:
    """Another type, or one of a few words that stand for values."""

    def parse(value: object, report: Report, path: KeyPath) -> Any:
        return words[value] if isinstance(value, str) and value in words else other.parse(value, report, path)

    listed = ", ".join(map(shown, words))
    return replace(other, allowed=f"{other.allowed}, or {listed}", parse=parse)


def or_boolean(other: ValueType) -> ValueType:
    """``true``, ``false``, or another type."""

    def parse(value: object, report: Report, path: KeyPath) -> Any:
        return value if isinstance(value, bool) else other.parse(value, report, path)

    return replace(other, allowed=f"true, false, or {other.allowed}", parse=parse, stand_in=True)


def several(element: ValueType) -> ValueType:
    """An array, or a single value for an array of one."""
    other = array(element)

    def parse(value: object, report: Report, path: KeyPath) -> Any:
        return other.parse([value] if isinstance(value, str) else value, report, path)

    return replace(other, allowed=f"{element.allowed}, or an array", parse=parse, hint=element.hint)


def auto(other: ValueType) -> ValueType:
    """Another type, or ``"auto"``, which is None."""
    return replace(or_word(other, {"auto": None}), stand_in=None)


def array(element: ValueType, *, least: int = 0) -> ValueType:
    """An array; every element that is wrong is reported by its index."""

    def parse(value: object, report: Report, path: KeyPath) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise WrongValueError(f"it is {toml_type(value)}")
        if len(value) < least:
            raise WrongValueError("it is empty")
        read = (element.read(one, report, (*path, index), element.stand_in) for index, one in enumerate(value))
        return tuple(read)

    hint = f", also of a single value: [...]{', not empty' if least else ''}"
    return ValueType(f"an array ({element.name})", parse, (), hint)
