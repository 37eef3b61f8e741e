"""What the agent is configured with. Pure."""

import msgspec


class IgmpHostLink(msgspec.Struct, frozen=True):
    """The interface of a tunnel on which groups are joined by IGMP, or (``held``) for applications of this host alone.

    ``up_count`` is how often the path under it came up, ``silences`` how often all streams of it fell silent together.
    """

    name: str
    ifindex: int
    up_count: int = 1
    silences: int = 0
    held: bool = False


class IgmpHostDesired(msgspec.Struct, frozen=True):
    """The interfaces that exist, and the names of all tunnels with ``upstream = "igmp"``, also those never up.

    ``held`` are those of other tunnels with groups that several tunnels carry.
    """

    links: tuple[IgmpHostLink, ...] = ()
    tunnels: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
