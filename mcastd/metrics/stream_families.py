"""The metrics of groups, streams and the pairs of feeds. Pure.

A stream has eight series at most, and what is known beyond that is summed up for its tunnel. Those of single streams
and groups are for the ones that are chosen, since there may be tens of thousands of them; sums are of all.
"""

from typing import Any, Final, get_args

from msgspec import Struct

from mcastd.metrics.family import Family, Point, Table, ago, by_key, counter, each, gauge, is_set
from mcastd.metrics.totals import NOTHING, TunnelTotals
from mcastd.status import ArrivalState, GroupStatus, JoinState
from mcastd.stream_status import PairCount, StreamCount


class Joins(Struct, frozen=True):
    """The joins of one tunnel, counted."""

    states: dict[str, int]
    arrivals: dict[str, int]
    origins: dict[str, int]
    codes: dict[str, int]

    @classmethod
    def none(cls) -> "Joins":
        """No joins, by each state that there is."""
        return cls(dict.fromkeys(get_args(JoinState), 0), dict.fromkeys(get_args(ArrivalState), 0), {}, {})

    def add(self, group: GroupStatus) -> None:
        """Count one."""
        self.states[group.state] += 1
        if group.arrival is not None:
            self.arrivals[group.arrival] += 1
        for origin in group.origins:
            self.origins[origin] = self.origins.get(origin, 0) + 1
        if group.problem_code is not None:
            self.codes[group.problem_code] = self.codes.get(group.problem_code, 0) + 1


JOINS: Final = Table(
    Joins,
    (
        by_key(
            "gauge", "mcastd_tunnel_joins", "Entries that are desired on the tunnel.",
            "states", "state", "GroupStatus.state",
        ),
        by_key(
            "gauge", "mcastd_tunnel_joins_by_arrival", "Entries of which it is known whether anything arrives.",
            "arrivals", "arrival", "GroupStatus.arrival",
        ),
        by_key(
            "gauge", "mcastd_tunnel_joins_by_origin", "Entries by what they are desired; one may have several origins.",
            "origins", "origin", "GroupStatus.origins",
        ),
        by_key(
            "gauge", "mcastd_tunnel_joins_by_problem", "Why entries are not joined.",
            "codes", "code", "GroupStatus.problem_code",
        ),
    ),
    {"tunnel": "GroupStatus.tunnel"},
)  # fmt: skip

GROUP: Final = Table(
    GroupStatus,
    (
        Family(
            "mcastd_group_joined", "gauge", "Whether a group is joined, or expected where the far end sends unasked.",
            ("state",), lambda item, _now: (("", item.state != "not joined"),),
        ),
        Family(
            "mcastd_group_arriving", "gauge", "Whether anything of a group arrives, where that is known.", ("arrival",),
            lambda item, _now: () if item.arrival is None else (("", item.arrival == "arriving"),),
        ),
        counter("mcastd_group_forwarded_packets_total", "Packets of a group that were forwarded.", "forwarded"),
    ),
    {"tunnel": "tunnel", "group": "group", "source": "source", "feed": "feeds"},
)  # fmt: skip


def _missing(item: StreamCount, _now: float) -> tuple[Point, ...]:
    return (("", sum(one.missing for one in item.numbers)),) if item.numbers else ()


def _longest_gap(item: StreamCount, _now: float) -> tuple[Point, ...]:
    gaps = [one.longest_gap for one in item.measured if one.longest_gap is not None]
    return (("", max(gaps)),) if gaps else ()


def _burst(item: StreamCount, _now: float) -> tuple[Point, ...]:
    return (("", max(one.burst_10ms for one in item.measured)),) if item.measured else ()


STREAM: Final = Table(
    StreamCount,
    (
        counter("mcastd_stream_packets_total", "Packets that arrived.", "packets"),
        counter("mcastd_stream_bytes_total", "Bytes that arrived, with the IP headers.", "bytes"),
        is_set("mcastd_stream_arriving", "Whether the stream is not silent.", "state", "arriving"),
        ago("mcastd_stream_last_packet_timestamp_seconds", "When the last packet arrived.", "last_age"),
        counter("mcastd_stream_dropped_packets_total", "Packets that this host dropped.", "dropped"),
        Family(
            "mcastd_stream_missing_numbers_total", "counter", "Sequence numbers that are missing.",
            ("StreamNumbers.missing",), _missing,
        ),
        Family(
            "mcastd_stream_longest_gap_seconds", "gauge", "The longest time between two packets.",
            ("StreamMeasure.longest_gap",), _longest_gap,
        ),
        Family(
            "mcastd_stream_largest_burst_packets", "gauge", "The most packets in 10 ms.",
            ("StreamMeasure.burst_10ms",), _burst,
        ),
    ),
    {"tunnel": "tunnel", "source": "source", "group": "group", "port": "port", "feed": "feed"},
)  # fmt: skip


