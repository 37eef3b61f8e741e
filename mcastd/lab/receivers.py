"""Machines that receive by the VM's overlay, on a subnet of the cloud network without multicast, and an outsider.

::

    mcastd-cloud              mcastd-vpc          mcastd-receiver1 ... mcastd-receiverN
    eth2 10.1.2.246 --------- a bridge ---------- eth0 10.1.2.1 ... N; vx0 10.20.0.1 ... N
    vx0 10.20.0.246                       ------- mcastd-outsider, eth0 10.1.2.200

Each is set up by the commands that ``mcastd receive --print`` prints. Reverse path filtering is strict in all of them.
The outsider is not a member of the overlay, and is set up as a receiver all the same.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface

from mcastd.config.load import load
from mcastd.errors import LabError
from mcastd.lab import topology
from mcastd.lab.commands import command
from mcastd.lab.nodes import Nodes
from mcastd.lab.topology import CLOUD
from mcastd.tools.receive.commands import script
from mcastd.tools.receive.overlays import receiver


def address(number: int) -> str:
    """A receiver's own address; the outsider's number is 200."""
    return f"10.1.2.{number}"


VPC, OUTSIDER, OVERLAY = "vpc", "outsider", "vx0"
VM_ON_VPC, VM_ON_OVERLAY, MEMBERS, _OUTSIDER = "10.1.2.246", "10.20.0.246/24", "10.1.2.0/25", 200
_GATEWAY = address(254)  # what a cloud's machines have; here no packet gets there
VNI = 7
MOST = 120
"""Receivers of a scene, within the members."""


def names(count: int) -> tuple[str, ...]:
    """The nodes that receive."""
    return tuple(f"receiver{number}" for number in range(1, count + 1))


def on_overlay(number: int) -> str:
    """A receiver's address on the overlay."""
    return f"10.20.0.{number}/24"


def overlay_toml(tunnels: Iterable[str]) -> str:
    """The overlay in the VM's configuration, by which receivers get what comes by these tunnels."""
    named = ", ".join(f'"{tunnel}"' for tunnel in dict.fromkeys(tunnels))
    return f"""
[overlay.{OVERLAY}]
from = [{named}]
vni = {VNI}
local = "{VM_ON_VPC}"
address = "{VM_ON_OVERLAY}"
members = ["{MEMBERS}"]
"""


class Receivers:
    """The receivers of a scene, if its options ask for some."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self.names = names(nodes.options.receivers)

    def connect(self) -> None:
        """Make their namespaces, and connect them with the VM."""
        if not self.names:
            return
        nodes = self._nodes
        sysctls = {**(topology.WITHOUT_IPV6 if topology.IPV6.exists() else {}), "ipv4/conf/all/rp_filter": "1"}
        set_sysctls = "\n".join(f"echo {value} > /proc/sys/net/{name}" for name, value in sysctls.items())
        for node in (VPC, *self.names, OUTSIDER):
            (nodes.folder / node).mkdir()
            nodes.state.make_namespace(nodes.namespace(node))
            nodes.command(node, ["sh", "-ec", set_sysctls])
        self._batch(VPC, "link add br0 type bridge mcast_snooping 0", "link set br0 up")
        self._attach(CLOUD, "eth2", VM_ON_VPC)
        for number, node in self._numbered():
            self._attach(node, "eth0", address(number))
            self._batch(node, f"route add default via {_GATEWAY}")

    def _attach(self, node: str, port: str, own: str) -> None:
        peer = f"link add {node} type veth peer name {port} netns {self._nodes.namespace(node)}"
        self._batch(VPC, peer, f"link set {node} master br0 up")
        self._batch(node, "link set lo up", f"address add {own}/24 dev {port}", f"link set {port} up")

    def set_up(self) -> None:
        """Run the commands that make them receivers of the overlay, and let applications join there."""
        if not self.names:
            return
        config = load(self._nodes.config, check_files=False).config
        for number, node in self._numbered():
            # An outsider gives no address of its own, which would be refused.
            local = IPv4Address(address(number)) if node != OUTSIDER else None
            found = receiver(
                config, lambda *text: LabError(" ".join(text)), local=local, address=IPv4Interface(on_overlay(number))
            )
            self._nodes.command(node, ["sh", "-e"], text=script(found))
            self._batch(node, f"route add 224.0.0.0/4 dev {OVERLAY}")

    def vanish(self, node: str, *, back: bool = False) -> None:
        """Cut a receiver off, which nothing announces, or bring it back."""
        self._batch(VPC, f"link set {node} {'up' if back else 'down'}")

    def _numbered(self) -> tuple[tuple[int, str], ...]:
        return (*enumerate(self.names, 1), (_OUTSIDER, OUTSIDER))

    def _batch(self, node: str, *lines: str) -> None:
        command(["ip", "-n", self._nodes.namespace(node), "-batch", "-"], text="\n".join(lines))
