"""Files that are replaced atomically."""

from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader, also after a crash, finds the old or the new content. Raises OSError."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)
