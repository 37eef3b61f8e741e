"""What the two sides of pairs lost, and which comes first, for people."""

from collections.abc import Iterable, Iterator

from mcastd.cli.layout import Style, Text
from mcastd.cli.stream_measures import below
from mcastd.cli.units import count
from mcastd.stream_status import PairCount


def lines(pairs: Iterable[PairCount], is_one: bool) -> Iterator[Text]:
    """A line for each pair, those that lost on both sides first; with ``is_one`` everything that is known of it."""
    for one in sorted(pairs, key=lambda one: not one.lost_both):
        unit = f", unit {one.unit}" if one.unit else ""
        a, b, both, compared = map(count, (one.lost_a, one.lost_b, one.lost_both, one.compared))
        lost = f"lost on A alone {a}, on B alone {b}, on both {both}, of {compared}"
        style: Style = "bad" if one.lost_both else "warn" if one.lost_a or one.lost_b else "plain"
        what = lost if one.compared else "nothing is compared yet"
        yield Text(f"pair {one.feed}{unit}, A {one.a}, B {one.b}: {what}", style)
        if is_one:
            yield from map(Text, _more(one))


def _more(one: PairCount) -> Iterator[str]:
    if one.compared:
        yield f"  awaited on A alone {one.awaited_a}, on B alone {one.awaited_b}, on both {one.awaited_both}"
    total = sum(one.a_first) + sum(one.b_first)
    for side, other, counts in (("A", "B", one.a_first), ("B", "A", one.b_first)):
        if number := sum(counts):
            later = ", ".join(f"{share:g} % by less than {below(counts, share)}" for share in (50, 99))
            yield f"  {side} first in {100 * number / total:.1f} % of the packets; {other} later: {later}"
    if one.not_compared:
        yield f"  not compared: {one.not_compared} numbers, {one.restarts} restarts"
