"""What this host has passed on of one stream to one destination, and what it has dropped before. Sans-IO.

What arrives and is not passed on was dropped, but only while there is a receiver: nothing is passed on before a socket
has joined, or after it has left. So the difference counts in a *run* of readings that have all grown, and of these not
in the last one, in which the socket may have left.

The kernel's sets are read one after the other: what has arrived, what was passed on, and what has arrived again. So
the difference is known from below and from above, and what is dropped is at least the one at the end from below, less
the one at the begin from above. It is exact as soon as the stream pauses for some milliseconds before and after.
"""

from typing import Final, NamedTuple

_ENDED: Final = 10  # packets that arrive in a row without one passed on: there is no receiver, or all is dropped


class Reading(NamedTuple):
    """What had arrived before and after ``packets`` were read, those that were passed on."""

    arrived: int
    packets: int
    arrived_after: int


class Acceptance:
    """One destination of one stream."""

    __slots__ = ("_arrived", "_before", "_last", "_least", "dropped", "packets")

    def __init__(self, reading: Reading) -> None:
        self.packets = reading.packets  # passed on, as counted by the kernel
        self.dropped = 0  # arrived and not passed on, while others were: at least
        self._before = 0  # of these, until the run began
        self._least: int | None = None  # in the run, the least difference as seen from above; None without a run
        self._last = reading  # the last one that had grown
        self._arrived = reading.arrived  # what had arrived at the last one

    @property
    def withheld(self) -> int:
        """What has arrived since the last packet was passed on; 0 while they are too few to say that none is."""
        waiting = self._arrived - self._last.arrived
        return waiting if waiting >= _ENDED else 0

    def counted(self, reading: Reading) -> None:
        """Take what the kernel has counted by now."""
        if reading.arrived < self._last.arrived or reading.packets < self.packets:  # it is counted from 0 again
            self.dropped, self._before, self._least, self._last = 0, 0, None, reading
        elif reading.packets > self.packets:
            last = self._last
            if self._least is None:
                self._least = reading.arrived_after - reading.packets
            else:
                self.dropped = max(self.dropped, self._before + last.arrived - last.packets - self._least)
                self._least = min(self._least, last.arrived_after - last.packets)
            self._last = reading
        elif reading.arrived - self._last.arrived >= _ENDED:
            self._before, self._least = self.dropped, None
        self.packets, self._arrived = reading.packets, reading.arrived
