"""A page, judged by prometheus_client's parsers of both formats."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from mcastd.config.model import Metrics
from mcastd.metrics.page import TABLES, Kept, Page
from mcastd.metrics.shown import Shown
from mcastd.status import GroupStatus
from mcastd.stream_status import StreamsReport
from tests.calls import calls
from tests.metrics.samples import (
    CHILD,
    CLOCK,
    GROUP,
    MEASURE,
    PEER,
    REPORT,
    STATUS,
    STREAM,
    TUNNEL,
    lines,
    made,
    of,
    streams,
    text,
)

read_text: Callable[[str], Any] = parser.text_string_to_metric_families
read_openmetrics: Callable[[str], Any] = openmetrics_parser.text_string_to_metric_families
COUNTED = replace(REPORT, problem=None)


def parsed(families: Any) -> dict[str, tuple[str, dict[tuple[tuple[str, str], ...], float]]]:
    """By the name of the samples: the kind, and the values by their labels."""
    found: dict[str, tuple[str, dict[tuple[tuple[str, str], ...], float]]] = {}
    for family in families:
        for sample in family.samples:
            _, values = found.setdefault(sample.name, (family.type, {}))
            key = tuple(sorted(sample.labels.items()))
            assert key not in values
            values[key] = sample.value
    return found


def test_both_formats_say_the_same_and_their_parsers_accept_them() -> None:
    page = made()
    plain = parsed(read_text(text(page)))
    openmetrics = parsed(read_openmetrics(text(page, openmetrics=True)))
    assert {name: values for name, (_, values) in plain.items()} == {
        name: values for name, (_, values) in openmetrics.items()
    }
    kinds = {family.sample: family.kind for table in TABLES for family in table.families}
    assert {name: kind for name, (kind, _) in openmetrics.items()} == {name: kinds[name] for name in openmetrics}
    assert openmetrics.keys() == kinds.keys()


def test_names_are_those_that_prometheus_asks_for() -> None:
    for family in (family for table in TABLES for family in table.families):
        assert (family.kind == "counter") == family.name.endswith("_total"), family.name
        assert (family.kind == "info") == family.name.endswith("_info"), family.name
        assert not family.name.endswith(("_count", "_sum", "_bucket", "_created")), family.name
        assert family.name.startswith("mcastd_")
        assert family.help.endswith(".")
        assert not set(family.help) & set('\\\n"')


def test_the_labels_are_those_that_are_declared() -> None:
    found = parsed(read_text(text(made())))
    for table in TABLES:
        for family in table.families:
            for labels in found[family.sample][1]:
                assert {name for name, _ in labels} == {*table.labels, *family.labels}, family.name


def test_labels_are_escaped() -> None:
    name = 'a "feed" \\ of\ntwo lines'
    page = made(report=replace(REPORT, streams=(replace(STREAM, feed=name),)))
    for found in (read_text(text(page)), read_openmetrics(text(page, openmetrics=True))):
        _, values = parsed(found)["mcastd_stream_packets_total"]
        assert [dict(key)["feed"] for key in values] == [name]


def series(*pages: Page) -> set[str]:
    return {line.rpartition(" ")[0] for line in lines(*pages)}


def test_a_rekeying_changes_no_series() -> None:
    rekeyed = replace(
        CHILD, spi_in="c1", spi_out="c2", proposal="aes128", encap=False, packets_in=0, uptime=0.1, rekey_in=3600.0
    )
    after = replace(STATUS, peers=(replace(PEER, children=(rekeyed,), proposal="aes128", uptime=0.1),))
    assert series(made(after)) == series(made())
    assert "c0ffee" not in text(made())


def test_what_is_configured_and_down_has_series() -> None:
    down = replace(CHILD, state="waiting", uptime=None, encap=None, rekey_in=None, replay_window=None)
    page = made(replace(STATUS, peers=(replace(PEER, state="down", uptime=None, children=(down,)),)))
    assert of("mcastd_child_sa_up", page) == ['{peer="dc",child="dc-gre"} 0']
    assert '{peer="dc",child="dc-gre",state="waiting"} 1' in of("mcastd_child_sa_state", page)
    assert '{peer="dc",child="dc-gre"} 10' in of("mcastd_child_sa_received_packets_total", page)
    assert of("mcastd_child_sa_established_time_seconds", page) == []
    assert of("mcastd_peer_up", page) == ['{peer="dc"} 0']


def test_no_answer_of_charon_and_no_sa_are_two_things() -> None:
    none = replace(STATUS, charon=None, charon_code=None, peers=(replace(PEER, state="down"),))
    assert of("mcastd_charon_up", made(none)) == [" 1"]
    assert of("mcastd_charon_up", made()) == [" 0"]
    assert of("mcastd_peer_up", made()) == ['{peer="dc"} 1']
    assert '{code="charon_gone"} 1' in of("mcastd_charon_problem", made())
    assert '{code="charon_gone"} 0' in of("mcastd_charon_problem", made(none))


def test_a_stream_has_eight_series_at_most() -> None:
    page = made()
    assert sum(line.startswith("mcastd_stream_") for line in lines(page)) == 8


@pytest.mark.parametrize(
    ("choice", "named", "shown"),
    [
        ("all", (), {"239.1.1.1", "239.1.1.2", "239.1.1.3"}),
        ("named", (), {"239.1.1.1"}),
        ("named", ("239.1.1.2",), {"239.1.1.1", "239.1.1.2"}),
        ("none", ("239.1.1.2",), set()),
    ],
)
def test_which_streams_have_series(choice: Any, named: tuple[str, ...], shown: set[str]) -> None:
    unnamed = [replace(STREAM, feed=None, group=f"239.1.1.{last}") for last in (2, 3)]
    chosen = Shown(Metrics(streams=choice), frozenset(named))
    page = made(report=replace(REPORT, streams=(STREAM, *unnamed)), shown=chosen)
    found = parsed(read_text(text(page))).get("mcastd_stream_packets_total", ("", {}))[1]
    assert {dict(key)["group"] for key in found} == shown
    assert '{tunnel="gre1",state="arriving"} 3' in of("mcastd_tunnel_streams", page)
    groups = of("mcastd_group_joined", page)
    assert bool(groups) == (choice == "all" or (choice == "named" and GROUP.group in named))


def test_a_tunnel_without_streams_or_joins_has_zeros() -> None:
    page = made(replace(STATUS, groups=()), replace(COUNTED, streams=()))
    assert [line[-1] for line in of("mcastd_tunnel_streams", page)] == ["0", "0"]
    assert of("mcastd_tunnel_stream_packets_total", page) == ['{tunnel="gre1"} 0']
    assert of("mcastd_tunnel_stream_missing_numbers_total", page) == []
    assert '{tunnel="gre1",state="joined"} 0' in of("mcastd_tunnel_joins", page)


def test_where_streams_are_not_counted_there_are_none() -> None:
    page = made(report=StreamsReport(problem="no nft"))
    assert of("mcastd_streams_counted", page) == [" 0"]
    assert not any("stream_" in line for line in lines(page))


def test_the_gaps_of_a_tunnel_are_a_histogram() -> None:
    page = made(report=replace(COUNTED, streams=(STREAM, replace(STREAM, port=5001, measured=(MEASURE, MEASURE)))))
    buckets = of("mcastd_tunnel_stream_gap_seconds_bucket", page)
    assert buckets[:3] == [
        '{tunnel="gre1",le="1.024e-06"} 3', '{tunnel="gre1",le="2.048e-06"} 9', '{tunnel="gre1",le="4.096e-06"} 18'
    ]  # fmt: skip
    assert buckets[-1] == '{tunnel="gre1",le="+Inf"} 18'


def test_times_are_the_same_on_each_page_while_the_daemon_runs() -> None:
    kept = Kept()
    first = made(kept=kept)
    later = replace(STATUS, uptime=107.25, peers=(replace(PEER, uptime=67.25, children=()),))
    assert of("mcastd_peer_established_time_seconds", first) == ['{peer="dc"} 1794999940.0']
    page = Page(Shown(), kept, CLOCK + 7.3)
    for _ in page.add_status(later):
        pass
    assert of("mcastd_peer_established_time_seconds", page) == ['{peer="dc"} 1794999940.0']
    set_back = Page(Shown(), kept, CLOCK - 3600)
    for _ in set_back.add_status(later):
        pass
    assert of("mcastd_peer_established_time_seconds", set_back) == ['{peer="dc"} 1794996332.75']


def test_what_is_there_twice_is_shown_once() -> None:
    page = made(replace(STATUS, problems=STATUS.problems * 2))
    assert len(of("mcastd_problem_start_time_seconds", page)) == 1
    assert of("mcastd_problems", page) == [" 2"]


def costs(steps: Iterator[None]) -> list[int]:
    """The calls of each step."""
    found, more = list[int](), True

    def step() -> None:
        nonlocal more
        more = next(steps, True) is None

    while more:
        found.append(calls(step))
    return found


def largest(count: int) -> int:
    """The calls of the largest step of a page with so many joins and pairs, and many tunnels."""
    groups = tuple(
        GroupStatus(group=f"239.1.{n >> 8}.{n & 255}", source=None, tunnel="gre1", state="joined") for n in range(count)
    )
    tunnels = tuple(replace(TUNNEL, name=f"gre{place}") for place in range(count // 50))
    status = replace(STATUS, groups=groups, tunnels=tunnels)
    page = Page(Shown(Metrics(streams="all")), Kept(), CLOCK)
    found = costs(page.add_status(status))
    return max(*found, *costs(page.add_report(replace(COUNTED, pairs=REPORT.pairs * count))))


def test_no_step_grows_with_what_there_is() -> None:
    assert largest(6000) <= 1.5 * largest(1500)


def test_so_many_streams_at_once_are_all_there() -> None:
    page = made(report=replace(COUNTED, streams=tuple(streams(1000))))
    assert len(of("mcastd_stream_packets_total", page)) == 1000
