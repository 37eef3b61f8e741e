"""What an interface's querier is configured with, and the intervals that follow from it (RFC 9776, section 8)."""

from ipaddress import IPv4Address
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from mcastd.config.downstream import Forward

QUIET: Final = 30.0
"""Seconds to wait for what is joined to arrive, as it may not be sent now."""
RESPONSE_GRACE: Final = 0.1
"""Seconds for the last answer to arrive: a host may wait for the whole Max Response Time before it sends it."""


class Timing(msgspec.Struct, frozen=True):
    """The values that all systems of a link should share, in seconds, and the intervals made of them."""

    robustness: int = 2
    query_interval: float = 125.0
    query_response_interval: float = 10.0
    last_member_query_interval: float = 1.0

    @property
    def group_membership_interval(self) -> float:
        """How long a report is valid (section 8.4)."""
        return self.robustness * self.query_interval + 2 * self.query_response_interval

    @property
    def other_querier_present_interval(self) -> float:
        """How long a querier that sends no query is taken to be there (section 8.5)."""
        return self.robustness * self.query_interval + self.query_response_interval / 2

    @property
    def startup_query_interval(self) -> float:
        """Between the first queries (section 8.6), of which there are ``robustness`` (section 8.7)."""
        return self.query_interval / 4

    @property
    def rare_query_interval(self) -> float:
        """Between the queries of one that gives way: another router takes over in it, and no report becomes invalid."""
        return self.other_querier_present_interval + self.query_response_interval / 4

    @property
    def last_member_query_time(self) -> float:
        """How long a group stays after the last host has left it (section 8.10), with the grace for an answer."""
        return self.robustness * self.last_member_query_interval + RESPONSE_GRACE

    @property
    def older_host_present_interval(self) -> float:
        """How long a host of an older version is taken to be there after its report (section 8.13)."""
        return self.robustness * self.query_interval + self.query_response_interval

    def bounded(self, own: "Timing") -> "Timing":
        """Another querier's values, such that it has to go on querying, also where ``own`` or the RFC's are shorter.

        Otherwise one query could keep us from querying for days, and groups whose hosts are gone for as long.
        """
        default = Timing()
        present = max(own.other_querier_present_interval, default.other_querier_present_interval)
        response = min(self.query_response_interval, max(own.query_response_interval, default.query_response_interval))
        interval = min(self.query_interval, (present - response / 2) / self.robustness)
        return replace(self, query_interval=interval, query_response_interval=response)


class IgmpInterface(msgspec.Struct, frozen=True):
    """A downstream interface: our address on it, the version of our queries, and limits.

    ``fast_leave`` removes a group without asking when the last host that is known to receive it leaves. Without
    ``querier`` nothing is sent, and no election is held: a cloud's gateway queries there, and this host forwards.
    """

    name: str
    address: IPv4Address
    ifindex: int = 0
    version: int = 3
    timing: Timing = Timing()
    fast_leave: bool = False
    querier: bool = True
    max_groups: int = 1000
    max_groups_per_host: int = 500

    @classmethod
    def of(cls, forward: Forward, address: IPv4Address, ifindex: int) -> "IgmpInterface":
        """What ``[forward.NAME]`` says, on an interface that exists."""
        timing = Timing(
            forward.robustness,
            forward.query_interval,
            forward.query_response_interval,
            forward.last_member_query_interval,
        )
        limits = {"max_groups": forward.max_groups, "max_groups_per_host": forward.max_groups_per_host}
        version = forward.igmp_version
        return cls(forward.name, address, ifindex, version, timing, forward.fast_leave, forward.querier, **limits)


class Election(NamedTuple):
    """What follows from the election on an interface.

    ``is_querier``: no other router is, so we forward. ``is_complete``: all hosts have had the time to say what they
    want. ``is_contending``: we take over from the other querier as soon as that arrives here.
    """

    is_querier: bool
    is_complete: bool
    is_contending: bool


class IgmpDesired(msgspec.Struct, frozen=True):
    """The downstream interfaces.

    None of the tunnels of a ``waiting`` one is up, so no query of ours is to take over from another router. On a tunnel
    of a ``quiet`` one nothing arrives of what is joined there: not yet, or because it is not sent.
    """

    interfaces: tuple[Forward, ...] = ()
    waiting: frozenset[str] = frozenset()
    quiet: frozenset[str] = frozenset()

    def allows(self, name: str, age: float = 0.0, election: Election | None = None) -> bool:
        """Whether queries may be sent on an interface, ``age`` seconds after its start.

        While another router is the querier, and forwards, what hosts want has to arrive here first; for that all of
        them have to be known.
        """
        if name in self.waiting:
            return False
        if election is not None and not election.is_querier:
            return election.is_complete and name not in self.quiet
        return name not in self.quiet or age >= QUIET
