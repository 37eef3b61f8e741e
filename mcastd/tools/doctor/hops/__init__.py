"""The hops: each a function from facts to what it found, with the causes that it can name declared beside it."""

from collections.abc import Callable, Collection

from mcastd.tools.doctor import firewall
from mcastd.tools.doctor.facts import Facts
from mcastd.tools.doctor.finding import Found

__all__ = ["INCOMING", "LOOPBACK", "OUTGOING", "Found", "Hop", "dropping"]

Hop = Callable[[Facts], Found]

LOOPBACK = "lo"


INCOMING = ("ingress", "prerouting", "input")
OUTGOING = ("output", "postrouting", "egress")


def dropping(facts: Facts, lost: int, hooks: Collection[str] = INCOMING) -> str:
    """Which rules of this host's firewalls may have dropped so many packets, to end a sentence."""
    count, most = facts.proc.conntrack or (0, 1)
    if 0 < most <= count:  # 0 is no limit
        return (
            f"; nf_conntrack is full ({count} of {most}), and drops what begins: raise net.netfilter.nf_conntrack_max"
        )
    return firewall.suspected(facts.rules, hooks, lost)
