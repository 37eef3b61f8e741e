"""The segment behind the VM: FRR as another IGMP querier, and a second VM with a daemon of its own."""

import signal

import msgspec

from mcastd import control
from mcastd.lab import topology
from mcastd.lab.commands import command, listening, python, wait_for, works
from mcastd.lab.frr import start_frr
from mcastd.lab.nodes import Nodes
from mcastd.lab.state import Process
from mcastd.lab.topology import DC, ROUTER, SECOND, SECOND_TUNNEL
from mcastd.status import Status


class Lan:
    """What can be started on the segment of a scene."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._folder = nodes.folder / SECOND
        self.config = self._folder / "mcastd.toml"  # of the second daemon
        self._second: Process | None = None

    def start_router(self, query_interval: int = 1, *, pim: bool = False) -> None:
        """Start FRR as a querier, and with PIM if asked for; the interval is in seconds."""
        zebra = start_frr(self._nodes, ROUTER, "zebra", "", "router-zebra")
        wait_for("the router's zebra", lambda: listening(zebra))
        start_frr(self._nodes, ROUTER, "pimd", "interface eth0\n ip igmp\n" + " ip pim\n" * pim, "router-pimd")
        wait_for("the router's pimd", lambda: listening(zebra.with_name("pimd.vty")))
        # Given in the file, the interval would count only after a minute of startup queries.
        times = ("query-max-response-time 5", f"query-interval {query_interval}")
        self._configure(ROUTER, "interface eth0", *(f"ip igmp {line}" for line in times))

    def _configure(self, node: str, *lines: str) -> None:
        words = [word for line in ("configure terminal", *lines) for word in ("-c", line)]
        self._nodes.command(node, ["vtysh", *words])

    def stop_router(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it; by SIGKILL its queries stop, and nothing else is sent."""
        for name in ("router-pimd", "router-zebra"):
            self._nodes.end(name, number)

    def prepare_second(self) -> None:
        """Write the second daemon's configuration, and make the data centre's end of its tunnel, with PIM."""
        runtime = self._folder / "run"
        runtime.mkdir(exist_ok=True)
        vici, strongswan = self._nodes.vici(SECOND), self._nodes.strongswan_conf(SECOND)
        self.config.write_text(topology.second_toml(vici=vici, strongswan=strongswan, runtime=runtime))
        ip = ["ip", "-n", self._nodes.namespace(DC)]
        ends = ["local", topology.SECOND_DC, "remote", topology.SECOND_VM]
        if not works([*ip, "link", "add", SECOND_TUNNEL, "type", "gre", *ends, "ttl", "64"]):
            argv = python("mcastd.lab.dcgre", SECOND_TUNNEL, topology.SECOND_DC, topology.SECOND_VM)
            self._nodes.start(DC, "gre2", argv)
            wait_for("the second GRE interface", lambda: works([*ip, "link", "show", SECOND_TUNNEL]))
        lines = [
            f"link set {SECOND_TUNNEL} multicast on",
            f"address add {topology.SECOND_DC_ADDRESS} dev {SECOND_TUNNEL}",
        ]
        command([*ip, "-batch", "-"], text="\n".join([*lines, f"link set {SECOND_TUNNEL} up txqueuelen 5000"]))
        self._configure(DC, f"interface {SECOND_TUNNEL}", "ip pim")

    def start_second(self) -> None:
        """Start the second daemon."""
        environment = {"MCASTD_CONFIG": str(self.config)}
        self._second = self._nodes.start(SECOND, "second", python("mcastd", "run"), environment)

    def stop_second(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the second daemon."""
        second, self._second = self._second, None
        if second is not None:
            self._nodes.stop(second, number)

    def second_status(self) -> Status:
        """The second daemon's status; raises ControlError if it does not answer."""
        answer = control.ask(self._folder / "run" / "control.sock", "status", timeout=30.0)
        return msgspec.json.decode(answer, type=Status)
