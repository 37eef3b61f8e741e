"""What is not broken, but worth saying once all hops are well."""

from collections.abc import Iterator
from typing import Final

from mcastd.config import charon
from mcastd.config.report import dotted
from mcastd.doctor.facts import Facts
from mcastd.doctor.finding import Note

_FRAGMENTS: Final = (
    "{count} fragments of multicast packets came in on {tunnel}: the stream's datagrams are larger than the other "
    "side's tunnel takes, and each lost fragment loses a datagram; ask them for a larger `ip mtu`, or for smaller ones"
)
_TAKEN: Final = (
    "a route that is not mcastd's leads {prefix} elsewhere than to {tunnel}, and so do joins of applications that name "
    "no interface; remove it, or let them name {tunnel}"
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
        for prefix in (route.prefix for route in told.routes if route.state == "taken"):
            yield Note(hop="packets_at_an_application", text=_TAKEN.format(prefix=prefix, tunnel=told.name))
