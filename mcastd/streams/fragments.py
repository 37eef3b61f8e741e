"""What is forwarded in fragments to an interface whose gateway drops them (``querier = false``). Sans-IO.

A fragment that arrives is known by its header. Where the host reassembles what arrives (conntrack), and sends it in
fragments again, and where an interface's MTU is smaller than the tunnel's, it is known by its length.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from mcastd.config.model import Config
from mcastd.problems import Problem

COUNTER: Final = "fragments-"
"""Prefix of the counters' names; the name of the interface follows."""
_KEPT: Final = 300.0  # seconds after the last one for which it is a problem


def names(config: Config) -> set[str]:
    """The interfaces whose MTUs matter."""
    return {name for one in config.forward if not one.querier for name in (one.name, *one.from_)}


def rules(config: Config, streams: str, mtus: Mapping[str, int]) -> Iterator[str]:
    """The rules behind the filters of what is forwarded; ``streams`` matches multicast."""
    for one in (one for one in config.forward if not one.querier):
        for tunnel in one.from_:
            way = f'iifname "{tunnel}" oifname "{one.name}" {streams}'
            yield f"{way} ip frag-off & 0x3fff != 0 counter name {COUNTER}{one.name}"
            known = [mtus[name] for name in (tunnel, one.name) if name in mtus]
            if known:
                length = f"ip frag-off & 0x3fff == 0 meta length > {min(known)}"
                yield f"{way} {length} counter name {COUNTER}{one.name}"


def counters(config: Config) -> Iterable[str]:
    """The names of the counters."""
    return [COUNTER + one.name for one in config.forward if not one.querier]


class Fragments:
    """What was counted. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self.packets: dict[str, int] = {}  # since the table was made, by the interface's name
        self._grown_at: dict[str, float] = {}  # when that grew last

    def counted(self, counts: Mapping[str, int], now: float) -> None:
        """Take the named counters of the table."""
        found = {name.removeprefix(COUNTER): count for name, count in counts.items() if name.startswith(COUNTER)}
        for name, count in found.items():
            if count > self.packets.get(name, count):
                self._grown_at[name] = now
        self.packets = found

    def problems(self, now: float) -> Iterator[Problem]:
        """Interfaces to which something went in fragments within the last minutes."""
        for name in self.packets:
            if now - self._grown_at.get(name, -_KEPT) < _KEPT:
                text = f"{name}: datagrams are forwarded in fragments, which the gateway there drops: have the source"
                yield Problem("fragments_forwarded", name, f"{text} send smaller ones, that fit the tunnel's MTU")
