"""The state of each peer: its last listing, its attempts, and the status made from both. Sans-IO."""

from collections.abc import Iterator, Mapping
from random import Random
from typing import Final

import msgspec
from msgspec.structs import replace

from mcastd.config.line_numbers import KeyPath
from mcastd.config.model import Child, Peer
from mcastd.config.report import dotted
from mcastd.ipsec.backoff import Backoff
from mcastd.ipsec.messages import PeerWithKey, child_made_with, made_with, spelled
from mcastd.ipsec.sas import ChildSa, IkeSa
from mcastd.problems import Problem
from mcastd.status import ChildStatus, PeerStatus, SaState

_LATER: Final = "with which it was made, and its rekeyings keep that; the file's is for one made afterwards"


class IpsecDesired(msgspec.Struct, frozen=True):
    """The desired state of IPsec.

    ``restarts`` has, by the name of a CHILD_SA, a number and a reason: each time the number changes, the CHILD_SA is
    established again. ``probes`` has, in the same form, those whose path is silent on all evidence; the number is that
    of the silence. ``replay_allowed``: ESP that arrived before its keys may be replayed. The kernel does not check
    the decrypted packets against the traffic selectors then, so the firewall has to. ``receiving`` are the CHILD_SAs
    that decrypt packets: while charon does not answer, they are taken to be as it listed them last. ``idle`` are the
    gateways that stand by: none of their connections is loaded, so that they are not accepted either.
    """

    peers: tuple[PeerWithKey, ...] = ()
    restarts: Mapping[str, tuple[int, str]] = msgspec.field(default_factory=dict)
    replay_allowed: bool = False
    receiving: frozenset[str] = frozenset()
    probes: Mapping[str, tuple[int, str]] = msgspec.field(default_factory=dict)
    idle: tuple[Peer, ...] = ()


class IpsecSnapshot(msgspec.Struct, frozen=True):
    """What status shows. ``notes`` name the configured lifetimes that the SAs that are up were not made with."""

    peers: tuple[PeerStatus, ...] = ()
    charon: Problem | None = None
    notes: tuple[str, ...] = ()


class ChildView(msgspec.Struct, frozen=True):
    """What the other agents need to know of a CHILD_SA. ``up_count`` is how often it came up."""

    up: bool
    up_count: int
    encap: bool = False
    encr_alg: str | None = None
    integ_alg: str | None = None


class ChildState:
    """One configured CHILD_SA."""

    def __init__(self, desired: Child, peer: Peer, rng: Random) -> None:
        self.desired = desired  # its configuration
        self.backoff = Backoff(peer.retry_min, peer.retry_max, rng)
        self.sa: ChildSa | None = None  # as listed last; None while it is not up
        self.up_count = 0  # how often it came up
        self.up_since = 0.0  # monotonic, as all times here
        self.trying_since: float | None = None  # the start of the attempt in flight
        self.problem: Problem | None = None  # why the last attempt failed

    def update(self, sa: ChildSa | None, now: float) -> bool:
        """Take the SA of a listing, or its absence; returns whether the CHILD_SA came up or went down by it."""
        was_up, self.sa = self.sa is not None, sa
        if sa is not None and not was_up:
            self.up_count += 1
            self.up_since = now - sa.install_time
            self.problem = None
            self.backoff.up(now)
        elif sa is None and was_up:
            self.backoff.lost(now)
        return was_up != (sa is not None)

    def view(self) -> ChildView:
        """The view for the other agents."""
        if (sa := self.sa) is None:
            return ChildView(False, self.up_count)
        return ChildView(True, self.up_count, sa.encap == "yes", sa.encr_alg, sa.integ_alg)

    def state(self, now: float) -> SaState:
        """Up, connecting, waiting for its next attempt, or down: it is due, but waits for charon or the IKE_SA."""
        if self.sa is not None:
            return "up"
        if self.trying_since is not None:
            return "connecting"
        return "waiting" if self.backoff.next_try > now else "down"

    def status(self, now: float, listed_at: float) -> ChildStatus:
        """The status; ``listed_at`` is when charon listed its SAs last."""
        desired, sa, state = self.desired, self.sa, self.state(now)
        status = ChildStatus(
            name=desired.name,
            local_ts=str(desired.local_ts),
            remote_ts=str(desired.remote_ts),
            state=state,
            problem=self.problem.text if self.problem else None,
            problem_code=self.problem.code if self.problem else None,
            next_try_in=self.backoff.next_try - now if state == "waiting" else None,
            protocol=desired.protocol,
            if_id=desired.if_id,
        )
        if sa is None:
            return status
        return replace(
            status,
            proposal=sa.proposal,
            encap=sa.encap == "yes",
            mode=sa.mode.lower() if sa.if_id is None else "interface",
            spi_in=sa.spi_in,
            spi_out=sa.spi_out,
            bytes_in=sa.bytes_in,
            packets_in=sa.packets_in,
            bytes_out=sa.bytes_out,
            packets_out=sa.packets_out,
            last_in_age=None if sa.use_in is None else sa.use_in + now - listed_at,
            last_out_age=None if sa.use_out is None else sa.use_out + now - listed_at,
            uptime=now - self.up_since,
            rekey_in=left(sa.rekey_time, now - listed_at),
            if_id=sa.if_id,
            replay_window=desired.replay_window,
        )


