"""The attempts in flight: each initiates one CHILD_SA, terminates what it left half-open, and sets the next try."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from mcastd.errors import ViciError
from mcastd.ipsec import charon_health, failure
from mcastd.ipsec.charon import Charon, Vici, list_sas
from mcastd.ipsec.initiation import initiate
from mcastd.ipsec.sas import IkeSa
from mcastd.ipsec.state import ChildState, PeerState
from mcastd.ipsec.teardown import drop_half_open, drop_unanswered
from mcastd.problems import Problem, ProblemCode
from mcastd.system.log import Logger

# Why an attempt fails that has not ended in time.
_TIMED_OUT: Final[frozenset[ProblemCode]] = frozenset({"attempt_timeout", "ike_sa_unanswered", "udp_4500_blocked"})


class Attempts:
    """Runs the attempts, each as a task."""

    def __init__(
        self,
        charon: Charon,
        log: Logger,
        *,
        control: Callable[[], Vici | None],
        is_configured: Callable[[PeerState], bool],
        blamed: Callable[[PeerState, Problem], Problem | None],
        on_listing: Callable[[tuple[IkeSa, ...]], None],
        on_change: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        """``control`` is the connection for commands, while there is one; ``on_listing`` takes all SAs.

        ``blamed`` says what a failure is put down to; None if the peer is to be tried again without a pause.
        """
        self._charon = charon
        self._log = log
        self._control = control
        self._is_configured = is_configured
        self._blamed = blamed
        self._on_listing = on_listing
        self._on_change = on_change
        self._on_end = on_end
        self._tasks: set[asyncio.Task[None]] = set()  # those in flight
        self._error: BaseException | None = None  # an error that an attempt does not expect

    def start_due(self, peer: PeerState, now: float) -> None:
        """Start the attempt for a peer that is due, if there is one. Raises what an attempt raised."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if (child := peer.due(now)) is not None:
            child.trying_since = now
            peer.attempts += 1
            task = asyncio.create_task(self._attempt(peer, child))
            self._tasks.add(task)
            task.add_done_callback(partial(self._ended, child))

    async def close(self) -> None:
        """End them all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, child: ChildState, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        child.trying_since = None  # also where the task was cancelled before it began
        if not task.cancelled() and (error := task.exception()) is not None:
            self._error = error
            self._on_end()

    async def _attempt(self, peer: PeerState, child: ChildState) -> None:
        log = self._log.bind(peer=peer.name, child=child.desired.name)
        problem = await self._try(peer, child, log)
        child.trying_since = None
        if child.sa is None:
            now = asyncio.get_running_loop().time()
            text = "charon reported success, but does not list the CHILD_SA"
            problem = problem or Problem("child_sa_down", child.desired.name, text)
            blamed = self._blamed(peer, problem)
            if problem.code == "ike_sa_unanswered":
                child.backoff.ignored(now)
            elif blamed is None:
                child.backoff.next_try = now
            else:
                peer.failed(child, now, answered=problem.code != "no_answer")
            say = log.debug if blamed is None or blamed == child.problem else log.warning
            child.problem = blamed or child.problem
            say("attempt_failed", problem=(blamed or problem).text, next_try_s=round(child.backoff.next_try - now, 1))
            self._on_change()
        self._on_end()

    async def _try(self, peer: PeerState, child: ChildState, log: Logger) -> Problem | None:
        """Initiate a CHILD_SA, and terminate what is left of it if it failed; returns why it did, if charon knows."""

        def on_pending(problem: Problem) -> None:
            if problem != child.problem:
                child.problem = problem
                log.warning("attempt_pending", problem=problem.text)
                self._on_change()

        problem = await initiate(self._charon, peer.desired.peer, child.desired, on_pending)
        if problem is not None and problem.code == "connection_missing":
            peer.loaded = None  # another program has unloaded it
        if (control := self._control()) is None:
            return problem
        try:
            sas = await list_sas(control)
            in_flight = sum(child.trying_since is not None for child in peer.children.values())
            if in_flight <= 1 and self._is_configured(peer):
                # charon would continue with what is half-open beside the next attempt.
                await drop_half_open(control, peer.name, sas)
            timed_out = problem is not None and problem.code in _TIMED_OUT
            if timed_out and await drop_unanswered(control, peer.name, sas):
                problem = failure.ike_sa_unanswered(peer.desired.peer, child.desired)
            self._on_listing(sas)
        except ViciError as error:
            problem = problem or charon_health.problem(error, child.desired.name)
        return problem
