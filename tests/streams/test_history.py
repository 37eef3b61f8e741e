"""What had been counted at earlier times: which steps are kept, and what they say of streams that come and go."""

import pytest

from mcastd.streams.history import KEPT, History


def counted(history: History, now: float, *packets: int) -> None:
    """The streams in slots 0, 1, ... are looked at."""
    if (step := history.begin({}, now)) is not None:
        for slot, count in enumerate(packets):
            step.packets[slot], step.sizes[slot], step.dropped[slot] = count, count * 100, count // 100
        history.end(step)


def since(history: History, time: float, slot: int = 0) -> tuple[float, int, int]:
    step = history.at(time)
    assert step is not None
    return step.time, *step.of(slot)[:2]


@pytest.mark.parametrize("age", [60, 90, 600, 3000, 6 * 3600, 24 * 3600, 25 * 3600])
def test_what_was_counted_since_any_time_of_the_last_25_hours_is_known_to_a_tenth(age: int) -> None:
    history = History()
    history.slot()
    end = 3 * 86400
    for now in range(0, end + 1, 7):
        counted(history, float(now), now)
    time, packets, size = since(history, end - age)
    assert (packets, size) == (time, time * 100)
    assert end - age >= time >= end - age - max(127, age * 0.12)


def test_the_memory_is_bounded() -> None:
    history = History()
    history.slot()
    for now in range(0, 5 * 86400, 60):
        counted(history, float(now), now)
    assert len(history._steps) < 90
    assert history._steps[-1].time - history._steps[1].time < KEPT


def test_before_the_first_step_it_is_the_first() -> None:
    history = History()
    assert history.at(0.0) is None
    history.slot()
    counted(history, 1000.0, 5)
    assert since(history, 10.0) == (1000.0, 5, 500)


def test_a_stream_that_comes_later_had_nothing_before_even_where_another_was() -> None:
    history = History()
    first, second = history.slot(), history.slot()
    counted(history, 1000.0, 5, 7)
    history.free(second)
    assert (history.slot(), history.slot()) == (second, 2)
    assert [since(history, 1000.0, slot)[1] for slot in (first, second, 2)] == [5, 0, 0]
    history.forget(first)
    assert since(history, 1000.0, first) == (1000.0, 0, 0)


def test_after_a_reset_all_is_counted_from_then() -> None:
    history = History()
    history.slot()
    counted(history, 1000.0, 5)
    history.clear({}, 1030.0)
    assert since(history, 1000.0) == (1030.0, 0, 0)
