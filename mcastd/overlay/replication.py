"""All groups of one overlay: which endpoints want them, and what of it the kernel does not have. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from itertools import islice
from typing import Final

from mcastd.membership import DesiredGroup
from mcastd.overlay import plan
from mcastd.overlay.plan import Entry, Mode, Slot, Wanting

_STEP: Final = 1000  # entries that are looked at in one turn
_SLOTS: Final = 100  # slots likewise


class Replication:
    """``groups`` are those that some endpoint wants, ``wanted_by`` the groups by endpoint, our queries aside."""

    def __init__(self, own: IPv4Address, mode: Mode = "mdb") -> None:
        self.mode = mode
        self.own = own
        self.groups: dict[IPv4Address, Wanting] = {}
        self.wanted_by: defaultdict[IPv4Address, dict[IPv4Address, None]] = defaultdict(dict)
        self.inexact: dict[IPv4Address, None] = {}  # groups of which each endpoint gets all sources
        self.copies = 0  # endpoints of all groups: how many copies leave if each group has a packet
        self._slots: defaultdict[Slot, dict[IPv4Address, None]] = defaultdict(dict)  # the groups in each slot
        self._actual: dict[Slot, frozenset[Entry]] = {}  # what the kernel has
        self._inherited: set[Entry] = set()  # of these what was found, and was not wanted since
        self._due: dict[Slot, None] = {}  # what is to be compared with it
        self.differs = False  # whether the kernel had something else than was known, as of the last ``found``

    def want(self, group: IPv4Address, wanting: Mapping[IPv4Address, DesiredGroup]) -> None:
        """These endpoints want a group."""
        before = self.groups.get(group, {})
        if wanting == before:
            return
        place = plan.slot(self.mode, group)
        self._due[place] = None
        if wanting:
            self.groups[group] = wanting
            self._slots[place][group] = None
        else:
            del self.groups[group], self._slots[place][group]
            if not self._slots[place]:
                del self._slots[place]
        if group == plan.QUERIES:
            return
        if self.mode != "mdb" or plan.is_exact(wanting):
            self.inexact.pop(group, None)
        else:
            self.inexact[group] = None
        self.copies += len(wanting) - len(before)
        for endpoint in wanting.keys() - before.keys():
            self.wanted_by[endpoint][group] = None
        for endpoint in before.keys() - wanting.keys():
            del self.wanted_by[endpoint][group]
            if not self.wanted_by[endpoint]:
                del self.wanted_by[endpoint]

    def found(self, entries: Iterable[Entry]) -> Iterator[None]:
        """The kernel has these entries and no others; in steps, after which nothing may have been changed meanwhile.

        ``differs`` says afterwards whether that is another state than was known.
        """
        found = defaultdict[Slot, set[Entry]](set)
        for number, entry in enumerate(entries):
            found[plan.slot_of(entry)].add(entry)
            if number % _STEP == _STEP - 1:
                yield
        self.differs = False
        for number, place in enumerate({**self._actual, **found}):
            actual = frozenset(found.get(place, ()))
            if actual != self._actual.get(place, frozenset()):
                self.differs = True
                self._inherited |= actual - self._actual.get(place, frozenset())
                self._due[place] = None
                self._actual[place] = actual
            if number % _SLOTS == _SLOTS - 1:
                yield

    def compare(self) -> None:
        """Compare everything again."""
        self._due = dict.fromkeys((*self._slots, *self._actual))

    @property
    def is_due(self) -> bool:
        """Whether there is something to compare."""
        return bool(self._due)

    def changes(self, entries: int, keeps: Callable[[Entry], bool]) -> tuple[list[Entry], list[Entry]]:
        """What is to be added and what is to be removed of some slots, which have about so many entries.

        What was found and has not been wanted yet stays if it ``keeps`` that for now.

        It is taken to be done then; if it could not be, say what was ``found``.
        """
        added, removed = list[Entry](), list[Entry]()
        seen = 0
        for place in list(islice(self._due, _SLOTS)):
            if seen >= entries:
                break
            del self._due[place]
            groups = [(group, self.groups[group]) for group in self._slots.get(place, ())]
            desired = plan.entries(place, groups, self.own)
            actual = self._actual.get(place, frozenset())
            seen += len(desired) + len(actual)
            added += desired - actual
            self._inherited -= desired
            kept = frozenset(one for one in actual - desired if one in self._inherited and keeps(one))
            removed += actual - desired - kept
            self._actual[place] = desired | kept
            if not self._actual[place]:
                del self._actual[place]
        return added, removed
