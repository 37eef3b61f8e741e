"""PIM on one link: Hellos, neighbours, the upstream machines and what they send, in the right order.

No Join/Prune leaves before our Hello (RFC 7761, section 4.3.1). RPF' is the configured neighbour, heard or not; without
one the only neighbour, or among several the one that a DR election would choose: a leaf has no routes to ask. Either
way an Assert's winner goes before it, for the entry that it has won.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv4Address
from math import inf
from random import Random
from typing import Final, NamedTuple

from mcastd.errors import DecodeError
from mcastd.pim.asserts import Contested
from mcastd.pim.auto_rp_packet import decode_auto_rp, decode_udp
from mcastd.pim.bootstrap import NO_FORWARD, decode_bootstrap
from mcastd.pim.bsr import BS_PERIOD, require_acceptable
from mcastd.pim.effects import (
    AssertWinnerChanged,
    AutoRpChanged,
    BootstrapRouterChanged,
    Effect,
    Joined,
    NeighborDown,
    NeighborRestarted,
    NeighborUp,
    Pruned,
    RpSetChanged,
    Send,
)
from mcastd.pim.greeting import TRIGGERED_HELLO_DELAY, Greeting
from mcastd.pim.membership import Membership
from mcastd.pim.messages import RegisterStop, decode_assert, decode_register, encode_register_stop
from mcastd.pim.neighbor import MAX_ADDRESSES, Change, Neighbors
from mcastd.pim.pacing import Pacer
from mcastd.pim.packet import (
    ALL_PIM_ROUTERS,
    JoinPrune,
    MessageType,
    decode_hello,
    decode_join_prune,
    encode_hello,
    unseal,
)
from mcastd.pim.prefix_table import in_ranges
from mcastd.pim.rp import RpMap
from mcastd.pim.rpf import Rpf, Saying
from mcastd.pim.settings import PimInterface
from mcastd.pim.strangers import refuse

SENT_TYPES: Final = frozenset({MessageType.HELLO, MessageType.JOIN_PRUNE, MessageType.REGISTER_STOP})
REGISTER_STOP_INTERVAL: Final = 0.1  # between answers to Registers


class _Received(NamedTuple):
    """A message whose version and checksum are right: ``flags`` is the header's reserved byte."""

    source: IPv4Address
    destination: IPv4Address
    flags: int
    body: bytes


