"""Keeps in the runtime directory what belongs there: the lock, the control socket, the ledger, the handover files.

Whatever another program removes is made again. What cannot be is a problem that is shown, and is tried again; the
agents go on meanwhile.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from mcastd.errors import AlreadyRunning, HostError
from mcastd.problems import Problem
from mcastd.system.ledger import Ledger
from mcastd.system.log import Logger
from mcastd.system.runtime import RuntimeDirectory

_PERIOD: Final = 2.0  # seconds between two looks


class Socket(Protocol):
    """What is used of ``mcastd.control.ControlServer``."""

    async def keep(self) -> None:
        """Listen, again if the socket was removed. Raises HostError."""


class Files(Protocol):
    """What is used of ``mcastd.handover.Handover``."""

    problem: str | None
    is_ours: bool

    def keep(self) -> None:
        """Write again what was removed."""


class RuntimeFiles:
    """``on_change`` is called when a problem begins or ends."""

    def __init__(
        self,
        directory: RuntimeDirectory,
        control: Socket,
        ledger: Ledger,
        handover: Files,
        log: Logger,
        on_change: Callable[[], None],
    ) -> None:
        self._directory = directory
        self._control = control
        self._ledger = ledger
        self._handover = handover
        self._log = log
        self._on_change = on_change
        self._no_directory: str | None = None  # why the directory cannot be used
        self._no_socket: str | None = None  # why the control socket cannot be bound

    async def run(self) -> None:
        """Keep everything in place until cancelled."""
        reported: list[Problem] = []
        while True:
            await self.keep()
            found = list(self.problems())
            if found != reported:
                reported = found
                self._on_change()
            await asyncio.sleep(_PERIOD)

    async def keep(self) -> None:
        """Look once, and make again what is missing."""
        try:
            if self._hold():
                self._log.warning("runtime_directory_made", directory=str(self._directory.path))
        except AlreadyRunning as error:  # what is there now is another daemon's
            if self._ledger.is_ours:
                self._log.error("state_not_saved", file=str(self._directory.path), problem=str(error))
            self._ledger.is_ours = self._handover.is_ours = False
            self._no_directory = str(error)
            return
        self._ledger.is_ours = self._handover.is_ours = True
        self._ledger.keep()
        self._handover.keep()
        try:
            await self._control.keep()
        except HostError as error:
            if self._no_socket is None:
                self._log.error("control_socket_failed", problem=str(error))
            self._no_socket = str(error)
        else:
            self._no_socket = None

    def problems(self) -> Iterator[Problem]:
        """What is not saved, and whether nothing answers on the control socket."""
        texts = {"directory": self._no_directory, "ledger": self._ledger.problem, "handover": self._handover.problem}
        for subject, text in texts.items():
            if text is not None:
                yield Problem("state_not_saved", subject, f"not saved for a restart: {text}")
        if self._no_socket is not None:
            yield Problem("control_socket_failed", "control", self._no_socket)

    def _hold(self) -> bool:
        """Have the directory and its lock; returns whether they had to be made."""
        try:
            made = self._directory.hold()
        except AlreadyRunning:
            raise
        except HostError as error:
            if self._no_directory is None:
                self._log.error("state_not_saved", file=str(self._directory.path), problem=str(error))
            self._no_directory = str(error)
            return False
        self._no_directory = None
        return made
