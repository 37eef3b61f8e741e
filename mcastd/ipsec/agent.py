"""Keeps every configured CHILD_SA up through charon. The package's docstring says how."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from random import Random
from typing import Final

from mcastd.errors import DecodeError, ViciError, ViciRefused
from mcastd.history import History
from mcastd.ipsec import charon_health, loader, renewals
from mcastd.ipsec.attempts import Attempts
from mcastd.ipsec.charon import Charon, Vici, list_sas, remove
from mcastd.ipsec.charon_health import CharonHealth, surviving
from mcastd.ipsec.duplicate_sas import DuplicateSas
from mcastd.ipsec.esp_replay import EspReplay, EspSockets
from mcastd.ipsec.loader import Loader
from mcastd.ipsec.ownership import CONN, adopt
from mcastd.ipsec.renewals import Renewals
from mcastd.ipsec.restarts import Restarts
from mcastd.ipsec.sa_log import log_change, log_failure
from mcastd.ipsec.sas import IkeSa, Section, new_children, spis
from mcastd.ipsec.state import ChildView, IpsecDesired, IpsecSnapshot, PeerState
from mcastd.ipsec.teardown import drop_unconfigured, take_down
from mcastd.net.xfrm import Sa
from mcastd.problems import Problem
from mcastd.system.ledger import Ledger
from mcastd.system.log import Logger
from mcastd.system.wake import Wake

AUDIT: Final = 30.0  # seconds between two looks at charon without an event
RECONNECT_MIN: Final = 0.05  # seconds between two sessions with charon
RECONNECT_MAX: Final = 1.0
REFRESH_TIMEOUT: Final = 1.0  # seconds that status waits for charon
CLOSE_TIMEOUT: Final = 2.8  # seconds
EVENTS: Final = ("ike-updown", "child-updown", "ike-rekey", "child-rekey")
LOG_MARKS: Final = (*loader.LOG_MARKS, *renewals.LOG_MARKS)  # of the lines of charon's log that matter here


class IpsecAgent:
    """Loads connections and credentials into charon, brings the CHILD_SAs up and keeps them up."""

    name: Final = "ipsec"

    def __init__(
        self,
        *,
        charon: Charon,
        esp_sockets: EspSockets,
        ledger: Ledger,
        history: History,
        log: Logger,
        on_change: Callable[[], None],
        rng: Random,
    ) -> None:
        self.wake = Wake()
        self.wake.set()  # an empty configuration is reconciled as well: the ledger may have entries
        self._charon = charon
        self._ledger = ledger
        self._log = log
        self._on_change = on_change
        self._rng = rng
        self._desired = IpsecDesired()  # as configured last
        self._peers: dict[str, PeerState] = {}  # the configured peers, by name
        self._control: Vici | None = None  # the connection for commands, while there is a session
        self._adopted = False  # whether connections of a previous process have been looked for
        self._health = CharonHealth()  # whether charon can be used
        self._loader = Loader(charon, ledger, history, log, on_change)  # of connections and credentials
        self._listed: tuple[IkeSa, ...] = ()  # what charon listed last
        self._listed_at = 0.0  # when that was, monotonic
        self._duplicates = DuplicateSas()  # since when which SAs are duplicates
        self._replay = EspReplay(log, esp_sockets)  # ESP that arrived before its keys
        self._renewals = Renewals()  # those that failed while the old SA stands
        self._restarts = Restarts(log)  # CHILD_SAs to be established again, or probed
        self._attempts = Attempts(
            charon,
            log,
            control=lambda: self._control,
            is_configured=lambda peer: self._peers.get(peer.name) is peer,
            blamed=self._loader.blamed,
            on_listing=self._take_listing,
            on_change=on_change,
            on_end=self.wake.set,
        )
        self._refreshing: asyncio.Task[None] | None = None  # the last refresh, which may still wait for charon

    def configure(self, desired: IpsecDesired) -> None:
        """Set the desired state and nudge the loop; returns at once. The same state again is a no-op."""
        if desired == self._desired:
            return
        self._desired = desired
        now = _now()
        known, self._peers = self._peers, {}
        for peer in desired.peers:
            state = known.get(peer.peer.name)
            if state is None:
                state = PeerState(peer, self._rng)
                for other in known.values():
                    state.continue_counts(other)
            elif state.desired != peer:
                state.configure(peer, now)
            self._peers[state.name] = state
        self._loader.forget_all_but(self._peers)
        self.wake.set()

    async def settled(self) -> None:
        """Return when the loop has acted on the last configure, or has found that charon is absent."""
        await self.wake.settled()

    def children(self) -> dict[str, ChildView]:
        """The configured CHILD_SAs, by name."""
        return {name: child.view() for peer in self._peers.values() for name, child in peer.children.items()}

    def losses(self) -> dict[str, int] | None:
        """How often the IKE_SA of each peer ended, and not from here; None while charon does not answer."""
        if self._control is None or self._health.failures:
            return None
        return {name: peer.losses for name, peer in self._peers.items()}

    def sas(self) -> dict[str, Sa]:
        """The SA by which each CHILD_SA that is up receives, by its name."""
        return {
            name: Sa(peer.desired.peer.local, int(child.sa.spi_in, 16))
            for peer in self._peers.values()
            for name, child in peer.children.items()
            if child.sa is not None and child.sa.spi_in
        }

    def status(self, now: float) -> IpsecSnapshot:
        """Every peer, with the counters of the last ``refresh``."""
        peers = tuple(peer.status(now, self._listed_at) for peer in self._peers.values())
        notes = tuple(note for peer in self._peers.values() for note in peer.notes())
        return IpsecSnapshot(peers, self._charon_problem(), notes)

    def problems(self) -> Iterator[Problem]:
        """That charon cannot be used, and each peer or CHILD_SA that is not up."""
        charon, now = self._charon_problem(), _now()
        if charon is not None and self._peers:
            yield charon
        yield from self._loader.problems()
        for peer in self._peers.values():
            yield from peer.problems(now)
        yield from self._renewals.problems(self._peers, now - self._listed_at)

    def _charon_problem(self) -> Problem | None:
        if self._health.problem is None and self._refreshing is not None and not self._refreshing.done():
            return charon_health.unclear("charon hangs, or is very busy")
        return self._health.problem

    async def refresh(self) -> None:
        """Ask charon for the counters, right before ``status``. Waits for a second at most; without charon a no-op."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh())
        done, _ = await asyncio.wait({self._refreshing}, timeout=REFRESH_TIMEOUT)
        for refreshing in done:
            if not refreshing.cancelled():
                refreshing.result()

    async def _refresh(self) -> None:
        if self._control is not None:
            try:
                await self._list(self._control)
            except ViciError:
                self.wake.set()

    async def run(self) -> None:
        """Keep everything up until cancelled; charon may start later, end and start again."""
        pause = RECONNECT_MIN
        try:
            while True:
                self.wake.turn()
                try:
                    with (
                        closing(await self._charon.connect()) as control,
                        closing(await self._charon.connect()) as events,
                    ):
                        await self._session(control, events)
                except ViciError as error:
                    self._session_failed(error)
                pause = RECONNECT_MIN if self._health.failures == 1 else min(RECONNECT_MAX, pause * 2)
                await asyncio.sleep(pause)
        finally:
            self._replay.close()
            await self._attempts.close()
            if self._refreshing is not None:
                self._refreshing.cancel()

    async def close(self) -> None:
        """Remove from charon what this process and previous ones have put there, within 3 seconds."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                if self._charon.has_socket():
                    with closing(await self._charon.connect()) as control:
                        await self._adopt(control)
                await take_down(self._charon, self._ledger, tuple(self._ledger.entries(CONN)))
        except (ViciError, TimeoutError) as error:
            self._log.warning("charon_teardown_failed", reason=str(error) or "it takes too long")

    async def _session(self, control: Vici, events: Vici) -> None:
        """Reconcile over two connections until one breaks or delivers invalid data. Raises ViciError."""
        listener = None
        try:
            await events.register(*EVENTS)
            with suppress(ViciRefused):
                await events.register("log")
            listener = asyncio.create_task(events.listen(self._event, LOG_MARKS))
            listener.add_done_callback(lambda _: self.wake.set())
            await self._adopt(control)
            self._control = control
            self._loader.new_session()
            for peer in self._peers.values():
                peer.loaded = None
                if self._health.gone or not self._health.failures:
                    peer.try_all(_now())
            while not listener.done():
                self.wake.take()
                wait = await self._reconcile(control)
                if failures := self._health.well():
                    self._log.info("charon_connected", failures=failures)
                    self._on_change()
                self.wake.finished()
                await self.wake.wait(wait)
            await listener  # raises the reason
        finally:
            self._control = None
            if listener is not None:
                listener.cancel()
                await asyncio.gather(listener, return_exceptions=True)

    async def _adopt(self, control: Vici) -> None:
        """Find the connections of a previous process, once."""
        if not self._adopted:
            peers = [*(peer.desired.peer for peer in self._peers.values()), *self._desired.idle]
            for name in await adopt(control, self._ledger, peers):
                self._log.warning("inherited_by_mark", what=f"connection {name} in charon")
            self._adopted = True

    def _session_failed(self, error: ViciError) -> None:
        """Act on the end of a session: if charon has ended only what receives is up, else its last listing counts."""
        was_gone, first = self._health.gone, self._health.failures == 0
        problem = self._health.failed(error, _now())
        if self._health.gone:
            if not was_gone:
                self._log.warning("charon_gone", reason=problem.text)
            for peer in self._peers.values():
                peer.problem = problem
            self._update(surviving(self._listed, self._desired.receiving))
        elif first:
            self._log.warning("charon_unclear", reason=problem.text)
            self._on_change()
        if self._health.gone or not first:  # after a first failure the next session acts on the configuration
            self.wake.take()
            self.wake.finished()

    def _event(self, name: str, message: Section) -> None:
        if name != "log" or self._loader.on_log(message) | self._renewals.on_log(message, self._peers):
            self.wake.set()
        if name in ("child-updown", "child-rekey"):
            with suppress(DecodeError):  # the next listing reports it
                for peer, child, spi in new_children(message):
                    self._keys_installed(peer, child, spi)

    def _keys_installed(self, name: str, child: str, spi: int) -> None:
        """Replay early ESP, if that is allowed, and if a replay window drops packets that were received already."""
        peer = self._peers.get(name)
        configs = [one.peer for one in (peer.loaded, peer.desired) if one is not None] if peer is not None else []
        windows = [one.replay_window for config in configs for one in config.children if one.name == child]
        if windows and all(windows) and self._desired.replay_allowed:
            self._replay.keys_installed(spi)

    async def _reconcile(self, control: Vici) -> float:
        """Compare the desired with the actual state and apply the difference; return the seconds to the next look."""
        removed = self._ledger.entries(CONN).keys() - self._peers.keys()
        idle = removed & {peer.name for peer in self._desired.idle}
        await take_down(self._charon, self._ledger, idle, in_a_hurry=True)
        if removed := removed - idle:
            await take_down(self._charon, self._ledger, removed)
            self._log.info("peers_removed", peers=", ".join(sorted(removed)))
        sas = await self._list(control)
        if not all(peer.is_loaded for peer in self._peers.values()):
            await self._loader.load_all(control, self._peers)
            sas = await self._list(control)
        if await self._restarts.apply(control, self._desired, self._peers, _now()):
            sas = await self._list(control)
        now = _now()
        for sa, command in self._duplicates.update(sas, self._peers.keys(), now):
            self._log.warning("duplicate_sa_removed", sa=sa)
            await remove(control, "terminate", command)
        for peer in self._peers.values():
            if peer.is_loaded:
                await drop_unconfigured(control, peer.name, peer.children, sas)
                self._attempts.start_due(peer, now)
        if await self._loader.look(control, self._peers, self._listed):
            self.wake.set()
        return self._next_look(now)

    async def _list(self, control: Vici) -> tuple[IkeSa, ...]:
        sas = await list_sas(control)
        self._take_listing(sas)
        return sas

    def _next_look(self, now: float) -> float:
        machines = (self._restarts.next_deadline(), self._renewals.next_deadline(now))
        deadlines = (self._loader.next_look, self._duplicates.next_deadline, *machines)
        looks = [AUDIT, *(deadline - now for deadline in deadlines if deadline is not None)]
        for peer in self._peers.values():
            next_look = peer.next_try() if peer.is_loaded else peer.load_retry_at
            if next_look is not None:
                looks.append(next_look - now)
        return max(0.01, min(looks))

    def _take_listing(self, sas: tuple[IkeSa, ...]) -> None:
        """Take charon's listing of all SAs."""
        self._listed, self._listed_at = sas, _now()
        self._update(sas)
        failures = self._renewals.failures
        for failed in self._renewals.update(sas, self._peers):
            log_failure(self._log, failed)
        if self._renewals.failures != failures:
            self._on_change()

    def _update(self, sas: tuple[IkeSa, ...]) -> None:
        """Take all SAs that are up or half-open; those of connections that mcastd has not loaded are left out."""
        now = _now()
        sas = tuple(sa for sa in sas if self._ledger.has(CONN, sa.name))
        replays = self._desired.replay_allowed and self._control is not None
        ends = {(peer.desired.peer.remote, peer.desired.peer.local) for peer in self._peers.values() if replays}
        self._replay.watch({remote for remote, _ in ends}, {local for _, local in ends}, spis(sas))
        gone = self._health.problem if self._health.gone else None
        changes = [
            (peer, changed)
            for peer in self._peers.values()
            for changed in peer.update(sas, now, charon_gone=gone is not None)
        ]
        for peer, changed in changes:
            log_change(self._log, peer, changed, gone, now)
        if changes:
            self._on_change()
            self.wake.set()


def _now() -> float:
    return asyncio.get_running_loop().time()
