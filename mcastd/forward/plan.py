"""Who wants a group -> its entries in the kernel. Pure.

An interface gets a source by the (*,G) entries, one for each tunnel that the group comes from, unless some interface
wants that source otherwise than (*,G) says: then the source has an entry of its own, which replaces them for it. The
kernel takes the packets of such a source from one tunnel only. That is the first one, in the order of ``from``, or the
one which they are known to come from.
"""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from mcastd.membership import DesiredGroup
from mcastd.net.mroute import ANY, Entry, Key, outgoing

_NONE: Final[Mapping[tuple[IPv4Address, IPv4Address], int]] = {}


class Receiver(NamedTuple):
    """A downstream interface that wants a group: its VIF and threshold, the tunnels' VIFs, and which sources."""

    vif: int
    threshold: int
    parents: tuple[int, ...]
    desired: DesiredGroup


def wants(desired: DesiredGroup, source: IPv4Address) -> bool:
    """Whether packets of a source are desired."""
    return source in desired.sources or (desired.any_source and source not in desired.excluded)


def entries(
    group: IPv4Address, receivers: Sequence[Receiver], parents: Mapping[tuple[IPv4Address, IPv4Address], int] = _NONE
) -> dict[Key, Entry]:
    """The entries of a group; ``parents`` are the VIFs that sources of groups are known to come from."""
    tunnels = tuple(dict.fromkeys(parent for one in receivers for parent in one.parents))

    def out(parent: int, wanted: Sequence[bool]) -> tuple[tuple[int, int], ...]:
        found = (one for one, wants in zip(receivers, wanted, strict=True) if wants and parent in one.parents)
        return outgoing((one.vif, one.threshold) for one in found if one.vif != parent)

    wanted = [one.desired.any_source for one in receivers]
    any_source = {parent: out(parent, wanted) for parent in tunnels}
    # The kernel matches a (*,G) entry only with packets from one of its outgoing VIFs.
    found = [Entry(ANY, group, parent, outgoing((*to, (parent, 1)))) for parent, to in any_source.items() if to]
    sources = {source for one in receivers for source in (*one.desired.sources, *one.desired.excluded)}
    for source in sources:
        wanted = [wants(one.desired, source) for one in receivers]
        to = {parent: out(parent, wanted) for parent in tunnels}
        if to != any_source:
            parent = _parent(to, parents.get((group, source)))
            found.append(Entry(source, group, parent, to[parent]))
    return {entry.key: entry for entry in found}


def _parent(out: Mapping[int, tuple[tuple[int, int], ...]], known: int | None) -> int:
    """The VIF that a source is taken from: one from which it goes somewhere, if there is one."""
    useful = [parent for parent, to in out.items() if to]
    return known if known in useful and known is not None else next(iter(useful or out))
