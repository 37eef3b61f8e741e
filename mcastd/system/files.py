"""Files that are replaced atomically, and such that cannot be read."""

import contextlib
import os
import shutil
from pathlib import Path


def read(path: Path, longest: int) -> bytes:
    """Up to ``longest`` bytes of a file; nothing of a pipe, whose writer is not waited for. Raises OSError."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        return file.read(longest) or b""


def replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader, also after a crash, finds the old or the new content. Raises OSError."""
    new = path.with_suffix(".new")
    try:
        new.write_bytes(content)
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()  # what of it was written would keep others from writing
        raise


def keep_aside(path: Path) -> str:
    """Move a file that cannot be read to where it can be looked into; returns in words what became of it."""
    aside = path.with_name(f"{path.name}.unreadable")
    try:
        # A folder is not replaced by a file, nor a file by a folder.
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside)
        else:
            aside.unlink(missing_ok=True)
        path.replace(aside)
    except OSError as error:
        return f"it stays ({error.strerror})"
    return f"it is kept as {aside}"


def reason(error: Exception) -> str:
    """Why a file could not be read, without its name."""
    return str(error.strerror or error) if isinstance(error, OSError) else str(error)
