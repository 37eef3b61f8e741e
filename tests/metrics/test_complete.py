"""Whatever status and streams show is a metric, or is in a short list here with the reason; and the reverse."""

from collections.abc import Iterator
from inspect import isclass
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import pytest
from msgspec import Struct
from msgspec.structs import replace

from mcastd import group_status, overlay_status, status, stream_status
from mcastd.metrics.page import TABLES
from tests.metrics.samples import REPORT, STATUS, lines, made

TEXT = "a text for people, beside what is a metric"
JSON = "of the JSON, or of the process"
CONFIGURED = "from the file, which does not change by itself"
REKEYED = "a label that may change when an SA is rekeyed"
EIGHT = "a stream has eight series at most; mcastd streams shows it"
SERIES = "Prometheus knows it from the series"
ONE_GROUP = "asked for a single group: mcastd status --group, mcastd streams GROUP"

LEFT_OUT: Final = {
    "Status.schema": JSON,
    "Status.pid": JSON,
    "Status.healthy": "as health",
    "Status.summary": TEXT,
    "Status.charon": TEXT,
    "ProblemStatus.text": TEXT,
    "HistoryStatus.subject": "the series of problems have it",
    "HistoryStatus.what": "the series of problems have it",
    "HistoryStatus.last_age": SERIES,
    "ChildStatus.proposal": REKEYED,
    "ChildStatus.mode": REKEYED,
    "ChildStatus.spi_in": REKEYED,
    "ChildStatus.spi_out": REKEYED,
    "ChildStatus.if_id": REKEYED,
    "ChildStatus.problem": TEXT,
    "PeerStatus.proposal": REKEYED,
    "PeerStatus.problem": TEXT,
    "PeerStatus.standby_for": CONFIGURED,
    "PeerStatus.active_because": TEXT,
    "KeepaliveStatus.reply": CONFIGURED,
    "NeighborStatus.secondary_addresses": TEXT,
    "NeighborStatus.static": CONFIGURED,
    "AutoRpStatus.expires_in": "used ends when it expires",
    "PimStatus.problem": TEXT,
    "RouteStatus.problem": TEXT,
    "NotFollowedStatus.group": "counted by reason",
    "ApplicationsStatus.problem": TEXT,
    "TunnelStatus.addresses": CONFIGURED,
    "TunnelStatus.mtu_reason": TEXT,
    "TunnelStatus.problem": TEXT,
    "GroupStatus.tunnels": "each has a series",
    "GroupStatus.rp": "a label that may change",
    "GroupStatus.upstream": "a label that may change",
    "GroupStatus.uptime": SERIES,
    "GroupStatus.next_join_in": "of use while one looks at it alone",
    "GroupStatus.problem": TEXT,
    "GroupStatus.forwarded_to": "a label that may change",
    "OtherQuerierStatus.address": "counted",
    "OtherQuerierStatus.version": "counted",
    "OtherQuerierStatus.heard_age": "counted",
    "QuerierStatus.address": CONFIGURED,
    "QuerierStatus.querier": "a label that may change",
    "QuerierStatus.problem": TEXT,
    "ForwardStatus.tunnels": CONFIGURED,
    "ForwardStatus.problem": TEXT,
    "FirewallStatus.problem": TEXT,
    "OverlayStatus.vni": CONFIGURED,
    "OverlayStatus.port": CONFIGURED,
    "OverlayStatus.local": CONFIGURED,
    "OverlayStatus.address": CONFIGURED,
    "OverlayStatus.members": CONFIGURED,
    "OverlayStatus.problem": TEXT,
    "EndpointStatus.names": "counted",
    "PathStatus.why": TEXT,
    "DestinationCount.interface": EIGHT,
    "DestinationCount.packets": EIGHT,
    "DestinationCount.dropped": EIGHT,
    "StreamNumbers.last_gap": EIGHT,
    "StreamNumbers.last_gap_age": EIGHT,
    "StreamMeasure.unit": EIGHT,
    "StreamMeasure.packets": "as those of the stream",
    "StreamMeasure.longest_gap_age": EIGHT,
    "StreamCount.rate": SERIES,
    "StreamCount.age": SERIES,
    "StreamsReport.schema": JSON,
    "StreamsReport.period": "that of all that was counted",
    "StreamsReport.not_recorded": "of the last ten minutes, which are not a metric",
    "StreamsReport.history_until": "of the last ten minutes, which are not a metric",
    "StreamsReport.losses_period": ONE_GROUP,
}
WHETHER: Final = ("StreamsReport.problem", "StreamsReport.not_measured", "QuerierStatus.pim_router")
NOT_ASKED_FOR: Final = {
    "GroupReport", "StreamStatus", "OriginStatus", "ReceiverStatus", "EntryStatus", "LossStatus", "SocketStatus",
}  # fmt: skip
"""The structs of what is asked for a single group."""
SERIES_OF_SECONDS: Final = {"StreamHistory"}
"""The structs that hold what was in each of many seconds: of metrics Prometheus makes these series itself."""