class PeerState:
    """One configured peer and its CHILD_SAs."""

    def __init__(self, desired: PeerWithKey, rng: Random) -> None:
        self._rng = rng
        self.desired = desired  # its configuration and credentials
        self.children = {child.name: ChildState(child, desired.peer, rng) for child in desired.peer.children}
        self.sa: IkeSa | None = None  # the newest IKE_SA that is up
        self.loaded: PeerWithKey | None = None  # what charon has of it
        self.attempts = 0  # how many were started
        self.problem: Problem | None = None  # why its connection is not loaded, or charon is gone
        self.load_retry_at = 0.0  # no loading before this
        self.hold_until = 0.0  # no attempt before this; past while there is an IKE_SA
        self.since = 0.0  # when the IKE_SA was established
        self.losses = 0  # how often it ended, and not from here
        self.is_ended_here = False  # whether the next end of it is from here
        self._was_up = False  # whether there was one since nothing is listed

    @property
    def name(self) -> str:
        """The peer's name, which is also that of its connection in charon."""
        return self.desired.peer.name

    @property
    def is_loaded(self) -> bool:
        """Whether charon has the connection and the credentials as desired."""
        return self.loaded == self.desired

    @property
    def trying(self) -> bool:
        """Whether an attempt is in flight."""
        return any(child.trying_since is not None for child in self.children.values())

    def due(self, now: float) -> ChildState | None:
        """The CHILD_SA to try now: of those that are due the one that has waited longest.

        One at a time: without an IKE_SA two attempts could make two, and on one that does not answer they would queue.
        """
        if self.trying or (self.sa is None and self.hold_until > now):
            return None
        ready = [child for child in self._idle() if child.backoff.next_try <= now]
        return min(ready, key=lambda child: child.backoff.next_try, default=None)

    def next_try(self) -> float | None:
        """When ``due`` returns something next; None if an event has to come first."""
        if self.trying:
            return None
        return min((max(self.hold_until, child.backoff.next_try) for child in self._idle()), default=None)

    def _idle(self) -> list[ChildState]:
        return [c for c in self.children.values() if c.sa is None and c.trying_since is None]

    def continue_counts(self, other: "PeerState") -> None:
        """Go on with the counts of the gateway that had these CHILD_SAs before."""
        for name in self.children.keys() & other.children.keys():
            self.children[name].up_count = max(self.children[name].up_count, other.children[name].up_count)

    def try_all(self, now: float) -> None:
        """Try everything at once, without regard to past failures, since charon has restarted."""
        self.hold_until = now
        for child in self.children.values():
            child.backoff.reset(now)

    def failed(self, child: ChildState, now: float, *, answered: bool = True) -> None:
        """An attempt failed. Without an IKE_SA the other CHILD_SAs wait as well, since they would fail alike."""
        if answered:
            child.backoff.failed(now)
        else:
            child.backoff.unanswered(now)
            for one in self.children.values():
                one.backoff.peer_is_silent()
        if self.sa is None:
            self.hold_until = child.backoff.next_try

    def configure(self, desired: PeerWithKey, now: float) -> None:
        """Take another configuration; CHILD_SAs that stay configured keep their state."""
        self.desired = desired
        peer = desired.peer
        self.load_retry_at = self.hold_until = now
        known, self.children = self.children, {}
        for child in peer.children:
            state = known.get(child.name) or ChildState(child, peer, self._rng)
            state.desired = child
            state.backoff.limits(peer.retry_min, peer.retry_max)
            if state.sa is None:
                state.backoff.reset(now)
            self.children[child.name] = state

    def update(self, sas: tuple[IkeSa, ...], now: float, *, charon_gone: bool = False) -> list[ChildState | None]:
        """Take a listing of all SAs; return the CHILD_SAs that came up or went down, and None for the IKE_SA."""
        mine = [sa for sa in sas if sa.name == self.name]
        changed: list[ChildState | None] = []
        was_up = self.sa is not None
        self.sa = max((sa for sa in mine if sa.up), key=lambda sa: sa.uniqueid, default=None)
        if was_up != (self.sa is not None):
            if self.sa is not None:
                self.since = now - self.sa.established
                self.problem = None
                self.hold_until = now
                for child in self._idle():
                    child.backoff.new_ike_sa(now)
            changed.append(None)
        self._was_up = self._was_up or self.sa is not None
        if self._was_up and not mine:  # until then charon may be establishing it again: a reauthentication
            self.losses += not (self.is_ended_here or charon_gone)
            self._was_up = self.is_ended_here = False
        changed += [child for name, child in self.children.items() if child.update(installed(mine, name), now)]
        return changed

    def notes(self) -> list[str]:
        """The configured lifetimes that the SAs that are up were not made with, as text.

        None for IKEv1, in which the peer may have asked for a shorter lifetime.
        """
        peer, found = self.desired.peer, []
        if peer.version == 2 and self.sa is not None and not made_with(peer.lifetime, self.sa):
            path: KeyPath = ("peers", peer.name, "lifetime")
            found.append(f"{dotted(path)}: the IKE_SA that is up has another one, {_LATER}")
        for child in self.children.values() if peer.version == 2 else ():
            sa = child.sa
            if sa is not None and sa.lifetime is not None and not child_made_with(child.desired.lifetime, sa):
                path = ("peers", peer.name, "children", child.desired.name, "lifetime")
                found.append(f"{dotted(path)}: the CHILD_SA that is up has {spelled(sa.lifetime)}, {_LATER}")
        return found

    def state(self, now: float) -> SaState:
        """Up, connecting, waiting for the next attempt of a CHILD_SA, or down."""
        if self.sa is not None:
            return "up"
        if self.trying:
            return "connecting"
        return "waiting" if any(child.state(now) == "waiting" for child in self.children.values()) else "down"

    def problems(self, now: float) -> Iterator[Problem]:
        """The peer if it is not up, else its CHILD_SAs that are not."""
        if (state := self.state(now)) != "up":
            yield Problem("peer_down", self.name, f"peer {self.name} is {state}")
            return
        for name, child in self.children.items():
            if child.sa is None:
                yield Problem("child_sa_down", name, f"child {name} is {child.state(now)}")

    def status(self, now: float, listed_at: float) -> PeerStatus:
        """The status; ``listed_at`` is when charon listed its SAs last."""
        peer, sa = self.desired.peer, self.sa
        problem = self.problem or (None if sa else next((c.problem for c in self.children.values() if c.problem), None))
        return PeerStatus(
            name=peer.name,
            state=self.state(now),
            local=str(peer.local),
            remote=str(peer.remote),
            local_id=peer.local_id,
            remote_id=peer.remote_id,
            proposal=sa.proposal if sa else None,
            nat_local=sa.nat_local == "yes" if sa else None,
            nat_remote=sa.nat_remote == "yes" if sa else None,
            uptime=now - self.since if sa else None,
            reauth_in=left(sa.reauth_time, now - listed_at) if sa else None,
            rekey_in=left(sa.rekey_time, now - listed_at) if sa else None,
            attempts=self.attempts,
            problem=problem.text if problem else None,
            problem_code=problem.code if problem else None,
            children=tuple(child.status(now, listed_at) for child in self.children.values()),
        )


def installed(sas: list[IkeSa], name: str) -> ChildSa | None:
    """The CHILD_SA of that name that is in use: the newest of those that are not being replaced, if there is one."""
    candidates = [child for sa in sas if sa.up for child in sa.children if child.name == name and child.up]
    return max(candidates, key=lambda child: (child.state == "INSTALLED", child.uniqueid), default=None)


def left(value: float | None, passed: float) -> float | None:
    """A remaining time, ``passed`` seconds after it was listed; never negative."""
    return None if value is None else max(0.0, value - passed)
