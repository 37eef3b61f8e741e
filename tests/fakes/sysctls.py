"""Sysctls in memory: for the agents the interface ``mcastd.system.sysctl.Sysctls``."""

from mcastd.errors import HostError


class FakeSysctls:
    """``values`` by name; one of ``refused`` cannot be set."""

    def __init__(self, values: dict[str, str] | None = None) -> None:
        self.values = {"net/ipv4/ip_forward": "0", **(values or {})}
        self.refused: set[str] = set()

    def read(self, name: str) -> str | None:
        return self.values.get(name)

    def write(self, name: str, value: str) -> None:
        if name in self.refused:
            raise HostError(f"sysctl {name} = {value}: Read-only file system")
        if name not in self.values:
            raise HostError(f"sysctl {name} = {value}: No such file or directory")
        self.values[name] = value
