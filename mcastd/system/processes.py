"""Whose sockets are these: the processes that have them open, and their cgroups. Other users' are seen by root only."""

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_CGROUPS: Final = Path("/sys/fs/cgroup")


def of_sockets(inodes: Collection[int], proc: Path = _PROC) -> dict[int, dict[int, str]]:
    """The processes, by the inode of the socket: their names, by their numbers."""
    links = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, dict[int, str]] = {}
    for folder in proc.iterdir() if links else ():
        if not folder.name.isdecimal():
            continue
        try:
            held = links.keys() & set(_targets(folder / "fd"))
            name = (folder / "comm").read_text().strip() if held else ""
        except OSError:  # it has ended, or is another user's
            continue
        for link in held:
            found.setdefault(links[link], {})[int(folder.name)] = name
    return found


def _targets(folder: Path) -> Iterator[str]:
    """Where the links in a folder lead, of which there may be ten thousands."""
    with os.scandir(folder) as links:
        for link in links:
            with suppress(OSError):  # it was closed meanwhile
                yield os.readlink(link.path)  # noqa: PTH115  # a Path takes four times as long


def is_stopped(process: int, proc: Path = _PROC) -> bool:
    """Whether a process is stopped, by a signal or a debugger (proc_pid_stat(5))."""
    try:
        return (proc / str(process) / "stat").read_text().rpartition(") ")[2][:1] in ("T", "t")
    except OSError:  # it has ended
        return False


def cgroup_path(number: int | None, top: Path = _CGROUPS) -> str | None:
    """The path of a cgroup by its ID, which is the inode of its folder."""
    for folder, _, _ in os.walk(top) if number is not None else ():
        with suppress(OSError):  # it was removed meanwhile
            if Path(folder).stat().st_ino == number:
                return f"/{Path(folder).relative_to(top)}".removesuffix("/.")
    return None
