"""Which SAs are duplicates that must be terminated. Sans-IO.

Two SAs for the same purpose are normal while one replaces the other. Only one that stays a duplicate for ``GRACE``
seconds, in states that no rekeying passes through, is terminated; the newest is kept, since both sides send by it.
"""

from collections.abc import Collection
from typing import Any, Final

from mcastd.ipsec.messages import terminate
from mcastd.ipsec.sas import IkeSa

GRACE: Final = 2.0
_TIMEOUT: Final = 1.0


class DuplicateSas:
    """Tracks since when each SA has been a duplicate."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, int], float] = {}  # by kind and unique id
        self.next_deadline: float | None = None  # when the next of them is due

    def update(self, sas: tuple[IkeSa, ...], names: Collection[str], now: float) -> list[tuple[str, dict[str, Any]]]:
        """Take a listing; return the SAs that are due, each as text and as the ``terminate`` message for it."""
        found = _duplicates([sa for sa in sas if sa.name in names])
        self._since = {key: self._since.get(key, now) for key in found}
        due = [key for key, since in self._since.items() if now - since >= GRACE]
        for key in due:
            del self._since[key]
        self.next_deadline = min(self._since.values()) + GRACE if self._since else None
        return [(f"{kind} {number}", terminate({f"{kind}-id": number}, _TIMEOUT)) for kind, number in due]


def _duplicates(sas: list[IkeSa]) -> set[tuple[str, int]]:
    established = [sa for sa in sas if sa.state == "ESTABLISHED"]
    replaced = {
        sa.uniqueid
        for sa in established
        for newer in established
        if newer.name == sa.name and newer.uniqueid > sa.uniqueid and _installed(sa) <= _installed(newer)
    }
    kept = [(sa.name, child) for sa in established if sa.uniqueid not in replaced for child in sa.children]
    children = sorted((child.uniqueid, owner, child.name) for owner, child in kept if child.state == "INSTALLED")
    newest = {(owner, name): number for number, owner, name in children}
    older = {("child", number) for number, owner, name in children if number < newest[owner, name]}
    return older | {("ike", number) for number in replaced}


def _installed(sa: IkeSa) -> set[str]:
    return {child.name for child in sa.children if child.state == "INSTALLED"}
