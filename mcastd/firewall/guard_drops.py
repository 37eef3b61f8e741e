"""What the guard drops on its way out although the SA that it is for is up: the host does not encrypt it. Pure.

While an SA is down, or has just come up, drops are normal. After that one dropped GRE packet is enough, since it is the
tunnel's own, and the next may be half a minute away (a Hello); what other programs send counts when it goes on.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from mcastd.config.model import Config
from mcastd.firewall.child_guard import LEAK_CHILD
from mcastd.firewall.match import children
from mcastd.firewall.rules import LEAK_OUT, guarded
from mcastd.problems import Problem

_SETTLE: Final = 2.0  # seconds after an SA has come up
_GOES_ON: Final = 3.0  # seconds from the first of several drops to the last
_ENDS: Final = 30.0  # seconds without a drop


class _Watched(msgspec.Struct, frozen=True):
    """A counter, and what it is of. ``needs`` are the CHILD_SAs during whose life it should not grow."""

    counter: str
    subject: str
    needs: frozenset[str]
    at_once: bool


class GuardDrops:
    """``expect`` says which SAs are up, ``counted`` what the counters are; ``now`` is in seconds, monotonic."""

    def __init__(self) -> None:
        self._watched: tuple[_Watched, ...] = ()
        self._up_since: dict[str, float] = {}  # by the CHILD_SA's name, those that are up
        self._counts: Mapping[str, int] = {}  # packets by counter, as last read
        self._read: float | None = None  # when that was
        self._drops: dict[str, tuple[float, float]] = {}  # by subject, the first and the last drop

    def expect(self, now: float, config: Config, up: frozenset[str]) -> None:
        """Set what is guarded, and the CHILD_SAs that are up."""
        self._watched = tuple(_watched(config))
        self._up_since = {child: self._up_since.get(child, now) for child in up}
        kept = {one.subject for one in self._watched if one.needs <= up}
        self._drops = {subject: times for subject, times in self._drops.items() if subject in kept}

    def counted(self, now: float, counts: Mapping[str, int]) -> None:
        """Compare the packets by counter with those of the last time."""
        for one in self._watched:
            before = self._counts.get(one.counter)  # None also where the table was gone
            if before is not None and counts.get(one.counter, 0) > before and self._should_not(one):
                first, _ = self._drops.get(one.subject, (now, now))
                self._drops[one.subject] = (first, now)
        self._drops = {subject: times for subject, times in self._drops.items() if now - times[1] < _ENDS}
        self._counts, self._read = dict(counts), now

    def problems(self) -> Iterator[Problem]:
        """Each tunnel and CHILD_SA whose packets are dropped."""
        for one in self._watched:
            first, last = self._drops.get(one.subject, (0.0, 0.0))
            if one.subject in self._drops and (one.at_once or last - first >= _GOES_ON):
                text = f"{one.subject}: packets would leave unencrypted although the SA is up; the guard drops them"
                yield Problem("guard_drops", one.subject, text)

    def _should_not(self, one: _Watched) -> bool:
        """Whether the SAs were up, and had settled, before the counters were read the last time."""
        up = [self._up_since.get(child) for child in one.needs]
        return self._read is not None and all(since is not None and self._read >= since + _SETTLE for since in up)


def _watched(config: Config) -> Iterator[_Watched]:
    if not config.firewall.guard:
        return
    names = guarded(config)
    tunnels = [tunnel for tunnel in config.tunnels if tunnel.name in names]
    for tunnel in tunnels:
        needs = frozenset(str(one.child) for one in tunnels if one.remote == tunnel.remote)
        yield _Watched(f"{LEAK_OUT}{tunnel.remote}", tunnel.name, needs, at_once=True)
    for name in children(config):
        yield _Watched(f"{LEAK_CHILD}{name}", name, frozenset({name}), at_once=False)
