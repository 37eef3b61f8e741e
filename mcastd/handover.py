"""What the next process has to know of this one, beyond the host itself: in files, which a clean stop removes.

``handover.json`` has PIM's Generation IDs, by which a neighbour knows that we have not forgotten it (RFC 7761, section
4.3.1), and the neighbours' last Hellos, so that they are sent our Joins at once. Joins made by ``mcastd join``, which
are in no configuration, are a file each in ``joins/``: one more costs the same beside 10,000 others.
"""

from collections.abc import Collection, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Final

import msgspec

from mcastd.errors import McastdError
from mcastd.pim.agent import PimAgent
from mcastd.pim.settings import PimState
from mcastd.system import files
from mcastd.system.log import Logger

Entry = tuple[IPv4Address, IPv4Address | None]
"""A group and its source; None: (*,G)."""
COMMAND: Final = "command"
"""The origin of what is joined by ``mcastd join``."""


class Join(msgspec.Struct, frozen=True, omit_defaults=True):
    """A join by command: (*,G) where ``source`` is None. ``tunnel`` is the first of ``tunnels``."""

    tunnel: str
    group: str
    source: str | None = None
    tunnels: tuple[str, ...] = ()


class Neighbor(msgspec.Struct, frozen=True):
    """A PIM neighbour and its Hello, as a PIM message."""

    tunnel: str
    address: str
    hello: bytes


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """``handover.json``: Generation IDs by tunnel, and neighbours; ``joins`` are those of mcastd 0.1.

    Another version may have written it: unknown fields are ignored, missing ones are as after a first start.
    """

    generation_ids: dict[str, Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]] = {}
    neighbors: tuple[Neighbor, ...] = ()
    joins: tuple[Join, ...] = ()


class Handover:
    """The files, each replaced atomically when what it says has changed, so that a crash hands over as well."""

    def __init__(self, directory: Path, pim: PimAgent, log: Logger) -> None:
        self._file = directory / "handover.json"
        self._folder = directory / "joins"
        self._pim = pim
        self._log = log
        self._kept: State | None = None  # what the file holds
        self._tunnels: dict[Entry, tuple[str, ...]] = {}  # of each join by command; empty where it has just been left
        self._unsaved: set[Entry] = set()  # joins whose file is not what it should be
        self._failing = False  # the last write failed, which has been logged

    def inherit(self, tunnels: Collection[str]) -> None:
        """Let PIM go on as the previous process did, on those of ``tunnels``. What cannot be read counts as absent."""
        try:
            state = msgspec.json.decode(self._file.read_bytes(), type=State)
            hellos = [(one.tunnel, IPv4Address(one.address), one.hello) for one in state.neighbors]
        except (OSError, ValueError):
            state, hellos = State(), []
        self._pim.inherit(PimState(state.generation_ids, tuple(hellos)))
        for join in (*state.joins, *self._inherited_joins()):
            try:
                group, source = IPv4Address(join.group), IPv4Address(join.source) if join.source else None
                self._tunnels[group, source] = ()
                for tunnel in join.tunnels or (join.tunnel,):
                    if tunnel in tunnels:
                        self._pim.join(group, source, tunnel, origin=COMMAND)
                        self._tunnels[group, source] += (tunnel,)
                self._keep(group, source)
            except (ValueError, McastdError) as error:
                self._log.warning("join_not_inherited", problem=str(error))

    def joined(self, group: IPv4Address, source: IPv4Address | None, tunnel: str) -> None:
        """Keep a join by command."""
        known = self._tunnels.setdefault((group, source), ())
        if tunnel not in known:
            self._tunnels[group, source] = (*known, tunnel)
            self._keep(group, source)

    def left(self, group: IPv4Address, source: IPv4Address | None, tunnel: str) -> None:
        """Drop a join by command."""
        known = self._tunnels.get((group, source), ())
        self._tunnels[group, source] = tuple(name for name in known if name != tunnel)
        self._keep(group, source)

    def remember(self) -> None:
        """Keep what PIM has now. Costs the same however many joins there are."""
        pim = self._pim.state()
        neighbors = (Neighbor(tunnel, str(address), hello) for tunnel, address, hello in pim.hellos)
        state = State(dict(pim.generation_ids), tuple(neighbors))
        if state != self._kept and self._write(self._file, state):
            self._kept = state
        for entry in list(self._unsaved):
            self._keep(*entry)

    def forget(self) -> None:
        """Remove the files: the next process starts without a past."""
        self._file.unlink(missing_ok=True)
        for file in self._join_files():
            file.unlink(missing_ok=True)
        if self._folder.is_dir():
            self._folder.rmdir()

    def _inherited_joins(self) -> Iterator[Join]:
        for file in self._join_files():
            if file.suffix == ".new":  # not completed, so the join was not answered
                file.unlink(missing_ok=True)
                continue
            try:
                yield msgspec.json.decode(file.read_bytes(), type=Join)
            except (OSError, ValueError) as error:
                self._log.warning("join_not_inherited", problem=f"{file}: {error}")

    def _join_files(self) -> list[Path]:
        return sorted(self._folder.iterdir()) if self._folder.is_dir() else []

    def _keep(self, group: IPv4Address, source: IPv4Address | None) -> None:
        """Make the file of a join what it should be; one that cannot be written is tried again by ``remember``."""
        file = self._folder / (f"{group}" if source is None else f"{group},{source}")
        tunnels = self._tunnels[group, source]
        if not tunnels:
            file.unlink(missing_ok=True)
            del self._tunnels[group, source]
        elif not self._write(file, Join(tunnels[0], str(group), str(source) if source else None, tunnels)):
            self._unsaved.add((group, source))
            return
        self._unsaved.discard((group, source))

    def _write(self, file: Path, content: State | Join) -> bool:
        try:
            file.parent.mkdir(exist_ok=True)
            files.replace(file, msgspec.json.encode(content))
        except OSError as error:
            if not self._failing:
                self._log.error("state_not_saved", file=str(file), problem=error.strerror)
            self._failing = True
            return False
        self._failing = False
        return True
