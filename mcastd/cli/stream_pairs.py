"""What the two sides of pairs lost, and which comes first, for people."""

from collections.abc import Iterable, Iterator

from mcastd.cli.stream_measures import below
from mcastd.stream_status import PairCount


def lines(pairs: Iterable[PairCount], is_one: bool) -> Iterator[str]:
    """A line for each pair; with ``is_one`` everything that is known of it."""
    for one in pairs:
        unit = f", unit {one.unit}" if one.unit else ""
        lost = f"lost on A alone {one.lost_a}, on B alone {one.lost_b}, on both {one.lost_both}, of {one.compared}"
        yield f"pair {one.feed}{unit}, A {one.a}, B {one.b}: {lost if one.compared else 'nothing is compared yet'}"
        if not is_one:
            continue
        if one.compared:
            yield f"  awaited on A alone {one.awaited_a}, on B alone {one.awaited_b}, on both {one.awaited_both}"
        total = sum(one.a_first) + sum(one.b_first)
        for side, other, counts in (("A", "B", one.a_first), ("B", "A", one.b_first)):
            if number := sum(counts):
                later = ", ".join(f"{share:g} % by less than {below(counts, share)}" for share in (50, 99))
                yield f"  {side} first in {100 * number / total:.1f} % of the packets; {other} later: {later}"
        if one.not_compared:
            yield f"  not compared: {one.not_compared} numbers, {one.restarts} restarts"
