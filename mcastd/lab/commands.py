"""Running the programs of the host."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
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
    """Raise LabError that names the Debian packages whose programs, or the extra whose libraries, are missing."""
    if find_spec("scapy") is None or find_spec("rich") is None:
        raise LabError("the lab needs scapy and rich: pip install 'mcastd[lab]'")
    missing = {package for program, package in _PACKAGES.items() if shutil.which(program) is None}
    if missing:
        raise LabError(f"the lab needs programs of these Debian packages: apt install {' '.join(sorted(missing))}")


def require_userspace_esp() -> None:
    """Raise LabError where the kernel has no ESP and strongSwan's own is not installed."""
    if not _LIBIPSEC.exists():
        raise LabError("this kernel has no ESP, and strongSwan's own is missing: apt install libcharon-extra-plugins")


@contextmanager
def undisturbed() -> Iterator[set[int]]:
    """Let signals to stop wait until the block is done; yields the signal mask from before.

    Without it a signal could fall between the start of a program and our knowing of it.
    """
    held = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield set(held)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def command(argv: Sequence[str], *, text: str | None = None) -> str:
    """Run a program to its end and return what it printed; raises LabError with its complaint if it fails.

    In a session of its own: Ctrl-C is for us to handle, not for it.
    """
    with undisturbed():
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False, start_new_session=True)
    if done.returncode != 0:
        complaint = (done.stderr or done.stdout).strip()
        raise LabError(f"{' '.join(argv)}: {complaint or f'exit status {done.returncode}'}")
    return done.stdout


def works(argv: Sequence[str]) -> bool:
    """Whether a program succeeds."""
    with undisturbed():
        return subprocess.run(argv, capture_output=True, check=False, start_new_session=True).returncode == 0


def python(module: str, *arguments: object) -> list[str]:
    """The command line of one of our modules, under the interpreter that runs us."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def listening(path: Path) -> bool:
    """Whether somebody listens on a unix socket; it is there a moment before."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
    return True


def wait_for(what: str, ready: Callable[[], object], patience: float = 60.0, poll: float = 0.01) -> None:
    """Return as soon as ``ready`` says so; raises LabError if it has not within ``patience`` seconds.

    The longer it takes, the less often it is asked: on a slow machine, asking is what makes others late.
    """
    began = time.monotonic()
    while not ready():
        waited = time.monotonic() - began
        if waited > patience:
            raise LabError(f"{what}: not ready within {patience:.0f} s")
        time.sleep(max(poll, waited / 20))
