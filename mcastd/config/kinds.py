"""The kinds of values in the file: how each is read, and what is said of one that is wrong."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network, NetmaskValueError
from pathlib import Path
from typing import Any, Final

from mcastd.config.lines import KeyPath
from mcastd.config.proposals import Protocol, problem_with
from mcastd.config.report import Report, shown

MULTICAST: Final = IPv4Network("224.0.0.0/4")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)")
_TYPES: Final = {
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "a table",
}


class WrongError(Exception):
    """A value that is not of its kind; the text says what is wrong and what is allowed."""


@dataclass(frozen=True)
class Kind:
    """How a value is read. ``stand_in`` replaces a required one that is wrong, so that the rest is checked."""

    read: Callable[[object, Report, KeyPath], Any]
    stand_in: Any


def type_name(value: object) -> str:
    """What TOML calls the type of a value."""
    return _TYPES.get(type(value), "a date or time")


def simple(read: Callable[[object], Any], stand_in: Any) -> Kind:
    """A kind whose reading needs nothing but the value."""
    return Kind(lambda value, _report, _path: read(value), stand_in)


def text(value: object, allowed: str) -> str:
    """A string of any kind."""
    if not isinstance(value, str):
        raise WrongError(f"it is {type_name(value)}; allowed: {allowed}")
    return value


def boolean() -> Kind:
    """``true`` or ``false``."""

    def read(value: object) -> bool:
        if not isinstance(value, bool):
            raise WrongError(f"it is {type_name(value)}; allowed: true or false")
        return value

    return simple(read, False)


def integer(low: int, high: int) -> Kind:
    """A whole number, bounds included."""

    def read(value: object) -> int:
        allowed = f"an integer from {low} to {high}"
        if not isinstance(value, int) or isinstance(value, bool):
            raise WrongError(f"it is {type_name(value)}; allowed: {allowed}")
        if not low <= value <= high:
            raise WrongError(f"{shown(value)} is out of range; allowed: {allowed}")
        return value

    return simple(read, low)


def number(low: float, high: float) -> Kind:
    """A number, bounds included."""

    def read(value: object) -> float:
        allowed = f"a number from {low:g} to {high:g}"
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise WrongError(f"it is {type_name(value)}; allowed: {allowed}")
        if not low <= value <= high:
            raise WrongError(f"{shown(value)} is out of range; allowed: {allowed}")
        return float(value)

    return simple(read, low)


def duration(low: float, high: float) -> Kind:
    """Seconds, or a string with a unit (``"500ms"``, ``"30s"``, ``"5m"``, ``"4h"``, ``"1d"``), bounds included."""

    def read(value: object) -> float:
        allowed = f'from {spell(low)} to {spell(high)}, as seconds or as "500ms", "30s", "5m", "4h", "1d"'
        if isinstance(value, str):
            match = _DURATION.fullmatch(value)
            if match is None:
                raise WrongError(f"{shown(value)} is no duration; allowed: {allowed}")
            seconds = float(match[1]) * _UNITS[match[2]]
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise WrongError(f"it is {type_name(value)}; allowed: {allowed}")
        elif isinstance(value, float) and math.isnan(value):
            raise WrongError(f"it is not a number; allowed: {allowed}")
        else:
            seconds = float(value) if abs(value) < 1e12 else math.inf if value > 0 else -math.inf
        if not low <= seconds <= high:
            raise WrongError(f"{shown(value)} is out of range; allowed: {allowed}")
        return seconds

    return simple(read, low)


def spell(seconds: float) -> str:
    """A duration as the file would have it: ``4h``, ``500ms``."""
    for unit in ("d", "h", "m", "s"):
        if seconds >= _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:g}{unit}"
    return f"{seconds * 1000:g}ms"


def choice(*allowed: str | int) -> Kind:
    """One of a few values."""

    def read(value: object) -> str | int:
        if value not in allowed or isinstance(value, bool | float):
            what = shown(value) if isinstance(value, str | int) else f"it is {type_name(value)}"
            raise WrongError(f"{what}; allowed: {' or '.join(shown(one) for one in allowed)}")
        return allowed[allowed.index(value)]

    return simple(read, allowed[0])


def preference(*words: str) -> Kind:
    """One of a few words, or an array of different ones, the most preferred first."""

    def read(value: object) -> tuple[str, ...]:
        allowed = f"{' or '.join(map(shown, words))}, or an array of them, the most preferred first"
        found = value if isinstance(value, list) else [value]
        if not found or any(one not in words for one in found) or len(set(found)) < len(found):
            what = shown(value) if isinstance(value, str) else f"it is {type_name(value)}"
            raise WrongError(f"{what}; allowed: {allowed}")
        return tuple(found)

    return simple(read, words[:1])


def _address(value: object, allowed: str) -> IPv4Address:
    written = text(value, allowed)
    try:
        return IPv4Address(written)
    except AddressValueError:
        raise WrongError(f"{shown(written)} is not an IPv4 address; allowed: {allowed}") from None


def host_address() -> Kind:
    """An IPv4 address that a host can have."""

    def read(value: object) -> IPv4Address:
        allowed = 'a unicast IPv4 address, for instance "10.44.6.1"'
        address = _address(value, allowed)
        if address.is_multicast or address.is_unspecified or address.is_reserved:
            raise WrongError(f"{address} is no address of a host; allowed: {allowed}")
        return address

    return simple(read, IPv4Address(0))


def group_address() -> Kind:
    """An IPv4 multicast group, beyond those of the local link."""

    def read(value: object) -> IPv4Address:
        allowed = "a multicast group from 224.0.1.0 to 239.255.255.255"
        address = _address(value, allowed)
        if not address.is_multicast:
            raise WrongError(f"{address} is not a multicast group; allowed: {allowed}")
        if address in IPv4Network("224.0.0.0/24"):
            raise WrongError(f"{address} is in 224.0.0.0/24, which never leaves its link; allowed: {allowed}")
        return address

    return simple(read, IPv4Address("239.255.255.255"))


def interface_address() -> Kind:
    """An address with its prefix length."""

    def read(value: object) -> IPv4Interface:
        allowed = 'an IPv4 address and its prefix length, for instance "10.44.4.6/30"'
        written = text(value, allowed)
        if "/" not in written:
            raise WrongError(f"{shown(written)} has no prefix length; allowed: {allowed}")
        try:
            interface = IPv4Interface(written)
        except (AddressValueError, NetmaskValueError):
            raise WrongError(f"{shown(written)} is not that; allowed: {allowed}") from None
        network = interface.network
        if interface.ip.is_multicast or interface.ip.is_unspecified or interface.ip.is_reserved:
            raise WrongError(f"{interface.ip} is no address of a host; allowed: {allowed}")
        if network.prefixlen < 31 and interface.ip in (network.network_address, network.broadcast_address):
            raise WrongError(f"{interface.ip} is the network or broadcast address of {network}; allowed: {allowed}")
        return interface

    return simple(read, IPv4Interface(0))


def prefix(*, multicast: bool = False) -> Kind:
    """A prefix, whose host bits are cut off with a note; a bare address is a /32."""
    example = "239.0.0.0/8" if multicast else "10.45.8.16/28"
    allowed = f'{"a range of multicast groups" if multicast else "an IPv4 prefix"}, for instance "{example}"'

    def read(value: object, report: Report, path: KeyPath) -> IPv4Network:
        written = text(value, allowed)
        try:
            interface = IPv4Interface(written)
        except (AddressValueError, NetmaskValueError):
            raise WrongError(f"{shown(written)} is no IPv4 prefix; allowed: {allowed}") from None
        network = interface.network
        if multicast and not network.subnet_of(MULTICAST):
            raise WrongError(f"{network} is not within {MULTICAST}; allowed: {allowed}")
        if interface.ip != network.network_address:
            report.note(path, f"{written} means {network}, its host bits are cut off")
        return network

    return Kind(read, MULTICAST if multicast else IPv4Network(0))


def proposal(protocol: Protocol) -> Kind:
    """One of charon's proposals, for IKE or for ESP."""
    example = "aes256-sha256-modp2048"

    def read(value: object) -> str:
        allowed = f'a proposal in strongSwan\'s words, for instance "{example}"'
        written = text(value, allowed)
        if problem := problem_with(written, protocol):
            raise WrongError(f"{shown(written)}: {problem}; allowed: {allowed}")
        return written

    return simple(read, example)


