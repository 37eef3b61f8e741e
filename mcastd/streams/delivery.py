"""Whether the multicast that arrives on one tunnel gets past the filters of this host. Sans-IO.

What a socket has joined is passed on to the hook ``input``, where it is counted once more behind the chains of other
programs. Where packets arrive and none is counted there for 3 s, a firewall or the reverse path filter drops them, or
no socket has joined them: who asks has to know that.
"""

from typing import Final

from mcastd.streams.stream import JITTER, SILENCE

_SOME: Final = 3  # packets


class Delivery:
    """What arrives and what is delivered. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._arrived: int | None = None  # packets, as counted by the kernel; None before the first reading
        self._delivered = 0  # likewise
        self._then = (0.0, 0)  # when one was last known to be delivered, or none to arrive; what had arrived by then

    def counted(self, arrived: int, delivered: int, now: float) -> None:
        """Take the packets that the kernel has counted by now."""
        if self._arrived is None or delivered != self._delivered or arrived <= self._arrived:
            self._then = (now, arrived)
        self._arrived, self._delivered = arrived, delivered

    def may_be_missing(self) -> bool:
        """Whether packets have arrived since one was last delivered."""
        return (self._arrived or 0) - self._then[1] >= _SOME

    def is_missing(self, now: float) -> bool:
        """Whether packets have arrived, and none has been delivered, for some seconds."""
        return now - self._then[0] >= SILENCE - JITTER and self.may_be_missing()
