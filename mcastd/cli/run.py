"""Run the daemon in the foreground.

SIGHUP reloads the configuration. SIGTERM and SIGINT send Prunes and a goodbye Hello, remove SAs and tunnels, and
restore the host's settings. SIGUSR2 ends the daemon and leaves everything in place for the next process.

Example: mcastd run -c ./mcastd.toml
"""

import argparse
import faulthandler
import gc
import os
import signal
import time
from pathlib import Path

from mcastd.cli import add_config_argument
from mcastd.errors import McastdError
from mcastd.system import log
from mcastd.system.notify import notify


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_config_argument(parser)
    parser.add_argument("--log-level", choices=list(log.LEVELS), default="info", help="default: info")


def run(arguments: argparse.Namespace) -> int:
    """Run until a signal ends it."""
    # Blocked until its handler is installed: its default action would end the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    faulthandler.enable()
    started = time.monotonic() - _age()
    gc.disable()  # until it is ready: nothing of what is imported and made meanwhile is garbage
    journal = log.configure(arguments.log_level)
    logger = log.get_logger()
    from mcastd.serve import serve

    logger.info(
        "starting", config=str(arguments.config), pid=os.getpid(), took_ms=round((time.monotonic() - started) * 1000)
    )
    try:
        serve(arguments.config, logger, started, journal)
    except McastdError as error:
        # So that systemctl status shows the reason, even without a journal.
        notify(f"STATUS={'; '.join(str(error).splitlines())}")
        raise
    logger.info("stopped")
    return 0


def _age() -> float:
    """Seconds since this process was exec'd, so that the log counts Python's own start too (proc(5), starttime)."""
    ticks = int(Path("/proc/self/stat").read_bytes().rpartition(b") ")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
