"""What the next life has to know of this one, beyond the host itself: small, on disk, and gone after a clean stop.

PIM's Generation IDs, which tell a neighbour that we have not forgotten it (RFC 7761, section 4.3.1); what the
neighbours said in their last new Hello, so that they are sent our Joins at once; and the joins that were made by
``mcastd join`` and are in no configuration.
"""

from collections.abc import Collection
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Final

import msgspec

from mcastd.errors import McastdError
from mcastd.pim.agent import PimAgent
from mcastd.system import files
from mcastd.system.log import Logger

COMMAND: Final = "command"
"""The origin of what is joined by ``mcastd join``."""


class Join(msgspec.Struct, frozen=True, omit_defaults=True):
    """A join by command: (*,G) where ``source`` is None."""

    tunnel: str
    group: str
    source: str | None = None


class Neighbor(msgspec.Struct, frozen=True):
    """A PIM neighbour and its Hello, as a message of PIM."""

    tunnel: str
    address: str
    hello: bytes


class Left(msgspec.Struct, frozen=True):
    """The file: Generation IDs by tunnel, neighbours, and joins in the order they came.

    Another version may have written it: what it has more is passed over, what it lacks is as after a start anew.
    """

    generation_ids: dict[str, Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]] = {}
    neighbors: tuple[Neighbor, ...] = ()
    joins: tuple[Join, ...] = ()


class Handover:
    """One JSON file, replaced atomically whenever what it says has changed, so that a crash hands over as well."""

    def __init__(self, path: Path, pim: PimAgent, log: Logger) -> None:
        self._path = path
        self._pim = pim
        self._log = log
        self._kept: Left | None = None
        self._problem: str | None = None

    def take_over(self, tunnels: Collection[str]) -> None:
        """Let PIM go on as the earlier life did, on those of ``tunnels`` that are still there.

        A file that cannot be read is worth no more than none: neighbours then see a router that has started anew.
        """
        try:
            left = msgspec.json.decode(self._path.read_bytes(), type=Left)
            hellos = [(one.tunnel, IPv4Address(one.address), one.hello) for one in left.neighbors]
            joins = [(IPv4Address(one.group), _source(one), one.tunnel) for one in left.joins if one.tunnel in tunnels]
        except (OSError, ValueError):
            return
        self._pim.go_on(left.generation_ids, hellos)
        for join in joins:
            try:
                self._pim.join(*join, origin=COMMAND)
            except McastdError as error:
                self._log.warning("join_not_inherited", problem=str(error))

    def remember(self) -> None:
        """Keep what PIM has now; where that is impossible, say so, for a restart will then forget it."""
        joins = (
            Join(tunnel, str(group), str(source) if source else None)
            for tunnel, group, source in self._pim.joins(COMMAND)
        )
        neighbors = (Neighbor(tunnel, str(address), hello) for tunnel, address, hello in self._pim.hellos())
        left = Left(self._pim.generation_ids, tuple(neighbors), tuple(joins))
        if left == self._kept:
            return
        try:
            files.replace(self._path, msgspec.json.encode(left))
            self._kept, self._problem = left, None
        except OSError as error:
            if self._problem != error.strerror:
                self._log.error("state_not_saved", file=str(self._path), problem=error.strerror)
            self._problem = error.strerror

    def forget(self) -> None:
        """Leave nothing: the next life is a new one."""
        self._path.unlink(missing_ok=True)


def _source(join: Join) -> IPv4Address | None:
    return IPv4Address(join.source) if join.source else None
