"""Hours of the week: what is accepted, and when it is."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.config.hours import parse

CHICAGO = ZoneInfo("America/Chicago")
MONDAY = datetime(2026, 1, 5, tzinfo=CHICAGO)  # 00:00
MOMENTS = st.integers(0, 2 * 7 * 24 * 60).map(lambda minutes: MONDAY + timedelta(minutes=minutes))


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return MONDAY + timedelta(days=day, hours=hour, minutes=minute)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("Mon-Fri 07:00-23:00", [at(0, 7), at(4, 22, 59)], [at(0, 6, 59), at(4, 23), at(5, 12), at(6, 12)]),
        ("Sat-Mon 00:00-24:00", [at(5, 0), at(6, 12), at(7, 23, 59)], [at(1, 0), at(4, 23, 59)]),
        ("Sun 22:00-05:00", [at(6, 22), at(7, 4, 59), at(0, 3)], [at(6, 21), at(7, 5), at(6, 3)]),
        ("Sun-Thu 17:00-16:00", [at(6, 17), at(0, 15, 59), at(4, 15)], [at(0, 16, 30), at(4, 16), at(5, 1)]),
    ],
)
def test_a_range_begins_and_ends_on_its_days(text: str, inside: list[datetime], outside: list[datetime]) -> None:
    hours = parse(f"{text} America/Chicago")
    assert all(hours.contain(moment.astimezone(UTC)) for moment in inside)
    assert not any(hours.contain(moment.astimezone(UTC)) for moment in outside)


@given(MOMENTS)
def test_summer_time_is_that_of_the_zone(moment: datetime) -> None:
    hours = parse("Mon-Sun 08:00-09:00 America/Chicago")
    summer = moment.astimezone(UTC) + timedelta(days=182)
    for one in (moment, summer):
        assert hours.contain(one) is (one.astimezone(CHICAGO).hour == 8)


@given(MOMENTS)
def test_without_a_zone_it_is_the_host_s(moment: datetime) -> None:
    assert parse("Mon-Sun 08:00-09:00").contain(moment) is (moment.astimezone().hour == 8)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "these are no hours of the week"),
        ("Mon 07:00", "these are no hours of the week"),
        ("Mon 7:00-8:00", "these are no hours of the week"),
        ("Mon 07:00-08:00 ../../etc/passwd", "these are no hours of the week"),
        ("Mon-Xyz 07:00-08:00", "a day is one of Mon, Tue, Wed, Thu, Fri, Sat, Sun"),
        ("Mon 24:00-08:00", "a time is from 00:00 to 24:00"),
        ("Mon 07:60-08:00", "a time is from 00:00 to 24:00"),
        ("Mon 07:00-24:01", "a time is from 00:00 to 24:00"),
        ("Mon 07:00-08:00 Europe", "this host knows no time zone Europe"),
        ("Mon 07:00-08:00 /etc/passwd", "this host knows no time zone /etc/passwd"),
    ],
)
def test_what_is_wrong_is_named(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}$"):
        parse(text)


@given(st.text() | st.from_regex(r"\w{3}-\w{3} \d\d:\d\d-\d\d:\d\d( [\w/+-]{1,9})?", fullmatch=True))
def test_any_text_is_hours_or_a_value_error(text: str) -> None:
    try:
        hours = parse(text)
    except ValueError:
        return
    assert any(hours.contain(at(day, 0) + timedelta(minutes=hours.begin)) for day in range(8)) or hours.zone
    assert str(hours) == text
