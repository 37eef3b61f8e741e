"""sd_notify(3): one datagram to the socket that the service manager names in ``NOTIFY_SOCKET``.

Implemented here and not by systemd's Python library, so that a unit of ``Type=notify`` becomes ready where that is not
installed, and so that a full queue is waited for with a time limit. Without a service manager nothing happens.
"""

import os
import socket
import time
from collections.abc import Sequence

_SEND_TIMEOUT = 1.0  # seconds


def notify(state: str, descriptors: Sequence[int] = ()) -> None:
    """Send a notification such as ``READY=1\\nSTATUS=...``, and with it descriptors to store.

    It is dropped where the service manager does not listen, or its queue stays full for a second: the event loop must
    not wait longer.
    """
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(_SEND_TIMEOUT)
            sock.connect(address)
            if descriptors:
                socket.send_fds(sock, [state.encode()], list(descriptors))
            else:
                sock.send(state.encode())
    except OSError:
        return  # no service manager, or no descriptor for a socket: neither concerns traffic


def reloading() -> str:
    """The notification that begins a reload, with the time it needs (sd_notify(3)); READY=1 ends the reload."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


def watchdog_timeout() -> float | None:
    """The watchdog interval in seconds (sd_watchdog_enabled(3)); None if the watchdog is off for this process."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(os.environ["WATCHDOG_USEC"]) / 1e6
    except (KeyError, ValueError):
        return None
