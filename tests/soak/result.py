"""What came of a soak: the samples of the daemon, the packets of the feed, and the table of both. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

MEMORY_LIMIT = 1024
"""kB that the daemon may grow by after the first quarter."""


@dataclass(frozen=True)
class Sample:
    """The daemon: seconds since the start, memory (RSS, kB), open descriptors, and how much it has logged (bytes)."""

    seconds: float
    memory: int
    descriptors: int
    logged: int


@dataclass(frozen=True)
class Packets:
    """The feed from end to end, as counted on its way.

    ``dropped_before`` are packets that queues outside mcastd had no room for (charon's sockets, the data centre's
    links), ``dropped_behind`` those that the application did not read in time.
    """

    rate: float  # packets a second that the source was asked for
    seconds: float
    sent: int  # by the source, since the first one that arrived
    arrived: int  # decrypted, at mcastd
    received: int  # by the application
    longest_gap: float  # seconds between two packets at the application
    dropped_before: int = 0
    dropped_behind: int = 0

    @property
    def lost_before(self) -> int:
        """Packets that did not arrive at mcastd."""
        return max(0, self.sent - self.arrived)

    @property
    def unexplained(self) -> int:
        """Those of them that no queue outside mcastd had dropped."""
        return max(0, self.lost_before - self.dropped_before)

    @property
    def lost(self) -> int:
        """Packets that arrived at mcastd and did not leave it for the application."""
        return max(0, self.arrived - self.received - self.dropped_behind)


@dataclass(frozen=True)
class Result:
    """``quarter`` is the sample after the first quarter, None if it ended before; ``done`` counts what was done."""

    packets: Packets
    start: Sample
    quarter: Sample | None
    end: Sample
    done: dict[str, int]
    failures: tuple[str, ...] = ()  # what was to be done and could not be

    def verdicts(self) -> Iterator[str]:
        """What was not as it must be."""
        packets, since = self.packets, self.quarter or self.start
        if packets.lost:
            yield f"{packets.lost} packets were lost in mcastd"
        if packets.unexplained:
            yield f"{packets.unexplained} packets were lost before mcastd, and not for want of room in a queue"
        if self.quarter is not None and (grown := self.end.memory - since.memory) > MEMORY_LIMIT:
            yield f"the memory has grown by {grown} kB since the first quarter"
        if self.end.descriptors > since.descriptors:
            yield f"{self.end.descriptors - since.descriptors} more descriptors are open"
        yield from self.failures

    def table(self) -> str:
        """The table, and under it what was not as it must be."""
        packets, columns = self.packets, [self.start, *([self.quarter] if self.quarter else []), self.end]
        rows = [
            ("the daemon", *(f"at {one.seconds / 60:.1f} min" for one in columns)),
            ("memory (RSS), kB", *(f"{one.memory}" for one in columns)),
            ("descriptors", *(f"{one.descriptors}" for one in columns)),
            ("log, kB", *(f"{one.logged / 1024:.1f}" for one in columns)),
        ]
        lines = ["".join(f"{cell:<28}" if cell is row[0] else f"{cell:>16}" for cell in row) for row in rows]
        rate = packets.sent / max(packets.seconds, 0.001)
        asked = f"{packets.rate:.0f} were asked for"
        figures = [
            ("packets sent", f"{packets.sent} in {packets.seconds:.0f} s: {rate:.0f} a second; {asked}"),
            ("lost before mcastd", f"{packets.lost_before}; queues there dropped {packets.dropped_before}"),
            ("lost in mcastd", f"{packets.lost}"),
            ("lost in the application", f"{packets.dropped_behind}"),
            ("longest gap", f"{packets.longest_gap * 1000:.0f} ms"),
            ("done", ", ".join(f"{count} {what}" for what, count in self.done.items())),
        ]
        lines += ["", *(f"{name:<28}{value}" for name, value in figures), ""]
        lines += [f"NOT AS IT MUST BE: {one}" for one in self.verdicts()] or ["as it must be"]
        return "\n".join(lines)
