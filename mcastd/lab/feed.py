"""The streams of a scene: the processes that send them, and the applications on the VM that receive them."""

import itertools
import time
from pathlib import Path

import msgspec

from mcastd.lab import topology
from mcastd.lab.commands import listening, python, wait_for
from mcastd.lab.nodes import Nodes
from mcastd.lab.receiver import ask
from mcastd.lab.sites import FIRST, Site
from mcastd.lab.state import Process
from mcastd.lab.topology import CLOUD


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
        self._began = time.monotonic_ns()  # when number 0 of streams with common numbers was due
        self._receivers: dict[Path, Process] = {}  # by the control socket of each

    def send(self, *groups: str, source: str = topology.SOURCE_ADDRESS, site: Site = FIRST) -> Process:
        """Send a stream to each of the groups, from ``source``, in a data centre."""
        if source != topology.SOURCE_ADDRESS:
            self._nodes.command(site.source, ["ip", "address", "replace", f"{source}/24", "dev", "eth0"])
        plain = [group.partition("@")[0] for group in groups]
        options = ["--source", source, "--port", topology.PORT, "--rate", self._nodes.options.rate]
        # Where there are two, the same datagram has the same number.
        options += ["--began", self._began] if len(self._nodes.sites) > 1 else []
        return self._nodes.start(site.source, f"source{site.suffix}", python("mcastd.lab.source", *plain, *options))

    def receive(
        self,
        *groups: str,
        anywhere: bool = False,
        node: str = CLOUD,
        interface: str = topology.TUNNEL,
        from_all: bool = False,
    ) -> Process:
        """Start an application in a node, the VM, that joins each of the groups on an interface once that exists.

        ``anywhere``: it names no interface, so that the node's routing table decides. ``from_all``: it has the kernel's
        default, so that it also gets what another membership on the node brings by another interface.
        """
        paths = (self._nodes.folder / node / f"receiver{number}.sock" for number in itertools.count())
        path = next(path for path in paths if not path.exists())
        options = ["--port", topology.PORT, "--socket", path]
        options += [] if anywhere else ["--interface", interface]
        options += ["--from-all"] if from_all else []
        process = self._nodes.start(node, "receiver", python("mcastd.lab.receiver", *groups, *options))
        self._receivers[path] = process
        wait_for("the receiver", lambda: listening(path))
        return process

    def stop_receiving(self, node: str | None = None) -> None:
        """End the applications that this object started, of one node or of all; their counters are lost."""
        for path, process in list(self._receivers.items()):
            if node is None or path.parent.name == node:
                self._nodes.stop(process)
                path.unlink()
                del self._receivers[path]

    def received(self, node: str = CLOUD) -> dict[str, StreamStats]:
        """The counters of each group at a node, the VM, by ``GROUP`` or ``GROUP@SOURCE``."""
        streams = [
            entry
            for path in sorted((self._nodes.folder / node).glob("receiver*.sock"))
            for entry in msgspec.json.decode(ask(path), type=list[StreamStats])
        ]
        return {f"{entry.group}@{entry.source}" if entry.source else entry.group: entry for entry in streams}
