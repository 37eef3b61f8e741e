"""The RP set learned from Bootstrap messages, as a router that is no candidate keeps it (RFC 5059, section 3.1.2).

The state of each scope zone, and of the global one (None):

    NoInfo           the zone is not known
    AcceptPreferred  while the Bootstrap Timer runs; each message of its bootstrap router restarts it
    AcceptAny        after that, until the Scope-Zone Timer runs out
"""

from ipaddress import IPv4Address, IPv4Network
from math import inf
from typing import Final, NamedTuple

import msgspec

from mcastd.errors import DecodeError
from mcastd.net.prefix_table import PrefixTable, longest_match, prefix_table
from mcastd.pim.messages import Bootstrap, RpEntry, RpRangeEntry
from mcastd.pim.packet import ALL_PIM_ROUTERS

BS_PERIOD: Final = 60.0
BS_TIMEOUT: Final = 130.0
SZ_TIMEOUT: Final = 1300.0
MAX_SCOPES: Final = 16
MAX_RPS: Final = 1000


class _Message(NamedTuple):
    """Identifies a Bootstrap message: its fragments have the same bootstrap router and tag."""

    address: IPv4Address
    tag: int


class _Rp(msgspec.Struct):
    priority: int
    holdtime: int
    expires: float


class _Range(msgspec.Struct):
    """One range of groups."""

    rps: dict[IPv4Address, _Rp] = msgspec.field(default_factory=dict)
    # A set of which fragments are still missing.
    fragments: dict[IPv4Address, RpEntry] = msgspec.field(default_factory=dict)
    fragments_of: _Message | None = None  # the message that they are of
    received_in: _Message | None = None  # the message that ``rps`` are of


class Zone(msgspec.Struct):
    """One scope zone: the address and priority of its bootstrap router, and what that announces."""

    address: IPv4Address
    priority: int
    hash_mask_len: int
    bootstrap_until: float  # the Bootstrap Timer; -inf after it ran out
    zone_until: float  # the Scope-Zone Timer
    last: _Message | None = None
    ranges: dict[IPv4Network, _Range] = msgspec.field(default_factory=dict)
    # The rendezvous points of each range among which the hash decides.
    candidates: PrefixTable[tuple[IPv4Address, ...]] = msgspec.field(default_factory=dict)


class RpSet:
    """Everything learned on one interface."""

    def __init__(self) -> None:
        self._zones: dict[IPv4Network | None, Zone] = {}
        self._deadline = inf  # when the first timer runs out

    def zones(self) -> dict[IPv4Network | None, Zone]:
        """The zones that are known, the global one as None."""
        return self._zones

    def knows(self, message: Bootstrap) -> bool:
        """Whether any message of its zone, other than the one that it is a fragment of, has been accepted before."""
        zone = self._zones.get(_zone_of(message))
        return zone is not None and zone.last != (message.address, message.tag)

    def received(self, message: Bootstrap, now: float) -> bool:
        """Store an acceptable message; returns whether that changed which RP serves some group.

        Raises DecodeError ``bsr_not_preferred`` (another one is), ``too_many_scopes`` or ``too_many_rps``.
        """
        scope = _zone_of(message)
        zone = self._zones.get(scope)
        if zone is None:
            if len(self._zones) >= MAX_SCOPES:
                raise DecodeError("too_many_scopes")
            zone = Zone(message.address, message.priority, message.hash_mask_len, inf, inf)
        elif now < zone.bootstrap_until and not _is_preferred(message, zone):
            raise DecodeError("bsr_not_preferred")
        ranges = [entry for entry in message.ranges if scope is None or entry.groups.subnet_of(scope)]
        self._require_room(zone, ranges)
        before = zone.hash_mask_len, zone.candidates
        is_new_scope = scope is not None and scope not in self._zones  # its groups leave the global zone
        self._zones[scope] = zone
        zone.address, zone.priority, zone.hash_mask_len = message.address, message.priority, message.hash_mask_len
        zone.bootstrap_until, zone.zone_until = now + BS_TIMEOUT, now + SZ_TIMEOUT
        zone.last = _Message(message.address, message.tag)
        for entry in ranges:
            _take(zone, entry, zone.last, now)
        self._update()
        return is_new_scope or (zone.hash_mask_len, zone.candidates) != before

    def _require_room(self, zone: Zone, ranges: list[RpRangeEntry]) -> None:
        """Bound what a zone holds; a range counts as an RP, so that empty ones are bounded too."""
        held = sum(1 + len(known.rps) + len(known.fragments) for known in zone.ranges.values())
        new = sum(len(entry.rps) + (entry.groups not in zone.ranges) for entry in ranges)
        known = sum(len(zone.ranges[entry.groups].rps) for entry in ranges if entry.groups in zone.ranges)
        if held + new - known > MAX_RPS:
            raise DecodeError("too_many_rps")

    def expire(self, now: float) -> bool:
        """Remove what has expired; returns whether that changed which RP serves some group."""
        if now < self._deadline:
            return False
        changed = False
        for scope, zone in list(self._zones.items()):
            if zone.zone_until <= now:
                del self._zones[scope]
                changed = True
                continue
            if -inf < zone.bootstrap_until <= now:
                zone.bootstrap_until = -inf
                _refresh(zone, now)
            for groups, known in list(zone.ranges.items()):
                expired = [address for address, rp in known.rps.items() if rp.expires <= now]
                for address in expired:
                    del known.rps[address]
                if expired and not known.rps:
                    del zone.ranges[groups]
                changed = changed or bool(expired)
        self._update()
        return changed

    def clear(self) -> None:
        """Forget everything."""
        self._zones.clear()
        self._deadline = inf

    def next_deadline(self) -> float:
        """When ``expire`` has something to do; infinite if never."""
        return self._deadline

    def _update(self) -> None:
        self._deadline = inf
        for zone in self._zones.values():
            ranges = zone.ranges.items()
            zone.candidates = prefix_table((groups, _candidates(known)) for groups, known in ranges if known.rps)
            self._deadline = min(self._deadline, zone.zone_until)
            if zone.bootstrap_until > 0:
                self._deadline = min(self._deadline, zone.bootstrap_until)
            for known in zone.ranges.values():
                self._deadline = min(self._deadline, min((rp.expires for rp in known.rps.values()), default=inf))

    def rp(self, group: IPv4Address) -> IPv4Address | None:
        """RP(G): of the narrowest zone that holds the group, its longest range, then priority, hash and address."""
        if not self._zones:
            return None
        scopes = [scope for scope in self._zones if scope is not None and group in scope]
        zone = self._zones.get(max(scopes, key=lambda scope: scope.prefixlen, default=None))
        if zone is None:
            return None
        best = longest_match(zone.candidates, group) or ()
        mask_len = zone.hash_mask_len
        return max(best, key=lambda address: (hash_value(group, address, mask_len), address), default=None)

    def bootstrap_router(self) -> tuple[IPv4Address, int] | None:
        """The accepted bootstrap router, of the global zone if there is one, and its priority."""
        zone = self._zones.get(None) or next(iter(self._zones.values()), None)
        return None if zone is None or zone.bootstrap_until < 0 else (zone.address, zone.priority)

    def summary(self) -> tuple[int, tuple[IPv4Address, ...]]:
        """How many ranges there are, and the rendezvous points of all of them."""
        ranges = [known for zone in self._zones.values() for known in zone.ranges.values() if known.rps]
        return len(ranges), tuple(sorted({address for known in ranges for address in known.rps}))


