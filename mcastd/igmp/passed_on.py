"""What hosts desire, on its way to ``Wanted``; what that has no room for is tried again. Pure."""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from itertools import islice
from typing import Final

from mcastd.errors import McastdError
from mcastd.membership import DesiredGroup
from mcastd.problems import Problem
from mcastd.wanted import HOSTS, Wanted

_RETRIED: Final = 1000  # groups that are tried again at a time


class PassedOn:
    """``refused`` are the groups that are not desired as hosts want it, and why, those tried last at the end."""

    def __init__(self, downstream: Wanted) -> None:
        self.refused: dict[tuple[str, IPv4Address], str] = {}
        self._downstream = downstream
        self._changed: dict[tuple[str, IPv4Address], DesiredGroup] = {}  # what is to be passed on

    def __bool__(self) -> bool:
        """Whether there is something to pass on."""
        return bool(self._changed)

    def change(self, name: str, group: IPv4Address, desired: DesiredGroup) -> None:
        """This is what hosts on an interface desire of a group now."""
        self._changed[name, group] = desired

    def retry(self, desired: Callable[[str, IPv4Address], DesiredGroup]) -> None:
        """Others may have left room for some of what was refused; ``desired`` is what hosts want now."""
        for key in islice(self.refused, _RETRIED):
            self._changed.setdefault(key, desired(*key))

    def pass_on(self, most: int) -> None:
        """Pass on some groups."""
        for key in list(islice(self._changed, most)):
            self.refused.pop(key, None)
            try:
                self._downstream.set_group(*key, HOSTS, self._changed.pop(key))
            except McastdError as error:
                self.refused[key] = str(error)

    def problems(self) -> Iterator[Problem]:
        """What was refused."""
        for (name, _), reason in islice(self.refused.items(), 1):
            text = f"{name}: {len(self.refused)} groups are not joined as machines want it: {reason}"
            yield Problem("groups_limit", name, text)
