"""What the tunnel agent knows of each tunnel, and how status shows it. Pure."""

from collections.abc import Iterable
from ipaddress import IPv4Network

import msgspec

from mcastd.config.model import Tunnel
from mcastd.status import RouteStatus, TunnelState, TunnelStatus
from mcastd.tunnel import routes
from mcastd.tunnel.desired import LinkView


class State(msgspec.Struct, frozen=True):
    """What is known of a tunnel."""

    link: LinkView | None = None  # None if there is none
    mtu_reason: str | None = None
    problem: str | None = None
    routed: bool = False  # whether its routes are in place
    taken: frozenset[IPv4Network] = frozenset()  # prefixes that routes of other programs lead elsewhere
    up_count: int = 0  # how often the link and its CHILD_SA came up
    carrier_count: int = 0  # the carrier's up_count then, and how often the link was changed in place


def link_state(state: State) -> TunnelState:
    """``waiting`` is that there is a link, and it or its CHILD_SA is not up."""
    return "down" if state.link is None else "up" if state.link.up else "waiting"


def tunnel_status(
    tunnel: Tunnel, state: State, datapath: str | None, prefixes: Iterable[IPv4Network], dropped: dict[str, int]
) -> TunnelStatus:
    """A tunnel, its ``prefixes`` to be routed and what was ``dropped``, without what the agents above know."""
    return TunnelStatus(
        name=tunnel.name,
        state=link_state(state),
        datapath=datapath,
        encapsulation=tunnel.encapsulation,
        upstream=tunnel.upstream_protocol,
        local=str(tunnel.local),
        remote=str(tunnel.remote),
        address=str(tunnel.address),
        addresses=tuple(map(str, tunnel.addresses)),
        mtu=state.link.mtu if state.link else None,
        mtu_reason=state.mtu_reason,
        problem=state.problem,
        dropped=dropped,
        routes=tuple(_route_status(tunnel, state, prefix) for prefix in prefixes),
    )


def _route_status(tunnel: Tunnel, state: State, prefix: IPv4Network) -> RouteStatus:
    taken = prefix in state.taken
    return RouteStatus(
        prefix=str(prefix),
        table=tunnel.route_table or routes.MAIN_TABLE,
        state="taken" if taken else "up" if state.routed else "waiting",
        problem="a route that is not mcastd's leads it elsewhere" if taken else None,
    )
