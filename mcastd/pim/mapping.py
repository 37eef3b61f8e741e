"""What Auto-RP says of one link: heard, kept as long as it holds, shown, and not used."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from math import inf
from typing import Final, NamedTuple

from mcastd.errors import DecodeError
from mcastd.pim.autorp import AutoRp, AutoRpType

MAX_MAPPINGS: Final = 1000


class Heard(NamedTuple):
    """What is said: by whose kind of message, of which range, and which rendezvous point is to serve it or not."""

    kind: AutoRpType
    groups: IPv4Network
    rp: IPv4Address
    negative: bool


@dataclass(slots=True)
class Source:
    """Who said it last, when, and until when it holds."""

    sender: IPv4Address
    heard_at: float
    expires: float


class MappingCache:
    """Everything heard on one interface, at most MAX_MAPPINGS ranges."""

    def __init__(self) -> None:
        self._all: dict[Heard, Source] = {}
        self._next = inf

    def all(self) -> dict[Heard, Source]:
        """What holds now."""
        return self._all

    def received(self, message: AutoRp, sender: IPv4Address, now: float) -> bool:
        """Take a message in; whether it said something new. Raises DecodeError ``too_many_auto_rps``."""
        expires = now + message.holdtime if message.holdtime else inf
        new = full = False
        for rp in message.rps:
            for groups, negative in rp.ranges:
                heard = Heard(message.kind, groups, rp.address, negative)
                if heard not in self._all:
                    if len(self._all) >= MAX_MAPPINGS:
                        full = True
                        continue
                    new = True
                self._all[heard] = Source(sender, now, expires)
        self._reckon()
        if full:
            raise DecodeError("too_many_auto_rps")
        return new

    def expire(self, now: float) -> bool:
        """Let time pass; whether something does not hold any more."""
        if now < self._next:
            return False
        self._all = {heard: source for heard, source in self._all.items() if source.expires > now}
        self._reckon()
        return True

    def next_deadline(self) -> float:
        """When ``expire`` has something to do; infinite if never."""
        return self._next

    def _reckon(self) -> None:
        self._next = min((source.expires for source in self._all.values()), default=inf)

    def rp(self, group: IPv4Address) -> Heard | None:
        """What a router that uses Auto-RP would go by; None where nothing, or a negative range, says so.

        The mapping agent's word goes before a candidate's, then the longest range, then what was heard last.
        """
        found = max(
            (heard for heard in self._all if group in heard.groups),
            key=lambda heard: (heard.kind, heard.groups.prefixlen, self._all[heard].heard_at, heard.rp),
            default=None,
        )
        return None if found is None or found.negative else found

    def rps(self) -> tuple[IPv4Address, ...]:
        """The rendezvous points of all ranges."""
        return tuple(sorted({heard.rp for heard in self._all if not heard.negative}))
