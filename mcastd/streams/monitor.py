"""All that arrives: the tunnels, their streams and the CHILD_SAs, from what the kernel has counted. Sans-IO.

Every second it takes the named counters, and says whether the set of streams is to be read. An element of the set says
when its last packet arrived, so nothing is lost by a look that is late. What was read is worked off in steps, since
there may be tens of thousands of streams.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network
from math import inf
from typing import Final

from mcastd.config.model import Feed
from mcastd.listed import with_names
from mcastd.net.nfnetlink import Element
from mcastd.problems import Problem
from mcastd.status import ArrivalState, StreamStatus
from mcastd.stream_status import StreamCount
from mcastd.streams import table
from mcastd.streams.counts import count
from mcastd.streams.decryption import Child
from mcastd.streams.delivery import Delivery
from mcastd.streams.desired import ChildArrival, StreamsDesired, TunnelArrival
from mcastd.streams.feeds import Feeds
from mcastd.streams.history import History
from mcastd.streams.interfaces import Interface, any_stream
from mcastd.streams.limits import Limited, beyond, hours_of, limits
from mcastd.streams.rows import Row, Rows
from mcastd.streams.schedule import Schedule
from mcastd.streams.stream import JITTER, SILENCE, Stream
from mcastd.streams.tunnels import Look, Tunnel

_LOOK_PERIOD: Final = (2.0, 10.0)  # seconds between two looks where nothing asks for one: with few streams, with many
_COMPARE_PERIOD: Final = 10.0  # seconds between two looks that compare what arrived with what was passed on
_STREAMS_A_SECOND: Final = 500  # that are read where nothing asks for a look, and ten times as many where it does
_HAS_ARRIVED: Final = 5.0  # seconds; a packet before that may be older than the join that is asked for
_JOINED: Final = 0.5  # seconds; the time of a packet is known to some hundredths
_STEP: Final = 256  # streams that are worked off at once: half a millisecond
_FROM_0: Final = ("interface/", "esp/")  # counters of what may have been made since then, and counts from 0
_LINK_LOCAL: Final = IPv4Network("224.0.0.0/24")  # is not counted


class Monitor:
    """What arrives. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._desired = StreamsDesired()
        self._tunnels: dict[str, Tunnel] = {}
        self._deliveries: dict[str, Delivery] = {}  # by the tunnel's name
        # By the tunnel's name, while nothing is delivered: what sockets have joined, and since when that is known.
        self._listening: dict[str, dict[IPv4Address, float]] = {}
        self._dropped: dict[str, list[IPv4Address]] = {}  # what arrives on a tunnel, is joined and not delivered
        self._children: dict[str, Child] = {}
        self._streams: dict[bytes, Stream] = {}  # by the key of the kernel's element
        self._history = History()  # what had been counted of each of them
        self._epoch = 0  # how often all counts were reset
        self._started: float | None = None  # when it was configured first
        self._last: dict[bytes, float] = {}  # when the last packet arrived, by ``table.place``
        self._arriving: set[bytes] = set()  # of these, where a stream was not silent at the last look
        self._interfaces: dict[str, Interface] = {}  # by the tunnel's name, where nftables is missing
        self._looked_at = 0.0  # when the streams were read last
        self._host: dict[str, int] = {}  # the counters of the host, which are not of one stream, at the last look
        self._full: set[str] = set()  # the sets that have no room for another stream
        self._unwanted: Counter[str] = Counter()  # then, how many streams nothing wants, by the tunnel's name
        self._compared_at = -inf  # when what arrived was compared with what was passed on last
        self._asked = False  # whether a look was asked for since the last one
        self._is_to_compare = False  # whether that is to compare
        self._limited: dict[bytes, Limited] = {}  # the groups with max_silence, by ``table.place``
        self.feeds = Feeds(self._desired.config, None, 0.0)  # what streams are
        self._schedule = Schedule()  # when what is expected

    def configure(self, desired: StreamsDesired, now: float) -> None:
        """Set what is counted and what is expected."""
        if self._started is None:
            self._started = now
        if desired.config is not self._desired.config:
            self._limited = limits(desired.config, self._limited, now)
            self.feeds = Feeds(desired.config, self.feeds, now)
            self._schedule.configure(hours_of(desired.config))
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
        self._schedule.expect(moment, now)

    @property
    def _expected_since(self) -> float | None:
        """Since when streams are expected; None: not now."""
        return self._schedule.since(self._desired.config.streams.hours)

    def counted(self, packets: Mapping[str, int], now: float) -> bool:
        """Take the named counters; returns whether the streams are to be read."""
        if self._interfaces:
            self._interfaces.clear()
            self._forget()
        asked = self._asked or bool(self._limited) or self.feeds.are_limited
        for name, tunnel in self._tunnels.items():
            if table.TUNNEL + name in packets:
                asked |= tunnel.counted(packets[table.TUNNEL + name], now)
                delivery = self._deliveries[name]
                delivery.counted(packets[table.TUNNEL + name], packets.get(table.DELIVERED + name, 0), now)
                asked |= delivery.may_be_missing() and bool(self._listening.get(name))
        for name, child in self._children.items():
            if table.CHILD + name in packets:
                child.counted(packets[table.CHILD + name], now)
        shortest, longest = _LOOK_PERIOD
        period = len(self._streams) / _STREAMS_A_SECOND
        return now - self._looked_at >= (period / 10 if asked else min(max(period, shortest), longest)) - JITTER

    def received(self, packets: Mapping[str, int], now: float) -> None:
        """Take, where nftables is missing, how many packets the interfaces have received."""
        if not self._interfaces:
            self._forget()
        for name, tunnel in self._tunnels.items():
            if name not in packets:
                continue
            interface = self._interfaces.setdefault(name, Interface(name, packets[name], now))
            interface.received(packets[name], now)
            tunnel.counted(packets[name], now)
            if not tunnel.joins:
                interface.stream.busy = False  # joined again, it has to carry packets first
            look = Look()
            look.add(interface.stream, any_stream, now)
            tunnel.looked(look, now)

    def _forget(self) -> None:
        """What is counted from now on is counted elsewhere: by the table, or of the interfaces alone."""
        self._deliveries = {name: Delivery() for name in self._tunnels}
        self._listening, self._dropped, self._looked_at = {}, {}, 0.0
        for tunnel in self._tunnels.values():
            tunnel.forget()
        for child in self._children.values():
            child.forget()

    def stream(self, element: Element, now: float) -> None:
        """Take one stream. Raises DecodeError."""
        seen = now - (table.TIMEOUT - element.expires_in)
        stream = self._streams.get(element.key)
        if stream is None:
            stream = Stream(table.key(element), element.packets, seen, now, element.size)
            stream.slot, stream.first_seen = self._history.slot(), seen if self._history.has_begun else None
            self._streams[element.key] = stream
        else:
            if element.packets < stream.packets and stream.epoch == self._epoch:  # another program emptied the set
                self._history.forget(stream.slot)
            stream.counted(element.packets, seen, now, element.size)
        if stream.epoch != self._epoch:
            stream.destinations = {}
        stream.epoch = self._epoch

    @property
    def count(self) -> int:
        """How many streams there are."""
        return len(self._streams)

    def is_known(self, key: bytes) -> bool:
        """Whether a stream was seen before."""
        return key in self._streams

    def is_named(self, key: bytes) -> bool:
        """Whether a stream is of a feed."""
        return self.feeds.of(table.key(Element(key, 0, 0.0))) is not None

    def passed_on(self, element: Element, _now: float) -> None:
        """Take what this host has passed on of one stream, after ``stream`` for all of them."""
        key, interface = table.split(element.key)
        if (stream := self._streams.get(key)) is not None:
            stream.passed_on(interface, element.packets)

    def host(self, counters: dict[str, int]) -> None:
        """Take what the host loses, before the next look."""
        self._host = counters

    def host_since(self, since: float) -> tuple[dict[str, int], float]:
        """By how much these counters have grown since a time, and when that really was."""
        step = self._history.at(since)
        if step is None:
            return {}, since
        grown = {
            name: count - step.host.get(name, 0 if name.startswith(_FROM_0) else count)
            for name, count in self._host.items()
        }
        # Where a counter is lower than it was, its interface was created again, and counts from 0; ESP came late.
        return {
            name: count if count >= 0 else 0 if name.startswith("esp/") else self._host[name]
            for name, count in grown.items()
        }, step.time

    def sized(self, name: str, count: int) -> None:
        """Take how many elements a set has: where it is full the kernel counts no other streams, and says nothing."""
        (self._full.add if count >= table.FULL else self._full.discard)(name)

    def begin_to_compare(self, now: float) -> bool:
        """Whether this look compares what arrived with what was passed on: then what arrived is read twice."""
        if not self._is_to_compare and now - self._compared_at < _COMPARE_PERIOD - JITTER:
            return False
        self._compared_at, self._is_to_compare = now, False
        return True

    def look(self, now: float) -> Iterator[None]:
        """All streams have been read by now: work them off, in steps, between which nothing else is read."""
        self._asked = False
        looks, last, gone = {name: Look() for name in self._tunnels}, dict[bytes, float](), list[bytes]()
        arriving, unwanted, step = set[bytes](), Counter[str](), self._history.begin(self._host, now)
        for number, (key, stream) in enumerate(self._streams.items(), 1):
            if number % _STEP == 0:
                yield
            if now - stream.seen >= table.TIMEOUT:
                gone.append(key)
                continue
            stream.compare()
            if step is not None and stream.epoch == self._epoch:
                slot = stream.slot
                step.packets[slot], step.sizes[slot], step.dropped[slot] = stream.packets, stream.size, stream.dropped
            if (look := looks.get(stream.key.tunnel)) is not None:
                look.add(stream, self._desired.is_joined, now)
            if (feed := self._feed(stream)) is not None:
                self.feeds.add(feed, stream.key.group, stream.seen)
            places = table.places(key)
            for place in places:
                last[place] = max(last.get(place, 0.0), stream.seen)
            if not stream.is_silent(now):
                arriving.update(places)
            if self._full and not self._desired.is_joined(*stream.key[:3]):
                unwanted[stream.key.tunnel] += 1
        for key in gone:
            self._history.free(self._streams.pop(key).slot)
        if step is not None:
            self._history.end(step)
        for name, look in looks.items():
            if name in self._tunnels:  # it may have been removed meanwhile
                self._tunnels[name].looked(look, now)
        self._last, self._arriving, self._unwanted, self._looked_at = last, arriving, unwanted, now
        yield from self.feeds.looked(self._desired.wanted_since, self._schedule, now)

    def _feed(self, stream: Stream) -> Feed | None:
        """The feed of a stream, looked up once for each configuration."""
        if stream.feeds is not self.feeds:
            stream.feeds, stream.feed = self.feeds, self.feeds.of(stream.key)
        return stream.feed

    def ask(self, *, compare: bool = False) -> None:
        """Let the next look come soon, or also compare what arrived with what was passed on."""
        self._asked = True
        self._is_to_compare |= compare

    def undelivered(self) -> list[str]:
        """The tunnels on which packets arrive of which none is delivered, which is right if none is joined here."""
        return [name for name, delivery in self._deliveries.items() if delivery.may_be_missing()]

    def joined(self, groups: Mapping[str, Iterable[IPv4Address]], now: float) -> None:
        """Take, before the next look, what sockets of this host have joined by now on these tunnels.

        What the last look saw arrive some time after a socket had joined it should have been delivered by now.
        """
        before, recent = self._listening, self._looked_at - SILENCE
        self._listening = {
            name: {group: before.get(name, {}).get(group, now) for group in joined if group not in _LINK_LOCAL}
            for name, joined in groups.items()
        }
        self._dropped = {
            name: sorted(
                group
                for group, since in joined.items()
                if max(since + _JOINED, recent) < self._last.get(table.place(name, None, group), 0.0)
            )
            for name, joined in self._listening.items()
            if self._deliveries[name].is_missing(now)
        }

    def has_arrived(self, tunnel: str, source: IPv4Address | None, group: IPv4Address, now: float) -> bool:
        """Whether a packet for a group, from ``source`` or (None) any, arrived within the last seconds.

        The next look then comes soon.
        """
        self.ask()
        return now - self._last.get(table.place(tunnel, source, group), -_HAS_ARRIVED) < _HAS_ARRIVED

    def groups(self) -> Mapping[Row, ArrivalState]:
        """The state of what has arrived, as of the last look: silent if every stream of it is."""
        return Rows(self._last, self._arriving)

    def of_group(self, group: IPv4Address, now: float) -> Iterator[StreamStatus]:
        """The streams of one group, as of the last look."""
        for key, stream in self._streams.items():
            if table.is_of(key, group):
                yield StreamStatus(
                    tunnel=stream.key.tunnel,
                    source=str(stream.key.source),
                    port=stream.key.port,
                    state="silent" if stream.is_silent(now) else "arriving",
                    packets=stream.packets,
                    last_age=now - stream.seen,
                    rate=stream.rate(now),
                    feed=None if (feed := self._feed(stream)) is None else feed.label,
                )

    def reset(self, now: float) -> None:
        """All streams are counted from 0 again, by now."""
        self._epoch += 1
        self._history.clear(self._host, now)

    def covered(self, since: float, begin: float) -> float:
        """When the period begins for which it is known what arrived since a time; ``begin``: when counting began."""
        step = self._history.at(since)
        return begin if since <= begin or step is None else step.time

    def counts(
        self, group: IPv4Address | None, since: float | None, begin: float, now: float
    ) -> Iterator[list[StreamCount]]:
        """What was counted of the streams, or of those of one group, in steps; since ``begin`` or a later time."""
        found = [one for key, one in self._streams.items() if group is None or table.is_of(key, group)]
        step = None if since is None or since <= begin else self._history.at(since)
        inherited = self._started is not None and begin < self._started
        for first in range(0, len(found), _STEP):
            yield [
                count(one, step, None if inherited else begin, now, wanted=self._desired.is_joined(*one.key[:3]))
                for one in found[first : first + _STEP]
                if one.epoch == self._epoch
            ]

    def arrivals(self, now: float) -> dict[str, TunnelArrival]:
        """What arrives on each tunnel, by its name."""
        since, limit = self._expected_since, self._desired.config.paths.max_silence
        return {name: tunnel.arrival(since, now, limit) for name, tunnel in self._tunnels.items()}

    def quiet_at(self) -> list[float]:
        """When tunnels are quiet if nothing more comes."""
        since, limit = self._expected_since, self._desired.config.paths.max_silence
        return [at for one in self._tunnels.values() if (at := one.quiet_at(since, limit)) is not None]

    def decrypted(self) -> dict[str, ChildArrival]:
        """What each CHILD_SA decrypts, by its name."""
        return {name: child.arrival() for name, child in self._children.items()}

    def problems(self, now: float) -> Iterator[Problem]:
        """What should arrive and does not."""
        joined, busy = set[str](), set[str]()  # the CHILD_SAs through which something is joined, of these with streams
        silent = beyond(self._limited, self._last, self._schedule, self._looked_at)
        for configured in self._desired.config.tunnels:
            name, tunnel = configured.name, self._tunnels[configured.name]
            if configured.child is not None and tunnel.joins:
                joined.add(configured.child)
                if tunnel.busy:
                    busy.add(configured.child)
            if tunnel.arrival(self._expected_since, now).all_silent:
                text = f"nothing arrives on tunnel {name}: all streams of at least one packet a second are silent"
                yield Problem("all_silent", name, text)
            if tunnel.nothing_ever_arrived(self._expected_since):
                text = f"nothing has ever arrived on tunnel {name}, on which groups are wanted"
                yield Problem("nothing_ever_arrived", name, text)
            if name in silent:
                yield silent[name]
        yield from self.feeds.problems()
        if self._full:
            text = f"the kernel counts no further streams: full of {table.SIZE}: {', '.join(sorted(self._full))}"
            if self._unwanted:
                name, count = self._unwanted.most_common(1)[0]
                text += f"; not wanted are {self._unwanted.total()} streams, {count} of them on tunnel {name}"
            yield Problem("streams_set_full", f"nftables table ip {table.NAME}", text)
        for name, dropped in self._dropped.items():
            if dropped:
                group = with_names(dropped[0], self.feeds.names.of(dropped[0]))
                text = f"this host drops what arrives on tunnel {name} for {group}: its firewall, or rp_filter"
                yield Problem("not_delivered", name, text)
        for name, child in self._children.items():
            is_expected = self._expected_since is not None and name in busy
            if name in joined and child.is_silent(is_expected=is_expected):
                text = f"CHILD_SA {name}, through which groups are joined, decrypts no packets any more"
                yield Problem("child_sa_silent", name, text)
