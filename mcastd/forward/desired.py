"""What the forward agent is configured with, and what other agents and status see of it. Pure."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple, TypeAlias

import msgspec

from mcastd.config.downstream import Forward
from mcastd.config.model import SSM_RANGE
from mcastd.membership import DesiredGroup
from mcastd.net.mroute import NOTHING, Counts
from mcastd.wanted import NEEDS_NO_RP, Rps


class ForwardTunnel(msgspec.Struct, frozen=True):
    """A tunnel: the index of its link, the groups that are joined there with sources only, and by which ``rps`` others.

    ``index`` is None while it is not known, as at a start: then the link that the previous process left is the tunnel.
    """

    index: int | None
    ssm_ranges: tuple[IPv4Network, ...] = (SSM_RANGE,)
    rps: Rps = NEEDS_NO_RP

    def joinable(self, group: IPv4Address, desired: DesiredGroup) -> DesiredGroup:
        """What of it can be joined there: without a rendezvous point the sources that are asked for."""
        if desired.any_source and not self.rps.serves(group):
            return DesiredGroup(sources=desired.sources)
        return desired


class ForwardDesired(msgspec.Struct, frozen=True):
    """The downstream interfaces, and by name the tunnels that are configured.

    ``queriers`` are the interfaces on which this host is the elected querier, ``others`` those on which another router
    is: of several routers on a link the querier forwards (RFC 4605, section 4.2). On ``asking`` ones hosts have not all
    had the time to say what they want; on ``contending`` ones this host takes over when that arrives.
    """

    interfaces: tuple[Forward, ...] = ()
    tunnels: Mapping[str, ForwardTunnel] = msgspec.field(default_factory=dict)
    queriers: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()
    asking: frozenset[str] = frozenset()
    contending: frozenset[str] = frozenset()


class ForwardedGroup(NamedTuple):
    """The interfaces that a group from a tunnel is forwarded to, and what its entry in the kernel has counted."""

    to: tuple[str, ...]
    counts: Counts = NOTHING

    @property
    def packets(self) -> int:
        """How many packets were forwarded."""
        return self.counts.packets - self.counts.wrong_interface


Forwarded: TypeAlias = Mapping[tuple[str, str | None, str], ForwardedGroup]
"""By the tunnel, the source (None: any) and the group."""
