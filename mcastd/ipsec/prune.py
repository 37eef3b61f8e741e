"""Which SAs are duplicates that must go. Sans-IO.

Two at once are normal for a moment, while one replaces the other; so only what stays double for ``GRACE`` seconds in
states that no rekey passes through is pruned, and the newest is kept, which is the one that both sides send on.
"""

from collections.abc import Collection
from typing import Any, Final

from mcastd.ipsec.messages import IkeSa, terminate_child, terminate_ike

GRACE: Final = 2.0
_TIMEOUT: Final = 1.0


class Duplicates:
    """Remembers since when each SA has been a duplicate."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, int], float] = {}
        self.next_deadline: float | None = None

    def look(self, sas: tuple[IkeSa, ...], names: Collection[str], now: float) -> list[tuple[str, dict[str, Any]]]:
        """Take a listing; return what is due: the SA in words and the ``terminate`` message for it."""
        found = _duplicates([sa for sa in sas if sa.name in names])
        self._since = {key: self._since.get(key, now) for key in found}
        due = [key for key, since in self._since.items() if now - since >= GRACE]
        for key in due:
            del self._since[key]
        self.next_deadline = min(self._since.values(), default=None)
        if self.next_deadline is not None:
            self.next_deadline += GRACE
        return [
            (f"{kind} {number}", (terminate_ike if kind == "ike" else terminate_child)(number, timeout=_TIMEOUT))
            for kind, number in due
        ]


def _duplicates(sas: list[IkeSa]) -> set[tuple[str, int]]:
    found: set[tuple[str, int]] = set()
    settled = [sa for sa in sas if sa.state == "ESTABLISHED"]
    for sa in settled:
        carried = _carried(sa)
        newer = [other for other in settled if other.name == sa.name and other.uniqueid > sa.uniqueid]
        if any(carried <= _carried(other) for other in newer):
            found.add(("ike", sa.uniqueid))
    kept = [sa for sa in settled if ("ike", sa.uniqueid) not in found]
    for sa in kept:
        rivals = [(o.name, c.name, c.uniqueid) for o in kept for c in o.children if c.state == "INSTALLED"]
        for child in sa.children:
            if child.state == "INSTALLED" and any(
                (owner, name) == (sa.name, child.name) and number > child.uniqueid for owner, name, number in rivals
            ):
                found.add(("child", child.uniqueid))
    return found


def _carried(sa: IkeSa) -> set[str]:
    return {child.name for child in sa.children if child.state == "INSTALLED"}
