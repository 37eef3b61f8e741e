"""Which of several gateways of one other side is active: one until it is dead, then the next in order. Sans-IO.

The one that is active is dead when

    its IKE_SA has ended       and not from here: it deleted it, or charon or a probe found that it does not answer
    keepalives have stopped    theirs, or answers to ours, on a tunnel, while nothing is decrypted
    it was down for too long   no CHILD_SA that carries a tunnel for ``standby_after``

After a move the next one follows ``standby_after`` later at the earliest, so that gateways that accept and delete do
not take turns; while none of them comes up, the time doubles with each round. Nothing moves back by itself: whether the
first one is well can be known only by SAs with it, which would take the traffic. While charon does not answer, nothing
is known of a gateway, and no time passes for it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from mcastd.config.gateways import by_first
from mcastd.config.model import Config, Peer
from mcastd.errors import ControlRefused
from mcastd.problems import Problem
from mcastd.status import PeerStatus
from mcastd.wiring import Up

BY_HAND: Final = "mcastd use"
INHERITED: Final = "it was active before mcastd started"
_MOST_DOUBLINGS: Final = 3
_DELETED: Final = "its IKE_SA ended: it deleted it, or did not answer"


class Move(msgspec.Struct, frozen=True):
    """From the gateway ``before`` to ``after``, and why."""

    before: str
    after: str
    cause: str


class _Gateways:
    """Those of one other side."""

    def __init__(self, peers: tuple[Peer, ...], active: str | None, now: float) -> None:
        self.peers = peers  # in order, with the CHILD_SAs that each has when it is active
        self.active = active or peers[0].name
        self.since = now  # when it became the active one
        self.cause = INHERITED if self.active != peers[0].name else None  # why it did
        self.next_deadline: float | None = None  # when it is dead if nothing else happens
        self._down_since: float | None = now  # None while a CHILD_SA is up that carries a tunnel
        self._fruitless = 0  # moves in a row to gateways that did not come up
        self._losses = 0  # how often its IKE_SA had ended while it was up
        self._dead_paths: Mapping[str, int] = {}  # those that were counted before it was active
        self._stopped: frozenset[str] = frozenset()  # the tunnels whose keepalives had stopped before

    @property
    def names(self) -> list[str]:
        return [peer.name for peer in self.peers]

    def configure(self, peers: tuple[Peer, ...], now: float) -> None:
        """Take another configuration of them."""
        self.peers = peers
        if self.active not in self.names:
            self._begin(peers[0].name, "it is not configured any more", now)

    def update(self, config: Config, up: Up, losses: Mapping[str, int], now: float) -> str | None:
        """Take what is up; return why the active one is dead, if it is."""
        children = {child.name for child in self.peers[0].children}
        tunnels = {tunnel.name: tunnel.child for tunnel in config.tunnels if tunnel.child in children}
        carrying = set(tunnels.values()) or children
        self._stopped &= up.keepalives_stopped
        lost = losses.get(self.active, 0) > self._losses
        if any((view := up.children.get(str(name))) is not None and view.up for name in carrying):
            self._down_since, self._fruitless, self._losses = None, 0, losses.get(self.active, 0)
            heard = any(one.seen and not one.quiet for name, one in up.decrypted.items() if name in children)
            cause, due = None if heard else next(self._signs(tunnels, up), None), now
        else:
            self._down_since = now if self._down_since is None else self._down_since
            cause, due = f"it is not up for {self._time_limit:g} s", self._down_since + self._time_limit
            if lost:
                cause, due = _DELETED, now
        self.next_deadline = None if cause is None else max(due, self._earliest)
        return cause if self.next_deadline is not None and now >= self.next_deadline else None

    def without_charon(self, now: float) -> None:
        """Nothing is known."""
        self.next_deadline = None
        self._down_since = now if self._down_since is not None else None

    def move(self, cause: str, up: Up, losses: Mapping[str, int], now: float, to: str | None = None) -> Move:
        """Make the next one active, or the one that is named."""
        before, names = self.active, self.names
        self._fruitless += self._down_since is not None and to is None
        self._begin(to or names[(names.index(before) + 1) % len(names)], cause, now)
        self._losses = losses.get(self.active, 0)
        self._dead_paths, self._stopped = dict(up.dead_paths), up.keepalives_stopped
        return Move(before, self.active, cause)

    def _begin(self, name: str, cause: str, now: float) -> None:
        self.active, self.cause, self.since, self._down_since = name, cause, now, now
        self.next_deadline = self._earliest

    @property
    def _time_limit(self) -> float:
        after = next(peer.standby_after for peer in self.peers if peer.name == self.active)
        return after * 2.0 ** min(_MOST_DOUBLINGS, self._fruitless // len(self.peers))

    @property
    def _earliest(self) -> float:
        return self.since + self._time_limit if self.cause is not None else 0.0

    def _signs(self, tunnels: Collection[str], up: Up) -> Iterator[str]:
        for name in tunnels:
            if name in up.paths_dead and up.dead_paths.get(name, 0) > self._dead_paths.get(name, 0):
                yield f"our keepalives on {name} are not answered"
            if name in up.keepalives_stopped - self._stopped:
                yield f"the far end's keepalives on {name} have stopped"


class ActiveGateways:
    """The gateways of all other sides that have several."""

    def __init__(self, loaded: Iterable[str] = ()) -> None:
        """``loaded`` are the connections that the previous process left in charon, the last one last."""
        self._loaded = tuple(loaded)  # until the first configuration
        self._known: dict[str, _Gateways] = {}  # by the first one's name

    def configure(self, config: Config, now: float) -> None:
        """Take the gateways of a configuration; those that are active stay so."""
        known, self._known = self._known, {}
        for first, peers in by_first(config.peers).items():
            names = {peer.name for peer in peers}
            if (gateways := known.get(first)) is None:
                inherited = next((name for name in reversed(self._loaded) if name in names), None)
                gateways = _Gateways(peers, inherited, now)
            else:
                gateways.configure(peers, now)
            self._known[first] = gateways
        self._loaded = ()

    @property
    def active(self) -> dict[str, str]:
        """By the first gateway's name the active one's."""
        return {first: gateways.active for first, gateways in self._known.items()}

    def update(self, config: Config, up: Up, losses: Mapping[str, int] | None, now: float) -> list[Move]:
        """Take what is up, and how often the IKE_SA of each peer ended; None while charon does not answer."""
        moves = []
        for gateways in self._known.values():
            if losses is None:
                gateways.without_charon(now)
            elif (cause := gateways.update(config, up, losses, now)) is not None:
                moves.append(gateways.move(cause, up, losses, now))
        return moves

    def next_deadline(self) -> float | None:
        """When ``update`` is to be called next, if nothing else happens."""
        deadlines = (gateways.next_deadline for gateways in self._known.values())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def has(self, name: str) -> bool:
        """Whether that is one of several gateways."""
        return any(name in gateways.names for gateways in self._known.values())

    def use(self, name: str, up: Up, losses: Mapping[str, int] | None, now: float) -> Move:
        """Make a gateway active by hand. Raises ControlRefused."""
        for gateways in self._known.values():
            if name in gateways.names:
                if gateways.active != name:
                    return gateways.move(BY_HAND, up, losses or {}, now, name)
                gateways.cause = BY_HAND
                return Move(name, name, BY_HAND)
        names = ", ".join(name for gateways in self._known.values() for name in gateways.names)
        raise ControlRefused(f"{name} is not one of several gateways; those are: {names or 'none'}")

    def rows(self, shown: tuple[PeerStatus, ...], config: Config, now: float) -> tuple[PeerStatus, ...]:
        """All peers in the order of the file, from ``shown`` of those that are used."""
        used = {one.name: one for one in shown}
        active = {one.active: one for one in self._known.values()}
        found = []
        for peer in config.peers:
            row = used.get(peer.name)
            if row is None:
                row = PeerStatus(
                    name=peer.name,
                    state="standby",
                    local=str(peer.local),
                    remote=str(peer.remote),
                    local_id=peer.local_id,
                    remote_id=peer.remote_id,
                )
            if (one := active.get(peer.name)) is not None:
                row = replace(row, active_for=now - one.since, active_because=one.cause)
            found.append(replace(row, standby_for=peer.standby_for))
        return tuple(found)

    def problems(self) -> Iterator[Problem]:
        """Where a standby is in use, unless that was by hand: another one may not be left."""
        for first, one in self._known.items():
            if one.active != first and one.cause != BY_HAND:
                again = f"mcastd use {first} when that is well again"
                yield Problem("on_standby", first, f"{one.active} is used instead of {first}: {one.cause}; {again}")
