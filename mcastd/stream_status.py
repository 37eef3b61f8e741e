"""What was counted of streams, for ``mcastd streams``: the field names are the keys of its JSON, and stay stable.

Addresses are text. Ages and periods are seconds.
"""

from msgspec import UNSET, Struct, UnsetType

from mcastd.status import ArrivalState


class DestinationCount(Struct, frozen=True, kw_only=True):
    """What this host passed on of a stream since counting began, to its sockets (``interface`` None) or forwarded.

    ``dropped`` arrived and was not passed on, while other packets were: by the firewall or the reverse path filter.
    ``withheld`` arrived since the last one was passed on, if it is more than some packets: nothing receives them now,
    or all of it is dropped.
    """

    interface: str | None
    packets: int
    dropped: int = 0
    withheld: int = 0


class StreamNumbers(Struct, frozen=True, kw_only=True):
    """What the sequence numbers of a stream say, of messages where the format counts those.

    ``missing`` were not seen among the 1,024 that followed; ``awaited`` are not seen yet, and may still come. ``late``:
    after a higher one; ``duplicate``: again. ``resets``: how often the numbers began again. ``last_gap``: how many were
    left out last.
    """

    seen: int
    missing: int
    awaited: int
    duplicate: int
    late: int
    resets: int
    last_gap: int | None = None
    last_gap_age: float | None = None


class StreamMeasure(Struct, frozen=True, kw_only=True):
    """What was measured of a stream or, where its format has units, of one of them, since measuring began.

    ``gaps`` counts the times between two packets: the first those below 1.024 us, each next one those up to twice as
    long. ``burst_1ms`` and ``burst_10ms`` are the most packets in such a time. ``unnumbered`` packets have no number.
    """

    unit: int
    packets: int
    longest_gap: float | None
    longest_gap_age: float | None
    gaps: tuple[int, ...]
    burst_1ms: int
    burst_10ms: int
    unnumbered: int
    numbers: StreamNumbers | None = None


class StreamHistory(Struct, frozen=True, kw_only=True):
    """What a stream carried in each second, the oldest first; the last one ended at the report's ``history_until``.

    Packets, bytes with the IP header, and sequence numbers that were left out and did not come later: of messages where
    the format counts those, and none at all (empty) where there are no sequence numbers. None: not known, since it
    was not read in time, or before the stream was recorded.
    """

    packets: tuple[int | None, ...]
    bytes: tuple[int | None, ...]
    missing: tuple[int | None, ...] = ()


class StreamCount(Struct, frozen=True, kw_only=True):
    """What was counted of one stream; its packets and bytes are those of the report's ``period``.

    ``fragments`` are those of its source and group that have no port: of each datagram all but the first one.
    ``measured`` is empty where nothing is. ``wanted`` is whether anything wants it: the file, a command, an application
    or a machine behind this host.

    ``rate`` is packets a second: of the last seconds or, where a period was asked for, of that; None if not known yet.
    ``age`` is since when it has been seen; None: since before mcastd started. Bytes include the IP header. ``feed`` is
    the name of its ``[[feeds]]``. ``dropped`` are packets that this host dropped, of those for the destination to which
    most are missing. ``history`` is there where it was asked for and the stream is recorded.
    """

    tunnel: str
    source: str
    group: str
    port: int
    state: ArrivalState
    wanted: bool = True
    packets: int
    bytes: int
    rate: float | None
    last_age: float
    age: float | None = None
    feed: str | None = None
    dropped: int = 0
    destinations: tuple[DestinationCount, ...] = ()
    fragments: int = 0
    measured: tuple[StreamMeasure, ...] = ()
    history: StreamHistory | UnsetType = UNSET

    @property
    def numbers(self) -> tuple[StreamNumbers, ...]:
        """What the sequence numbers say, of each unit; empty where none are known."""
        return tuple(one.numbers for one in self.measured if one.numbers is not None)


class PairCount(Struct, frozen=True, kw_only=True):
    """What the numbers of a feed's two sides, ``a`` and ``b``, say together, since they were compared first.

    ``compared`` are the numbers from then on, and of those ``lost_a`` were seen on B alone, ``lost_b`` on A alone,
    ``lost_both`` on none, within the 1,024 that followed on any side; ``awaited_a``, ``awaited_b`` and
    ``awaited_both`` may still come. ``not_compared`` came while the sides were not less than 1,024 apart, or only one
    was there, and ``restarts`` is how often that began. ``a_first`` and ``b_first`` count, for packets that both sides
    had, how much later the other one was, as in ``gaps``.
    """

    feed: str
    a: str
    b: str
    unit: int = 0
    compared: int = 0
    not_compared: int = 0
    restarts: int = 0
    lost_a: int = 0
    lost_b: int = 0
    lost_both: int = 0
    awaited_a: int = 0
    awaited_b: int = 0
    awaited_both: int = 0
    a_first: tuple[int, ...] = ()
    b_first: tuple[int, ...] = ()


class LossStatus(Struct, frozen=True, kw_only=True):
    """One place on this host where packets are lost: how many were, None: not measured. ``worst`` is that with most.

    ``stage`` is ``sequence`` (missing by the sender's numbers; ``late`` came, but after higher ones), ``nic``,
    ``cloud`` (dropped by the hypervisor, beyond what the instance may), ``softnet``, ``esp``, ``tunnel``, ``host``
    (a stream: firewall, reverse path filter) or ``socket``.
    """

    stage: str
    subject: str = ""
    packets: int | None = None
    late: int | None = None
    text: str = ""
    worst: bool = False


class SocketStatus(Struct, frozen=True, kw_only=True):
    """A UDP socket of this host that is bound to a stream's port. ``dropped`` is since it was opened.

    ``queued`` and ``receive_buffer`` are bytes as the kernel accounts for them; ``cgroup`` is the cgroup's ID.
    """

    port: int
    address: str
    uid: int
    inode: int
    cgroup: int | None
    queued: int
    receive_buffer: int
    dropped: int


class StreamsReport(Struct, frozen=True, kw_only=True):
    """What the kernel has counted of each stream, in no order.

    ``counting_since`` (RFC 3339, UTC) is when the kernel began to count; a restart of mcastd is no reason to begin
    again. ``period`` is for how many seconds the packets and bytes are given. ``problem`` is why none are counted,
    ``not_measured`` why gaps, bursts and sequence numbers are not. Of one group, ``losses`` are where this host lost
    packets within ``losses_period`` seconds, in the order of the path, and ``sockets`` those that are bound to its
    ports. ``not_recorded`` is how many streams have no history, since there are too many.
    """

    schema: int = 1
    counting_since: str | None = None
    period: float | None = None
    problem: str | None = None
    not_measured: str | None = None
    not_recorded: int = 0
    history_until: str | None = None
    losses: tuple[LossStatus, ...] = ()
    losses_period: float | None = None
    sockets: tuple[SocketStatus, ...] = ()
    pairs: tuple[PairCount, ...] = ()
    streams: tuple[StreamCount, ...] = ()
