"""A stream as ``mcastd streams`` shows it."""

from typing import Any

from mcastd.stream_status import StreamCount


def count(**changed: Any) -> StreamCount:
    """One of 100 packets a second."""
    known = {
        "tunnel": "gre1", "source": "100.15.30.5", "group": "239.1.1.10", "port": 5000, "state": "arriving",
        "packets": 1200, "bytes": 240_000, "rate": 100.0, "last_age": 0.2, "age": 75.0,
    }  # fmt: skip
    return StreamCount(**{**known, **changed})
