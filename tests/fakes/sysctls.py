"""Sysctls in memory: for the agents the interface ``mcastd.system.sysctl.Sysctls``."""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager

from mcastd.errors import HostError
from tests.fakes.changes import Notifications


class FakeSysctls:
    """``values`` by name; one of ``refused`` cannot be set."""

    def __init__(self, values: dict[str, str] | None = None) -> None:
        self.values = {"net/ipv4/ip_forward": "0", **(values or {})}
        self.refused: set[str] = set()
        self.unreadable = False  # no descriptor is left
        self._reports = [Notifications()]

    def read(self, name: str) -> str | None:
        if self.unreadable:
            raise HostError(f"sysctl {name}: Too many open files")
        return self.values.get(name)

    def write(self, name: str, value: str) -> None:
        if name in self.refused:
            raise HostError(f"sysctl {name} = {value}: Read-only file system")
        if name not in self.values:
            raise HostError(f"sysctl {name} = {value}: No such file or directory")
        self.change(name, value)

    def changes(self) -> AbstractContextManager[AsyncIterator[None]]:
        return self._reports[0].subscribed()

    def change(self, name: str, value: str) -> None:
        """Whoever changes it, the kernel reports it."""
        self.values[name] = value
        for one in self._reports:
            one.report()

    def report_to(self, notifications: Notifications) -> None:
        """Changes are reported there as well."""
        self._reports.append(notifications)