class Interface:
    """The machine of one interface. Inputs append to ``effects``, which the router collects."""

    def __init__(self, settings: PimInterface, membership: Membership, generation_id: int, rng: Random) -> None:
        self.settings = settings
        self.generation_id = generation_id
        self.neighbors = Neighbors()
        self.effects: list[Effect] = []
        self.sent: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self._membership = membership
        self._rng = rng
        self.rps = RpMap(settings.config)
        self.rpf = Rpf(settings.timing(), membership, self.rps)
        self._pacer = Pacer()
        self._greeting = Greeting(settings.config)
        self._forgotten = False
        self.started_at = inf
        self._register_stop_at = -inf
        self._handlers: dict[int, Callable[[_Received, float], None]] = {
            MessageType.HELLO: self._hello_received,
            MessageType.REGISTER: self._register_received,
            MessageType.JOIN_PRUNE: self._join_prune_received,
            MessageType.BOOTSTRAP: self._bootstrap_received,
            MessageType.ASSERT: self._assert_received,
        }

    # Starting, changing, stopping

    def start(self, now: float) -> None:
        """The interface came up: Hello, then Joins for a configured neighbour, at once."""
        self.started_at = now
        self._choose_upstream(now)
        self.rpf.desire(self._membership.groups())
        self._greet(now)

    def reconfigure(self, settings: PimInterface, now: float) -> None:
        """Take a changed configuration or MTU over, in place."""
        before, self.settings = self.settings, settings
        self.rpf.retime(settings.timing())
        self._greeting.config = settings.config
        self.rps.configure(settings.config)
        if before.hello(0) != settings.hello(0) or before.config.hello_period != settings.config.hello_period:
            self._send_hello(now)
        for neighbor in self.neighbors.all():
            if not self._accepts(neighbor.address):
                self.neighbors.remove(neighbor.address)
                self._lost(neighbor.address, "not accepted by the configuration any more", now)
        self.rpf.desire(self._membership.groups())
        self._choose_upstream(now)
        self._flush(now)

    def relink(self, now: float) -> None:
        """The path under the interface came back: who is at its other end may have forgotten us."""
        self._pacer.clear()
        self._forgotten = True
        self._greet(now)

    def stop(self, now: float) -> None:
        """Prunes for all, then the goodbye: a Hello with holdtime 0 (section 4.3.1). ``drain`` hands out the rest."""
        self._pacer.clear()
        self._tell(self.rpf.prune_all())
        goodbye = encode_hello(self.settings.hello(self.generation_id, holdtime=0))
        self._queue([goodbye], MessageType.HELLO)
        self.effects += self._pacer.take(now)
        self.rpf.stop()
        self._greeting.stop()

    def drain(self) -> None:
        """Let out what still waits, at once."""
        self.effects += self._pacer.take_all()

    def changed(self, groups: list[IPv4Address], now: float) -> None:
        """What is wanted of these groups has changed."""
        self._want(groups, now)
        self.advance(now)

    def _want(self, groups: list[IPv4Address], now: float) -> None:
        self.rpf.desire(groups)
        self.rpf.hurry(now)

    # Time

    def next_deadline(self) -> float:
        """When ``advance`` has something to do; infinite if never."""
        return min(
            self._greeting.next_deadline(),
            self.rpf.next_deadline(),
            self._pacer.next_deadline(),
            self.neighbors.next_deadline(),
            self.rps.bootstrap.next_deadline(),
            self.rps.auto_rp.next_deadline(),
        )

    def advance(self, now: float) -> None:
        """Do what is due: expire neighbours, say Hello, and send the Joins whose time has come."""
        for neighbor in self.neighbors.expire(now):
            self._lost(neighbor.address, "its Hellos stopped", now)
            self._choose_upstream(now)
        if now >= self.rps.bootstrap.next_deadline():
            before = self.rps.bootstrap.bootstrap_router()
            self._rps_changed(self.rps.bootstrap.expire(now), before, now)
        if self.rps.auto_rp.expire(now):
            self._auto_rp_changed(now)
        self._winners_changed(self.rpf.expire(now), now)
        if self._greeting.is_due(now):
            self._greet(now)
        if self._greeting.is_hello_due(now):
            self._send_hello(now)
        self._queue(self.rpf.due(now), MessageType.JOIN_PRUNE)
        self._say(self.rpf.flush_due(now), now)

    def _greet(self, now: float) -> None:
        """Hello now, and again shortly, then all Joins: what somebody who has just heard of us needs."""
        self._greeting.begin(now)
        self._send_hello(now)
        if self._forgotten:
            self._forgotten = False
            self.rpf.forget()
        self._flush(now)

    def _send_hello(self, now: float) -> None:
        payload = encode_hello(self.settings.hello(self.generation_id))
        # Hellos overtake what the pacer holds back: it is they that make the neighbour listen to it.
        self.effects.append(self._send(payload, MessageType.HELLO))
        self._greeting.said(now)

    def _flush(self, now: float) -> None:
        self._say(self.rpf.flush(now), now)

    def _say(self, sayings: list[Saying], now: float) -> None:
        if self._greeting.owed and any(saying.told.messages for saying in sayings):
            self._send_hello(now)
        self._tell(sayings)
        self.effects += self._pacer.take(now)

    def _tell(self, sayings: Iterable[Saying]) -> None:
        for neighbor, told in sayings:
            self._queue(told.messages, MessageType.JOIN_PRUNE)
            if told.pruned:
                self.effects.append(Pruned(self.settings.name, neighbor, tuple(told.pruned)))
            if told.joined:
                self.effects.append(Joined(self.settings.name, neighbor, tuple(told.joined)))

    def _queue(self, payloads: list[bytes], kind: MessageType) -> None:
        self._pacer.put([self._send(payload, kind) for payload in payloads])

    def _send(self, payload: bytes, kind: MessageType, to: IPv4Address = ALL_PIM_ROUTERS) -> Send:
        self.sent[kind.name.lower()] += 1
        return Send(self.settings.name, to, payload, kind)

    # From whom

    def _choose_upstream(self, now: float) -> None:
        """RPF' of all that no Assert decides: see the head of this file."""
        configured = self.settings.config.neighbor
        known = self.neighbors.find(configured) if configured is not None else self.neighbors.best()
        chosen = known.address if known is not None else configured
        before = self.rpf.neighbor
        if chosen == before:
            return
        old_is_alive = before is not None and self.neighbors.get(before) is not None
        told = self.rpf.set_neighbor(chosen, old_is_alive)
        if before is not None:
            self._tell([Saying(before, told)])
        self.rpf.hurry(now)

    def _assert_received(self, message: _Received, now: float) -> None:
        found = decode_assert(message.body)
        if message.destination != ALL_PIM_ROUTERS:
            raise DecodeError("destination")
        self._require_neighbor(message)
        self._winners_changed(self.rpf.asserted(found, message.source, now), now)

    def _winners_changed(self, changed: list[Contested], now: float) -> None:
        """RPF' changes due to an Assert: the Join comes within t_override (sections 4.5.4 and 4.5.5)."""
        if not changed:
            return
        for group, source in changed:
            winner = self.rpf.winner(group, source)
            self.effects.append(AssertWinnerChanged(self.settings.name, group, source, winner))
        self.rpf.hurry(now + self._override())

    def _override(self) -> float:
        """t_override, in seconds (section 4.11)."""
        return self._rng.uniform(0, self.neighbors.override_interval(self.settings.delays()))

    # What arrives

    def receive(self, source: IPv4Address, destination: IPv4Address, data: bytes, now: float) -> None:
        """A PIM message; a bad one, or one that is not for a leaf, is counted by reason."""
        if self.settings.is_own(source):
            return
        try:
            if source.is_unspecified or source.is_multicast:
                raise DecodeError("source_address")
            kind, body = unseal(data)
            self.received[_name(kind)] += 1
            handler = self._handlers.get(kind)
            if handler is None:
                refuse(kind, body)
            else:
                handler(_Received(source, destination, data[1], body), now)
        except DecodeError as error:
            self.dropped[error.reason] += 1
        self.advance(now)

    def _accepts(self, source: IPv4Address) -> bool:
        config = self.settings.config
        return not config.accept_neighbors or source == config.neighbor or in_ranges(source, config.accept_neighbors)

    def _hello_received(self, message: _Received, now: float) -> None:
        source, hello = message.source, decode_hello(message.body)
        if message.destination != ALL_PIM_ROUTERS:
            raise DecodeError("destination")
        if not self._accepts(source):
            raise DecodeError("neighbor_not_accepted")
        if len(hello.addresses) > MAX_ADDRESSES:
            self.dropped["too_many_addresses"] += 1
            hello = replace(hello, addresses=hello.addresses[:MAX_ADDRESSES])
        change, replaced = self.neighbors.hello(source, hello, now, self.settings.config.neighbor)
        name = self.settings.name
        for other in replaced:
            self._lost(other.address, f"its address is {source} now", now)
        match change:
            case Change.REFUSED:
                raise DecodeError("too_many_neighbors")
            case Change.GONE:
                self._lost(source, "it said goodbye", now)
            case Change.NEW:
                self.effects.append(NeighborUp(name, source, hello.generation_id))
            case Change.RESTARTED:
                self.effects.append(NeighborRestarted(name, source, hello.generation_id))
                self._winners_changed(self.rpf.lose(source), now)
            case Change.NONE:
                pass
        self._choose_upstream(now)
        if change in (Change.NEW, Change.RESTARTED):
            self._answer(change, source, now)

    def _answer(self, change: Change, source: IPv4Address, now: float) -> None:
        """A neighbour that does not know us needs our Hello, and our Joins if it is RPF' (sections 4.3.1, 4.5.4)."""
        if source != self.rpf.neighbor:
            delay = self._rng.uniform(0, TRIGGERED_HELLO_DELAY) if len(self.neighbors) > 1 else 0.0
            self._greeting.hello_by(now + delay)
            return
        self._greeting.owed = True
        if change is Change.NEW and not self.rpf.unsaid and self._greeting.is_recent(now):
            return  # it is configured and was just sent everything; the repeats are on their way
        delay = 0.0
        if change is Change.RESTARTED and len(self.neighbors) > 1:
            delay = self._override()
        self._forgotten = True
        self._greeting.greet_by(now + delay)

    def _lost(self, address: IPv4Address, reason: str, now: float) -> None:
        self.effects.append(NeighborDown(self.settings.name, address, reason))
        self._winners_changed(self.rpf.lose(address), now)

    def _join_prune_received(self, message: _Received, now: float) -> None:
        join_prune = decode_join_prune(message.body)
        self._require_neighbor(message)
        self._overhear(message.source, join_prune, now)

    def _require_neighbor(self, message: _Received) -> None:
        if self.neighbors.get(message.source) is None:
            raise DecodeError("not_a_neighbor")

    def _register_received(self, message: _Received, now: float) -> None:
        """We are nobody's rendezvous point, and say so, at a bounded rate (section 4.4.2)."""
        register = decode_register(message.body)
        if not self.settings.is_own(message.destination):
            raise DecodeError("destination")
        if now < self._register_stop_at + REGISTER_STOP_INTERVAL:
            raise DecodeError("register_rate")
        self._register_stop_at = now
        payload = encode_register_stop(RegisterStop(register.group, register.source))
        self.effects.append(self._send(payload, MessageType.REGISTER_STOP, message.source))

    def _bootstrap_received(self, message: _Received, now: float) -> None:
        bootstrap = decode_bootstrap(message.body)
        if not self.settings.config.bootstrap:
            raise DecodeError("bootstrap_off")
        self._require_neighbor(message)
        is_late = self.rps.bootstrap.knows(bootstrap) or now - self.started_at > BS_PERIOD
        is_from_rpf = message.source == self.rpf.neighbor
        no_forward = bool(message.flags & NO_FORWARD)
        is_own = self.settings.is_own(message.destination)
        require_acceptable(message.destination, is_own, no_forward, is_from_rpf, is_late)
        before = self.rps.bootstrap.bootstrap_router()
        changed = self.rps.bootstrap.received(bootstrap, now)
        self._rps_changed(changed, before, now)

    def _rps_changed(self, changed: bool, before: tuple[IPv4Address, int] | None, now: float) -> None:
        """Say what is new about the RP set, and move the joins: a new RP's Join replaces the old one's."""
        after = self.rps.bootstrap.bootstrap_router()
        if after != before:
            self.effects.append(BootstrapRouterChanged(self.settings.name, *(after or (None, None))))
        if changed:
            self.effects.append(RpSetChanged(self.settings.name, *self.rps.bootstrap.summary()))
            self._want(self._membership.groups(), now)

    def _overhear(self, source: IPv4Address, message: JoinPrune, now: float) -> None:
        upstream = self.neighbors.find(message.upstream)
        if self.settings.is_own(message.upstream):
            raise DecodeError("join_for_us")
        if upstream is None or source == upstream.address:
            return
        enabled = self.neighbors.suppression_enabled(self.settings.delays())
        period = self.settings.config.join_prune_period
        suppress = self._rng.uniform(1.1, 1.4) * period if enabled else 0.0
        self.rpf.seen(upstream.address, message, now, suppress, self._override)

    def receive_auto_rp(self, source: IPv4Address, datagram: bytes, now: float) -> None:
        """A UDP datagram to one of Auto-RP's groups; a bad one is counted by reason."""
        try:
            message = decode_auto_rp(decode_udp(datagram))
            self.received[f"auto_rp_{message.kind.name.lower()}"] += 1
            if self.rps.auto_rp.received(message, source, now):
                self._auto_rp_changed(now)
        except DecodeError as error:
            self.dropped[error.reason] += 1
        self.advance(now)

    def _auto_rp_changed(self, now: float) -> None:
        cache = self.rps.auto_rp
        self.effects.append(AutoRpChanged(self.settings.name, len(cache.mappings()), cache.rps()))
        if self.settings.config.auto_rp:
            self._want(self._membership.groups(), now)


def _name(kind: int) -> str:
    return MessageType(kind).name.lower() if kind in MessageType._value2member_map_ else f"type_{kind}"
