"""Files that are replaced atomically."""

import contextlib
from pathlib import Path


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
