"""The kernel's connection tracking, in memory: for the agent the interface ``mcastd.firewall.agent.Conntrack``."""

from collections.abc import Callable

from mcastd.errors import HostError
from mcastd.net.flow import Flow


class FakeConntrack:
    """``flows`` are the connections that are tracked."""

    def __init__(self) -> None:
        self.flows: list[Flow] = []
        self.refuses: str | None = None  # why nothing is deleted
        self.looks = 0  # how often the connections were listed

    async def forget(self, concerned: Callable[[Flow], bool]) -> int:
        self.looks += 1
        if self.refuses is not None:
            raise HostError(self.refuses)
        before = len(self.flows)
        self.flows = [flow for flow in self.flows if not concerned(flow)]
        return before - len(self.flows)
