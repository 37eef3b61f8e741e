"""What an application gets, for ``mcastd listen``: the field names are the keys of its JSON, and stay stable."""

from msgspec import Struct

from mcastd.stream_status import PairCount, StreamMeasure


class HeardSource(Struct, frozen=True, kw_only=True):
    """What came from one source. Bytes include the headers of IP and UDP, as those of ``mcastd streams``.

    ``port`` is the sender's, of the last packet, and ``first_bytes`` are the first of its payload, in hex. ``jitter``
    (seconds) is how far the times between two packets are from their mean, smoothed as in RFC 3550, section 6.4.1.
    """

    source: str
    port: int
    packets: int
    bytes: int
    jitter: float
    first_bytes: str
    measured: tuple[StreamMeasure, ...]


class TunnelCount(Struct, frozen=True, kw_only=True):
    """What mcastd counted on a tunnel in the same time, of one source; ``missing`` where it reads sequence numbers."""

    tunnel: str
    source: str
    packets: int
    missing: int | None = None


class HeardSide(Struct, frozen=True, kw_only=True):
    """What one socket received. ``interface`` None: where the routes lead; ``source`` None: any.

    ``dropped`` are packets for which its ``receive_buffer`` (bytes, as the kernel accounts for them) had no room.
    ``rate`` is packets a second, ``bit_rate`` bits a second. Of sources that are too many only ``others`` are counted.
    ``arrived`` and ``other_ports``, those of the group that mcastd has counted, are empty where no daemon answers.
    """

    group: str
    port: int
    interface: str | None
    source: str | None
    feed: str | None
    receive_buffer: int
    dropped: int
    packets: int
    bytes: int
    rate: float
    bit_rate: float
    others: int
    sources: tuple[HeardSource, ...]
    arrived: tuple[TunnelCount, ...] = ()
    other_ports: tuple[int, ...] = ()


class ListenReport(Struct, frozen=True, kw_only=True):
    """All of it: one side or, with a pair, A and B; ``pairs`` has an element for each unit.

    ``lost``: a side received nothing; with a pair that was compared, numbers are missing on both sides; else numbers
    are missing, or a socket dropped packets.
    """

    schema: int = 1
    seconds: float
    lost: bool
    sides: tuple[HeardSide, ...]
    pairs: tuple[PairCount, ...] = ()
