"""The streams of a scene: who sends them, and the applications on the VM that receive them."""

from pathlib import Path

import msgspec

from mcastd.lab import topology
from mcastd.lab.commands import listening, python, wait_for
from mcastd.lab.places import Places
from mcastd.lab.receiver import ask
from mcastd.lab.state import Process
from mcastd.lab.topology import CLOUD, SOURCE


class StreamStats(msgspec.Struct, frozen=True):
    """What the application received of one group. Times are seconds, monotonic; ``lost`` are gaps after the first."""

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

    def __init__(self, places: Places) -> None:
        self._places = places
        self._folder = places.folder / CLOUD
        self._receivers: dict[Path, Process] = {}

    def send(self, *groups: str, source: str = topology.SOURCE_ADDRESS) -> Process:
        """Send a stream to each of the groups, from ``source``."""
        if source != topology.SOURCE_ADDRESS:
            self._places.command(SOURCE, ["ip", "address", "replace", f"{source}/24", "dev", "eth0"])
        plain = [group.partition("@")[0] for group in groups]
        options = ["--source", source, "--port", topology.PORT, "--rate", self._places.options.rate]
        return self._places.start(SOURCE, "source", python("mcastd.lab.source", *plain, *options))

    def receive(self, *groups: str, anywhere: bool = False) -> None:
        """Start an application on the VM that joins each of the groups on the tunnel, as soon as there is one.

        ``anywhere``: it names no interface, so that the VM's routes decide where it joins.
        """
        path = self._folder / f"receiver{len(self._sockets())}.sock"
        options = ["--port", topology.PORT, "--socket", path]
        options += [] if anywhere else ["--interface", topology.TUNNEL]
        self._receivers[path] = self._places.start(CLOUD, "receiver", python("mcastd.lab.receiver", *groups, *options))
        wait_for("the receiver", lambda: listening(path))

    def stop_receiving(self) -> None:
        """End the applications that this object started; what they counted is forgotten."""
        for path, process in self._receivers.items():
            self._places.stop(process)
            path.unlink()
        self._receivers.clear()

    def received(self) -> dict[str, StreamStats]:
        """What arrived of each group, by ``GROUP`` or ``GROUP@SOURCE``."""
        streams = [
            entry for path in self._sockets() for entry in msgspec.json.decode(ask(path), type=list[StreamStats])
        ]
        return {f"{entry.group}@{entry.source}" if entry.source else entry.group: entry for entry in streams}

    def _sockets(self) -> list[Path]:
        return sorted(self._folder.glob("receiver*.sock"))