def require_acceptable(
    destination: IPv4Address, is_own: bool, no_forward: bool, is_from_rpf: bool, is_late: bool
) -> None:
    """Which Bootstrap messages are accepted (RFC 5059, section 3.1.3).

    ``is_own`` is that the destination is an address of ours. Flooded ones come from RPF'. Those that a neighbour sends
    to a router that has just started, by unicast or not to be forwarded, are accepted while nothing is known yet:
    ``is_late`` is that something is, or that BS_PERIOD has passed.
    Raises DecodeError ``destination``, ``bootstrap_rpf`` or ``bootstrap_late``.
    """
    if destination != ALL_PIM_ROUTERS and not is_own:
        raise DecodeError("destination")
    if (no_forward or is_own) and is_late:
        raise DecodeError("bootstrap_late")
    if not is_own and not no_forward and not is_from_rpf:
        raise DecodeError("bootstrap_rpf")


def hash_value(group: IPv4Address, rp: IPv4Address, mask_len: int) -> int:
    """Value(G,M,C) of RFC 7761, section 4.7.2."""
    masked = int(group) & (0xFFFFFFFF << (32 - mask_len))
    return (1103515245 * ((1103515245 * masked + 12345) ^ int(rp)) + 12345) % 2**31


def _zone_of(message: Bootstrap) -> IPv4Network | None:
    """The scope zone of a message: its first range, if that has the Z bit."""
    first = message.ranges[0] if message.ranges else None
    return first.groups if first is not None and first.scoped else None


def _is_preferred(message: Bootstrap, zone: Zone) -> bool:
    """Whether it comes from the zone's bootstrap router, or from a better one: by priority, then address."""
    if message.address == zone.address:
        return True
    return (message.priority, message.address) > (zone.priority, zone.address)


def _take(zone: Zone, entry: RpRangeEntry, message: _Message, now: float) -> None:
    """Install a range's set when all of its fragments have come (section 4.1.1); until then the old one is used."""
    known = zone.ranges.setdefault(entry.groups, _Range())
    if known.fragments_of != message:
        known.fragments_of = message
        known.fragments = {}
    known.fragments.update({rp.address: rp for rp in entry.rps})
    if len(known.fragments) >= entry.rp_count:
        kept = [rp for rp in known.fragments.values() if rp.holdtime]
        found = {rp.address: _Rp(rp.priority, rp.holdtime, now + rp.holdtime) for rp in kept}
        known.rps, known.fragments, known.fragments_of, known.received_in = found, {}, None, message
        if not found:
            del zone.ranges[entry.groups]


def _refresh(zone: Zone, now: float) -> None:
    """Refresh RP-Set (section 3.1.5): the holdtimes of the last message start again while a new router is elected."""
    for known in zone.ranges.values():
        for rp in known.rps.values():
            if known.received_in == zone.last:
                rp.expires = now + rp.holdtime


def _candidates(known: _Range) -> tuple[IPv4Address, ...]:
    """The rendezvous points of a range whose priority is the best."""
    lowest = min(rp.priority for rp in known.rps.values())
    return tuple(sorted(address for address, rp in known.rps.items() if rp.priority == lowest))
