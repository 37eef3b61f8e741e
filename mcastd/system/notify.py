"""systemd's notification protocol (sd_notify(3)): one datagram on the socket that the service manager names.

Spoken here rather than by systemd's library, so that a unit of ``Type=notify`` becomes ready where that is not
installed. Without a service manager nothing happens.
"""

import os
import socket
import time
from collections.abc import Sequence

_PATIENCE = 1.0


def notify(state: str, descriptors: Sequence[int] = ()) -> None:
    """Send ``READY=1\\nSTATUS=...`` and the like, and with it descriptors to store, if a service manager listens.

    One whose queue stays full for a second misses it: the packets of the host do not wait for that.
    """
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(_PATIENCE)
        try:
            sock.connect(address)
            if descriptors:
                socket.send_fds(sock, [state.encode()], list(descriptors))
            else:
                sock.send(state.encode())
        except OSError:
            return  # a service manager that does not listen any more is no reason to end


def reloading() -> str:
    """What announces a reload: it carries the time, and READY=1 ends it."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


def watchdog_timeout() -> float | None:
    """Seconds within which the service manager wants a sign of life (sd_watchdog_enabled(3)); None: it wants none."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(os.environ["WATCHDOG_USEC"]) / 1e6
    except (KeyError, ValueError):
        return None
