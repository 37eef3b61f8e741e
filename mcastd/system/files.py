"""Files that are replaced whole."""

from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, finds the old content or the new one. Raises OSError."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)
