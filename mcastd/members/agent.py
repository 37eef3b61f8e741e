"""The members agent: what the members files name is desired on their downstream interfaces."""

import asyncio
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from mcastd.config.downstream import Forward
from mcastd.config.model import SSM_RANGE
from mcastd.errors import McastdError
from mcastd.members.file import LONGEST, Groups, MembersFileError, parse
from mcastd.members.files import Files, Watch
from mcastd.membership import NOTHING
from mcastd.problems import Problem
from mcastd.system.log import Logger
from mcastd.system.wake import Wake
from mcastd.wanted import MEMBERS, Wanted

_AUDIT_PERIOD: Final = 2.0  # seconds between two looks without a notification, since a folder may have come
_IDLE_PERIOD: Final = 30.0  # likewise, without a file
_STEP: Final = 100  # groups and sources that are desired at once, if there are several groups: a millisecond


class _Interface:
    """One downstream interface with a file, and what is desired by it."""

    def __init__(self, config: Forward, path: Path) -> None:
        self.config = config
        self.path = path
        self.groups: Groups = {}  # what is desired by what the file said when it was right last
        self.stamp: object = None  # of the file that was read last
        self.written_at = 0.0  # when that file was written, monotonic
        self.was_read = False  # whether there has been one that was right
        self.wrong: str | None = None  # what is wrong with it now
        self.refused: str | None = None  # why some of it is not desired


class MembersAgent:
    """Members files. ``on_change`` is called after the problems have changed."""

    name: Final = "members"

    def __init__(self, *, files: Files, downstream: Wanted, log: Logger, on_change: Callable[[], None]) -> None:
        """``downstream`` is what is desired by the interfaces behind this host."""
        self._files = files
        self._downstream = downstream
        self._log = log
        self._on_change = on_change
        self.wake = Wake()
        self._desired: tuple[Forward, ...] = ()
        self._interfaces: dict[str, _Interface] = {}  # those with a file
        self._watch: Watch | None = None  # while there are any
        self._shown: tuple[Problem, ...] = ()  # the problems that on_change was called for last

    def configure(self, desired: tuple[Forward, ...]) -> None:
        """Set the downstream interfaces, some of which have a file."""
        if desired != self._desired:
            self._desired = desired
            self.wake.set()

    async def settled(self) -> None:
        """Return when the loop has acted on the last ``configure``, or has failed."""
        await self.wake.settled()

    async def run(self) -> None:
        """Read the files when they change, and look at them periodically."""
        try:
            while True:
                await self.wake.wait(_AUDIT_PERIOD if self._interfaces else _IDLE_PERIOD)
                await self._reconcile()
                self.wake.finished()
                problems = tuple(self.problems())
                if problems != self._shown:
                    self._shown = problems
                    self._on_change()
        finally:
            self._stop_watching()

    async def close(self) -> None:
        """Nothing is to be put back."""

    def status(self, now: float) -> None:
        """Nothing beside the problems and the origins of groups."""

    def problems(self) -> Iterator[Problem]:
        """Files that are missing, wrong or too old, and what of them is not desired."""
        now = time.monotonic()
        for name, one in self._interfaces.items():
            kept = f"; the {len(one.groups)} groups of before stay" if one.was_read else "; nothing is known of before"
            if one.wrong is not None:
                yield Problem("members_file_wrong", name, f"{name}: {one.path}:{one.wrong}{kept}")
            elif one.written_at + one.config.members_max_age <= now:
                limit = f"forward.{name}.members_max_age = {one.config.members_max_age:g} s"
                text = f"{one.path} was not written again within {limit}: what wrote it has failed{kept}"
                yield Problem("members_file_old", name, f"{name}: {text}")
            if one.refused is not None:
                yield Problem("forward_not_joined", name, f"{name}: {one.path}: {one.refused}")

    async def _reconcile(self) -> None:
        configured = {one.name: one for one in self._desired if one.members_file is not None}
        for name in [name for name in self._interfaces if name not in configured]:
            await self._apply(name, self._interfaces[name], {})
            del self._interfaces[name]
        for name, config in configured.items():
            known = self._interfaces.get(name)
            if known is None and config.members_file is not None:
                known = self._interfaces[name] = _Interface(config, config.members_file)
            elif known is not None and config.members_file is not None:
                if config.members_file != known.path:
                    known.path, known.stamp = config.members_file, None
                known.config = config
        if self._interfaces:
            self._watch_folders()
        else:
            self._stop_watching()
        for name, one in self._interfaces.items():
            await self._read(name, one)

    async def _read(self, name: str, one: _Interface) -> None:
        stamp = self._files.stamp(one.path)
        if stamp is not None and stamp == one.stamp:
            return
        found: Groups = {}
        try:
            data, age = self._files.read(one.path, LONGEST + 1)
            for _ in parse(data, found):
                await asyncio.sleep(0)
        except OSError as error:
            one.stamp = None
            self._wrong(one, f" {error.strerror or error}")
        except MembersFileError as error:
            one.stamp = stamp
            self._wrong(one, str(error))
        else:
            one.wrong, one.was_read = None, True
            one.written_at = time.monotonic() - age
            await self._apply(name, one, found)
            one.stamp = stamp

    def _wrong(self, one: _Interface, text: str) -> None:
        if text != one.wrong:
            self._log.warning("members_file_wrong", interface=one.config.name, problem=f"{one.path}:{text}")
        one.wrong = text

    async def _apply(self, name: str, one: _Interface, found: Groups) -> None:
        """Leave what is gone, then desire what is new, in steps. What is refused is tried again with the next file."""
        one.refused = None
        gone = {group: NOTHING for group in one.groups if group not in found}
        for values in (gone, found):
            for part in _steps(values, one.groups):
                changes = {group: desired for group, desired in part.items() if one.groups.get(group) != desired}
                refused = self._desire(name, changes)
                for group, desired in changes.items():
                    if desired == NOTHING or group in refused:
                        one.groups.pop(group, None)
                    else:
                        one.groups[group] = desired
                one.refused = next((str(error) for error in refused.values()), one.refused)
                await asyncio.sleep(0)

    def _desire(self, name: str, changes: Groups) -> dict[IPv4Address, McastdError]:
        """Returns why some of it is refused."""
        refused: dict[IPv4Address, McastdError] = {}
        for group, desired in list(changes.items()):
            if desired.any_source and group in SSM_RANGE:
                refused[group] = McastdError(f"{group} is source-specific: name its sources")
                changes[group] = NOTHING
        return refused | self._downstream.set_groups(name, MEMBERS, changes)

    def _watch_folders(self) -> None:
        try:
            if self._watch is None:
                self._watch = self._files.watch(self.wake.set)
            self._watch.folders({one.path.parent for one in self._interfaces.values()})
        except OSError:
            self._watch = None  # they are looked at periodically

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None


def _steps(values: Groups, before: Groups) -> Iterator[Groups]:
    """The groups in parts, by the sources that they have or had."""
    part, entries = Groups(), 0
    for group, desired in values.items():
        more = len(desired.sources) + len(before.get(group, NOTHING).sources) or 1
        if part and entries + more > _STEP:
            yield part
            part, entries = Groups(), 0
        part[group] = desired
        entries += more
    if part:
        yield part
