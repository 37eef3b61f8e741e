"""What is followed on which tunnel, and what status shows of it. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv4Network

import msgspec

from mcastd.config.model import SSM_RANGE
from mcastd.follow.members import SocketFilter
from mcastd.membership import NONE
from mcastd.status import ApplicationsStatus
from mcastd.wanted import NEEDS_NO_RP, Rps


def no_sockets(_tunnel: str, _group: IPv4Address) -> Sequence[SocketFilter]:
    """The answer where mcastd joins nothing by sockets."""
    return ()


@dataclass(frozen=True, slots=True)
class FollowedTunnel:
    """A tunnel whose interface exists, by the configuration's names; ``address`` is ours on it.

    ``igmpv3`` is that its interface is held to IGMPv3. Groups outside of ``ssm_ranges`` are joined by ``rps``.
    ``reports_logged`` is that IGMP of this host is dropped before it reaches the interface, and logged for us;
    ``carried`` are groups for which the file decides by which of several tunnels they come;
    ``own_sockets`` knows with which filters sockets of mcastd have joined a group there.
    """

    name: str
    ifindex: int
    address: IPv4Address
    follow: bool | tuple[IPv4Network, ...] = True
    follow_except: tuple[IPv4Network, ...] = ()
    limit: int = 1000
    linger: float = 5.0
    igmpv3: bool = True
    ssm_ranges: tuple[IPv4Network, ...] = (SSM_RANGE,)
    rps: Rps = NEEDS_NO_RP
    reports_logged: bool = False
    carried: frozenset[IPv4Address] = NONE
    own_sockets: Callable[[IPv4Address], Sequence[SocketFilter]] = field(default=partial(no_sockets, ""), compare=False)


class FollowDesired(msgspec.Struct, frozen=True):
    """The tunnels whose interfaces exist, and the names of all that are configured."""

    tunnels: tuple[FollowedTunnel, ...] = ()
    names: tuple[str, ...] = ()


FollowSnapshot = Mapping[str, ApplicationsStatus]
"""What applications have joined, by the tunnel's name."""
