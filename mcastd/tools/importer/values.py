"""strongSwan's kinds of values in the words of ``mcastd.toml``. Pure; what cannot be said is noted."""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import Final, NamedTuple

from mcastd.config.convert import LARGEST_REPLAY_WINDOW, LONGEST_LIFETIME
from mcastd.config.kinds import spell
from mcastd.config.proposals import Protocol, problem_with
from mcastd.config.strongswan import Value
from mcastd.tools.importer.draft import Missing, Notes, Scalar

_DURATION: Final = re.compile(r"(\d{1,9})\s*([smhd]?)")
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SELECTOR: Final = re.compile(r"([^\[\]]*)(?:\[([^\[\]/]*)(?:/([^\[\]]*))?\])?")
_GRE: Final = ("gre", "47")
_ANY_PORT: Final = (None, "", "0", "any", "%any")
_NAME: Final = re.compile(r"[^A-Za-z0-9_.-]")
_LONGEST_NAME: Final = 63
_LONGEST_TEXT: Final = 255  # bytes, of an identity
EXAMPLE_PROPOSAL: Final = ("aes256-sha256-modp2048",)


class Selector(NamedTuple):
    """One traffic selector; ``prefix`` None is the address of the peer at that end."""

    prefix: IPv4Network | None
    gre: bool


def usable_name(name: str, taken: Iterable[str]) -> str:
    """A name of a peer or child that mcastd takes and that no other one has."""
    plain = wanted = _NAME.sub("-", name)[:_LONGEST_NAME].lstrip(".") or "imported"
    count = 1
    while wanted in taken:
        count += 1
        wanted = f"{plain[: _LONGEST_NAME - 5]}-{count}"
    return wanted


def seconds(setting: Value | None, key: str, notes: Notes) -> int | None:
    """A time with or without a unit; None where there is none that can be read."""
    if setting is None:
        return None
    match = _DURATION.fullmatch(setting.text.strip())
    if match is None:
        notes.add(setting, key, f"{setting.text!r} is no time and is left out")
        return None
    return int(match[1]) * _UNITS[match[2]]


def lifetime(value: int | None, setting: Value | None, key: str, notes: Notes) -> dict[str, Scalar]:
    """The key ``lifetime`` for a number of seconds; nothing for none, which is the default's."""
    if value is None or setting is None:
        return {}
    if value < 1:
        notes.add(setting, key, "an SA that does not end is not carried over: the default of mcastd holds")
        return {}
    if value > LONGEST_LIFETIME:
        notes.add(setting, key, f"{setting.text} is too long and becomes {spell(LONGEST_LIFETIME)}")
    return {"lifetime": spell(min(value, LONGEST_LIFETIME))}


def replay_window(setting: Value | None, key: str, notes: Notes) -> dict[str, Scalar]:
    """The key ``replay_window``; -1 is charon's default, which is left to ours."""
    if setting is None or setting.text == "-1":
        return {}
    if not setting.text.isdecimal() or int(setting.text) > LARGEST_REPLAY_WINDOW:
        notes.add(setting, key, f"{setting.text} is left out; allowed: 0 to {LARGEST_REPLAY_WINDOW}")
        return {}
    return {key: int(setting.text)}


def address(setting: Value | None, key: str, example: str, notes: Notes) -> Scalar | Missing:
    """One IPv4 address out of a list of addresses and names."""
    if setting is None:
        return Missing(example, "the source does not say it")
    words = [word.strip() for word in setting.text.split(",")]
    for word in words:
        if is_address(word):
            if len(words) > 1:
                notes.add(setting, key, f"of {setting.text}, only {word} is carried over")
            return word
    return Missing(example, f"{setting.file}:{setting.line} has {setting.text}, and an IPv4 address is needed")


def text(setting: Value, example: str) -> Scalar | Missing:
    """A string that mcastd takes as an identity or a path."""
    word = setting.text
    if word and word.isprintable() and word == word.strip() and len(word.encode()) <= _LONGEST_TEXT:
        return word
    return Missing(example, f"what {setting.file}:{setting.line} has is empty, too long or unprintable")


def is_address(word: str) -> bool:
    """Whether it is the IPv4 address of a host; 0.0.0.0 is any."""
    try:
        found = IPv4Address(word)
    except ValueError:
        return False
    return not (found.is_unspecified or found.is_multicast or found.is_reserved)


def proposals(setting: Value | None, key: str, protocol: Protocol, notes: Notes) -> Scalar | Missing:
    """A list of proposals, each with a ``!`` at its end or not: here they are strict always."""
    if setting is None:
        return Missing(EXAMPLE_PROPOSAL, "the source leaves it to charon, whose list is long; here it is strict")
    found = []
    for word in filter(None, (one.strip() for one in setting.text.split(","))):
        proposal = word.rstrip("! ")
        if proposal == "default":
            notes.add(setting, key, "charon's default proposals are left out: here proposals are strict")
        elif problem := problem_with(proposal, protocol):
            notes.add(setting, key, f"{proposal} is left out: {problem}")
        else:
            found.append(proposal)
    if not found:
        return Missing(EXAMPLE_PROPOSAL, f"none of those of {setting.file}:{setting.line} can be used")
    return tuple(dict.fromkeys(found))


def is_strict(setting: Value | None) -> bool:
    """Whether an ``ipsec.conf`` list of proposals ends with ``!``."""
    return setting is not None and setting.text.rstrip().endswith("!")


def selectors(setting: Value | None, key: str, notes: Notes) -> tuple[Selector, ...]:
    """A list of traffic selectors; none at all is the peer's own address. What is not IPv4 is left out."""
    if setting is None or not setting.text.strip():
        return (Selector(None, False),)
    found = []
    for word in filter(None, (one.strip() for one in setting.text.split(","))):
        match = _SELECTOR.fullmatch(word)
        where, protocol, port = match.groups() if match else (word, None, None)
        try:
            prefix = _prefix(where)
        except ValueError:
            notes.add(setting, key, f"{word} is left out; an IPv4 prefix is needed")
            continue
        if prefix is not None and str(prefix.network_address) != where.partition("/")[0]:
            notes.add(setting, key, f"{where} means {prefix}, its host bits are cut off")
        gre = (protocol or "").lower() in _GRE
        if (protocol or "").lower() not in (*_GRE, "", "0", "any", "%any") or port not in _ANY_PORT:
            notes.add(setting, key, f"of {word}, the protocol and port are left out: allowed are GRE, or any")
        found.append(Selector(prefix, gre))
    return tuple(dict.fromkeys(found))


def _prefix(word: str) -> IPv4Network | None:
    """A prefix, or None for the peer's address. Raises ValueError for what is neither."""
    if word in ("", "dynamic", "%dynamic"):
        return None
    return IPv4Network(word, strict=False)
