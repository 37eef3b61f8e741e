"""What was lost of the ESP packets of a CHILD_SA, over its rekeyings. Sans-IO.

An SA counts from 0, and the one that it replaces goes on receiving for some seconds: what is lost is the sum of what is
missing of each. Of the first SA of a CHILD_SA in this process that is since it was read first; of later ones since
their begin. What comes late is missing until then.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mcastd.net.xfrm import Replay, Sa


class _Read(NamedTuple):
    """An SA as it was read last; ``before`` is what was missing of it that does not count."""

    found: Replay
    before: int

    @property
    def missing(self) -> int:
        return max(0, self.found.missing - self.before)


class Esp:
    """The SAs of one CHILD_SA."""

    def __init__(self) -> None:
        self._is_known = False  # whether an SA was read
        self._gone = 0  # what was missing of SAs that are gone
        self._current: Sa | None = None  # the one that charon names
        self._read: dict[Sa, _Read | None] = {}  # None: nothing was read yet

    @property
    def lost(self) -> int | None:
        """How many packets; None while no SA has been read."""
        return (
            self._gone + sum(one.missing for one in self._read.values() if one is not None) if self._is_known else None
        )

    def configure(self, current: Sa | None) -> None:
        """Set the SA; the one before is read until it is gone."""
        if current != self._current:  # where the kernel has no XFRM no other one is ever read either
            self._read = {sa: one for sa, one in self._read.items() if one is not None}
        if current is not None:
            self._read.setdefault(current, None)
        self._current = current

    def sas(self) -> Iterator[Sa]:
        """The SAs to read."""
        yield from self._read

    def take(self, sa: Sa, found: Replay | None) -> None:
        """Take what an SA has received by now, or that the kernel does not have it."""
        last = self._read.get(sa)
        if found is None:
            if sa != self._current:
                self._read.pop(sa, None)
                self._gone += last.missing if last is not None else 0
            return
        before = 0 if last is None else last.before
        if last is None and not self._is_known:
            before = found.missing
        elif last is not None and found.packets < last.found.packets:
            # It was installed again with its numbers: the other side has another address.
            self._gone += last.missing
            before = found.missing
        self._is_known = True
        self._read[sa] = _Read(found, before)


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
