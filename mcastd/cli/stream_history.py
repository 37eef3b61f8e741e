"""What a stream carried in each of the last seconds, for people: drawn in a line, some seconds a column. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from mcastd.cli.layout import Text
from mcastd.cli.units import count, duration, rate
from mcastd.stream_status import StreamHistory

SPARK: Final = 10
"""Columns of the terminal for the last minute."""
MINUTE: Final = 60.0
_COLUMNS: Final = 60
_LEVELS: Final = "▁▂▃▄▅▆▇█"
_LABEL: Final = 8  # columns before what is drawn

Seconds = Sequence[int | None]


def spark(values: Seconds, columns: int = SPARK) -> str:
    """The most in a second of each column, of the largest: blank where nothing is known, ``.`` where nothing came."""
    found = [max(known, default=None) for known in _columns(values, columns)]
    return _draw(found, max((one for one in found if one is not None), default=0))


def lines(history: StreamHistory, until: datetime) -> Iterator[Text]:
    """One stream: its rate, the most in a second, where numbers are missing, minute by minute, and what was worst."""
    period = len(history.packets)
    known = [one for one in history.packets if one is not None]
    if not known:
        yield Text(f"nothing is known yet of the last {duration(period)}, second by second", "dim", indent=2)
        return
    columns, most = _columns(history.packets, _COLUMNS), max(known)
    step = -(-period // _COLUMNS)
    yield Text(
        f"packets in a second, in the last {duration(period)} until {until:%H:%M:%S}Z, {step}s a column:", indent=2
    )
    yield _row("mean", _draw([sum(one) / len(one) if one else None for one in columns], most))
    yield _row("most", spark(history.packets, _COLUMNS))
    missed = _columns(history.missing, _COLUMNS)
    if any(map(any, missed)):
        yield Text(f"{'missing':{_LABEL}}{''.join('!' if any(one) else ' ' for one in missed)}", "bad", indent=2)
    yield Text(f"{'':{_LABEL}}{_marks(len(columns), step)}", "dim", indent=2)
    if most:
        mean, when = rate(sum(known) / len(known)), _when(history.packets, most, until)
        yield Text(f"{mean} on average, at most {count(most)} in a second, {when}", indent=2)
    else:
        yield Text("nothing came", "warn", indent=2)
    missing = [one for one in history.missing if one is not None]
    if total := sum(missing):
        seconds, worst = sum(map(bool, missing)), max(missing)
        text = f"{count(total)} missing in {seconds} of these seconds, at most {count(worst)} in one"
        yield Text(f"{text}, {_when(history.missing, worst, until)}", "bad", indent=2)
    elif missing:
        yield Text("no number is missing", "good", indent=2)
    if unknown := period - len(known):
        yield Text(f"{count(unknown)} of these seconds are not known", "dim", indent=2)


def _row(label: str, drawn: str) -> Text:
    return Text(f"{label:{_LABEL}}{drawn}", indent=2)


def _columns(values: Seconds, columns: int) -> list[list[int]]:
    """What is known of the seconds of each column, each of which but the first has as many seconds."""
    step = max(1, -(-len(values) // columns))
    begins = range(len(values) % step - step if len(values) % step else 0, len(values), step)
    return [[one for one in values[max(0, first) : first + step] if one is not None] for first in begins]


def _draw(values: Sequence[float | None], most: float) -> str:
    return "".join(
        " " if one is None else "." if not one else _LEVELS[min(len(_LEVELS) - 1, int(one * len(_LEVELS) / most))]
        for one in values
    )


def _marks(columns: int, step: int) -> str:
    """A mark at each full minute."""
    marks = [" "] * columns
    for minute in range(1, columns * step // 60 + 1):
        text = f"|{minute}m"
        at = columns - round(60 * minute / step)
        marks[at : at + len(text)] = text
    return "".join(marks)


def _when(values: Seconds, value: int, until: datetime) -> str:
    """When this value was there last."""
    age = next(age for age, one in enumerate(reversed(values)) if one == value)
    return f"{duration(age)} ago ({until - timedelta(seconds=age):%H:%M:%S}Z)" if age else "the last one"
