"""PIM on one link: Hellos, neighbours, RPF' and the messages to it, in the right order.

The link is point-to-point: one router is at its other end. RPF' is the configured neighbour, whether its Hellos are
received or not; without one it is the neighbour that came first. No Join/Prune is sent before our Hello (RFC 7761,
section 4.3.1).
"""

from collections import Counter
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address
from math import inf
from typing import Final, NamedTuple

from msgspec.structs import replace

from mcastd.errors import DecodeError
from mcastd.membership import NONE, Membership
from mcastd.pim import effects, messages
from mcastd.pim.auto_rp_packet import decode_auto_rp, decode_udp
from mcastd.pim.bootstrap_rps import BS_PERIOD, require_acceptable
from mcastd.pim.hello_timer import HelloTimer
from mcastd.pim.neighbor import MAX_ADDRESSES, Change, Neighbors
from mcastd.pim.pacing import Pacer
from mcastd.pim.packet import ALL_PIM_ROUTERS, MessageType, decode_hello, decode_join_prune, encode_hello, unseal
from mcastd.pim.rp import RpMap
from mcastd.pim.settings import PimInterface
from mcastd.pim.upstream import Entries, Update, Upstream
from mcastd.problems import Problem

REGISTER_STOP_INTERVAL: Final = 0.1  # seconds between answers to Registers
HELLO_WAIT: Final = 6.0  # seconds from the start for a configured neighbour's Hello: Triggered_Hello_Delay and one

# Messages that are not for a leaf on a point-to-point link: how they are decoded, and as what they are counted.
_NOT_FOR_US: Final[dict[int, tuple[Callable[[bytes], object], str]]] = {
    MessageType.REGISTER_STOP: (messages.decode_register_stop, "register_stop_unasked"),
    MessageType.ASSERT: (messages.decode_assert, "assert_not_followed"),
    MessageType.GRAFT: (decode_join_prune, "dense_mode"),
    MessageType.GRAFT_ACK: (decode_join_prune, "dense_mode"),
    MessageType.CANDIDATE_RP_ADVERTISEMENT: (messages.decode_candidate_rp, "not_a_bootstrap_router"),
    MessageType.STATE_REFRESH: (bytes, "dense_mode"),
}


class _Received(NamedTuple):
    """A message whose version and checksum are right: ``flags`` is the header's reserved byte."""

    source: IPv4Address
    destination: IPv4Address
    flags: int
    body: bytes


