"""What was lost of the ESP packets of a CHILD_SA, over its rekeyings. Sans-IO.

An SA counts from 0, and the one that it replaces goes on receiving for some seconds: what is lost is the sum of what
each SA has lost since it was read first. Of the first SA of a CHILD_SA in this process that is from then on; of later
ones from their begin.
"""

from collections.abc import Iterator, Mapping

from mcastd.net.xfrm import Replay, Sa


class Esp:
    """The SAs of one CHILD_SA."""

    def __init__(self) -> None:
        self.lost: int | None = None  # packets; None while no SA has been read
        self._current: Sa | None = None  # the one that charon names
        self._read: dict[Sa, Replay | None] = {}  # what was read last; None: nothing yet

    def configure(self, current: Sa | None) -> None:
        """Set the SA; the one before is read until it is gone."""
        if current is not None:
            self._read.setdefault(current, None)
        self._current = current

    def sas(self) -> Iterator[Sa]:
        """The SAs to read."""
        yield from self._read

    def take(self, sa: Sa, found: Replay | None) -> None:
        """Take what an SA has received by now, or that the kernel does not have it."""
        if found is None:
            if sa != self._current:
                self._read.pop(sa, None)
            return
        before = self._read.get(sa)
        if before is None:
            more = 0 if self.lost is None else max(0, found.lost)
        elif found.packets < before.packets:  # installed again with its numbers: the other side has another address
            more = 0
        else:
            more = max(0, found.lost - before.lost)
            if found.lost < before.lost:  # a replay window below 32: what seemed to have left it had not
                found = found._replace(open=found.open - (before.lost - found.lost))
        self.lost = (self.lost or 0) + more
        self._read[sa] = found


class EspLosses:
    """All CHILD_SAs that have been up."""

    def __init__(self) -> None:
        self._children: dict[str, Esp] = {}  # by their names
        self._of: dict[Sa, Esp] = {}  # which one an SA is of

    def configure(self, sas: Mapping[str, Sa]) -> None:
        """Set by which SA each CHILD_SA that is up receives, by its name."""
        for name in {**self._children, **sas}:
            self._children.setdefault(name, Esp()).configure(sas.get(name))

    def sas(self) -> list[Sa]:
        """The SAs to read."""
        self._of = {sa: child for child in self._children.values() for sa in child.sas()}
        return list(self._of)

    def take(self, sa: Sa, found: Replay | None) -> None:
        """Take what one of them has received by now; None: the kernel does not have it."""
        self._of[sa].take(sa, found)

    def counts(self) -> dict[str, int]:
        """What was lost of each, by the name of a counter."""
        return {f"esp/{name}/lost": one.lost for name, one in self._children.items() if one.lost is not None}
