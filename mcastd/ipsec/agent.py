"""Keeps every configured child up through charon: the room with windows. See the package's docstring for how."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from mcastd.errors import DecodeError, HostError, ViciError, ViciRefused
from mcastd.ipsec import failure, messages
from mcastd.ipsec.charon_health import CharonHealth, code, unclear
from mcastd.ipsec.giving_back import GivingBack
from mcastd.ipsec.going import CONN, drop_half_open, quietly, take_down, terminate_child
from mcastd.ipsec.listing import list_conns, list_sas
from mcastd.ipsec.loading import load, must_wait, strays
from mcastd.ipsec.messages import IkeSa, PeerWithKey, Section
from mcastd.ipsec.prune import Duplicates
from mcastd.ipsec.state import Change, ChildState, ChildView, PeerState
from mcastd.ipsec.vici import ViciConnection
from mcastd.problems import Problem
from mcastd.status import PeerStatus
from mcastd.system.ledger import Ledger
from mcastd.system.log import Logger
from mcastd.system.wake import Wake

AUDIT: Final = 30.0
RECONNECT_FIRST: Final = 0.05
RECONNECT_MOST: Final = 1.0
NO_ANSWER_AFTER: Final = 3.0
TERMINATE_TIMEOUT: Final = 1.0
REFRESH_TIMEOUT: Final = 1.0
LOAD_PATIENCE: Final = 0.25
_DELETED: Final = "deleted by the peer, by DPD or by an administrator"
EVENTS: Final = ("ike-updown", "child-updown", "ike-rekey", "child-rekey")


class IpsecAgent:
    """Loads connections and keys, brings the children up and keeps them up."""

    def __init__(
        self,
        *,
        vici_socket: Path,
        ledger: Ledger,
        log: Logger,
        on_change: Callable[[], None],
        may_give_back: Callable[[], bool],
        rng: Random,
    ) -> None:
        """``may_give_back`` says whether what comes out of ESP that is received once more is held to the selectors."""
        self._socket = vici_socket
        self._ledger = ledger
        self._log = log
        self._on_change = on_change
        self._rng = rng
        self._peers: dict[str, PeerState] = {}
        self._wake = Wake()
        self._settled = asyncio.Event()
        self._configured = 0
        self._control: ViciConnection | None = None
        self._health = CharonHealth()
        self._seen = 0.0
        self._duplicates = Duplicates()
        self._giving_back = GivingBack(log)
        self._may_give_back = may_give_back
        self._restarts: dict[str, str] = {}
        self._attempts: set[asyncio.Task[None]] = set()
        self._refreshing: asyncio.Task[None] | None = None

    @property
    def charon(self) -> Problem | None:
        """Why charon cannot be used at the moment; None while it can."""
        if self._health.problem is None and self._refreshing is not None and not self._refreshing.done():
            return unclear("charon hangs, or is very busy")
        return self._health.problem

    def configure(self, peers: tuple[PeerWithKey, ...]) -> None:
        """Set the peers that are wanted, with their keys, and return at once."""
        now = _now()
        known, self._peers = self._peers, {}
        for wanted in peers:
            state = known.get(wanted.peer.name)
            if state is None:
                state = PeerState(wanted, self._rng)
            elif state.wanted != wanted:
                state.want(wanted, now)
            self._peers[wanted.peer.name] = state
        self._configured += 1
        self._settled.clear()
        self._wake.set()

    @property
    def turned(self) -> float:
        """When the loop last came around, monotonic; within AUDIT and a few seconds while it is well."""
        return self._wake.turned

    async def settled(self) -> None:
        """Return when the loop has acted on the last configure, or has seen that charon is absent."""
        await self._settled.wait()

    def child(self, name: str) -> ChildView | None:
        """A child by its name; None if no such child is configured."""
        for peer in self._peers.values():
            if name in peer.children:
                return peer.children[name].view()
        return None

    def restart(self, name: str, reason: str) -> None:
        """Take down a child that pretends to be up, with its IKE_SA if the peer is silent there too.

        The loop brings it up again, by the child's back-off; one that is not up is left to that.
        """
        self._restarts[name] = reason
        self._wake.set()

    def notes(self) -> tuple[str, ...]:
        """What of the file holds for SAs to come only."""
        return tuple(note for peer in self._peers.values() for note in peer.notes())

    def status(self, now: float) -> tuple[PeerStatus, ...]:
        """Every peer, with the counters of the last ``refresh``."""
        return tuple(peer.status(now, self._seen) for peer in self._peers.values())

    async def refresh(self) -> None:
        """Ask charon for the counters, right before ``status``; without charon nothing happens.

        One that takes longer than a second is not waited for: who asks for the status is told.
        """
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh())
        done, _ = await asyncio.wait({self._refreshing}, timeout=REFRESH_TIMEOUT)
        for refreshing in done:
            if not refreshing.cancelled():
                refreshing.result()

    async def _refresh(self) -> None:
        if self._control is not None:
            try:
                self._see(await list_sas(self._control))
            except ViciError:
                self._wake.set()

    async def run(self) -> None:
        """Keep everything up until cancelled; charon may come late, go and come again."""
        pause = RECONNECT_FIRST
        try:
            while True:
                self._wake.turn()
                try:
                    with (
                        contextlib.closing(await ViciConnection.open(self._socket)) as control,
                        contextlib.closing(await ViciConnection.open(self._socket)) as events,
                    ):
                        await self._session(control, events)
                except ViciError as error:
                    self._lost(error)
                pause = RECONNECT_FIRST if self._health.failures == 1 else min(RECONNECT_MOST, pause * 2)
                await asyncio.sleep(pause)
        finally:
            self._giving_back.close()
            await self._cancel_attempts()
            if self._refreshing is not None:
                self._refreshing.cancel()

    async def close(self) -> None:
        """Take down what is ours in charon, of this run and of earlier ones; bounded to 3 seconds."""
        await self._cancel_attempts()
        try:
            async with asyncio.timeout(2.8):
                await take_down(self._socket, self._ledger, tuple(self._ledger.entries(CONN)))
        except (ViciError, TimeoutError) as error:
            self._log.warning("charon_teardown_failed", reason=str(error) or "it takes too long")

    async def _session(self, control: ViciConnection, events: ViciConnection) -> None:
        """Keep everything up by two connections, until one breaks or what comes from it cannot be used."""
        listener = None
        try:
            await events.register(*EVENTS)
            listener = asyncio.create_task(events.listen(self._event))
            listener.add_done_callback(lambda _: self._wake.set())
            self._control = control
            for peer in self._peers.values():
                peer.loaded = None
                if self._health.gone or not self._health.failures:
                    peer.afresh(_now())
            while not listener.done():
                looked_at = self._configured
                wait = await self._reconcile(control)
                if failures := self._health.well():
                    self._log.info("charon_connected", failures=failures)
                    self._on_change()
                if looked_at == self._configured:
                    self._settled.set()
                await self._wake.wait(wait)
            await listener  # which raises why it ended
        finally:
            self._control = None
            if listener is not None:
                listener.cancel()
                await asyncio.gather(listener, return_exceptions=True)

    def _event(self, name: str, message: Section) -> None:
        self._wake.set()
        if name in ("child-updown", "child-rekey"):
            with contextlib.suppress(DecodeError):  # the listing says so
                for peer, child, spi in messages.came_up(message):
                    self._keyed(peer, child, spi)

    def _keyed(self, name: str, child: str, spi: int) -> None:
        """Give back what came before the keys, where a replay window keeps it from being received twice, if we may."""
        peer = self._peers.get(name)
        made_of = [one.peer for one in (peer.loaded, peer.wanted) if one is not None] if peer is not None else []
        windows = [one.replay_window for config in made_of for one in config.children if one.name == child]
        if windows and all(windows) and self._may_give_back():
            self._giving_back.keyed(spi)

    def _lost(self, error: ViciError) -> None:
        """Without charon nothing is up; where it is only not understood, all stays as it was seen last."""
        was_gone, first = self._health.gone, self._health.failures == 0
        self._health.failed(error, _now())
        problem = self._health.problem
        reason = problem.text if problem is not None else None
        if self._health.gone:
            if not was_gone:
                self._log.warning("charon_gone", reason=reason)
            for peer in self._peers.values():
                peer.problem = problem
            self._see(())
        elif first:
            self._log.warning("charon_unclear", reason=reason)
            self._on_change()
        if self._health.gone or not first:  # the first is gone through again before anybody is told
            self._settled.set()

    async def _reconcile(self, control: ViciConnection) -> float:
        """Do the difference between what is wanted and what is there; return the seconds until the next look."""
        removed = self._ledger.entries(CONN).keys() - self._peers.keys()
        if removed:
            await take_down(self._socket, self._ledger, removed)
            self._log.info("peers_removed", peers=", ".join(sorted(removed)))
        sas = await list_sas(control)
        self._see(sas)
        if any(peer.loaded != peer.wanted for peer in self._peers.values()):
            await self._load_all(control)
            sas = await list_sas(control)
            self._see(sas)
        if self._restarts:
            await self._restart(control)
            sas = await list_sas(control)
            self._see(sas)
        now = _now()
        for sa, command in self._duplicates.look(sas, self._peers.keys(), now):
            self._log.warning("duplicate_sa_removed", sa=sa)
            await quietly(control, "terminate", command)
        for peer in self._peers.values():
            if peer.loaded != peer.wanted:
                continue
            for number in strays(sas, peer):
                await quietly(control, "terminate", messages.terminate_child(number, timeout=TERMINATE_TIMEOUT))
            self._try(peer, now)
        return self._next_look(now)

    async def _restart(self, control: ViciConnection) -> None:
        restarts, self._restarts = self._restarts, {}
        try:
            for peer in self._peers.values():
                for name in peer.children.keys() & restarts.keys():
                    if peer.children[name].sa is not None and peer.sa is not None:
                        self._log.warning("child_sa_restarted", peer=peer.name, child=name, reason=restarts[name])
                        await terminate_child(control, peer.name, name, peer.sa.uniqueid)
        except ViciError:
            self._restarts = restarts | self._restarts
            raise

    def _next_look(self, now: float) -> float:
        looks = [AUDIT]
        if self._duplicates.next_deadline is not None:
            looks.append(self._duplicates.next_deadline - now)
        for peer in self._peers.values():
            if peer.loaded != peer.wanted:
                looks.append(peer.load_retry_at - now)
                continue
            next_try = peer.next_try(now)
            if next_try is not None:
                looks.append(next_try - now)
        return max(0.01, min(looks))

    async def _load_all(self, control: ViciConnection) -> None:
        there = await list_conns(control)
        now = _now()
        for peer in self._peers.values():
            if peer.loaded == peer.wanted or peer.load_retry_at > now:
                continue
            if must_wait(self._ledger, peer):
                peer.load_retry_at = now + LOAD_PATIENCE
                continue
            if peer.name in there and not self._ledger.has(CONN, peer.name):
                reason = f"charon has a connection named {peer.name} that mcastd did not load and does not touch"
                text = f"{reason}: rename the peer here, or remove that connection"
                self._peer_problem(peer, Problem("connection_not_ours", peer.name, text))
                peer.load_retry_at = now + AUDIT
                continue
            wanted = peer.wanted
            try:
                await load(self._socket, control, self._ledger, peer)
            except ViciRefused as error:
                text = f"charon refused the connection: {error}"
                self._peer_problem(peer, Problem("charon_refused", peer.name, text))
                peer.load_retry_at = now + AUDIT
            except HostError as error:
                self._peer_problem(peer, Problem("state_not_saved", peer.name, str(error)))
                peer.load_retry_at = now + RECONNECT_MOST
            else:
                peer.loaded = wanted
                peer.problem = None

    def _peer_problem(self, peer: PeerState, problem: Problem) -> None:
        if peer.problem != problem:
            peer.problem = problem
            self._log.warning("peer_not_loaded", peer=peer.name, problem=problem.text)
            self._on_change()

    def _try(self, peer: PeerState, now: float) -> None:
        """Start the attempts that are due: one until the IKE_SA is up, then one for each child."""
        for child in peer.due(now):
            child.trying_since = now
            peer.attempts += 1
            task = asyncio.create_task(self._attempt(peer, child))
            self._attempts.add(task)
            task.add_done_callback(self._attempts.discard)

    async def _attempt(self, peer: PeerState, child: ChildState) -> None:
        wanted, lines = peer.wanted.peer, list[str]()
        log = self._log.bind(peer=peer.name, child=child.wanted.name)

        def on_log(_name: str, message: Section) -> None:
            text = message.get("msg", b"")
            if isinstance(text, bytes) and len(lines) < 500:
                lines.append(text.decode(errors="replace"))

        def say_so_far() -> None:
            problem = failure.so_far(lines, wanted, child.wanted)
            if problem is not None and problem != child.problem:
                child.problem = problem
                log.warning("attempt_pending", problem=problem.text)
                self._on_change()

        timer = asyncio.get_running_loop().call_later(NO_ANSWER_AFTER, say_so_far)
        name, problem = child.wanted.name, None
        try:
            await self._initiate(wanted.name, child.wanted.name, wanted.initiate_timeout, on_log)
        except ViciRefused as error:
            problem = failure.explain(lines, wanted, child.wanted, str(error))
            if "not found" in str(error):
                peer.loaded = None  # somebody unloaded it
        except ViciError as error:
            problem = Problem(code(error), name, str(error))
        finally:
            timer.cancel()
        if self._control is not None:
            try:
                sas = await list_sas(self._control)
                await self._drop_half_open(peer, sas)
                self._see(sas)
            except ViciError as error:
                problem = problem or Problem(code(error), name, str(error))
        child.trying_since = None
        if child.sa is None:
            now = _now()
            peer.failed(child, now)
            text = "charon reported success, but does not list the CHILD_SA"
            problem = problem or Problem("child_sa_down", name, text)
            say = log.debug if problem == child.problem else log.warning
            child.problem = problem
            say("attempt_failed", problem=problem.text, next_try_s=round(child.backoff.next_try - now, 1))
            self._on_change()
        self._wake.set()

    async def _initiate(self, peer: str, child: str, timeout: float, on_log: Callable[[str, Section], None]) -> None:
        connection = await ViciConnection.open(self._socket)
        try:
            await connection.command(
                "initiate",
                messages.initiate(peer, child, timeout),
                stream="control-log",
                on_event=on_log,
                timeout=timeout + 2,
            )
        finally:
            connection.close()

    async def _drop_half_open(self, peer: PeerState, sas: tuple[IkeSa, ...]) -> None:
        """Remove what a failed attempt left half open, or charon would go on with it beside the next one."""
        if self._control is None or self._peers.get(peer.name) is not peer:
            return
        if sum(child.trying_since is not None for child in peer.children.values()) > 1:
            return
        await drop_half_open(self._control, peer.name, sas)

    async def _cancel_attempts(self) -> None:
        for task in self._attempts:
            task.cancel()
        await asyncio.gather(*self._attempts, return_exceptions=True)

    def _see(self, sas: tuple[IkeSa, ...]) -> None:
        self._seen = now = _now()
        sas = tuple(sa for sa in sas if self._ledger.has(CONN, sa.name))
        listens = self._may_give_back() and self._control is not None
        ends = [peer.wanted.peer for peer in self._peers.values()] if listens else []
        self._giving_back.expect(
            frozenset(peer.remote for peer in ends), frozenset(peer.local for peer in ends), messages.spis(sas)
        )
        changes = [change for peer in self._peers.values() for change in peer.see(sas, now)]
        for change in changes:
            self._tell(change, now)
        if changes:
            self._on_change()
            self._wake.set()

    def _tell(self, change: Change, now: float) -> None:
        peer = self._peers[change.peer]
        log = self._log.bind(peer=change.peer)
        if change.child is None:
            if peer.sa is None:
                log.warning("ike_sa_down", reason=peer.problem.text if peer.problem else _DELETED)
            else:
                began = [child.trying_since for child in peer.children.values() if child.trying_since is not None]
                log.info("ike_sa_up", proposal=peer.sa.proposal, **_since(min(began, default=None), now))
            return
        child = peer.children[change.child]
        log = log.bind(child=change.child)
        if child.sa is None:
            gone = self._health.problem if self._health.gone else None
            log.warning("child_sa_down", reason=gone.text if gone is not None else _DELETED)
            return
        log.info("child_sa_up", proposal=child.sa.proposal, encap=child.sa.encap, **_since(child.trying_since, now))


def _since(began: float | None, now: float) -> dict[str, object]:
    """How long an attempt of ours took; without one, an SA that was there already is adopted."""
    return {"adopted": True} if began is None else {"took_ms": round((now - began) * 1000)}


def _now() -> float:
    return asyncio.get_running_loop().time()
