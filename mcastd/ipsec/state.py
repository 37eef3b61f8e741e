"""What is known of each peer: what ``list-sas`` showed last, its tries, and the status made from both. Sans-IO."""

from dataclasses import dataclass
from random import Random
from typing import Final

from mcastd.config.lines import KeyPath
from mcastd.config.model import Child, Peer
from mcastd.config.report import dotted
from mcastd.ipsec.attempt import Backoff
from mcastd.ipsec.messages import ChildSa, IkeSa, PeerWithKey, child_made_with, in_words, made_with
from mcastd.problems import Problem
from mcastd.status import ChildStatus, PeerStatus, SaState

_LATER: Final = "with which it was made, and its rekeyings keep that; the file's is for one made afterwards"


@dataclass(frozen=True)
class ChildView:
    """What the rest of the daemon sees of a child. ``generation`` counts how often it came up."""

    name: str
    up: bool
    generation: int
    remote: str
    encap: bool | None = None
    mode: str | None = None
    encr_alg: str | None = None
    encr_keysize: int | None = None
    integ_alg: str | None = None


@dataclass(frozen=True)
class Change:
    """A peer (``child`` None) or one of its children came up or went down."""

    peer: str
    child: str | None
    up: bool


class ChildState:
    """One configured child."""

    def __init__(self, wanted: Child, peer: Peer, rng: Random) -> None:
        self.wanted = wanted
        self.remote = str(peer.remote)
        self.backoff = Backoff(peer.retry_min, peer.retry_max, rng)
        self.sa: ChildSa | None = None
        self.generation = 0
        self.up_since = 0.0
        self.trying_since: float | None = None
        self.problem: Problem | None = None

    def see(self, sa: ChildSa | None, now: float) -> bool:
        """Take the installed SA, or that there is none; True when the child came up or went down by it."""
        was_up, self.sa = self.sa is not None, sa
        if sa is not None and not was_up:
            self.generation += 1
            self.up_since = now - sa.age
            self.problem = None
            self.backoff.up(now)
        elif sa is None and was_up:
            self.backoff.lost(now)
        return was_up != (sa is not None)

    def view(self) -> ChildView:
        """The view for the rest of the daemon."""
        name = self.wanted.name
        if self.sa is None:
            return ChildView(name, False, self.generation, self.remote)
        sa = self.sa
        return ChildView(
            name, True, self.generation, self.remote, sa.encap, sa.mode, sa.encr_alg, sa.encr_keysize, sa.integ_alg
        )

    def status(self, now: float, seen: float) -> ChildStatus:
        """The status; ``seen`` is when ``list-sas`` was asked last."""
        wanted, sa = self.wanted, self.sa
        local_ts, remote_ts = str(wanted.local_ts), str(wanted.remote_ts)
        if sa is None:
            wait = self.backoff.next_try - now
            waiting = self.trying_since is None and wait > 0
            return ChildStatus(
                name=wanted.name,
                local_ts=local_ts,
                remote_ts=remote_ts,
                state="connecting" if self.trying_since is not None else "waiting" if waiting else "down",
                problem=self.problem.text if self.problem else None,
                problem_code=self.problem.code if self.problem else None,
                next_try_in=wait if waiting else None,
                protocol=wanted.protocol,
                if_id=wanted.if_id,
            )
        return ChildStatus(
            name=wanted.name,
            local_ts=local_ts,
            remote_ts=remote_ts,
            state="up",
            proposal=sa.proposal,
            encap=sa.encap,
            mode=sa.mode if sa.if_id is None else "interface",
            spi_in=sa.spi_in,
            spi_out=sa.spi_out,
            bytes_in=sa.bytes_in,
            packets_in=sa.packets_in,
            bytes_out=sa.bytes_out,
            packets_out=sa.packets_out,
            uptime=now - self.up_since,
            rekey_in=left(sa.rekey_in, now - seen),
            problem=self.problem.text if self.problem else None,
            problem_code=self.problem.code if self.problem else None,
            protocol=wanted.protocol,
            if_id=sa.if_id,
            replay_window=wanted.replay_window,
        )


