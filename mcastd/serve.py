"""Runs the daemon to its end, and takes down what a daemon that has ended left standing."""

import asyncio
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from mcastd import cleanup
from mcastd.config.load import Loaded, load
from mcastd.config.model import Config
from mcastd.daemon import Daemon
from mcastd.errors import ConfigError, HostError, McastdError
from mcastd.reload import log_notes
from mcastd.start import failure, pauses
from mcastd.system import capabilities, heap, own_networks
from mcastd.system.journal import Journal
from mcastd.system.log import Logger
from mcastd.system.notify import notify
from mcastd.system.runtime import RuntimeDirectory

T = TypeVar("T")
_WATCHDOG_PERIOD: Final = 10.0  # seconds; a third of the unit's WatchdogSec=


def serve(path: Path, log: Logger, started: float, journal: Journal | None) -> None:
    """Run until a signal ends it. Raises ConfigError, and AlreadyRunning if another daemon runs.

    ``journal`` is where ``log`` goes, if it goes there.
    """
    heap.keep_large_buffers_apart()
    loaded = patiently(lambda: load(path, host=own_networks.read()), log)
    log_notes(log, loaded.notes)
    for capability, what in capabilities.missing():
        log.error("capability_missing", capability=capability, without=f"mcastd cannot {what}")
    _run(path, loaded, log, started, journal)


def clean_up(path: Path, log: Logger) -> None:
    """Take down what a daemon that has ended left standing; a no-op where nothing was left.

    With an invalid file it does so without Prunes and goodbyes. Raises HostError, also while a daemon runs.
    """
    try:
        config = load(path, check_files=False).config
        directory = config.daemon.runtime_dir
    except ConfigError:
        config, directory = Config(), _directory_of(path)
    lock = RuntimeDirectory(directory)
    try:
        lock.claim_for_cleanup()
        asyncio.run(cleanup.clean_up(config, directory, log))
    finally:
        lock.close()


def patiently(step: Callable[[], T], log: Logger) -> T:
    """Do what the host may refuse at the start, such as a descriptor; ready, and tried again after 1 to 60 s."""
    wait = pauses()
    while True:
        try:
            return step()
        except (HostError, OSError) as error:
            log.error("start_failed", problem=str(error))
            notify(f"STATUS={failure(error)}\nREADY=1")
        _rest(next(wait))


def _rest(seconds: float) -> None:
    """Wait, and notify the service manager's watchdog meanwhile: this is on purpose."""
    while seconds > 0:
        time.sleep(min(seconds, _WATCHDOG_PERIOD))
        notify("WATCHDOG=1")
        seconds -= _WATCHDOG_PERIOD


def _runner() -> asyncio.Runner:
    """With its event loop, which needs descriptors."""
    runner = asyncio.Runner()
    runner.get_loop()
    return runner


def _directory_of(path: Path) -> Path:
    """The runtime directory of a file that is invalid."""
    try:
        return Path(tomllib.loads(path.read_text())["daemon"]["runtime_dir"])
    except (OSError, ValueError, KeyError, TypeError):
        return Config().daemon.runtime_dir


def _run(path: Path, loaded: Loaded, log: Logger, started: float, journal: Journal | None) -> None:
    async def run() -> None:
        await Daemon(path, loaded, log, started, journal).run()

    if sys.version_info < (3, 12):
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())  # no thread for each child process, as from 3.12 on
    try:
        with patiently(_runner, log) as runner:
            runner.run(run())
    except ExceptionGroup as group:
        # One agent's end ends the others; what people need to know is the error that began it.
        cause = group.exceptions[0]
        if isinstance(cause, McastdError):
            raise cause from group
        raise
