"""The hops: each a function from facts to what it found, with the causes that it can name declared beside it."""

from collections.abc import Callable

from mcastd.tools.doctor.facts import Facts
from mcastd.tools.doctor.finding import Found

__all__ = ["LOOPBACK", "Found", "Hop", "dropping"]

Hop = Callable[[Facts], Found]

LOOPBACK = "lo"


def dropping(facts: Facts) -> str:
    """The chains of this host's firewall that drop what they do not accept, to end a sentence."""
    if not facts.dropping_chains:
        return ""
    return f"; nftables' {', '.join(facts.dropping_chains)} has policy drop"
