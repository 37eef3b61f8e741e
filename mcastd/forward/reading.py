"""One reading of the kernel's entries: what was forwarded, and what differs from the table. Pure."""

from collections.abc import Collection, Iterator

from mcastd.forward.table import Table
from mcastd.net.mroute import ANY, NO_VIF, Counts, Entry, Key

Known = tuple[str, str | None, str]
"""The tunnel, the source (None: any) and the group."""


class Reading:
    """Entries are taken one by one, in parts between which other work has a turn; ``names`` are the interfaces."""

    def __init__(self, table: Table, names: Collection[str]) -> None:
        self._table = table
        self._names = {number: name for name in names if (number := table.number(name)) is not None}
        self._keys: set[Key] = set()  # of the entries that were taken
        self._others: list[Entry] = []  # those of them that the table does not have like this
        self._is_whole = True  # whether the kernel has every VIF that entries come from
        self.counts: dict[Known, Counts] = {}  # of the entries of groups

    def take(self, entry: Entry, counts: Counts) -> None:
        """An entry of the kernel."""
        key = entry.key
        self._keys.add(key)
        self._is_whole &= entry.parent != NO_VIF
        if entry != self._table.entry(key):
            self._others.append(entry)
        if entry.group != ANY:
            self.counts[self.key(entry)] = counts

    def key(self, entry: Entry) -> Known:
        """An entry as status names it."""
        source = None if entry.source == ANY else str(entry.source)
        return self._names.get(entry.parent, ""), source, str(entry.group)

    def to(self, entry: Entry) -> tuple[str, ...]:
        """The interfaces that an entry forwards to."""
        names = self._names
        return tuple(names[vif] for vif, _ in entry.out if vif != entry.parent and vif in names)

    def differences(self) -> Iterator[tuple[Key, Entry | None]]:
        """By its key, each entry that the kernel has otherwise than the table, or (None) has not.

        Nothing where an interface is gone, with its VIF: that is noticed by itself.
        """
        if not self._is_whole:
            return
        yield from ((entry.key, entry) for entry in self._others)
        if self._others or len(self._keys) != len(self._table):
            yield from ((key, None) for key in self._table.keys() if key not in self._keys)  # noqa: SIM118
