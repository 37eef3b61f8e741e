"""The table of streams, as it is on a terminal of 80 columns and in a pipe."""

from typing import Any

from mcastd.cli import stream_rows
from mcastd.cli.layout import Cell, Text, plain
from mcastd.stream_status import StreamCount, StreamHistory, StreamMeasure, StreamNumbers
from tests.streams.counts import count


def measured(missing: int | None) -> tuple[StreamMeasure, ...]:
    numbers = None
    if missing is not None:
        numbers = StreamNumbers(seen=9, missing=missing, awaited=2, duplicate=0, late=0, resets=0)
    return (
        StreamMeasure(
            unit=0, packets=9, longest_gap=0.25, longest_gap_age=3.0, gaps=(1,), burst_1ms=40, burst_10ms=1380,
            unnumbered=0, numbers=numbers,
        ),
    )  # fmt: skip


def last_minute(first: int | None, then: int | None) -> StreamHistory:
    return StreamHistory(packets=(first,) * 48 + (then,) * 12, bytes=())


STREAMS = (
    count(group="239.1.1.1", feed="trades A", rate=8100.4, packets=4_812_000, bytes=2_502_240_000,
          measured=measured(0), history=last_minute(4000, 8100)),
    count(group="239.1.1.2", feed="orders A", measured=measured(137), history=last_minute(100, 50)),
    count(group="239.1.1.3", state="silent", rate=0.0, last_age=4000.0, age=None, history=last_minute(0, 0)),
    count(group="239.1.1.4", dropped=17, rate=None, history=last_minute(None, 3)),
    count(group="239.1.1.5", wanted=False, dropped=3, state="silent", feed="a feed with a name of some words"),
)  # fmt: skip


def shown(streams: tuple[StreamCount, ...], width: int | None = None, **changed: Any) -> str:
    return plain([stream_rows.summary(streams), stream_rows.table(streams, lambda one: below(one, **changed))], width)


def below(one: StreamCount, of: str = "") -> tuple[Text, ...]:
    return (Text("what is known of it besides", indent=2),) if one.group == of else ()


def test_on_80_columns_it_is_clear_what_is_wrong() -> None:
    assert (
        shown(STREAMS, 80, of="239.1.1.4")
        == """\
5 streams: 2 with losses, 1 silent, 1 not wanted
group      port     rate  missing  dropped  minute
239.1.1.2  5000    100/s      139           ████████▅▅  orders A
239.1.1.4  5000                         17          ██
  what is known of it besides
239.1.1.3  5000      0/s                    ..........  silent
239.1.1.1  5000  8,100/s        2           ▄▄▄▄▄▄▄▄██  trades A
239.1.1.5  5000    100/s                 3              silent, not wanted, a
                                                        feed with a name of some
                                                        words
"""
    )


def test_a_pipe_gets_all_of_it() -> None:
    titles, *rows = shown(STREAMS).splitlines()[1:]
    assert titles.replace("in 10 ms", "burst").split() == [
        "group", "port", "source", "tunnel", "packets", "bytes", "rate", "bits", "missing", "dropped", "last", "for",
        "longest", "burst", "minute",
    ]  # fmt: skip
    assert rows[3] == (
        "239.1.1.1  5000  100.15.30.5  gre1    4,812,000    2.5 GB  8,100/s   33.7 Mb/s        2"
        "            0.2s  1m15s  250.0ms     1,380  ▄▄▄▄▄▄▄▄██  trades A"
    )


def test_with_losses_and_with_the_last_minute_the_longest_addresses_fit_on_80_columns() -> None:
    one = count(
        group="239.255.255.255", port=65535, source="100.115.130.105", rate=812_345.0, dropped=10_000, feed="trades A",
        measured=measured(123_456), history=last_minute(4000, 8100),
    )  # fmt: skip
    _, titles, row = shown((one,), 80).splitlines()
    assert titles == "group             port       rate  missing  dropped  last  minute"
    assert row == "239.255.255.255  65535  812,345/s  123,458   10,000  0.2s  ▄▄▄▄▄▄▄▄██  trades A"


def test_only_what_is_wrong_has_a_colour() -> None:
    styles = []
    for row in stream_rows.table(STREAMS, below).rows:
        assert not isinstance(row, Text)
        styles.append([cell.style for cell in row if isinstance(cell, Cell)])
    assert styles == [
        ["bad", "bad", "bad", "bad"], ["bad", "plain", "bad", "bad"], ["warn", "plain", "bad", "warn"],
        ["plain", "plain", "bad", "plain"], ["dim", "plain", "bad", "dim"],
    ]  # fmt: skip


def test_one_that_is_well_is_said_in_few_words() -> None:
    assert stream_rows.summary(STREAMS[:1]) == Text("1 stream")
    assert stream_rows.summary(STREAMS[2:3]) == Text("1 stream: 1 silent", "warn")
