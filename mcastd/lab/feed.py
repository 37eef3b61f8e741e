"""The streams of a scene: the processes that send them, and the applications on the VM that receive them."""

from pathlib import Path

import msgspec

from mcastd.lab import topology
from mcastd.lab.commands import listening, python, wait_for
from mcastd.lab.nodes import Nodes
from mcastd.lab.receiver import ask
from mcastd.lab.state import Process
from mcastd.lab.topology import CLOUD, SOURCE


class StreamStats(msgspec.Struct, frozen=True):
    """What the application received of one group. Times are in seconds (monotonic).

    ``lost`` counts sequence numbers that are missing after the first one received.
    """

    group: str
    source: str | None
    received: int
    lost: int
    duplicates: int
    first: float | None
    last: float | None
    longest_gap: float


class Feed:
    """The streams of a scene."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._folder = nodes.folder / CLOUD
        self._receivers: dict[Path, Process] = {}  # by the control socket of each

    def send(self, *groups: str, source: str = topology.SOURCE_ADDRESS) -> Process:
        """Send a stream to each of the groups, from ``source``."""
        if source != topology.SOURCE_ADDRESS:
            self._nodes.command(SOURCE, ["ip", "address", "replace", f"{source}/24", "dev", "eth0"])
        plain = [group.partition("@")[0] for group in groups]
        options = ["--source", source, "--port", topology.PORT, "--rate", self._nodes.options.rate]
        return self._nodes.start(SOURCE, "source", python("mcastd.lab.source", *plain, *options))

    def receive(self, *groups: str, anywhere: bool = False) -> None:
        """Start an application on the VM that joins each of the groups on the tunnel once that exists.

        ``anywhere``: it names no interface, so that the VM's routing table decides.
        """
        path = self._folder / f"receiver{len(self._sockets())}.sock"
        options = ["--port", topology.PORT, "--socket", path]
        options += [] if anywhere else ["--interface", topology.TUNNEL]
        self._receivers[path] = self._nodes.start(CLOUD, "receiver", python("mcastd.lab.receiver", *groups, *options))
        wait_for("the receiver", lambda: listening(path))

    def stop_receiving(self) -> None:
        """End the applications that this object started; their counters are lost."""
        for path, process in self._receivers.items():
            self._nodes.stop(process)
            path.unlink()
        self._receivers.clear()

    def received(self) -> dict[str, StreamStats]:
        """The counters of each group, by ``GROUP`` or ``GROUP@SOURCE``."""
        streams = [
            entry for path in self._sockets() for entry in msgspec.json.decode(ask(path), type=list[StreamStats])
        ]
        return {f"{entry.group}@{entry.source}" if entry.source else entry.group: entry for entry in streams}

    def _sockets(self) -> list[Path]:
        return sorted(self._folder.glob("receiver*.sock"))
