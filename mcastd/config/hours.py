"""Hours of the week: ``Mon-Fri 07:00-23:00``, or in another time zone ``Sun-Fri 17:00-16:00 America/Chicago``. Pure."""

import re
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HOURS: Final = re.compile(r"(\w{3})(?:-(\w{3}))? (\d\d):(\d\d)-(\d\d):(\d\d)(?: ([\w/+-]{1,64}))?")
_DAY: Final = 24 * 60  # minutes


class Hours(msgspec.Struct, frozen=True):
    """On ``days`` (0: Monday) from ``begin`` until ``end``, in minutes; an end on the next day is beyond 24 h.

    ``zone`` is a name of the time zone database; None: the local time of the host.
    """

    text: str
    days: tuple[int, ...]
    begin: int
    end: int
    zone: str | None = None

    def __str__(self) -> str:
        """As in the file."""
        return self.text

    def contain(self, moment: datetime) -> bool:
        """Whether a time, which has a time zone, is within them."""
        local = moment.astimezone(ZoneInfo(self.zone) if self.zone else None)
        minute = local.hour * 60 + local.minute
        today, yesterday = local.weekday(), (local.weekday() - 1) % 7
        return (today in self.days and self.begin <= minute < self.end) or (
            yesterday in self.days and self.begin <= minute + _DAY < self.end
        )


def parse(text: str) -> Hours:
    """The hours that a text of the file means. Raises ValueError with what is wrong."""
    match = _HOURS.fullmatch(text)
    if match is None:
        raise ValueError("these are no hours of the week")
    first, last = match[1], match[2] or match[1]
    if first not in _DAYS or last not in _DAYS:
        raise ValueError(f"a day is one of {', '.join(_DAYS)}")
    begin, end = (int(match[at]) * 60 + int(match[at + 1]) for at in (3, 5))
    if begin >= _DAY or end > _DAY or int(match[4]) > 59 or int(match[6]) > 59:
        raise ValueError("a time is from 00:00 to 24:00")
    start = _DAYS.index(first)
    days = tuple((start + more) % 7 for more in range((_DAYS.index(last) - start) % 7 + 1))
    if match[7]:
        try:
            ZoneInfo(match[7])
        except (KeyError, ValueError, OSError):
            raise ValueError(f"this host knows no time zone {match[7]}") from None
    return Hours(text, days, begin, end if end > begin else end + _DAY, match[7])
