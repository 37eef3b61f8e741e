"""What has arrived by tunnel, source and group as text; nothing is converted but what is asked for. Pure."""

from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Address
from typing import TypeAlias

from mcastd.status import ArrivalState
from mcastd.streams import table

Row: TypeAlias = tuple[str, str | None, str]
"""A tunnel, a source (None: any) and a group."""


class Rows(Mapping[Row, ArrivalState]):
    """The state of every ``table.place`` of ``seen``; of those in ``arriving`` one stream at least is not silent."""

    def __init__(self, seen: Collection[bytes], arriving: Collection[bytes]) -> None:
        self._seen = seen
        self._arriving = arriving

    def __getitem__(self, row: Row) -> ArrivalState:
        """The state; raises KeyError where nothing has arrived."""
        tunnel, source, group = row
        place = table.place(tunnel, None if source is None else IPv4Address(source), IPv4Address(group))
        if place not in self._seen:
            raise KeyError(row)
        return "arriving" if place in self._arriving else "silent"

    def __iter__(self) -> Iterator[Row]:
        """Every row."""
        for place in self._seen:
            tunnel, source, group = table.parts(place)
            yield tunnel, None if source is None else str(source), str(group)

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._seen)