class PeerState:
    """One configured peer and its children."""

    def __init__(self, wanted: PeerWithKey, rng: Random) -> None:
        self._rng = rng
        self.wanted = wanted
        self.children = {child.name: ChildState(child, wanted.peer, rng) for child in wanted.peer.children}
        self.sa: IkeSa | None = None
        self.loaded: PeerWithKey | None = None
        self.attempts = 0
        self.problem: Problem | None = None
        self.load_retry_at = 0.0
        self.hold_until = 0.0
        self.since = 0.0

    @property
    def name(self) -> str:
        """The peer's name, which is that of its connection in charon."""
        return self.wanted.peer.name

    @property
    def trying(self) -> bool:
        """Whether an attempt is in flight."""
        return any(child.trying_since is not None for child in self.children.values())

    def due(self, now: float) -> list[ChildState]:
        """The children to try now: the one that has waited longest until the IKE_SA is up, then each on its own."""
        if self.sa is None and (self.trying or self.hold_until > now):
            return []
        waiting = [c for c in self.children.values() if c.sa is None and c.trying_since is None]
        ready = sorted((c for c in waiting if c.backoff.next_try <= now), key=lambda c: c.backoff.next_try)
        return ready if self.sa is not None else ready[:1]

    def next_try(self, now: float) -> float | None:
        """When ``due`` has something next; None if that takes an event."""
        if self.sa is None and self.trying:
            return None
        hold = self.hold_until if self.sa is None else now
        waiting = [c for c in self.children.values() if c.sa is None and c.trying_since is None]
        return min((max(hold, child.backoff.next_try) for child in waiting), default=None)

    def afresh(self, now: float) -> None:
        """Try everything at once: charon is another one."""
        self.hold_until = now
        for child in self.children.values():
            child.backoff.reset(now)

    def failed(self, child: ChildState, now: float) -> None:
        """An attempt failed; without an IKE_SA the other children wait as well, they would fail alike."""
        child.backoff.failed(now)
        if self.sa is None:
            self.hold_until = child.backoff.next_try

    def want(self, wanted: PeerWithKey, now: float) -> None:
        """Take a new configuration; what is unchanged keeps its state."""
        self.wanted = wanted
        peer = wanted.peer
        self.load_retry_at = self.hold_until = now
        known, self.children = self.children, {}
        for child in peer.children:
            state = known.get(child.name) or ChildState(child, peer, self._rng)
            state.wanted, state.remote = child, str(peer.remote)
            state.backoff.limits(peer.retry_min, peer.retry_max)
            if state.sa is None:
                state.backoff.reset(now)
            self.children[child.name] = state

    def see(self, sas: tuple[IkeSa, ...], now: float) -> list[Change]:
        """Take a listing of all SAs and return what came up or went down."""
        mine = [sa for sa in sas if sa.name == self.name]
        changes = []
        was_up = self.sa is not None
        self.sa = max((sa for sa in mine if sa.up), key=lambda sa: sa.uniqueid, default=None)
        if was_up != (self.sa is not None):
            if self.sa is not None:
                self.since = now - self.sa.age
                self.problem = None
                self.hold_until = now
                for child in self.children.values():
                    if child.sa is None and child.trying_since is None:
                        child.backoff.reset(now)  # what failed was the IKE_SA
            changes.append(Change(self.name, None, self.sa is not None))
        for name, child in self.children.items():
            if child.see(installed(mine, name), now):
                changes.append(Change(self.name, name, child.sa is not None))
        return changes

    def notes(self) -> list[str]:
        """The lifetimes of the file that an SA made before them does not have: where, and in words.

        In IKEv1 the other side may have asked for a shorter one, so nothing is said there.
        """
        peer, found = self.wanted.peer, []
        if peer.version == 2 and self.sa is not None and not made_with(peer.lifetime, self.sa):
            path: KeyPath = ("peers", peer.name, "lifetime")
            found.append(f"{dotted(path)}: the IKE_SA that is up has another one, {_LATER}")
        for child in self.children.values() if peer.version == 2 else ():
            sa = child.sa
            if sa is not None and sa.lifetime is not None and not child_made_with(child.wanted.lifetime, sa):
                path = ("peers", peer.name, "children", child.wanted.name, "lifetime")
                found.append(f"{dotted(path)}: the CHILD_SA that is up has {in_words(sa.lifetime)}, {_LATER}")
        return found

    def status(self, now: float, seen: float) -> PeerStatus:
        """The status; ``seen`` is when ``list-sas`` was asked last."""
        peer, sa = self.wanted.peer, self.sa
        children = tuple(child.status(now, seen) for child in self.children.values())
        problem = self.problem or (None if sa else next((c.problem for c in self.children.values() if c.problem), None))
        state: SaState = "up" if sa else "connecting" if self.trying else "down"
        if state == "down" and any(child.state == "waiting" for child in children):
            state = "waiting"
        return PeerStatus(
            name=peer.name,
            state=state,
            local=str(peer.local),
            remote=str(peer.remote),
            local_id=peer.local_id,
            remote_id=peer.remote_id,
            proposal=sa.proposal if sa else None,
            nat_local=sa.nat_local if sa else None,
            nat_remote=sa.nat_remote if sa else None,
            uptime=now - self.since if sa else None,
            reauth_in=left(sa.reauth_in, now - seen) if sa else None,
            rekey_in=left(sa.rekey_in, now - seen) if sa else None,
            attempts=self.attempts,
            problem=problem.text if problem else None,
            problem_code=problem.code if problem else None,
            children=children,
        )


def installed(sas: list[IkeSa], name: str) -> ChildSa | None:
    """The CHILD_SA of that name which carries packets: the newest, the one in use rather than one being replaced."""
    candidates = [child for sa in sas if sa.up for child in sa.children if child.name == name and child.up]
    return max(candidates, key=lambda child: (child.state == "INSTALLED", child.uniqueid), default=None)


def left(value: float | None, passed: float) -> float | None:
    """What is left of a time to go, some seconds after it was told."""
    return None if value is None else max(0.0, value - passed)