def structs() -> dict[str, type[Struct]]:
    found = [
        one
        for module in (status, group_status, overlay_status, stream_status)
        for one in vars(module).values()
        if isclass(one)
    ]
    left_out = NOT_ASKED_FOR | SERIES_OF_SECONDS
    return {one.__name__: one for one in found if issubclass(one, Struct) and one.__name__ not in left_out}


def holds_structs(kind: Any) -> bool:
    return any((isclass(one) and issubclass(one, Struct)) or holds_structs(one) for one in (*get_args(kind),)) or (
        isclass(kind) and issubclass(kind, Struct)
    )


def fields() -> Iterator[tuple[str, str]]:
    """Every field that is a figure or a text, by the struct's name."""
    for name, struct in structs().items():
        for field, kind in get_type_hints(struct).items():
            if not field.startswith("__") and not holds_structs(kind):
                yield name, field


SHOWN: Final = {one for table in TABLES for one in table.shows()}


def test_every_field_is_a_metric_or_left_out_with_a_reason() -> None:
    found = {f"{struct}.{field}" for struct, field in fields()}
    assert found - SHOWN - LEFT_OUT.keys() == set()
    assert LEFT_OUT.keys() - found == set()
    assert LEFT_OUT.keys() & SHOWN == set()


def test_every_metric_is_a_field() -> None:
    known = {f"{name}.{field}" for name, struct in structs().items() for field in struct.__struct_fields__}
    assert SHOWN - known == set()
    assert all(table.shows() for table in TABLES)


def changed(item: Any, struct: str, field: str) -> Any:
    """The same with another value of a field, wherever the struct occurs."""
    if isinstance(item, tuple):
        return tuple(changed(one, struct, field) for one in item)
    if not isinstance(item, Struct):
        return item
    item = replace(item, **{name: changed(getattr(item, name), struct, field) for name in item.__struct_fields__})
    if type(item).__name__ != struct:
        return item
    return replace(item, **{field: other(getattr(item, field), get_type_hints(type(item))[field])})


def other(value: Any, kind: Any) -> Any:
    words = next((get_args(one) for one in (kind, *get_args(kind)) if get_origin(one) is Literal), ())
    match value:
        case str() if value[:2] == "20":
            return "2026-11-28T07:00:00Z"
        case str() if words or "Code" in str(kind):
            return next(one for one in words if one != value)
        case bool():
            return not value
        case int() | float():
            return value + 10
        case str():
            return f"{value}x"
        case dict():
            return {**value, "other": 7}
        case (int(), *more):
            return (value[0] + 10, *more)
        case tuple():
            return (*value, value[0])
    raise AssertionError(value)


def page(struct: str = "", field: str = "") -> list[str]:
    return lines(made(changed(STATUS, struct, field), changed(REPORT, struct, field)))


PAGE: Final = page()


@pytest.mark.parametrize("shown", sorted(SHOWN))
def test_what_it_shows_changes_it(shown: str) -> None:
    struct, _, field = shown.partition(".")
    kind = get_type_hints(structs()[struct])[field]
    if holds_structs(kind) or shown in WHETHER:
        return  # how many there are, or whether there is any
    assert page(struct, field) != PAGE


@pytest.mark.parametrize("left_out", sorted(LEFT_OUT))
def test_what_is_left_out_does_not(left_out: str) -> None:
    struct, _, field = left_out.partition(".")
    assert page(struct, field) == PAGE
