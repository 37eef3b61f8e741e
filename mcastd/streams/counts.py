"""What was counted of one stream, for reports. Pure."""

from mcastd.stream_status import DestinationCount, StreamCount
from mcastd.streams.history import Step
from mcastd.streams.stream import Stream


def count(stream: Stream, step: Step | None, begin: float | None, now: float, *, wanted: bool) -> StreamCount:
    """One stream since a step, or since counting began: if mcastd was there, at ``begin``."""
    packets, size, dropped = (0, 0, 0) if step is None else step.of(stream.slot)
    first = begin if stream.first_seen is None else stream.first_seen
    return StreamCount(
        tunnel=stream.key.tunnel,
        source=str(stream.key.source),
        group=str(stream.key.group),
        port=stream.key.port,
        state="silent" if stream.is_silent(now) else "arriving",
        wanted=wanted,
        packets=stream.packets - packets,
        bytes=stream.size - size,
        rate=stream.rate_now(now) if step is None else (stream.packets - packets) / max(now - step.time, 1.0),
        last_age=now - stream.seen,
        age=None if first is None else now - first,
        feed=None if stream.feed is None else stream.feed.label,
        dropped=max(0, stream.dropped - dropped),
        destinations=tuple(
            DestinationCount(interface=name or None, packets=one.packets, dropped=one.dropped, withheld=one.withheld)
            for name, one in sorted(stream.destinations.items())
        ),
    )
