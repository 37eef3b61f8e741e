"""What the next process has to know of this one, beyond the host itself: in files, which a clean stop removes.

``handover.json`` has PIM's Generation IDs, by which a neighbour knows that we have not forgotten it (RFC 7761, section
4.3.1), the neighbours' last Hellos, so that they are sent our Joins at once, and which of several tunnels carry groups.
Joins made by ``mcastd join``, which are in no configuration, are a file each in ``joins/``: one more costs the same
beside 10,000 others.
"""

import contextlib
import time
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from mcastd.errors import McastdError
from mcastd.handover_file import LARGEST, VERSION, Entry, Join, Neighbor, State, decode, decode_join, entry, path, paths
from mcastd.paths import Paths
from mcastd.pim.agent import PimAgent
from mcastd.pim.settings import PimState
from mcastd.system import files
from mcastd.system.log import Logger
from mcastd.wanted import COMMAND, Wanted

_SLICE: Final = 500  # files that are written at a time: some 30 ms


class Handover:
    """The files, each replaced atomically when what it says has changed, so that a crash hands over as well."""

    def __init__(self, directory: Path, pim: PimAgent, wanted: Wanted, log: Logger, paths: Paths | None = None) -> None:
        self._file = directory / "handover.json"
        self._folder = directory / "joins"
        self._pim = pim
        self._wanted = wanted
        self._paths = paths or Paths()  # which of several tunnels carry groups
        self._log = log
        self._kept: State | None = None  # what the file holds
        self._tunnels: dict[Entry, tuple[str, ...]] = {}  # of each join by command; empty where it has just been left
        self._unsaved: set[Entry] = set()  # joins whose file is not what it should be
        self.problem: str | None = None  # why a file is not what it should be
        self.is_ours = True  # the files are not another daemon's, of which nothing is written or removed

    def inherit(self, tunnels: Collection[str]) -> None:
        """Go on as the previous process did, with its joins on those of ``tunnels``; what cannot be read is absent.

        Before anything is configured, as what carries the groups is inherited, too.
        """
        state = self._inherited_state()
        hellos = tuple((one.tunnel, IPv4Address(one.address), one.hello) for one in state.neighbors)
        self._pim.inherit(PimState(state.generation_ids, hellos))
        found = list(map(path, state.paths))
        by_hand = {order: one for order, _, one in found if one is not None}
        self._paths.inherit({order: chosen for order, chosen, _ in found}, by_hand, time.monotonic())
        for join in (*state.joins, *self._inherited_joins()):
            try:
                group, source = entry(join)
                self._tunnels[group, source] = ()
                for tunnel in join.tunnels or (join.tunnel,):
                    if tunnel in tunnels:
                        self._wanted.join(tunnel, group, source, COMMAND)
                        self._tunnels[group, source] += (tunnel,)
                self._keep(group, source)
            except (ValueError, McastdError) as error:
                self._log.warning("join_not_inherited", problem=str(error))

    def joined(self, group: IPv4Address, source: IPv4Address | None, tunnel: str) -> None:
        """Keep a join by command."""
        known = self._tunnels.setdefault((group, source), ())
        if tunnel not in known or (group, source) in self._unsaved:
            self._tunnels[group, source] = tuple(dict.fromkeys((*known, tunnel)))
            self._keep(group, source)

    def left(self, group: IPv4Address, source: IPv4Address | None, tunnel: str) -> None:
        """Drop a join by command."""
        known = self._tunnels.get((group, source), ())
        self._tunnels[group, source] = tuple(name for name in known if name != tunnel)
        self._keep(group, source)

    def is_saved(self, group: IPv4Address, source: IPv4Address | None) -> bool:
        """Whether the next process will know what was joined or left."""
        return (group, source) not in self._unsaved

    def remember(self) -> None:
        """Keep what PIM has now. Costs the same however many joins there are."""
        pim = self._pim.state()
        neighbors = (Neighbor(tunnel, str(address), hello) for tunnel, address, hello in pim.hellos)
        state = State(VERSION, dict(pim.generation_ids), tuple(neighbors), (), paths(self._paths))
        if state != self._kept and self._write(self._file, state):
            self._kept = state
        for unsaved in list(islice(self._unsaved, _SLICE)):
            if not self._keep(*unsaved):
                break
        if state == self._kept and not self._unsaved:
            self.problem = None
        elif self.problem is None:
            self.problem = f"{len(self._unsaved)} joins are not written yet"

    def keep(self) -> None:
        """Write again what was removed, or could not be written before."""
        with contextlib.suppress(OSError):
            if not self._file.exists():
                self._kept = None
            if not self._folder.is_dir():
                self._unsaved.update(self._tunnels)
        self.remember()

    def forget(self) -> None:
        """Remove the files: the next process starts without a past."""
        if not self.is_ours:
            return
        for file in (self._file, *self._join_files()):
            _remove(file)
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def _inherited_state(self) -> State:
        try:
            state, wrong = decode(files.read(self._file, LARGEST + 1))
        except FileNotFoundError:
            return State()
        except (OSError, ValueError) as error:
            aside = files.keep_aside(self._file)
            self._log.warning(
                "handover_damaged", problem=f"{self._file} cannot be read: {files.reason(error)}; {aside}"
            )
            return State()
        for one in wrong:
            self._log.warning("handover_damaged", problem=f"{self._file}: an entry is not used: {one}")
        return state

    def _inherited_joins(self) -> Iterator[Join]:
        for file in self._join_files():
            if file.suffix == ".new":  # not completed, so the join was not answered
                _remove(file)
                continue
            try:
                yield decode_join(files.read(file, LARGEST + 1))
            except (OSError, ValueError) as error:
                self._log.warning("join_not_inherited", problem=f"{file}: {files.reason(error)}")

    def _join_files(self) -> list[Path]:
        try:
            return sorted(self._folder.iterdir())
        except OSError:
            return []

    def _keep(self, group: IPv4Address, source: IPv4Address | None) -> bool:
        """Make the file of a join what it should be; one that cannot be written is tried again by ``remember``."""
        file = self._folder / (f"{group}" if source is None else f"{group},{source}")
        tunnels = self._tunnels[group, source]
        join = Join(tunnels[0], str(group), str(source) if source else None, tunnels) if tunnels else None
        if not self._write(file, join):
            self._unsaved.add((group, source))
            return False
        self._unsaved.discard((group, source))
        if join is None:
            del self._tunnels[group, source]
        return True

    def _write(self, file: Path, content: State | Join | None) -> bool:
        """Replace a file, or remove it; returns whether that was possible, and if not keeps the reason."""
        if not self.is_ours:
            self.problem = f"{file} is another daemon's"
            return False
        try:
            if content is None:
                file.unlink(missing_ok=True)
            else:
                file.parent.mkdir(exist_ok=True)
                files.replace(file, msgspec.json.encode(content))
        except OSError as error:
            if self.problem is None:
                self._log.error("state_not_saved", file=str(file), problem=error.strerror)
            self.problem = f"{file}: {error.strerror}"
            return False
        return True


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink()
