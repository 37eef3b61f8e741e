"""What is a bad soak, and what the table says of it."""

from dataclasses import replace

import pytest

from tests.soak.result import MEMORY_LIMIT, Packets, Result, Sample

PACKETS = Packets(rate=5000.0, seconds=100.0, sent=500_000, arrived=500_000, received=500_000, longest_gap=0.02)
START, QUARTER, END = Sample(0.0, 40_000, 19, 2000), Sample(25.0, 41_000, 20, 3000), Sample(100.0, 41_500, 20, 5000)
GOOD = Result(PACKETS, START, QUARTER, END, {"reloads": 9})


def test_a_good_soak_has_nothing_to_say() -> None:
    assert list(GOOD.verdicts()) == []
    assert GOOD.table().endswith("as it must be")


@pytest.mark.parametrize(
    ("packets", "is_bad"),
    [
        (replace(PACKETS, received=499_999), True),
        (replace(PACKETS, received=499_999, dropped_behind=1), False),
        (replace(PACKETS, arrived=499_990, received=499_990), True),
        (replace(PACKETS, arrived=499_990, received=499_990, dropped_before=10), False),
        (replace(PACKETS, arrived=499_990, received=499_989, dropped_before=10), True),
        (replace(PACKETS, sent=400_000, arrived=400_000, received=400_000), False),
    ],
    ids=["in mcastd", "in the application", "before, unexplained", "before, no room", "both", "a slow source"],
)
def test_packets_count_where_mcastd_could_lose_them(packets: Packets, is_bad: bool) -> None:
    assert bool(list(replace(GOOD, packets=packets).verdicts())) == is_bad


def test_growth_counts_after_the_first_quarter_alone() -> None:
    assert list(replace(GOOD, end=replace(END, memory=QUARTER.memory + MEMORY_LIMIT)).verdicts()) == []
    assert list(replace(GOOD, end=replace(END, memory=QUARTER.memory + MEMORY_LIMIT + 1)).verdicts()) != []
    assert list(replace(GOOD, quarter=None, end=replace(END, memory=90_000, descriptors=19)).verdicts()) == []


def test_descriptors_must_not_grow_and_nothing_must_fail() -> None:
    assert list(replace(GOOD, end=replace(END, descriptors=21)).verdicts()) == ["1 more descriptors are open"]
    assert list(replace(GOOD, failures=("reload: refused",)).verdicts()) == ["reload: refused"]
    assert "NOT AS IT MUST BE: reload: refused" in replace(GOOD, failures=("reload: refused",)).table()
