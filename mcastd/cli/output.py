"""Shared by the commands that write files: existing files are not overwritten."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mcastd.errors import OutputError

SECRET: Final = 0o600
PUBLIC: Final = 0o644


def write_new(files: Mapping[Path, tuple[bytes, int]]) -> None:
    """Write each file with its mode; raises OutputError, before anything is written, if one of them exists."""
    for path in files:
        if path.exists() or path.is_symlink():
            raise OutputError(f"{path} exists and is not overwritten; move it away first")
    try:
        for path, (content, mode) in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode, exist_ok=False)
            path.write_bytes(content)
    except OSError as error:
        raise OutputError(f"{error.filename} cannot be written: {error.strerror}") from error
