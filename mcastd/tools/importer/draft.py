"""Drafts of peers and CHILD_SAs with the keys of ``mcastd.toml``, and notes on what was not imported. Pure."""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from itertools import count, product
from typing import Final, NamedTuple

from mcastd.config.strongswan_conf import Value
from mcastd.errors import ConfigError, ConfigProblem

Scalar = str | int | bool | tuple[str, ...]

_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9_.-]")
_LONGEST_NAME: Final = 63


class Selector(NamedTuple):
    """One traffic selector; ``prefix`` None is the address of the peer at that end, ``gre`` limits it to GRE."""

    prefix: IPv4Network | None
    gre: bool


Selectors = tuple[Selector, ...]


@dataclass(frozen=True)
class Missing:
    """A key that ``mcastd.toml`` requires and the source does not have: an example value, and why it is missing."""

    example: Scalar
    why: str


Keys = dict[str, Scalar | Missing]


@dataclass
class ChildDraft:
    """One CHILD_SA: its name and its keys in ``[peers.NAME.children.NAME]``."""

    name: str
    keys: Keys


@dataclass
class PeerDraft:
    """One peer: its name, its keys in ``[peers.NAME]``, and its pre-shared key if the source has it.

    ``base`` is the conn that all of its conns inherit from.
    """

    name: str
    keys: Keys
    children: list[ChildDraft] = field(default_factory=list)
    psk: bytes | None = field(default=None, repr=False)
    base: str | None = None

    @property
    def complete(self) -> bool:
        """Whether no key is missing."""
        tables: list[Mapping[str, object]] = [self.keys, *(child.keys for child in self.children)]
        return not any(isinstance(value, Missing) for table in tables for value in table.values())

    @property
    def written_key(self) -> bytes:
        """The pre-shared key as its file has it."""
        key = self.psk or b""
        return b64encode(key) if self.keys.get("psk_encoding") == "base64" else key

    def rename(self, name: str) -> None:
        """Give it a name, and its key file with it."""
        self.name = name
        if "psk_file" in self.keys:
            missing, file = self.keys["psk_file"], f"{name}.psk"
            self.keys["psk_file"] = replace(missing, example=file) if isinstance(missing, Missing) else file

    def suggest(self, address: str) -> None:
        """Where our address is missing, give this one of the host as its example."""
        local = self.keys["local"]
        if isinstance(local, Missing):
            better = replace(local, example=address, why=f"{local.why}; {address} is this host's towards its gateway")
            for keys in (self.keys, *(child.keys for child in self.children)):
                keys.update({key: better for key, value in keys.items() if value is local})

    def name_interfaces(self, numbers: set[int], used: set[int]) -> list[str]:
        """Name the XFRM interfaces by their numbers; without one, or with one ``used``, by one not in ``numbers``.

        Adds to ``used``, and returns the CHILD_SAs whose number had to change: each has an interface of its own.
        """
        changed = []
        for child in (one for one in self.children if one.keys.get("mode") == "interface"):
            number = child.keys.get("if_id")
            if isinstance(number, int) and number in used:
                changed.append(child.name)
            if not isinstance(number, int) or number in used:
                number = next(free for free in count(1) if free not in numbers | used)
            used.add(number)
            child.keys |= {"if_id": number, "interface": f"xfrm{number}"}
        return changed

    def add_children(self, name: str, keys: Keys, selectors: Iterable[Selectors], taken: Iterable[str]) -> int:
        """Add a CHILD_SA for each pair of traffic selectors, ours and theirs, and return how many.

        ``taken`` are names in use.
        """
        transport = keys.get("mode") == "transport"
        used = [*taken, *(child.name for child in self.children)]
        pairs = list(product(*selectors))
        for pair in pairs:
            ends: Keys = {}
            for selector, end in zip(pair, ("local", "remote"), strict=True):
                address = self.keys[end]
                if selector.prefix is not None:
                    ends[f"{end}_ts"] = str(selector.prefix)
                elif not transport:
                    ends[f"{end}_ts"] = f"{address}/32" if isinstance(address, str) else address
            gre = any(selector.gre for selector in pair)
            if gre != transport:  # GRE is the default protocol in transport mode, any protocol otherwise
                ends["protocol"] = "gre" if gre else "any"
            used.append(usable_name(name, used))
            self.children.append(ChildDraft(used[-1], ends | keys))
        return len(pairs)


class Notes:
    """What was not imported, each once, in the order found."""

    def __init__(self) -> None:
        self._found: dict[ConfigProblem, None] = {}  # a set that keeps the order

    def add(self, setting: Value, key: str, text: str) -> None:
        """Add a note on a setting."""
        self._found[ConfigProblem(str(setting.file), setting.line, key, text)] = None

    @property
    def problems(self) -> tuple[ConfigProblem, ...]:
        """All notes."""
        return tuple(self._found)


def refused(where: Value, text: str) -> ConfigError:
    """The error for a file that cannot be imported at all."""
    return ConfigError((ConfigProblem(str(where.file), where.line, "", text),))


def usable_name(name: str, taken: Iterable[str]) -> str:
    """A valid name for a peer or CHILD_SA that is not in ``taken``."""
    plain = free = _NOT_IN_A_NAME.sub("-", name)[:_LONGEST_NAME].lstrip(".") or "imported"
    number = 1
    while free in taken:
        number += 1
        free = f"{plain[: _LONGEST_NAME - 5]}-{number}"
    return free


def same_peer(found: Iterable[PeerDraft], peer: PeerDraft) -> PeerDraft:
    """The draft that differs from ``peer`` only in name and CHILD_SAs; ``peer`` itself if there is none."""
    return next((one for one in found if _compared(one) == _compared(peer)), peer)


def _compared(peer: PeerDraft) -> tuple[object, ...]:
    keys = {key: Missing if isinstance(value, Missing) else value for key, value in peer.keys.items()}
    return {key: value for key, value in keys.items() if key != "psk_file"}, peer.psk
