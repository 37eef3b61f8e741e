"""What the interface of a tunnel receives, as one stream: all that is known where nftables is missing. Sans-IO."""

from ipaddress import IPv4Address
from typing import Final

from mcastd.streams.stream import Stream
from mcastd.streams.table import Key

_OTHERS: Final = 2  # packets a second that may be Hellos and keepalives
_PERIOD: Final = 0.9  # seconds between two readings at least: in half a second few packets are no evidence
_ANY: Final = IPv4Address(0)


class Interface:
    """The interface of one tunnel. Times are monotonic, in seconds."""

    def __init__(self, tunnel: str, packets: int, now: float) -> None:
        self._packets = packets  # that it had received at the last look
        self._looked_at = now  # when that was
        self.stream = Stream(Key(tunnel, _ANY, _ANY, 0), 0, now, now)

    def received(self, packets: int, now: float) -> None:
        """Take how many packets it has received; too soon after the last time that says nothing."""
        period = now - self._looked_at
        if period < _PERIOD:
            return
        more, self._packets, self._looked_at = packets - self._packets, packets, now
        stream = self.stream
        if more > _OTHERS * max(1.0, period):
            stream.counted(stream.packets + more, now, now)
        else:
            stream.counted(stream.packets, stream.seen, now)


def any_stream(_tunnel: str, _source: IPv4Address | None, _group: IPv4Address) -> bool:
    """Which packet is of a stream that is joined cannot be known."""
    return True
