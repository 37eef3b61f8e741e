"""Assert winners by RFC 7761, section 4.6: which Assert wins, what ends it, and that the table is bounded."""

from collections.abc import Callable
from ipaddress import IPv4Address
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.errors import DecodeError
from mcastd.pim.asserts import ASSERT_TIME, INFINITE, MAX_ASSERTS, Asserts, Contested
from mcastd.pim.messages import Assert

GROUP, SOURCE, NOBODY = IPv4Address("239.1.2.3"), IPv4Address("10.9.0.1"), IPv4Address(0)
A, B = IPv4Address("10.44.4.5"), IPv4Address("10.44.4.7")
PAIR, STAR = Contested(GROUP, SOURCE), Contested(GROUP, None)


def pair(preference: int = 100, metric: int = 10) -> Assert:
    return Assert(GROUP, SOURCE, False, preference, metric)


def star(preference: int = 100, metric: int = 10, source: IPv4Address = NOBODY) -> Assert:
    return Assert(GROUP, source, True, preference, metric)


def cancel(source: IPv4Address = SOURCE) -> Assert:
    return Assert(GROUP, source, True, *INFINITE)


def everything(_source: IPv4Address | None) -> bool:
    return True


def nothing(_source: IPv4Address | None) -> bool:
    return False


def hear(table: Asserts, message: Assert, sender: IPv4Address, now: float = 0.0) -> Contested | str | None:
    try:
        return table.received(message, sender, everything, now)
    except DecodeError as error:
        return error.reason


@pytest.mark.parametrize(("about", "make"), [(PAIR, pair), (STAR, star)])
def test_the_better_metric_wins(about: Contested, make: Callable[..., Assert]) -> None:
    table = Asserts()
    assert hear(table, make(100, 10), A) == about
    assert hear(table, make(101, 1), B) == "assert_not_followed"
    assert hear(table, make(100, 11), B) == "assert_not_followed"
    assert table.winner(*about) == A
    assert hear(table, make(100, 10), B) == about  # the higher address
    assert hear(table, make(100, 10), A) == "assert_not_followed"
    assert hear(table, make(99, 500), A) == about
    assert table.winner(*about) == A


def test_it_holds_for_assert_time_from_when_the_winner_was_last_heard() -> None:
    table = Asserts()
    hear(table, pair(), A, 0.0)
    assert hear(table, pair(), A, 177.0) is None
    assert table.next_deadline() == 177.0 + ASSERT_TIME
    assert table.expire(300.0) == []
    assert table.expire(357.0) == [PAIR]
    assert (table.winner(*PAIR), len(table), table.groups(), table.next_deadline()) == (None, 0, [], inf)


def test_a_winner_that_got_worse_is_beaten_by_what_it_is_now() -> None:
    table = Asserts()
    hear(table, pair(1, 1), A)
    assert hear(table, pair(200, 1), A) is None
    assert hear(table, pair(100, 1), B) == PAIR


@pytest.mark.parametrize(
    ("about", "make", "source"), [(PAIR, pair, SOURCE), (STAR, star, IPv4Address("100.15.30.253"))]
)
def test_a_cancel_counts_from_the_winner_alone(
    about: Contested, make: Callable[..., Assert], source: IPv4Address
) -> None:
    table = Asserts()
    hear(table, make(), A)
    assert hear(table, cancel(source), B) == "assert_not_followed"
    assert hear(table, cancel(source), A) == about
    assert hear(table, cancel(source), A) == "assert_not_followed"


def test_the_pair_comes_first_and_keeps_the_star_from_changing() -> None:
    table = Asserts()
    assert hear(table, pair(), A) == PAIR
    assert hear(table, star(1, 1, SOURCE), B) == "assert_not_followed"
    assert hear(table, star(1, 1, SOURCE), A) is None  # its RPT metric says nothing about the pair
    assert hear(table, star(1, 1, SOURCE + 1), B) == STAR  # of another source, which nobody contends for
    assert (table.winner(*PAIR), table.winner(*STAR)) == (A, B)


@pytest.mark.parametrize("message", [pair(), star(), star(source=SOURCE), cancel()])
def test_what_is_not_tracked_is_not_followed(message: Assert) -> None:
    with pytest.raises(DecodeError, match=r"^assert_not_followed$"):
        Asserts().received(message, A, nothing, 0.0)


def test_an_assert_of_no_source_without_the_rpt_bit_is_of_nothing() -> None:
    assert hear(Asserts(), Assert(GROUP, NOBODY, False, 1, 1), A) == "assert_not_followed"


def test_what_a_neighbor_has_won_is_found() -> None:
    table = Asserts()
    hear(table, pair(), A)
    hear(table, star(), B)
    assert (table.won_by(A), table.won_by(B), table.won_by(None)) == ([PAIR], [STAR], [PAIR, STAR])
    table.forget(PAIR)
    assert table.won_by(A) == []
    assert table.next_deadline() == ASSERT_TIME


def test_a_flood_is_bounded() -> None:
    table = Asserts()
    heard = [hear(table, Assert(GROUP, SOURCE + n, False, 1, 1), A) for n in range(MAX_ASSERTS + 10)]
    assert heard[MAX_ASSERTS:] == ["too_many_asserts"] * 10
    assert len(table) == MAX_ASSERTS
    assert hear(table, pair(), A, 1.0) is None


@given(st.lists(st.tuples(st.sampled_from([A, B]), st.booleans(), st.integers(0, 3), st.sampled_from([0.0, 100.0]))))
def test_the_winner_is_never_worse_than_a_living_contender(said: list[tuple[IPv4Address, bool, int, float]]) -> None:
    table, now = Asserts(), 0.0
    last: dict[IPv4Address, int] = {}
    for sender, is_cancel, metric, later in said:
        now += later
        for about in table.expire(now):
            assert about == PAIR
            last.clear()
        hear(table, cancel() if is_cancel else pair(0, metric), sender, now)
        winner = table.winner(*PAIR)
        if is_cancel:
            last.pop(sender, None)
        else:
            last[sender] = metric
        if winner is None:
            last.clear()
        elif sender != winner and not is_cancel:
            assert (last[winner], -int(winner)) <= (metric, -int(sender))
    assert (len(table) == 0) is (table.next_deadline() == inf)
