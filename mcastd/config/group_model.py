"""``[[groups]]`` and ``[paths]`` as frozen structs, declared as those of ``mcastd.config.model``."""

from ipaddress import IPv4Address
from typing import Annotated, Literal

from msgspec import Meta, Struct

from mcastd.config import value_types as values
from mcastd.config.group_ranges import GROUP
from mcastd.config.hours import Hours
from mcastd.config.schema import Implied

Use = Literal["first", "all"]
Sign = Literal["sa", "keepalive", "neighbor"]


class Paths(Struct, frozen=True, kw_only=True):
    """``[paths]``: when groups with ``use = "first"`` move from one of their tunnels to another, and back."""

    dead: Annotated[tuple[Sign, ...], values.several(values.choice("sa", "keepalive", "neighbor"))] = (
        "sa",
        "keepalive",
        "neighbor",
    )
    """what makes a tunnel dead: "sa", "keepalive" or PIM "neighbor" is gone"""
    max_silence: Annotated[float | None, Meta(ge=2.0, le=86400.0)] = None
    """silence on the tunnel in use after which groups move; without it, they do not"""
    hold: Annotated[float, Meta(ge=0.0, le=7 * 86400.0)] = 60.0
    """time for which an earlier tunnel is up again before groups move back to it"""
    overlap: Annotated[float, Meta(ge=0.0, le=60.0)] = 2.0
    """time for which groups stay joined on the tunnel that they leave while it is up"""


class Group(Struct, frozen=True, kw_only=True, rename={"several": "tunnels"}):
    """``[[groups]]``: a group to join on tunnels; with sources, (S,G) for each, else (*,G)."""

    group: Annotated[IPv4Address, GROUP]
    """multicast group to join, or several: a range, a prefix, or an array of these"""
    tunnel: Annotated[str | None, values.text("name of a tunnel"), Implied("the only one")] = None
    """tunnel to join it on; this or tunnels is required if there are several"""
    several: Annotated[tuple[str, ...], values.array(values.text("name of a tunnel"), least=1)] = ()
    """tunnels that can carry it, in order, instead of tunnel"""
    use: Use = "first"
    """on which of tunnels it is joined: "all", or the "first" that is not dead"""
    sources: tuple[IPv4Address, ...] = ()
    """sources to join, (S,G) each; empty: every source, (*,G)"""
    max_silence: Annotated[float | None, Meta(ge=1.0, le=86400.0)] = None
    """silence after which the group is a problem; without it, it never is"""
    hours: Annotated[tuple[Hours, ...], values.several(values.HOURS)] = ()
    """when it is expected, for max_silence; empty: as in [streams]"""

    @property
    def tunnels(self) -> tuple[str, ...]:
        """The tunnels that can carry it, the preferred one first."""
        return self.several or (self.tunnel or "",)
