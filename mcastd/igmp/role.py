"""Who queries, and forwards (section 6.6.2; RFC 4605, section 4.2):

    state         input                                            new state
    WAITING       queries are allowed, or no query came in time    QUERIER: queries at startup
    WAITING       a general query                                  NON_QUERIER
    QUERIER       a general query of a lower address               NON_QUERIER
    QUERIER       a general query of a higher address              QUERIER: one query at once, so that it stops
    NON_QUERIER   no query in Other Querier Present Interval       QUERIER
    NON_QUERIER   queries are allowed, the querier is higher       QUERIER: queries at startup
    QUERIER       nothing can be forwarded any longer              QUERIER: queries so rarely that another takes over
    any           the configuration says so                        LISTENER: nothing else, and it forwards

WAITING is for a router that cannot forward yet: it hears hosts and another querier, and does not take over from it. It
does so all the same where there is no other. One that can no longer forward asks often enough for hosts to stay
members. LISTENER is for a segment whose querier is not a router that could forward
to it, as a cloud's gateway. 0.0.0.0, of switches with snooping, takes no part in the election.
"""

from enum import Enum
from typing import Final, NamedTuple


class Role(Enum):
    """Who sends the queries; see the table above."""

    WAITING = "waiting"
    QUERIER = "querier"
    NON_QUERIER = "non-querier"
    LISTENER = "listener"


FORWARDING: Final = (Role.QUERIER, Role.LISTENER)
"""In which this host forwards, and waits for no other querier."""


class OtherQuerier(NamedTuple):
    """A router whose general queries were received: with which version, and when the last one was."""

    version: int
    heard_at: float