class Interface:
    """The machine of one interface. Inputs append to ``effects``, which the router collects."""

    def __init__(self, settings: PimInterface, membership: Membership, generation_id: int) -> None:
        self.settings = settings
        self.generation_id = generation_id  # ours, in our Hellos
        self.neighbors = Neighbors()
        self.effects: list[effects.Effect] = []
        self.sent: Counter[str] = Counter()  # messages by type
        self.received: Counter[str] = Counter()  # messages by type
        self.dropped: Counter[str] = Counter()  # messages by reason
        self.started_at = inf
        self._missing_at = inf  # when RPF' is missing if no Hello of it has come
        self.rps = RpMap(settings.config)
        self.upstream = Upstream(settings)
        self._membership = membership
        self._pacer = Pacer()
        self._hello_timer = HelloTimer(settings.config)
        self._is_forgotten = False  # RPF' may have no state of ours: the next full update sends it everything
        self._register_stop_at = -inf  # when the last Register-Stop was sent
        self._handlers: dict[int, Callable[[_Received, float], None]] = {
            MessageType.HELLO: self._hello_received,
            MessageType.REGISTER: self._register_received,
            MessageType.JOIN_PRUNE: self._join_prune_received,
            MessageType.BOOTSTRAP: self._bootstrap_received,
        }

    # Starting, changing, stopping

    def start(self, now: float) -> None:
        """The interface came up: Hello, then Joins for a configured neighbour, at once."""
        self.started_at, self._missing_at = now, now + HELLO_WAIT
        self._choose_upstream(now)
        self._desire(self._membership.groups())
        self._full_update(now)

    def reconfigure(self, settings: PimInterface, now: float) -> None:
        """Apply a changed configuration or MTU, in place."""
        before, self.settings = self.settings, settings
        self.upstream.reconfigure(settings)
        self._hello_timer.config = settings.config
        if before.hello(0) != settings.hello(0) or before.config.hello_period != settings.config.hello_period:
            self._send_hello(now)
        if settings.silences > before.silences and settings.up:
            self._send_hello(now)
            self.upstream.fell_silent(now)
            self.advance(now)
        if before.config == settings.config:
            return
        self.rps.configure(settings.config)
        self._choose_upstream(now)  # the Prunes leave while the old one is known
        for neighbor in self.neighbors.all():
            if not self.neighbors.accepts(settings.config, neighbor.address, neighbor.hello):
                self.neighbors.remove(neighbor.address)
                self._neighbor_down(neighbor.address, "no longer accepted by the configuration")
        self._desire(self._membership.groups())
        self._choose_upstream(now)
        self._flush(now)

    def relink(self, now: float) -> None:
        """The path under the interface came up again: the router at its other end may have no state of ours."""
        self._pacer.clear()
        self.neighbors.resume(now)
        self._is_forgotten = True
        self._full_update(now)

    def stop(self, now: float) -> None:
        """Prunes for all, then the goodbye: a Hello with holdtime 0 (section 4.3.1). ``drain`` sends the rest."""
        self._pacer.clear()
        self._send_update(self.upstream.neighbor, self.upstream.prune_all())
        goodbye = encode_hello(self.settings.hello(self.generation_id, holdtime=0))
        self._queue([goodbye], MessageType.HELLO)
        self.effects += self._pacer.take(now)
        self.upstream.stop()
        self._hello_timer.stop()

    def drain(self) -> None:
        """Send what still waits, at once."""
        self.effects += self._pacer.take_all()

    def changed(self, groups: Iterable[IPv4Address], now: float) -> None:
        """What is desired of these groups has changed."""
        self._desire(groups)
        self.upstream.schedule_flush(now)
        self.advance(now)

    def _desire(self, groups: Iterable[IPv4Address]) -> None:
        for group in groups:
            any_source, sources, excluded = self._membership.desired(group)
            rp = self.rps.rp(group) if any_source else None
            self.upstream.desire(group, Entries(rp, sources, NONE if rp is None else excluded))

    # Time

    def next_deadline(self) -> float:
        """When ``advance`` has something to do; infinite if never."""
        return min(
            self._hello_timer.next_deadline(),
            self._missing_at,
            self.upstream.next_deadline(),
            self._pacer.next_deadline(),
            self.neighbors.next_deadline(),
            self.rps.bootstrap.next_deadline(),
            self.rps.auto_rp.next_deadline(),
        )

    def advance(self, now: float) -> None:
        """Do what is due: expire neighbours and RPs, send Hellos, and the Joins whose time has come."""
        self._watch_neighbors(now)
        if now >= self.rps.bootstrap.next_deadline():
            before = self.rps.bootstrap.bootstrap_router()
            self._rps_changed(self.rps.bootstrap.expire(now), before, now)
        if self.rps.auto_rp.expire(now):
            self._auto_rp_changed(now)
        if self._hello_timer.is_update_due(now):
            self._full_update(now)
        if self._hello_timer.is_hello_due(now):
            self._send_hello(now)
        self._queue(self.upstream.due(now), MessageType.JOIN_PRUNE)
        if self.upstream.is_flush_due(now):
            self._flush(now)
        self.effects += self._pacer.take(now)

    def _watch_neighbors(self, now: float) -> None:
        name = self.settings.name
        for neighbor in self.neighbors.overdue(now):
            if neighbor.address == self.upstream.neighbor and self.hello_overdue:
                self.effects.append(effects.HelloOverdue(name, neighbor.address, now - neighbor.pace.last))
        for neighbor in self.neighbors.expire(now):
            self._neighbor_down(neighbor.address, "no Hello within its holdtime")
            self._choose_upstream(now)
        if now >= self._missing_at:
            self._missing_at = inf
            if self.neighbor_problem(now) is not None:
                self.effects.append(effects.NeighborMissing(name, self.upstream.neighbor))

    def _full_update(self, now: float) -> None:
        """A Hello, repeated shortly, then all Joins: what a router needs that has no state of ours."""
        self._hello_timer.update_begins(now)
        self._send_hello(now)
        if self._is_forgotten:
            self._is_forgotten = False
            self.upstream.forget()
        self._flush(now)

    def _send_hello(self, now: float) -> None:
        payload = encode_hello(self.settings.hello(self.generation_id))
        # Hellos overtake what the pacer holds back: without them the neighbour would discard it.
        self.effects.append(self._send(payload, MessageType.HELLO))
        self._hello_timer.hello_sent(now)

    def _flush(self, now: float) -> None:
        update = self.upstream.flush(now)
        if self._hello_timer.hello_needed and update.messages:
            self._send_hello(now)
        self._send_update(self.upstream.neighbor, update)
        self.effects += self._pacer.take(now)

    def _send_update(self, neighbor: IPv4Address | None, update: Update) -> None:
        if neighbor is None:
            return
        self._queue(update.messages, MessageType.JOIN_PRUNE)
        if update.pruned:
            self.effects.append(effects.Pruned(self.settings.name, neighbor, tuple(update.pruned)))
        if update.joined:
            self.effects.append(effects.Joined(self.settings.name, neighbor, tuple(update.joined)))

    def _queue(self, payloads: Iterable[bytes], kind: MessageType) -> None:
        self._pacer.put([self._send(payload, kind) for payload in payloads])

    def _send(self, payload: bytes, kind: MessageType, to: IPv4Address = ALL_PIM_ROUTERS) -> effects.Send:
        self.sent[kind.name.lower()] += 1
        return effects.Send(self.settings.name, to, payload, kind)

    # Neighbours

    def _choose_upstream(self, now: float) -> None:
        """RPF': see the head of this file."""
        configured = self.settings.config.neighbor
        known = self.neighbors.find(configured) if configured is not None else next(iter(self.neighbors.all()), None)
        chosen = known.address if known is not None else configured
        before = self.upstream.neighbor
        if chosen == before:
            return
        old_is_alive = before is not None and self.neighbors.get(before) is not None
        self._send_update(before, self.upstream.set_neighbor(chosen, old_is_alive))
        self.upstream.schedule_flush(now)

    def receive(self, source: IPv4Address, destination: IPv4Address, data: bytes, now: float) -> None:
        """A PIM message; a bad one, or one that is not for a leaf, is counted by reason."""
        if self.settings.is_own(source):
            return
        try:
            if source.is_unspecified or source.is_multicast:
                raise DecodeError("source_address")
            kind, body = unseal(data)
            self.received[_name(kind)] += 1
            if (handler := self._handlers.get(kind)) is not None:
                handler(_Received(source, destination, data[1], body), now)
            else:
                decode, reason = _NOT_FOR_US.get(kind, (bytes, "unexpected_type"))
                decode(body)
                raise DecodeError(reason)
        except DecodeError as error:
            self.dropped[error.reason] += 1
        self.advance(now)

    def _hello_received(self, message: _Received, now: float) -> None:
        source, hello = message.source, decode_hello(message.body)
        if message.destination != ALL_PIM_ROUTERS:
            raise DecodeError("destination")
        if not self.neighbors.accepts(self.settings.config, source, hello):
            raise DecodeError("neighbor_not_accepted")
        if len(hello.addresses) > MAX_ADDRESSES:
            self.dropped["too_many_addresses"] += 1
            hello = replace(hello, addresses=hello.addresses[:MAX_ADDRESSES])
        name, was_overdue = self.settings.name, self.hello_overdue
        change, replaced = self.neighbors.hello(source, hello, now, self.settings.config.neighbor)
        for other in replaced:
            self._neighbor_down(other.address, f"renumbered to {source}")
        match change:
            case Change.REFUSED:
                raise DecodeError("too_many_neighbors")
            case Change.GONE:
                self._neighbor_down(source, "goodbye received")
            case Change.NEW:
                self.effects.append(effects.NeighborUp(name, source, hello.generation_id))
            case Change.RESTARTED:
                self.effects.append(effects.NeighborRestarted(name, source, hello.generation_id))
            case Change.NONE if was_overdue and not self.hello_overdue:
                self.effects.append(effects.HelloResumed(name, source))
            case Change.NONE:
                pass
        self._choose_upstream(now)
        if change in (Change.NEW, Change.RESTARTED):
            self._answer(change, source, now)

    def _answer(self, change: Change, source: IPv4Address, now: float) -> None:
        """A neighbour that does not know us needs our Hello, and our Joins if it is RPF' (sections 4.3.1, 4.5.4).

        At once, not after a random delay: nothing else on the link could answer at the same time.
        """
        if source != self.upstream.neighbor:
            self._hello_timer.schedule_hello(now)
            return
        self._hello_timer.hello_needed = True
        if change is Change.NEW and not self.upstream.has_changes and self._hello_timer.was_updated_recently(now):
            return  # it is configured and was just sent everything, which is repeated
        self._is_forgotten = True
        self._hello_timer.schedule_update(now)

    def _neighbor_down(self, address: IPv4Address, reason: str) -> None:
        self.effects.append(effects.NeighborDown(self.settings.name, address, reason))

    def joined(self, now: float) -> int:
        """How many of the desired entries are joined. Costs the same for one and for many."""
        return self.upstream.joined if self.settings.up and self.neighbor_problem(now) is None else 0

    def neighbor_problem(self, now: float) -> Problem | None:
        """Why nothing is joined on this link, or may not be; None if RPF' is up, or need not be yet."""
        name, upstream = self.settings.name, self.upstream.neighbor
        if upstream is None:
            return Problem("pim_neighbor_missing", name, "no Hello of a PIM neighbor has been received")
        is_excused = self.settings.config.static_neighbor or now < self._missing_at < inf
        if self.neighbors.get(upstream) is None and not is_excused:
            return Problem("pim_neighbor_missing", name, f"no Hello of the PIM neighbor {upstream} has been received")
        return None

    @property
    def hello_overdue(self) -> bool:
        """Whether the Hello of RPF' is overdue, on a path that is up."""
        upstream, is_static = self.upstream.neighbor, self.settings.config.static_neighbor
        known = None if upstream is None or is_static else self.neighbors.get(upstream)
        return known is not None and known.pace.is_overdue and self.settings.up

    # Other messages

    def _join_prune_received(self, message: _Received, _now: float) -> None:
        """A leaf forwards nothing to the link."""
        join_prune = decode_join_prune(message.body)
        self._require_neighbor(message)
        if self.settings.is_own(join_prune.upstream):
            raise DecodeError("join_for_us")

    def _require_neighbor(self, message: _Received) -> None:
        if self.neighbors.get(message.source) is None:
            raise DecodeError("not_a_neighbor")

    def _register_received(self, message: _Received, now: float) -> None:
        """We are no rendezvous point: Register-Stop, at a bounded rate (section 4.4.2)."""
        register = messages.decode_register(message.body)
        if not self.settings.is_own(message.destination):
            raise DecodeError("destination")
        if now < self._register_stop_at + REGISTER_STOP_INTERVAL:
            raise DecodeError("register_rate")
        self._register_stop_at = now
        payload = messages.encode_register_stop(messages.RegisterStop(register.group, register.source))
        self.effects.append(self._send(payload, MessageType.REGISTER_STOP, message.source))

    # Rendezvous points

    def _bootstrap_received(self, message: _Received, now: float) -> None:
        bootstrap = messages.decode_bootstrap(message.body)
        if not self.settings.config.bootstrap:
            raise DecodeError("bootstrap_off")
        self._require_neighbor(message)
        is_late = self.rps.bootstrap.knows(bootstrap) or now - self.started_at > BS_PERIOD
        is_from_rpf = message.source == self.upstream.neighbor
        no_forward = bool(message.flags & messages.NO_FORWARD)
        is_own = self.settings.is_own(message.destination)
        require_acceptable(message.destination, is_own, no_forward, is_from_rpf, is_late)
        before = self.rps.bootstrap.bootstrap_router()
        changed = self.rps.bootstrap.received(bootstrap, now)
        self._rps_changed(changed, before, now)

    def _rps_changed(self, changed: bool, before: tuple[IPv4Address, int] | None, now: float) -> None:
        after = self.rps.bootstrap.bootstrap_router()
        if after != before:
            self.effects.append(effects.BootstrapRouterChanged(self.settings.name, *(after or (None, None))))
        if changed:
            self.effects.append(effects.RpSetChanged(self.settings.name, *self.rps.bootstrap.summary()))
            self._move_joins(now)

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
        self.effects.append(effects.AutoRpChanged(self.settings.name, len(cache.mappings()), cache.rps()))
        if self.settings.config.auto_rp:
            self._move_joins(now)

    def _move_joins(self, now: float) -> None:
        """Other rendezvous points may serve the groups now."""
        self._desire(self._membership.groups())
        self.upstream.schedule_flush(now)


def _name(kind: int) -> str:
    return MessageType(kind).name.lower() if kind in MessageType._value2member_map_ else f"type_{kind}"
