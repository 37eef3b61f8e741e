"""What status shows of an overlay, as frozen structs. As in ``mcastd.status``, addresses are text, and names stay."""

from typing import Literal

from msgspec import Struct

OverlayState = Literal["up", "down"]
ReplicationMode = Literal["mdb", "mac", "flood"]


class EndpointStatus(Struct, frozen=True, kw_only=True):
    """A machine that takes part, by its ``endpoint``, in the network that carries VXLAN.

    ``groups`` is how many it gets, ``names`` are the first 50 of them. ``was_heard`` is that hosts behind it have sent
    something of late.
    """

    endpoint: str
    was_heard: bool
    groups: int = 0
    names: tuple[str, ...] = ()


class OverlayStatus(Struct, frozen=True, kw_only=True):
    """The VXLAN device of one overlay; what is routed to it and asked there is in ``forward`` by the same name.

    ``mode`` is how the kernel sends a group to those that want it: ``mdb``, by group and source; ``mac``, by its
    Ethernet address, which 31 other groups have too; ``flood``, every group to all that want any. ``copies`` are the
    packets that leave if each group has one. ``endpoints`` are those that were heard or get something;
    our queries go to ``asked`` ones. ``unreachable`` are hosts that want groups and have come from no
    endpoint of ``members``.
    ``refused`` are packets that came from others and were dropped.
    """

    name: str
    state: OverlayState
    vni: int
    port: int
    local: str
    address: str
    members: tuple[str, ...]
    mtu: int | None = None
    mode: ReplicationMode | None = None
    groups: int = 0
    copies: int = 0
    asked: int = 0
    endpoints: tuple[EndpointStatus, ...] = ()
    unreachable: tuple[str, ...] = ()
    refused: int = 0
    problem: str | None = None
