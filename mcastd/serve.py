"""Runs the daemon to its end, and takes down what a daemon that has ended left standing."""

import asyncio
import sys
import time
from pathlib import Path

from mcastd.config.load import Loaded, load
from mcastd.config.model import Config
from mcastd.daemon import Daemon
from mcastd.errors import ConfigError, McastdError
from mcastd.reload import log_notes
from mcastd.system import capabilities, own_networks
from mcastd.system.journal import Journal
from mcastd.system.log import Logger


def serve(path: Path, log: Logger, started: float, journal: Journal | None) -> None:
    """Run until a signal ends it. Raises ConfigError and HostError before anything is changed.

    ``journal`` is where ``log`` goes, if it goes there.
    """
    loaded = load(path, host=own_networks.read())
    log_notes(log, loaded.notes)
    for capability, what in capabilities.missing():
        log.error("capability_missing", capability=capability, without=f"mcastd cannot {what}")
    _run(path, loaded, log, started, journal)


def clean_up(path: Path, log: Logger) -> None:
    """Take down what a daemon that has ended left standing; a no-op where nothing was left.

    With a valid file it does what a daemon does that starts and stops, so that Prunes and a goodbye are sent. With an
    invalid one it takes down what the ledger has. Raises HostError, also while a daemon runs.
    """
    try:
        loaded = load(path)
    except ConfigError:
        loaded = Loaded(config=Config())
    directory = loaded.config.daemon.runtime_dir
    if (directory / "ledger.json").exists():
        _run(path, loaded, log, time.monotonic(), once=True)


def _run(
    path: Path, loaded: Loaded, log: Logger, started: float, journal: Journal | None = None, *, once: bool = False
) -> None:
    async def run() -> None:
        await Daemon(path, loaded, log, started, journal).run(once=once)

    if sys.version_info < (3, 12):
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())  # no thread for each child process, as from 3.12 on
    try:
        asyncio.run(run())
    except ExceptionGroup as group:
        # One agent's end ends the others; what people need to know is the error that began it.
        cause = group.exceptions[0]
        if isinstance(cause, McastdError):
            raise cause from group
        raise
