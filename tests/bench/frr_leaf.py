"""FRR as the leaf on the VM: zebra and pimd, over the tunnel of a daemon that runs without PIM.

It joins for an IGMP membership on another interface, and it needs a route to the rendezvous point by its neighbour.
"""

import time
from collections.abc import Iterable
from pathlib import Path

from mcastd.lab import topology
from mcastd.lab.commands import command, listening, wait_for
from mcastd.lab.scene import Scene
from mcastd.lab.state import Process
from mcastd.lab.topology import CLOUD, TUNNEL

INSIDE = "eth1"  # where the memberships are
_LIBEXEC = Path("/usr/lib/frr")
_NEIGHBOR = topology.TUNNEL_DC.partition("/")[0]
_CONFIGURATION = f"""\
ip pim rp {topology.RP} {topology.RP_GROUPS}
interface {TUNNEL}
 ip pim
interface {INSIDE}
 ip pim
 ip igmp
"""


class FrrLeaf:
    """zebra and pimd, which join ``groups`` from the start."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._folder = scene.folder / CLOUD / "frr"
        self._folder.mkdir(exist_ok=True)
        self.processes: list[Process] = []
        self.groups: list[str] = []
        scene.command(CLOUD, ["ip", "route", "replace", topology.RP, "via", _NEIGHBOR, "dev", TUNNEL])

    def start(self, groups: Iterable[str] = ()) -> float:
        """Start both; returns when pimd was started (monotonic)."""
        self.groups = list(groups)
        self.processes = [self._start("zebra", "")]
        wait_for("zebra", lambda: listening(self._folder / "zserv.api"))
        # The route is there before pimd asks for it.
        wait_for("zebra's route", lambda: topology.RP in self.vtysh("zebra", "show ip route"))
        joins = "".join(f" ip igmp join {group}\n" for group in self.groups)
        began = time.monotonic()
        self.processes.append(self._start("pimd", _CONFIGURATION + joins))
        return began

    def stop(self) -> None:
        """End both, pimd first: it says goodbye."""
        for process in reversed(self.processes):
            self._scene.stop(process)
        self.processes = []

    def join(self, group: str) -> None:
        """Join one more group."""
        self.vtysh("pimd", "configure terminal", f"interface {INSIDE}", f"ip igmp join {group}")

    def vtysh(self, daemon: str, *commands: str) -> str:
        """FRR's answer to commands of one of the two."""
        options = [option for one in commands for option in ("-c", one)]
        argv = self._scene.argv(CLOUD, ["env", "vtysh", "--vty_socket", str(self._folder), "-d", daemon, *options])
        return command(argv)

    def _start(self, daemon: str, configuration: str) -> Process:
        conf = self._folder / f"{daemon}.conf"
        conf.write_text(configuration)
        command(["chown", "-R", "frr:frr", str(self._folder)])
        sockets = ["-z", str(self._folder / "zserv.api"), "--vty_socket", str(self._folder), "-P", "0"]
        argv = [str(_LIBEXEC / daemon), *sockets, "-i", str(self._folder / f"{daemon}.pid"), "-f", str(conf)]
        limited = ["sh", "-c", 'mount -t tmpfs tmpfs /var/tmp && ulimit -n $(ulimit -Hn) && exec "$@"', "sh"]
        return self._scene.start(CLOUD, f"leaf-{daemon}", [*limited, *argv, "--log", "stdout"])
