"""The maps of the meter. Pure."""

from typing import Final

from mcastd.meter.packet import FEED_KEY, FEED_SIZE, KEY, PAIR_KEY, PAIR_SIZE, STREAM_SIZE
from mcastd.meter.pair_program import EMPTY, PAIRS
from mcastd.meter.program import FEEDS, PROGRAMS, STREAMS, TOTALS, ZERO
from mcastd.net.ebpf import ARRAY, HASH, LPM_TRIE, NO_PREALLOC, PROGRAM_ARRAY, MapKind

MAX_STREAMS: Final = 65536
MAX_FEEDS: Final = 65536
MAX_PAIRS: Final = 4096


def kinds(streams: int = MAX_STREAMS) -> dict[str, MapKind]:
    """The maps by the name that the program has for them.

    The last character of a name is the version of its layout: what a previous process left is used if it is the same.
    """
    return {
        STREAMS: MapKind("mcastd_streams3", HASH, KEY.size, STREAM_SIZE, streams, NO_PREALLOC),
        FEEDS: MapKind("mcastd_feeds2", LPM_TRIE, FEED_KEY.size, FEED_SIZE, MAX_FEEDS, NO_PREALLOC),
        TOTALS: MapKind("mcastd_totals1", ARRAY, 4, 8, 1),
        ZERO: MapKind("mcastd_zero1", ARRAY, 4, STREAM_SIZE, 1),
        PROGRAMS: MapKind("mcastd_progs1", PROGRAM_ARRAY, 4, 4, 1),
        PAIRS: MapKind("mcastd_pairs1", HASH, PAIR_KEY.size, PAIR_SIZE, MAX_PAIRS, NO_PREALLOC),
        EMPTY: MapKind("mcastd_empty1", ARRAY, 4, PAIR_SIZE, 1),
    }
