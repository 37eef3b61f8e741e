"""Which of several tunnels carries groups, in lines. Pure."""

from collections.abc import Iterable, Iterator

from mcastd.cli.layout import Style, Text
from mcastd.cli.units import count, duration
from mcastd.status import PathStatus


def lines(found: Iterable[PathStatus]) -> Iterator[Text]:
    """A line for each decision: what carries, since when and why, and what else there is."""
    for one in found:
        what = one.group or f"{count(one.groups)} groups"
        also = f", and still {one.leaving}" if one.leaving else ""
        hand = ""
        if one.by_hand:
            left = "until mcastd use auto" if one.by_hand_left is None else f"for {duration(one.by_hand_left)} more"
            hand = f"; by command {one.by_hand} {left}"
        others = [name for name in one.tunnels if name not in (one.tunnel, one.leaving)]
        rest = ", ".join(
            f"{name} (dead: {one.dead[name]})" if name in one.dead else f"{name} (alive)" for name in others
        )
        is_dead = one.tunnel in one.dead
        style: Style = "bad" if is_dead else "warn" if one.tunnel != one.tunnels[0] else "plain"
        state = f" (dead: {one.dead[one.tunnel]})" if is_dead else ""
        text = f"{what} on {one.tunnel}{state}{also} for {duration(one.age)}: {one.why}{hand}"
        yield Text(text + (f"; otherwise: {rest}" if rest else ""), style)
