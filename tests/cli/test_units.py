"""Numbers as people read them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.cli.units import bits, count, duration, rate, short, size


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (count(1_234_567), "1,234,567"),
        (rate(0.0), "0/s"),
        (rate(0.26), "0.3/s"),
        (rate(9.96), "10/s"),
        (rate(8100.4), "8,100/s"),
        (bits(0), "0 b/s"),
        (bits(999), "999 b/s"),
        (bits(999.6), "1.0 kb/s"),
        (bits(1500), "1.5 kb/s"),
        (bits(4_200_000), "4.2 Mb/s"),
        (bits(999_960_000), "1.0 Gb/s"),
        (bits(3e9), "3.0 Gb/s"),
        (bits(2e12), "2,000.0 Gb/s"),
        (size(13_872), "13.9 kB"),
        (size(80), "80 B"),
        (duration(3.21), "3.2s"),
        (duration(59.96), "1m00s"),
        (duration(307), "5m07s"),
        (duration(9000), "2h30m"),
        (duration(100_000), "1d03h"),
        (short(12e-6), "12us"),
        (short(999.9e-6), "1.0ms"),
        (short(0.0034), "3.4ms"),
        (short(0.99999), "1.0s"),
    ],
)
def test_a_number_is_shown_as_people_read_it(shown: str, text: str) -> None:
    assert shown == text


_SCALE = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@given(st.floats(0, 9e14))
def test_size_and_bits_are_right_to_a_digit_and_short(number: float) -> None:
    for text, largest in ((size(number), 1e15), (bits(number), 1e12)):
        found = re.fullmatch(r"([0-9,]+(?:\.[0-9])?) ([kMGT]?)(B|b/s)", text)
        assert found is not None
        figure = float(found[1].replace(",", ""))
        step = _SCALE[found[2]] * (0.1 if found[2] else 1)
        assert abs(figure * _SCALE[found[2]] - number) <= step * 0.501
        assert figure < 1000 or number >= largest


@given(st.floats(0, 1e8), st.floats(0, 1e8))
def test_a_longer_duration_is_never_shown_as_a_shorter_one(one: float, other: float) -> None:
    first, second = sorted((one, other))
    assert seconds_of(duration(first)) <= seconds_of(duration(second)) + 0.05
    assert seconds_of(short(first)) <= seconds_of(short(second)) + 0.05


@given(st.floats(0, 1e8))
def test_a_duration_is_at_most_a_unit_off(seconds: float) -> None:
    text = duration(seconds)
    unit = 3600 if "d" in text else 60 if "h" in text else 1
    assert abs(seconds_of(text) - seconds) <= unit
    assert re.search("60[.ms]", text) is None


def seconds_of(text: str) -> float:
    of = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6}
    return sum(float(number) * of[unit] for number, unit in re.findall(r"([0-9.]+)(ms|us|[dhms])", text))
