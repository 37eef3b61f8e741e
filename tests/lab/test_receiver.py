import hypothesis.strategies as st
from hypothesis import given

from mcastd.lab.receiver import Counters


def counted(sequences: list[int], period: float = 0.001) -> Counters:
    counters = Counters("239.1.1.1")
    for turn, sequence in enumerate(sequences):
        counters.count(sequence, turn * period)
    return counters


def test_what_came_before_the_first_packet_is_not_lost() -> None:
    report = counted([1000, 1001, 1002]).report()
    assert (report["received"], report["lost"], report["duplicates"]) == (3, 0, 0)


def test_a_gap_is_lost_until_it_arrives_late() -> None:
    assert counted([5, 6, 9]).report()["lost"] == 2
    late = counted([5, 6, 9, 7]).report()
    assert (late["received"], late["lost"], late["duplicates"]) == (4, 1, 0)


def test_a_packet_that_comes_again_is_a_duplicate_and_not_received_again() -> None:
    report = counted([5, 6, 6, 5]).report()
    assert (report["received"], report["lost"], report["duplicates"]) == (2, 0, 2)


def test_the_longest_gap_is_between_arrivals() -> None:
    counters = Counters("239.1.1.1")
    for sequence, now in enumerate((10.0, 10.001, 10.5, 10.501)):
        counters.count(sequence, now)
    assert counters.report()["longest_gap"] == 10.5 - 10.001
    assert (counters.report()["first"], counters.report()["last"]) == (10.0, 10.501)


def test_a_gap_too_wide_to_remember_is_counted_all_the_same() -> None:
    counters = counted([0, 10_000_000])
    assert counters.report()["lost"] == 9_999_999
    assert not counters.missing


@given(st.data())
def test_received_and_lost_add_up_whatever_the_order(data: st.DataObject) -> None:
    sent = list(range(data.draw(st.integers(1, 60))))
    kept = data.draw(st.lists(st.sampled_from(sent), max_size=120))
    report = counted([0, *kept]).report()
    distinct = {0, *kept}
    assert report["received"] == len(distinct)
    assert report["lost"] == max(distinct) + 1 - len(distinct)
    assert report["duplicates"] == 1 + len(kept) - len(distinct)
