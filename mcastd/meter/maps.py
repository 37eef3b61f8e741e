"""The maps of the meter. Pure."""

from typing import Final

from mcastd.meter.packet import FEED_KEY, FEED_SIZE, KEY, STREAM_SIZE
from mcastd.meter.program import FEEDS, STREAMS, TOTALS, ZERO
from mcastd.net.ebpf import ARRAY, HASH, LPM_TRIE, NO_PREALLOC, MapKind

MAX_STREAMS: Final = 65536
MAX_FEEDS: Final = 65536


def kinds(streams: int = MAX_STREAMS) -> dict[str, MapKind]:
    """The maps by the name that the program has for them.

    The last character of a name is the version of its layout: what a previous process left is used if it is the same.
    """
    return {
        STREAMS: MapKind("mcastd_streams2", HASH, KEY.size, STREAM_SIZE, streams, NO_PREALLOC),
        FEEDS: MapKind("mcastd_feeds1", LPM_TRIE, FEED_KEY.size, FEED_SIZE, MAX_FEEDS, NO_PREALLOC),
        TOTALS: MapKind("mcastd_totals1", ARRAY, 4, 8, 1),
        ZERO: MapKind("mcastd_zero1", ARRAY, 4, STREAM_SIZE, 1),
    }