def identity() -> Kind:
    """An IKE identity."""

    def read(value: object) -> str:
        allowed = 'an IKE identity, for instance "222.45.67.1", "vpn.example.com" or "%any"'
        written = text(value, allowed)
        if not written or not written.isprintable() or written != written.strip() or len(written.encode()) > 255:
            raise WrongError(
                f"{shown(written)} is empty, too long, unprintable or has blanks around it; allowed: {allowed}"
            )
        return written

    return simple(read, "")


def file_path(*, absolute: bool = False, longest: int = 4095) -> Kind:
    """The path of a file."""

    def read(value: object) -> Path:
        allowed = f"{'an absolute' if absolute else 'a'} path of at most {longest} bytes"
        written = text(value, allowed)
        if (
            not written
            or not written.isprintable()
            or len(written.encode()) > longest
            or (absolute and not written.startswith("/"))
        ):
            raise WrongError(f"{shown(written)} is not that; allowed: {allowed}")
        return Path(written)

    return simple(read, Path())


def either(word: str, other: Kind) -> Kind:
    """Another kind, or a word that means None."""

    def read(value: object, report: Report, path: KeyPath) -> Any:
        if value == word:
            return None
        try:
            return other.read(value, report, path)
        except WrongError as wrong:
            raise WrongError(f'{wrong}, or "{word}"') from None

    return Kind(read, None)


def word_or(words: tuple[str, ...], other: Kind) -> Kind:
    """Another kind, or one of a few words, which stand for themselves."""

    def read(value: object, report: Report, path: KeyPath) -> Any:
        if value in words:
            return value
        try:
            return other.read(value, report, path)
        except WrongError as wrong:
            raise WrongError(f"{wrong}, or {', '.join(map(shown, words))}") from None

    return Kind(read, other.stand_in)


def array(element: Kind, *, least: int = 0) -> Kind:
    """An array; every element that is wrong is reported by its index."""

    def read(value: object, report: Report, path: KeyPath) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise WrongError(f"it is {type_name(value)}; allowed: an array, even of one: [...]")
        if len(value) < least:
            raise WrongError(f"it is empty; allowed: an array of at least {least}")
        read_ones = []
        for index, one in enumerate(value):
            try:
                read_ones.append(element.read(one, report, (*path, index)))
            except WrongError as wrong:
                report.wrong((*path, index), str(wrong))
                read_ones.append(element.stand_in)
        return tuple(read_ones)

    return Kind(read, ())
