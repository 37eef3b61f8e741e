"""systemd's readiness protocol (sd_notify); without systemd, or without its library, nothing happens."""

import os
import time


def notify(state: str) -> None:
    """Send one datagram, for instance ``READY=1\\nSTATUS=...``, if a service manager listens."""
    if "NOTIFY_SOCKET" not in os.environ:
        return
    try:
        from systemd import daemon
    except ImportError:
        return
    daemon.notify(state)


def reloading() -> str:
    """What announces a reload: it carries the time, and READY=1 ends it (sd_notify(3))."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"
