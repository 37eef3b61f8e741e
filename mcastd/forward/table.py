"""VIFs and entries as the kernel has them, and the changes that make them as planned. Sans-IO.

A VIF is made when the first entry needs it. It stays when none does, until another interface needs its number. The
kernel removes the VIF of an interface that is deleted, and leaves the entries that name it: a new interface with that
number would get what they forward. So a number is free when no entry names it any longer, and an interface that comes
back gets another one.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from ipaddress import IPv4Address

import msgspec

from mcastd.net.mroute import ANY, MAX_VIFS, NO_VIF, Entry, Key, drops_the_rest


class AddVif(msgspec.Struct, frozen=True):
    """Make the interface of an index a VIF."""

    number: int
    index: int


class DeleteVif(msgspec.Struct, frozen=True):
    """Remove a VIF, if it is still there."""

    number: int


class AddEntry(msgspec.Struct, frozen=True):
    """Add an entry, or change the one of its key."""

    entry: Entry


class DeleteEntry(msgspec.Struct, frozen=True):
    """Delete the entry of that key."""

    entry: Entry


Effect = AddVif | DeleteVif | AddEntry | DeleteEntry


class Table:
    """What the kernel has when all effects have been carried out, in their order.

    ``execute`` is called with each effect, and raises what the kernel refuses; then ``begin`` is due.
    """

    def __init__(self, execute: Callable[[Effect], None]) -> None:
        self._execute = execute
        self._indexes: dict[int, int] = {}  # of the interface of each VIF, by its number
        self._numbers: dict[str, int] = {}  # of the VIFs that are used, by the interface's name
        self._links: Mapping[str, int] = {}  # the interfaces of this host: their indexes, by name
        self._groups: dict[IPv4Address, dict[Key, Entry]] = {}  # the entries of each group
        self._users: Counter[int] = Counter()  # how many entries name a VIF, those of (*,*) aside
        self._freed = False  # whether a number may have become free
        self.full: set[str] = set()  # interfaces for which there was no number
        self.touched: set[Key] = set()  # entries that have changed since this was emptied

    # Questions

    def has_link(self, name: str) -> bool:
        """Whether an interface that is configured exists."""
        return name in self._links

    def number(self, name: str) -> int | None:
        """The number of an interface's VIF, if it has one."""
        return self._numbers.get(name)

    def name(self, number: int) -> str | None:
        """The interface of a VIF."""
        return next((name for name, of in self._numbers.items() if of == number), None)

    def groups(self) -> Mapping[IPv4Address, Mapping[Key, Entry]]:
        """The entries of each group that has some."""
        return self._groups

    def entries(self, group: IPv4Address) -> Mapping[Key, Entry]:
        """The entries of a group, by their key."""
        return self._groups.get(group, {})

    def __len__(self) -> int:
        return len(self._numbers) + sum(map(len, self._groups.values()))

    def keys(self) -> list[Key]:
        """The keys of all entries, (*,*) as well."""
        found = [drops_the_rest(number).key for number in self._numbers.values()]
        return found + [key for entries in self._groups.values() for key in entries]

    def indexes(self) -> Mapping[int, int]:
        """The index of the interface of each VIF, by its number."""
        return self._indexes

    def entry(self, key: Key) -> Entry | None:
        """The entry of a key, (*,*) as well."""
        if key.group == ANY:
            return next((drops_the_rest(one) for one in self._numbers.values() if one == key.parent), None)
        return self._groups.get(key.group, {}).get(key)

    # Inputs

    def begin(self, vifs: Mapping[int, int], links: Mapping[str, int]) -> None:
        """Begin with the VIFs that the kernel has, as number and index of the interface; ``take`` follows.

        ``links`` are the interfaces that are configured and exist: their indexes, by name. Of others no VIF stays.
        """
        self._indexes = dict(vifs)
        self._groups.clear()
        self._users.clear()
        self._links = dict(links)
        of = {index: number for number, index in vifs.items()}
        self._numbers = {name: of[index] for name, index in links.items() if index in of}
        for number in set(vifs) - set(self._numbers.values()):
            self._retire(number)
        for number in self._numbers.values():
            self._execute(AddEntry(drops_the_rest(number)))

    def take(self, entry: Entry) -> None:
        """The kernel has an entry."""
        if entry.parent == NO_VIF:
            self._delete_without_vif(entry)
        elif entry.group != ANY:
            self._keep(entry)

    def correct(self, key: Key, entry: Entry | None) -> None:
        """Another program has changed an entry, or deleted it (None); but for (*,*), its group is to be planned."""
        known = self.entry(key)
        if key.group != ANY:
            if known is not None:
                self._lose(known)
            if entry is not None:
                self._keep(entry)
        elif known is not None:
            self._execute(AddEntry(known))
        elif entry is not None:
            self._execute(DeleteEntry(entry))

    def take_freed(self) -> bool:
        """Whether a number may have become free since the last call."""
        freed, self._freed = self._freed, False
        return freed

    def set_links(self, links: Mapping[str, int]) -> bool:
        """Take the configured interfaces that exist now; returns whether groups have to be planned again."""
        if links == self._links:
            return False
        self._links = dict(links)
        self._freed = True
        for name, number in list(self._numbers.items()):
            if links.get(name) != self._indexes[number]:
                del self._numbers[name]
                self._retire(number)
        return True

    def vif(self, name: str, needed: Collection[int] = ()) -> int | None:
        """The VIF of an interface, made if it has none; None if the interface does not exist, or no number is free.

        VIFs that are ``needed`` stay, though no entry names them yet.
        """
        if name in self._numbers or name not in self._links:
            return self._numbers.get(name)
        number = self._free(needed)
        if number is None:
            self.full.add(name)
            return None
        self.full.discard(name)
        index = self._links[name]
        self._execute(AddVif(number, index))
        self._indexes[number], self._numbers[name] = index, number
        self._execute(AddEntry(drops_the_rest(number)))
        return number

    def match(self, group: IPv4Address, planned: Mapping[Key, Entry]) -> None:
        """Make ``planned`` the entries of a group; what is to be added comes before what is to be deleted."""
        before = self._groups.get(group, {})
        for key, entry in planned.items():
            known = before.get(key)
            if known != entry:
                self._execute(AddEntry(entry))
                if known is not None:
                    self._lose(known)
                self._keep(entry)
        for key, entry in list(before.items()):
            if key not in planned:
                self._execute(DeleteEntry(entry))
                self._lose(entry)

    def _keep(self, entry: Entry) -> None:
        self._groups.setdefault(entry.group, {})[entry.key] = entry
        self._users.update(_named(entry))
        self.touched.add(entry.key)

    def _lose(self, entry: Entry) -> None:
        entries = self._groups[entry.group]
        del entries[entry.key]
        if not entries:
            del self._groups[entry.group]
        self.touched.add(entry.key)
        for number in _named(entry):
            self._users[number] -= 1
            self._freed |= not self._users[number]

    def _retire(self, number: int) -> None:
        """The interface of a VIF is gone, or another one; its number is free when no entry names it."""
        self._execute(DeleteEntry(drops_the_rest(number)))
        self._execute(DeleteVif(number))
        self._indexes.pop(number, None)

    def _free(self, needed: Collection[int]) -> int | None:
        """A number that no VIF and no entry has; if there is none, that of a VIF that no entry needs."""
        unused = [number for number in range(MAX_VIFS) if self._users[number] <= 0 and number not in needed]
        found = next((number for number in unused if number not in self._indexes), None)
        if found is None and unused:
            found = unused[0]
            del self._numbers[next(name for name, number in self._numbers.items() if number == found)]
            self._retire(found)
        return found

    def _delete_without_vif(self, entry: Entry) -> None:
        """Delete an entry whose parent is gone, and with it the parent's number."""
        if entry.key.parent is None:
            self._execute(DeleteEntry(entry._replace(parent=0)))
            return
        for number in range(MAX_VIFS):
            if number not in self._indexes:
                self._execute(DeleteEntry(entry._replace(parent=number)))


def _named(entry: Entry) -> Iterator[int]:
    """The VIFs that an entry names, once each."""
    return iter({entry.parent, *(vif for vif, _ in entry.out)})
