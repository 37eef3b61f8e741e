"""Which SAs are duplicates that must be terminated. Sans-IO.

Two SAs for the same purpose are normal while one replaces the other. Only one that stays a duplicate for ``GRACE``
seconds, in states that no rekeying passes through, is terminated; the newest is kept, since both sides send by it.
"""

from collections.abc import Collection
from typing import Any, Final

from mcastd.ipsec.messages import IkeSa, terminate_child, terminate_ike

GRACE: Final = 2.0
_TIMEOUT: Final = 1.0


class DuplicateSas:
    """Tracks since when each SA has been a duplicate."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, int], float] = {}  # by kind and unique id
        self.next_deadline: float | None = None

    def update(self, sas: tuple[IkeSa, ...], names: Collection[str], now: float) -> list[tuple[str, dict[str, Any]]]:
        """Take a listing; return the SAs that are due, each as text and as the ``terminate`` message for it."""
        found = _duplicates([sa for sa in sas if sa.name in names])
        self._since = {key: self._since.get(key, now) for key in found}
        due = [key for key, since in self._since.items() if now - since >= GRACE]
        for key in due:
            del self._since[key]
        self.next_deadline = min(self._since.values()) + GRACE if self._since else None
        return [
            (f"{kind} {number}", (terminate_ike if kind == "ike" else terminate_child)(number, timeout=_TIMEOUT))
            for kind, number in due
        ]


def _duplicates(sas: list[IkeSa]) -> set[tuple[str, int]]:
    found: set[tuple[str, int]] = set()
    established = [sa for sa in sas if sa.state == "ESTABLISHED"]
    for sa in established:
        newer = [other for other in established if other.name == sa.name and other.uniqueid > sa.uniqueid]
        if any(_installed(sa) <= _installed(other) for other in newer):
            found.add(("ike", sa.uniqueid))
    kept = [sa for sa in established if ("ike", sa.uniqueid) not in found]
    newest: dict[tuple[str, str], int] = {}
    children = [(sa.name, child) for sa in kept for child in sa.children if child.state == "INSTALLED"]
    for owner, child in sorted(children, key=lambda one: one[1].uniqueid):
        newest[owner, child.name] = child.uniqueid
    found |= {("child", child.uniqueid) for owner, child in children if child.uniqueid < newest[owner, child.name]}
    return found


def _installed(sa: IkeSa) -> set[str]:
    return {child.name for child in sa.children if child.state == "INSTALLED"}
