"""All that arrives: the tunnels, their streams and the CHILD_SAs, from what the kernel has counted. Sans-IO.

Every second it takes the named counters, and says whether the set of streams is to be read. An element of the set says
when its last packet arrived, so nothing is lost by a look that is late.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from ipaddress import IPv4Address
from typing import Final, TypeAlias

from mcastd.config.model import Config
from mcastd.net.nfnetlink import Element
from mcastd.problems import Problem
from mcastd.status import ArrivalState
from mcastd.streams import table
from mcastd.streams.decryption import Child
from mcastd.streams.delivery import Delivery
from mcastd.streams.desired import ChildArrival, StreamsDesired, TunnelArrival
from mcastd.streams.interfaces import Interface, any_stream
from mcastd.streams.stream import SILENCE, Stream
from mcastd.streams.tunnels import Tunnel

_LOOK_PERIOD: Final = (2.0, 10.0)  # seconds between two looks where nothing asks for one: with few streams, with many
_STREAMS_A_SECOND: Final = 500  # that are read where nothing asks for a look, and ten times as many where it does
_NAMED: Final = 5  # groups in the text of a problem
_HAS_ARRIVED: Final = 5.0  # seconds; a packet before that may be older than the join that is asked for


Place: TypeAlias = tuple[str, IPv4Address | None, IPv4Address]
"""A tunnel, a source (None: any) and a group."""


class Monitor:
    """What arrives. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._desired = StreamsDesired()
        self._tunnels: dict[str, Tunnel] = {}
        self._deliveries: dict[str, Delivery] = {}  # by the tunnel's name
        self._dropped: dict[str, list[IPv4Address]] = {}  # what arrives on a tunnel, is joined and not delivered
        self._children: dict[str, Child] = {}
        self._streams: dict[bytes, Stream] = {}  # by the key of the kernel's element
        self._last: dict[Place, float] = {}  # when the last packet arrived
        self._interfaces: dict[str, Interface] = {}  # by the tunnel's name, where nftables is missing
        self._looked_at = 0.0  # when the streams were read last
        self._asked = False  # whether a look was asked for since then
        self._limited: dict[Place, tuple[float, float]] = {}  # the groups with max_silence: it, and since when they are
        self._expected_since: float | None = None  # since when streams are expected; None: not now

    def configure(self, desired: StreamsDesired, now: float) -> None:
        """Set what is counted and what is expected."""
        if desired.config is not self._desired.config:
            before = self._limited
            self._limited = {
                place: (limit, before[place][1] if place in before else now) for place, limit in _limits(desired.config)
            }
        self._desired = desired
        tunnels = {tunnel.name for tunnel in desired.config.tunnels}
        self._tunnels = {name: self._tunnels.get(name) or Tunnel() for name in sorted(tunnels)}
        self._deliveries = {name: self._deliveries.get(name) or Delivery() for name in self._tunnels}
        for name, tunnel in self._tunnels.items():
            tunnel.configure(desired.joins.get(name, 0), now)
        children = {child.name for peer in desired.config.peers for child in peer.children}
        self._children = {name: self._children.get(name) or Child() for name in sorted(children)}
        for name, child in self._children.items():
            child.configure(desired.children.get(name, 0))

    def expect(self, moment: datetime, now: float) -> None:
        """Take the time of day, which says whether streams are expected."""
        hours = self._desired.config.streams.hours
        if hours and not any(one.contain(moment) for one in hours):
            self._expected_since = None
        elif self._expected_since is None:
            self._expected_since = now

    def counted(self, packets: Mapping[str, int], now: float) -> bool:
        """Take the named counters; returns whether the streams are to be read."""
        asked = self._asked or bool(self._limited)
        for name, tunnel in self._tunnels.items():
            if table.TUNNEL + name in packets:
                asked |= tunnel.counted(packets[table.TUNNEL + name])
                delivery = self._deliveries[name]
                delivery.counted(packets[table.TUNNEL + name], packets.get(table.DELIVERED + name, 0), now)
                asked |= delivery.is_missing(now)
        for name, child in self._children.items():
            if table.CHILD + name in packets:
                child.counted(packets[table.CHILD + name], now)
        shortest, longest = _LOOK_PERIOD
        period = len(self._streams) / _STREAMS_A_SECOND
        return now - self._looked_at >= (period / 10 if asked else min(max(period, shortest), longest))

    def received(self, packets: Mapping[str, int], now: float) -> None:
        """Take, where nftables is missing, how many packets the interfaces have received."""
        for name, tunnel in self._tunnels.items():
            if name not in packets:
                continue
            interface = self._interfaces.setdefault(name, Interface(name, packets[name], now))
            interface.received(packets[name], now)
            tunnel.counted(interface.stream.packets)
            tunnel.looked((interface.stream,) if tunnel.joins else (), any_stream, now)

    def stream(self, element: Element, now: float) -> None:
        """Take one stream. Raises DecodeError."""
        seen = now - (table.TIMEOUT - element.expires_in)
        stream = self._streams.get(element.key)
        if stream is None:
            self._streams[element.key] = Stream(table.key(element), element.packets, seen, now)
        else:
            stream.counted(element.packets, seen, now)

    def looked(self, now: float) -> None:
        """All streams have been read."""
        self._looked_at, self._asked = now, False
        self._streams = {key: stream for key, stream in self._streams.items() if now - stream.seen < table.TIMEOUT}
        of_tunnel: dict[str, list[Stream]] = {name: [] for name in self._tunnels}
        self._last = {}
        for stream in self._streams.values():
            tunnel, source, group, _ = stream.key
            if tunnel in of_tunnel:
                of_tunnel[tunnel].append(stream)
            for key in ((tunnel, source, group), (tunnel, None, group)):
                self._last[key] = max(self._last.get(key, 0.0), stream.seen)
        for name, streams in of_tunnel.items():
            self._tunnels[name].looked(streams, self._desired.is_joined, now)

    def ask(self) -> None:
        """Let the next look come soon."""
        self._asked = True

    def undelivered(self, now: float) -> list[str]:
        """The tunnels on which packets arrive of which none is delivered, which is right if none is joined here."""
        return [name for name, delivery in self._deliveries.items() if delivery.is_missing(now)]

    def joined(self, groups: Mapping[str, Iterable[IPv4Address]], now: float) -> None:
        """Take what sockets of this host have joined on these tunnels."""
        self._dropped = {
            name: sorted(group for group in joined if now - self._last.get((name, None, group), -SILENCE) < SILENCE)
            for name, joined in groups.items()
        }

    def has_arrived(self, tunnel: str, source: IPv4Address | None, group: IPv4Address, now: float) -> bool:
        """Whether a packet for a group, from ``source`` or (None) any, arrived within the last seconds.

        The next look then comes soon.
        """
        self.ask()
        return now - self._last.get((tunnel, source, group), -_HAS_ARRIVED) < _HAS_ARRIVED

    def groups(self, now: float) -> dict[tuple[str, str | None, str], ArrivalState]:
        """The state of what has arrived, as of the last look: silent if every stream of it is."""
        states: dict[tuple[str, str | None, str], ArrivalState] = {}
        for stream in self._streams.values():
            tunnel, source, group, _ = stream.key
            state: ArrivalState = "silent" if stream.is_silent(now) else "arriving"
            for place in ((tunnel, str(source), str(group)), (tunnel, None, str(group))):
                states[place] = state if states.get(place) != "arriving" else "arriving"
        return states

    def arrivals(self, now: float) -> dict[str, TunnelArrival]:
        """What arrives on each tunnel, by its name."""
        return {name: tunnel.arrival(self._expected_since, now) for name, tunnel in self._tunnels.items()}

    def decrypted(self, now: float) -> dict[str, ChildArrival]:
        """What each CHILD_SA decrypts, by its name."""
        return {name: child.arrival(now) for name, child in self._children.items()}

    def problems(self, now: float) -> Iterator[Problem]:
        """What should arrive and does not."""
        joins: dict[str, int] = {}
        for configured in self._desired.config.tunnels:
            name, tunnel = configured.name, self._tunnels[configured.name]
            if configured.child is not None:
                joins[configured.child] = joins.get(configured.child, 0) + tunnel.joins
            if tunnel.arrival(self._expected_since, now).all_silent:
                text = f"nothing arrives on tunnel {name}: all streams of at least one packet a second are silent"
                yield Problem("all_silent", name, text)
            if tunnel.nothing_ever_arrived(self._expected_since, now):
                text = f"nothing has ever arrived on tunnel {name}, on which groups are joined"
                yield Problem("nothing_ever_arrived", name, text)
            if silent := self._beyond_limit(name):
                more = f" and {len(silent) - _NAMED} more" if len(silent) > _NAMED else ""
                names = ", ".join(map(str, silent[:_NAMED])) + more
                yield Problem("group_silent", name, f"silent on tunnel {name} beyond max_silence: {names}")

        for name, dropped in self._dropped.items():
            if dropped:
                text = f"this host drops what arrives on tunnel {name} for {dropped[0]}: its firewall, or rp_filter"
                yield Problem("not_delivered", name, text)
        for name, child in self._children.items():
            if joins.get(name) and child.is_silent(now, is_expected=self._expected_since is not None):
                text = f"CHILD_SA {name}, through which groups are joined, decrypts no packets any more"
                yield Problem("child_sa_silent", name, text)

    def _beyond_limit(self, tunnel: str) -> list[IPv4Address]:
        """The groups that were silent, at the last look, for longer than they may be."""
        if self._expected_since is None:
            return []
        begin = self._expected_since
        return [
            place[2]
            for place, (limit, since) in self._limited.items()
            if place[0] == tunnel and self._looked_at - max(self._last.get(place, since), since, begin) >= limit
        ]


def _limits(config: Config) -> Iterator[tuple[Place, float]]:
    """The groups with max_silence, and that."""
    for group in config.groups:
        if group.max_silence is not None:
            for source in group.sources or (None,):
                yield (group.tunnel, source, group.group), group.max_silence
