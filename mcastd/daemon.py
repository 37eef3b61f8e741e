"""The daemon: start, readiness, the reconcile loop, signals, the watchdog, handover, and shutdown in reverse order."""

import asyncio
import contextlib
import gc
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mcastd import snapshot, wiring
from mcastd.commands import Commands
from mcastd.composition import Composition
from mcastd.config.load import Loaded
from mcastd.control import ControlServer
from mcastd.handover import Handover
from mcastd.problems import Problem
from mcastd.reload import Reload, with_keys
from mcastd.runtime_files import RuntimeFiles
from mcastd.start import Start
from mcastd.status import Status
from mcastd.system.journal import Journal
from mcastd.system.log import Logger
from mcastd.system.notify import notify
from mcastd.system.runtime import RuntimeDirectory
from mcastd.system.watchdog import feed_watchdog

_READY_AFTER: Final = 10.0  # seconds
_RECONCILE_PERIOD: Final = 10.0  # seconds
_REPORT_AFTER: Final = 0.2  # seconds; changes that come together are one line for the service manager
HAND_OVER: Final = signal.SIGUSR2


class Daemon:
    """All that ``mcastd run`` is. ``started`` is when the process began (monotonic), ``journal`` where ``log`` goes."""

    def __init__(self, path: Path, loaded: Loaded, log: Logger, started: float, journal: Journal | None) -> None:
        self._path = path
        self._log = log
        self._started = started
        self._journal = journal
        self._stop = asyncio.Event()
        self._leaves_standing = False  # ends for a successor: nothing is taken down
        self._changed = asyncio.Event()  # an agent reports a change: the reconcile nudge
        self._tasks: set[asyncio.Task[None]] = set()  # reloads begun by SIGHUP
        self._report: asyncio.TimerHandle | None = None
        daemon = loaded.config.daemon
        self._directory = RuntimeDirectory(daemon.runtime_dir)
        self._directory.claim()
        self._agents = Composition(loaded.config, self._changed.set, log, random.Random(os.urandom(16)))
        self._handover = Handover(
            daemon.runtime_dir, self._agents.pim, self._agents.wanted, log, self._agents.file_groups.paths
        )
        self._reload = Reload(path, loaded, self._agents, log)
        commands = Commands(self._agents, self._handover, self._reload.reload, self.status)
        self._agents.metrics.read = commands.scrape
        self._control = ControlServer(daemon.control_socket, commands.handlers(), log)
        self._start = Start(self._agents, log, self._changed.set)
        self._files = RuntimeFiles(
            self._directory, self._control, self._agents.ledger, self._handover, log, self._changed.set
        )
        self._agents.own_problems = self._own_problems

    async def run(self) -> None:
        """Bring everything up and keep it so until SIGTERM or SIGINT; then put back what was found.

        HAND_OVER ends it too, but leaves everything standing for a successor, and so does every error: then the caller
        ends with exit status 1.
        """
        self._handle_signals()
        config = self._agents.config
        peers = with_keys(config)  # a key that cannot be read is refused before anything begins
        self._handover.inherit(wiring.joining(config))
        self._agents.expect(peers)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._files.run()),
                    group.create_task(self._start.run(group)),
                    group.create_task(self._reconcile()),
                    group.create_task(self._become_ready()),
                    group.create_task(feed_watchdog(self._agents.turned, self._log)),
                ]
                await self._stop.wait()
                notify("STOPPING=1")
                for task in tasks:
                    task.cancel()
                if self._leaves_standing:
                    self._log.info("handing_over")
                    self._agents.leave_standing()
                else:
                    self._log.info("stopping")
                    await self._agents.close()
                    self._handover.forget()
        finally:
            await self._control.close()
            self._directory.close()

    async def status(self) -> Status:
        """Everything, as it is now."""
        now = time.monotonic()
        rows = await self._agents.rows(now)
        notes = [f"{note.key}: {note.text}" for note in self._reload.loaded.notes]
        if self._journal is not None and self._journal.problem:
            notes.append(f"log: {self._journal.problem}")
        uptime, digest = now - self._started, self._reload.digest
        process = snapshot.Process(os.getpid(), uptime, str(self._path), digest, tuple(notes))
        return snapshot.build(self._agents.snapshots(now, rows), process, self._agents.judgement())

    def _own_problems(self) -> Iterator[Problem]:
        yield from self._files.problems()
        if self._start.problem is not None:
            yield self._start.problem

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        # Held back since the process began: the configuration that was read may be the old one.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        loop.add_signal_handler(HAND_OVER, self._hand_over)

    def _hang_up(self) -> None:
        task = asyncio.get_running_loop().create_task(self._reload.on_hangup())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _hand_over(self) -> None:
        self._leaves_standing = True
        self._stop.set()

    async def _reconcile(self) -> None:
        """After every change of an agent, give each agent what follows from it, and keep what a restart needs.

        Also periodically: some problems end with time alone.
        """
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RECONCILE_PERIOD):
                    await self._changed.wait()
            self._changed.clear()
            self._agents.configure()
            self._handover.remember()
            self._agents.problems()  # for the history
            if "NOTIFY_SOCKET" in os.environ and self._report is None:
                self._report = asyncio.get_running_loop().call_later(_REPORT_AFTER, self._report_now)

    async def _become_ready(self) -> None:
        """READY is when the configuration is applied or the host has refused it, and after ten seconds in any case.

        Whether the far ends answer is for status.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_READY_AFTER):
                await self._start.tried.wait()
                if self._start.problem is None:
                    await self._agents.settled()
        self._handover.remember()
        gc.freeze()  # a full collection, which stops the loop, need not look at the modules and what is here to stay
        gc.enable()
        self._report_now()
        notify("READY=1")
        took = round((time.monotonic() - self._started) * 1000)
        self._log.info("ready", config=str(self._path), took_ms=took)

    def _report_now(self) -> None:
        """Give the service manager one line of how things are."""
        self._report = None
        notify(f"STATUS={self._agents.summary(self._agents.problems())}")