class TunnelStreams(Struct):
    """All streams of one tunnel, counted."""

    states: dict[str, int]
    totals: TunnelTotals = NOTHING
    unwanted: int = 0
    withheld: int = 0
    awaited: int = 0
    burst: int = 0

    @classmethod
    def none(cls) -> "TunnelStreams":
        """No streams."""
        return cls({"arriving": 0, "silent": 0})

    def add(self, one: StreamCount) -> None:
        """Count one."""
        self.states[one.state] = self.states.get(one.state, 0) + 1
        self.unwanted += not one.wanted
        self.withheld += max((each.withheld for each in one.destinations), default=0)
        for measure in one.measured:
            self.burst = max(self.burst, measure.burst_1ms)
            self.awaited += 0 if measure.numbers is None else measure.numbers.awaited


def _sum(name: str, text: str, field: str, shows: str) -> Family:
    return counter(f"mcastd_tunnel_stream_{name}_total", text, f"totals.{field}", shows)


TUNNEL_STREAMS: Final = Table(
    TunnelStreams,
    (
        by_key("gauge", "mcastd_tunnel_streams", "Streams, also unnamed ones.", "states", "state", "StreamCount.state"),
        gauge("mcastd_tunnel_unwanted_streams", "Streams that nothing wants.", "unwanted", "StreamCount.wanted"),
        _sum("packets", "Packets of all streams.", "packets", "StreamCount.packets"),
        _sum("bytes", "Bytes of all streams, with the IP headers.", "bytes", "StreamCount.bytes"),
        _sum("dropped_packets", "Packets of all streams that this host dropped.", "dropped", "StreamCount.dropped"),
        gauge(
            "mcastd_tunnel_stream_withheld_packets", "Packets since the last one that this host passed on.",
            "withheld", "DestinationCount.withheld",
        ),
        _sum("fragments", "IP fragments but the first of each datagram.", "fragments", "StreamCount.fragments"),
        _sum("unnumbered_packets", "Packets without a sequence number.", "unnumbered", "StreamMeasure.unnumbered"),
        _sum("seen_numbers", "Sequence numbers that came.", "seen", "StreamNumbers.seen"),
        _sum("missing_numbers", "Sequence numbers that are missing.", "missing", "StreamNumbers.missing"),
        gauge(
            "mcastd_tunnel_stream_awaited_numbers", "Sequence numbers that may still come.",
            "awaited", "StreamNumbers.awaited",
        ),
        _sum("duplicate_numbers", "Sequence numbers that came again.", "duplicate", "StreamNumbers.duplicate"),
        _sum("late_numbers", "Sequence numbers that came after a higher one.", "late", "StreamNumbers.late"),
        _sum("number_resets", "How often sequence numbers began again.", "resets", "StreamNumbers.resets"),
        gauge(
            "mcastd_tunnel_stream_largest_burst_packets", "The most packets of a stream in 1 ms.",
            "burst", "StreamMeasure.burst_1ms",
        ),
        by_key(
            "histogram", "mcastd_tunnel_stream_gap_seconds", "The times between two packets of a stream.",
            "totals.gaps", "le", "StreamMeasure.gaps",
        ),
    ),
    {"tunnel": "StreamCount.tunnel"},
)  # fmt: skip


def _first(item: PairCount, _now: float) -> Any:
    return (('side="a"', sum(item.a_first)), ('side="b"', sum(item.b_first)))


PAIR: Final = Table(
    PairCount,
    (
        counter("mcastd_pair_compared_numbers_total", "Sequence numbers that both sides should have.", "compared"),
        each(
            "counter", "mcastd_pair_lost_numbers_total", "Sequence numbers that a side lacks, or both.",
            "side", {"a": "lost_a", "b": "lost_b", "both": "lost_both"},
        ),
        each(
            "gauge", "mcastd_pair_awaited_numbers", "Sequence numbers that a side lacks, or both, and may still come.",
            "side", {"a": "awaited_a", "b": "awaited_b", "both": "awaited_both"},
        ),
        counter("mcastd_pair_not_compared_numbers_total", "Sequence numbers that were not compared.", "not_compared"),
        counter("mcastd_pair_restarts_total", "How often the comparison of A and B began again.", "restarts"),
        Family(
            "mcastd_pair_first_packets_total", "counter", "Packets that a side had first.", ("a_first", "b_first"),
            _first, ("side",),
        ),
    ),
    {"feed": "feed", "a": "a", "b": "b", "unit": "unit"},
)  # fmt: skip

TABLES: Final = (JOINS, GROUP, STREAM, TUNNEL_STREAMS, PAIR)
