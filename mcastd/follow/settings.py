"""What is followed on which tunnel, and what status shows of it. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv4Network

from mcastd.config.model import SSM_RANGE
from mcastd.follow.members import SocketFilter
from mcastd.status import ApplicationsStatus


def no_rp(_tunnel: str, _group: IPv4Address) -> bool:
    """The answer while no rendezvous point is known."""
    return False


def no_sockets(_tunnel: str, _group: IPv4Address) -> Sequence[SocketFilter]:
    """The answer where mcastd joins nothing by sockets."""
    return ()


@dataclass(frozen=True, slots=True)
class FollowedTunnel:
    """A tunnel whose interface exists, by the configuration's names; ``address`` is ours on it.

    ``igmpv3`` is that its interface is held to IGMPv3. ``needs_rp`` is that a group outside of ``ssm_ranges`` is joined
    by its rendezvous point: those of the configuration serve ``rp_ranges``, and of those that were learned ``has_rp``
    knows; ``rp_changes`` has grown when that may have changed.
    ``reports_logged`` is that IGMP of this host is dropped before it reaches the interface, and logged for us;
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
    needs_rp: bool = True
    rp_ranges: tuple[IPv4Network, ...] = ()
    rp_changes: int = 0
    reports_logged: bool = False
    has_rp: Callable[[IPv4Address], bool] = field(default=partial(no_rp, ""), compare=False)
    own_sockets: Callable[[IPv4Address], Sequence[SocketFilter]] = field(default=partial(no_sockets, ""), compare=False)


@dataclass(frozen=True, slots=True)
class FollowDesired:
    """The tunnels whose interfaces exist, and the names of all that are configured."""

    tunnels: tuple[FollowedTunnel, ...] = ()
    names: tuple[str, ...] = ()


FollowSnapshot = Mapping[str, ApplicationsStatus]
"""What applications have joined, by the tunnel's name."""
