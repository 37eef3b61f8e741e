"""What is not broken, but worth saying once all hops are well."""

from collections.abc import Iterator
from typing import Final

from mcastd.config import charon
from mcastd.config.report import dotted
from mcastd.tools.doctor.facts import Facts
from mcastd.tools.doctor.finding import Note
from mcastd.tools.doctor.multicast import is_new

_FRAGMENTS: Final = (
    "{count} fragments of multicast packets came in on {tunnel}: the stream's datagrams are larger than the other "
    "side's tunnel takes, and each lost fragment loses a datagram; ask them for a larger `ip mtu`, or for smaller ones"
)
_TAKEN: Final = (
    "a route that is not mcastd's leads {prefix} elsewhere than to {tunnel}, and so do joins of applications that name "
    "no interface; remove it, or let them name {tunnel}"
)
_STOPPED: Final = (
    "the last keepalive from {remote} came {age:.0f} s ago, though other packets come in on {tunnel}: were theirs "
    "turned off? Ask them, for it is by our answers that their side of the tunnel notices a dead path"
)
_FEW_LOST: Final = "{missing} of {all} ESP packets that {peer} sent did not come"
_ROUTER: Final = (
    "a multicast routing daemon of somebody else uses {tunnel}: its Hellos have the same address as mcastd's, and the "
    "other side takes the two for one router that restarts again and again; let it leave {tunnel} alone"
)


def notes(facts: Facts) -> tuple[Note, ...]:
    """The notes, in the order of the path."""
    return tuple(_notes(facts))


def _notes(facts: Facts) -> Iterator[Note]:
    of_charon = [note for note in facts.config_notes if note.key == dotted(charon.WHERE)]
    yield from (Note(hop="configuration", text=str(note)) for note in facts.config_notes if note not in of_charon)
    yield from (Note(hop="charon", text=note.text) for note in of_charon)
    for name, tunnel in facts.tunnels.items():
        if tunnel.heard.fragments:
            yield Note(hop="mtu", text=_FRAGMENTS.format(count=tunnel.heard.fragments, tunnel=name))
    for told in facts.status.tunnels if facts.status else ():
        alive = told.keepalive
        if alive is not None and alive.stopped:
            text = _STOPPED.format(remote=told.remote, age=alive.last_age or 0.0, tunnel=told.name)
            yield Note(hop="keepalives", text=text)
        if told.pim is not None and not told.pim.neighbors:
            yield Note(hop="neighbor", text=f"no Hello has been heard on {told.name} yet; ask again in a few seconds")
        if told.pim is not None and told.name in facts.multicast_routers:
            yield Note(hop="neighbor", text=_ROUTER.format(tunnel=told.name))
        for prefix in (route.prefix for route in told.routes if route.state == "taken"):
            yield Note(hop="packets_at_an_application", text=_TAKEN.format(prefix=prefix, tunnel=told.name))
    if new := sum(is_new(facts, group) for group in (facts.status.groups if facts.status else ())):
        text = f"{new} groups were joined during the look, and are not judged; ask again"
        yield Note(hop="packets_on_the_tunnel", text=text)
    for peer in facts.peers():
        ours = {int(child.spi_in, 16) for child in peer.children if child.spi_in}
        for sa in (one for spi, one in facts.wire_in.sas.items() if spi in ours and one.missing):
            text = _FEW_LOST.format(missing=sa.missing, all=sa.missing + sa.packets, peer=peer.remote)
            yield Note(hop="loss", text=text)
