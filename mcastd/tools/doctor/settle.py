"""Waits out a transition: what is being set up, renewed or restarted says nothing yet about what is broken."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from mcastd.tools.doctor.facts import Facts
from mcastd.tools.doctor.finding import Cause
from mcastd.tools.doctor.hops.gre import Gre
from mcastd.tools.doctor.hops.ipsec import Ipsec
from mcastd.tools.doctor.hops.pim import Pim
from mcastd.tools.doctor.hops.status import Reported
from mcastd.tools.doctor.walk import walk

_LONGEST: Final = 12.0  # seconds
_PAUSE: Final = 1.0  # seconds between two observations
_STARTED: Final = 10.0  # seconds for what has just started: CHILD_SAs, links, PIM's first Hello where it is asked for
_UP: Final = 3.0  # seconds for an SA to carry something


PASSING: Final[frozenset[Cause]] = frozenset(
    {
        *(Ipsec.NOT_UP, Ipsec.NO_ANSWER, Ipsec.UDP_4500_BLOCKED, Ipsec.NOT_DECRYPTED),
        *(Gre.TUNNEL_DOWN, Gre.NOT_ENCRYPTED, Gre.NOTHING_COMES_BACK, Gre.GRE_REFUSED, Gre.PATH_DEAD),
        *(Pim.NO_NEIGHBOR, Pim.NOT_JOINED, Pim.PIM_NOT_RUNNING, Pim.SILENT),
        *(Reported.ALL_SILENT, Reported.CHILD_SA_SILENT, Reported.FLAPPING, Reported.HELLO_OVERDUE),
        *(Reported.KEEPALIVES_STOPPED, Reported.REPORTED),
    }
)
"""What a transition looks like; what the other side has answered, such as a refused proposal, is none of it."""


def transition(facts: Facts) -> str | None:
    """What has just begun, so that its consequences may not show yet; None if nothing has. Pure."""
    if facts.status is None:
        return None
    if facts.status.uptime < _STARTED:
        return f"mcastd started {facts.status.uptime:.0f} s ago"
    for peer in facts.peers:
        if peer.state == "connecting" and peer.problem_code is None:
            return f"peer {peer.name} is being connected"
        for child in peer.children:
            if child.state == "up" and (facts.replaced(child) or (child.uptime or _UP) < _UP):
                return f"CHILD_SA {child.name} has just been established"
            if child.state == "connecting" and child.problem_code is None:
                return f"CHILD_SA {child.name} is being established"
    return None


async def settled(look: Callable[[], Awaitable[Facts]], waiting: Callable[[str], None]) -> Facts:
    """Observe, and again while a transition may explain what is found; ``waiting`` is called with what is waited for.

    What no transition explains is reported at once.
    """
    passing = {cause.name.lower() for cause in PASSING}
    end = time.monotonic() + _LONGEST
    while True:
        facts = await look()
        reason = transition(facts)
        may_pass = any(one.problem in passing for one in walk(facts).findings)
        if reason is None or not may_pass or time.monotonic() >= end:
            return facts
        waiting(reason)
        await asyncio.sleep(_PAUSE)
