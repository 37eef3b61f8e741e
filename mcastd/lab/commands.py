"""Running programs of the host."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mcastd.errors import LabError

_PACKAGES = {
    "ip": "iproute2",
    "nft": "nftables",
    "swanctl": "strongswan-swanctl",
    "vtysh": "frr",
    "/usr/sbin/charon-systemd": "charon-systemd",
    "/usr/lib/frr/zebra": "frr",
    "/usr/lib/frr/pimd": "frr",
}
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LIBIPSEC = Path("/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so")


def require_programs() -> None:
    """Raise LabError if programs are missing; it names their Debian packages."""
    missing = {package for program, package in _PACKAGES.items() if shutil.which(program) is None}
    if missing:
        raise LabError(f"the lab needs programs of these Debian packages: apt install {' '.join(sorted(missing))}")


def require_userspace_esp() -> None:
    """Raise LabError if strongSwan's ESP in user space is not installed; for kernels without ESP."""
    if not _LIBIPSEC.exists():
        raise LabError("this kernel has no ESP, and strongSwan's own is missing: apt install libcharon-extra-plugins")


@contextmanager
def signals_held() -> Iterator[set[int]]:
    """Block the signals that stop the lab; yields the previous signal mask.

    Otherwise a signal could arrive after a program has started and before it is recorded.
    """
    held = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield set(held)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def command(argv: Sequence[str], *, text: str | None = None) -> str:
    """Run a program and return its output; raises LabError with its error output if it fails.

    It runs in a session of its own, so that Ctrl-C reaches only the lab.
    """
    with signals_held():
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False, start_new_session=True)
    if done.returncode != 0:
        reason = (done.stderr or done.stdout).strip()
        raise LabError(f"{' '.join(argv)}: {reason or f'exit status {done.returncode}'}")
    return done.stdout


def works(argv: Sequence[str]) -> bool:
    """Whether a program succeeds."""
    with signals_held():
        return subprocess.run(argv, capture_output=True, check=False, start_new_session=True).returncode == 0


def python(module: str, *arguments: object) -> list[str]:
    """The command line of a Python module, with the current interpreter."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def listening(path: Path) -> bool:
    """Whether a process listens on a unix socket; the file exists a moment earlier."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
    return True


def wait_for(what: str, ready: Callable[[], object], timeout: float = 60.0, poll: float = 0.01) -> None:
    """Return as soon as ``ready`` returns a true value; raises LabError after ``timeout`` seconds.

    The interval between calls grows with the time waited and with what a call takes, because polling itself slows down
    a busy machine.
    """
    began = asked = time.monotonic()
    while not ready():
        answered = time.monotonic()
        waited = answered - began
        if waited > timeout:
            raise LabError(f"{what}: not ready within {timeout:.0f} s")
        time.sleep(max(poll, answered - asked, waited / 20))
        asked = time.monotonic()
