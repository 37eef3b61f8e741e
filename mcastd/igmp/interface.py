"""A downstream interface of the IGMP agent: what is known of it, and for how long it does without an address. Pure."""

from collections import Counter, deque
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address
from typing import Final, Protocol

from mcastd.igmp.flood import Flood
from mcastd.igmp.kernel import Transport
from mcastd.igmp.members import MAX_HOSTS, MAX_TRACKED
from mcastd.igmp.pim_routers import PimRouters
from mcastd.igmp.querier import Querier
from mcastd.igmp.settings import IgmpInterface
from mcastd.joined_hosts import JoinedHost
from mcastd.net.igmp import Message
from mcastd.net.token_bucket import TokenBucket
from mcastd.problems import Problem

_AWAY: Final = 10.0  # seconds for which an address may be away, as when it is set again
_EVENTS_RATE, _EVENTS_BURST = 0.1, 10.0  # lines in the log, a second and at once


class Turn(Protocol):
    """A call of the loop that is due."""

    def cancel(self) -> None:
        """It is not to come."""


class Interface:
    """A downstream interface, its querier and its transport."""

    def __init__(self, settings: IgmpInterface, querier: Querier, now: float) -> None:
        self.settings = settings
        self.began = now
        self.away_since: float | None = None  # since when it has no address
        self.querier = querier
        self.transport: Transport | None = None  # None if it could not be opened
        self.problem: str | None = None  # the last error of the host; None after a query could be sent
        self.errors: Counter[str] = Counter()  # errors of the host, and bad or dropped packets, by reason
        self.flood = Flood()
        self.waiting: deque[tuple[IPv4Address, Message]] = deque()  # what has been read, in parts, with its source
        self.again: Turn | None = None  # the next turn of that
        self.sampled: frozenset[IPv4Address] = frozenset()  # the hosts of which the kernel drops most packets
        self.macs: dict[IPv4Address, bytes] = {}  # of hosts, the Ethernet address that they sent from last
        self.pim_routers = PimRouters()
        self.lines = TokenBucket(_EVENTS_RATE, _EVENTS_BURST)  # in the log

    def heard(self, host: IPv4Address, mac: bytes) -> bool:
        """A host has sent something; returns whether it was known, with another Ethernet address."""
        before = self.macs.get(host)
        if before == mac:
            return False
        if len(self.macs) >= 2 * MAX_HOSTS:
            self.macs = {one: known for one, known in self.macs.items() if self.querier.hosts.groups_of(one)}
        self.macs[host] = mac
        return before is not None

    @property
    def groups(self) -> Collection[IPv4Address]:
        """The groups that hosts have joined."""
        return self.querier.groups

    def joined(self, group: IPv4Address, now: float) -> Iterator[JoinedHost]:
        """The hosts that have joined a group."""
        for host, member in self.querier.members(group, now):
            if host in self.macs:
                yield JoinedHost(host, self.macs[host], member.desired)

    def limits(self) -> Iterator[Problem]:
        """What hosts want beyond what is allowed."""
        name = self.settings.name
        if "too_many_groups" in self.querier.full:
            limit = f"max_groups of {name}, {self.settings.max_groups}"
            yield Problem("groups_limit", name, f"{name}: machines want more groups than {limit}")
        if "too_many_hosts" in self.querier.full:
            most = f"{MAX_HOSTS} machines with {MAX_TRACKED} groups and sources together"
            text = f"more than {most} want groups; of an overlay the others get nothing"
            yield Problem("hosts_limit", name, f"{name}: {text}")

    def without_address(self, ifindex: int, now: float) -> IgmpInterface | None:
        """What it goes on with while its address is away; None if it has been for long, or the link is another one."""
        self.away_since = now if self.away_since is None else self.away_since
        is_kept = ifindex == self.settings.ifindex and now < self.away_since + _AWAY
        return self.settings if is_kept else None
