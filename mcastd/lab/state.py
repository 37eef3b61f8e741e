"""A lock, and a record on disk of the namespaces and processes of a scene, so that they are found after a crash.

A namespace is identified by its inode number, a process by its pid and its start time. A namespace with the name of a
node that is not in the record belongs to another program.
"""

import fcntl
import os
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from mcastd.errors import LabError
from mcastd.lab.commands import command
from mcastd.system import files

NETNS = Path("/run/netns")
_POLL = 0.01


class Process(msgspec.Struct, frozen=True):
    """A process of the scene; ``start`` (clock ticks since boot) distinguishes it from a later one with its pid."""

    name: str
    pid: int
    start: int

    @property
    def alive(self) -> bool:
        """Whether it is running; a zombie is not."""
        found = _stat(self.pid)
        return found is not None and found == (self.start, True)


class Record(msgspec.Struct):
    """The content of the record file."""

    namespaces: dict[str, int | None] = {}  # name -> inode number; None: about to be created
    processes: list[Process] = []
    kept: bool = False  # by ``lab up``, after its process has ended


def _stat(pid: int) -> tuple[int, bool] | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[19]), fields[0] not in "ZX"


def _runs(pid: int) -> bool:
    found = _stat(pid)
    return found is not None and found[1]


def inode(namespace: str) -> int | None:
    """The inode number of a named network namespace, or None if there is none of that name."""
    try:
        return (NETNS / namespace).stat().st_ino
    except FileNotFoundError:
        return None


def _inside(inodes: set[int]) -> set[int]:
    links = {f"net:[{number}]" for number in inodes}
    pids = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if str((entry / "ns/net").readlink()) in links:
                    pids.add(int(entry.name))
    return pids


@dataclass
class SceneState:
    """The folder of a scene, with its lock and its record."""

    folder: Path

    def __post_init__(self) -> None:
        self._lock: IO[str] | None = None  # held while open
        self._file = self.folder / "state.json"
        self.record = Record()

    def lock(self) -> None:
        """Lock the scene for this process; raises LabError while another process has the lock."""
        while self._lock is None:
            self.folder.mkdir(mode=0o755, exist_ok=True)
            try:
                file = (self.folder / "lock").open("a+")
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                owner = file.read().strip() or "?"
                file.close()
                raise LabError(
                    f"another `mcastd lab` is running (process {owner}); stop it with Ctrl-C first"
                ) from None
            with suppress(FileNotFoundError):
                if (self.folder / "lock").stat().st_ino == os.fstat(file.fileno()).st_ino:
                    self._lock = file
                    break
            file.close()
        assert self._lock is not None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        self.load()

    def unlock(self) -> None:
        """Release the lock; removes the folder if nothing is recorded in it."""
        if self._lock is not None:
            if not self._file.exists():
                shutil.rmtree(self.folder)
            self._lock.close()
            self._lock = None

    def load(self) -> None:
        """Read the record file."""
        try:
            self.record = msgspec.json.decode(self._file.read_bytes(), type=Record)
        except FileNotFoundError:
            self.record = Record()
        except msgspec.DecodeError as error:
            raise LabError(f"{self._file}: not a record of the lab ({error}); remove it if no lab is up") from error

    def save(self) -> None:
        """Write the record file."""
        files.replace(self._file, msgspec.json.encode(self.record))

    def refuse_foreign(self, namespaces: list[str]) -> None:
        """Raise LabError if a namespace with one of these names exists that is not in the record."""
        foreign = [name for name in namespaces if (found := inode(name)) is not None and not self._owns(name, found)]
        if foreign:
            raise LabError(
                f"network namespace {', '.join(foreign)}: exists, and was not created by the lab. "
                f"If it is not needed, remove it (ip netns del NAME)."
            )

    def _owns(self, name: str, found: int) -> bool:
        return name in self.record.namespaces and self.record.namespaces[name] in (found, None)

    def make_namespace(self, name: str) -> None:
        """Create a network namespace, recorded before and after."""
        self.record.namespaces[name] = None
        self.save()
        command(["ip", "netns", "add", name])
        self.record.namespaces[name] = inode(name)
        self.save()

    def add_process(self, name: str, pid: int) -> Process:
        """Record a process that has just been started."""
        found = _stat(pid)
        process = Process(name, pid, found[0] if found else 0)
        self.record.processes.append(process)
        self.save()
        return process

    def clear(self, children: set[int] | None = None) -> None:
        """End all processes of the scene, and remove its namespaces and files. A no-op if nothing is left.

        ``children`` are pids that may not be in the record or in their namespace yet.
        """
        owned = {name: found for name in self.record.namespaces if (found := inode(name)) and self._owns(name, found)}
        # An emulated machine that is busy may need long even for what is killed.
        for number, timeout in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 60.0)):
            running = {process.pid for process in self.record.processes if process.alive}
            running |= {pid for pid in (children or set()) | _inside(set(owned.values())) if _runs(pid)}
            end(running, number, timeout)
        for name in owned:
            command(["ip", "netns", "del", name])
        for entry in self.folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name not in ("lock", self._file.name):
                entry.unlink()
        self._file.unlink(missing_ok=True)
        self.record = Record()


def end(pids: set[int], number: signal.Signals, timeout: float) -> bool:
    """Send a signal and wait until all processes have ended; False if not within ``timeout`` seconds."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    deadline = time.monotonic() + timeout
    while pids:
        pids = {pid for pid in pids if _runs(pid)}
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL if pids else 0)
    return True
