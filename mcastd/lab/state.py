"""What of this machine is ours: a lock, and a record on disk of namespaces and processes that outlives a crash.

A namespace is known by its inode number, a process by its pid and the time it started. A namespace of one of our names
that is not in the record is somebody else's.
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
    """A process of the scene; ``start`` is in clock ticks since boot and tells it from a later one of the same pid."""

    name: str
    pid: int
    start: int

    @property
    def alive(self) -> bool:
        """Whether it runs (a zombie does not)."""
        found = _stat(self.pid)
        return found is not None and found == (self.start, True)


class Record(msgspec.Struct):
    """The file. A namespace whose inode is None was about to be made; ``kept`` is a scene that ``lab up`` finished."""

    namespaces: dict[str, int | None] = {}
    processes: list[Process] = []
    kept: bool = False


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
    wanted = {f"net:[{number}]" for number in inodes}
    pids = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if str((entry / "ns/net").readlink()) in wanted:
                    pids.add(int(entry.name))
    return pids


@dataclass
class Ours:
    """The folder of a scene, its lock and its record."""

    folder: Path

    def __post_init__(self) -> None:
        self._lock: IO[str] | None = None
        self._file = self.folder / "state.json"
        self.record = Record()

    def lock(self) -> None:
        """Take the scene for this process; raises LabError while another one has it."""
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
                    f"another `mcastd lab` is at work (process {owner}); stop it with Ctrl-C first"
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
        """Let others have the scene; the folder goes too if nothing is recorded in it."""
        if self._lock is not None:
            if not self._file.exists():
                shutil.rmtree(self.folder)
            self._lock.close()
            self._lock = None

    def load(self) -> None:
        """Read the record."""
        try:
            self.record = msgspec.json.decode(self._file.read_bytes(), type=Record)
        except FileNotFoundError:
            self.record = Record()
        except msgspec.DecodeError as error:
            raise LabError(f"{self._file}: not a record of ours ({error}); remove it if no lab is up") from error

    def save(self) -> None:
        """Write the record."""
        files.replace(self._file, msgspec.json.encode(self.record))

    def refuse_foreign(self, namespaces: list[str]) -> None:
        """Raise LabError if a namespace of one of these names exists that is not in the record."""
        foreign = [name for name in namespaces if (found := inode(name)) is not None and not self._owns(name, found)]
        if foreign:
            raise LabError(
                f"network namespace {', '.join(foreign)}: exists, and the lab did not make it; "
                f"it is left alone. Remove it yourself (ip netns del NAME) if nobody needs it."
            )

    def _owns(self, name: str, found: int) -> bool:
        return name in self.record.namespaces and self.record.namespaces[name] in (found, None)

    def make_namespace(self, name: str) -> None:
        """Make a network namespace, recorded before and after."""
        self.record.namespaces[name] = None
        self.save()
        command(["ip", "netns", "add", name])
        self.record.namespaces[name] = inode(name)
        self.save()

    def add_process(self, name: str, pid: int) -> Process:
        """Record a process that was just started."""
        found = _stat(pid)
        process = Process(name, pid, found[0] if found else 0)
        self.record.processes.append(process)
        self.save()
        return process

    def clear(self, children: set[int] | None = None) -> None:
        """End every process of ours, and remove our namespaces and files. Does nothing where nothing is left.

        ``children`` are pids that may not have reached the record or their namespace yet.
        """
        owned = {name: found for name in self.record.namespaces if (found := inode(name)) and self._owns(name, found)}
        for number in (signal.SIGTERM, signal.SIGKILL):
            living = {process.pid for process in self.record.processes if process.alive}
            living |= {pid for pid in (children or set()) | _inside(set(owned.values())) if _runs(pid)}
            end(living, number, 2.0)
        for name in owned:
            command(["ip", "netns", "del", name])
        for entry in self.folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name not in ("lock", self._file.name):
                entry.unlink()
        self._file.unlink(missing_ok=True)
        self.record = Record()


def end(pids: set[int], number: signal.Signals, patience: float) -> bool:
    """Send a signal and wait until all are gone; False if some are not after ``patience`` seconds."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    deadline = time.monotonic() + patience
    while pids:
        pids = {pid for pid in pids if _runs(pid)}
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL if pids else 0)
    return True
