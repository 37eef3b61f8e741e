"""What is not broken, but worth saying once all hops are well."""

from collections.abc import Iterator
from typing import Final

from mcastd.doctor.facts import Facts
from mcastd.doctor.finding import Note

_FRAGMENTS: Final = (
    "{count} fragments of multicast packets came in on {tunnel}: the stream's datagrams are larger than the other "
    "side's tunnel takes, and each lost fragment loses a datagram; ask them for a larger `ip mtu`, or for smaller ones"
)


def notes(facts: Facts) -> tuple[Note, ...]:
    """The notes, in the order of the path."""
    return tuple(_notes(facts))


def _notes(facts: Facts) -> Iterator[Note]:
    yield from (Note(hop="configuration", text=text) for text in facts.config_notes)
    for name, tunnel in facts.tunnels.items():
        if tunnel.heard.fragments:
            yield Note(hop="mtu", text=_FRAGMENTS.format(count=tunnel.heard.fragments, tunnel=name))
