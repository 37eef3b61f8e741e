"""What the interface of a tunnel receives, as one stream: all that is known where nftables is missing. Sans-IO."""

from ipaddress import IPv4Address
from typing import Final

from mcastd.streams.stream import Stream
from mcastd.streams.table import Key

_OTHERS: Final = 2  # packets a second that may be Hellos and keepalives
_ANY: Final = IPv4Address(0)


class Interface:
    """The interface of one tunnel. Times are monotonic, in seconds."""

    def __init__(self, tunnel: str, packets: int, now: float) -> None:
        self._packets = packets  # that it had received at the last look
        self.stream = Stream(Key(tunnel, _ANY, _ANY, 0), 0, now, now)

    def received(self, packets: int, now: float) -> None:
        """Take how many packets it has received, a second after the last time."""
        more, self._packets = packets - self._packets, packets
        stream = self.stream
        if more > _OTHERS:
            stream.counted(stream.packets + more, now, now)
        else:
            stream.counted(stream.packets, stream.seen, now)


def any_stream(_tunnel: str, _source: IPv4Address | None, _group: IPv4Address) -> bool:
    """Which packet is of a stream that is joined cannot be known."""
    return True
