"""What a stream carried in each second, as it is drawn."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.cli.layout import plain, wide
from mcastd.cli.stream_history import lines, spark
from mcastd.stream_status import StreamHistory

UNTIL = datetime(2026, 3, 2, 10, 0, 0, 12_000, UTC)


def history(packets: list[int | None], missing: list[int | None] | None = None) -> StreamHistory:
    sizes = tuple(None if one is None else 100 * one for one in packets)
    return StreamHistory(packets=tuple(packets), bytes=sizes, missing=tuple(missing or ()))


def test_ten_minutes_are_drawn_with_the_burst_the_pause_what_is_missing_and_what_is_not_known() -> None:
    packets: list[int | None] = [4000] * 600
    missing: list[int | None] = [0] * 600
    packets[200], missing[408], missing[409] = 8412, 120, 17
    for second in range(300, 320):
        packets[second] = missing[second] = None
    for second in range(530, 580):
        packets[second] = 0
    assert (
        plain(lines(history(packets, missing), UNTIL), 80)
        == """\
  packets in a second, in the last 10m00s until 10:00:00Z, 10s a column:
  mean    ▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▅▄▄▄▄▄▄▄▄▄  ▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄.....▄▄
  most    ▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄█▄▄▄▄▄▄▄▄▄  ▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄.....▄▄
  missing                                         !
          |10m  |9m   |8m   |7m   |6m   |5m   |4m   |3m   |2m   |1m
  3,663/s on average, at most 8,412 in a second, 6m39s ago (09:53:21Z)
  137 missing in 2 of these seconds, at most 120 in one, 3m11s ago (09:56:49Z)
  20 of these seconds are not known
"""
    )


def test_a_minute_and_a_half_has_a_column_for_two_seconds() -> None:
    packets: list[int | None] = [*[7] * 10, *[0] * 60, *[14] * 20]
    assert (
        plain(lines(history(packets, [0] * 90), UNTIL), 80)
        == """\
  packets in a second, in the last 1m30s until 10:00:00Z, 2s a column:
  mean    ▅▅▅▅▅..............................██████████
  most    ▅▅▅▅▅..............................██████████
                         |1m
  3.9/s on average, at most 14 in a second, the last one
  no number is missing
"""
    )


def test_where_nothing_came_there_is_no_worst_second() -> None:
    assert plain(lines(history([0] * 60), UNTIL)).endswith("|1m\n  nothing came\n")


def test_where_nothing_is_known_it_says_so() -> None:
    assert plain(lines(history([None] * 5), UNTIL)) == "  nothing is known yet of the last 5.0s, second by second\n"


@pytest.mark.parametrize(
    ("packets", "columns", "expected"),
    [
        ([], 10, ""),
        ([5], 10, "█"),
        ([0, 0, 0], 10, "..."),
        ([None, 1, 8], 10, " ▂█"),
        ([9, 1, 1, 7, 7], 2, "█▇"),  # the last column has its three seconds, the first one two
        ([None] * 6 + [3] * 6, 2, " █"),
        ([None, 3, None, None, 0, 0], 3, "█ ."),
    ],
)
def test_a_column_is_as_high_as_its_largest_second(packets: list[int | None], columns: int, expected: str) -> None:
    assert spark(packets, columns) == expected


@given(st.lists(st.none() | st.integers(0, 2**32), min_size=1, max_size=600), st.booleans())
def test_whatever_came_fits_on_80_columns_and_no_burst_or_loss_is_hidden(
    packets: list[int | None], is_numbered: bool
) -> None:
    found = [*lines(history(packets, packets if is_numbered else None), UNTIL)]
    text = plain(found)
    assert all(wide(line) <= 80 for line in text.splitlines() if "|" in line or "mean" in line or "most  " in line)
    most = max((one for one in packets if one is not None), default=0)
    assert ("█" in text) == (most > 0)
    assert ("!" in text) == (is_numbered and most > 0)
