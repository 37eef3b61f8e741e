"""What the members agent uses of the host; tests replace it. The real one is ``mcastd.system.file_changes``. Pure."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol


class Watch(Protocol):
    """Word of changes in folders."""

    def folders(self, folders: Iterable[Path]) -> None:
        """Watch these folders, as far as they are there; to be repeated, since a folder may be another one by then."""

    def close(self) -> None:
        """End it."""


class Files(Protocol):
    """Functions of ``mcastd.system.file_changes``."""

    def watch(self, on_change: Callable[[], None]) -> Watch:
        """Call back after a file was written, or moved to its name. Raises OSError."""

    def read(self, path: Path, longest: int) -> tuple[bytes, float]:
        """Up to ``longest`` bytes of a file, and how many seconds ago it was written. Raises OSError."""

    def stamp(self, path: Path) -> tuple[int, int, int] | None:
        """What is another one when the file has been written or replaced; None if there is none."""
