"""One charon for each side, separate from the host's own."""

from functools import partial

from mcastd.lab import topology
from mcastd.lab.commands import listening, require_userspace_esp, wait_for, works
from mcastd.lab.nodes import Nodes
from mcastd.lab.topology import CLOUD, INTERNET

# ESP in user space passes through charon's UDP socket, whose receive buffer holds a tenth of a second of the feed and
# cannot be configured: on a busy machine charon must be scheduled before it is full. A nice value is not enough: it
# only counts among the processes of one session (sched(7), autogroup).
_REAL_TIME = ("chrt", "--rr", "1")


def start_charons(nodes: Nodes) -> bool:
    """Start charon in the cloud and in each data centre, without connections; returns whether ESP is in user space."""
    userspace = not _kernel_has_esp(nodes)
    if userspace:
        require_userspace_esp()
    for node in _nodes(nodes):
        log, drop_in = nodes.log(f"charon-{node}"), nodes.options.drop_in
        text = topology.strongswan_conf(nodes.vici(node), log, userspace_esp=userspace, drop_in=drop_in)
        nodes.strongswan_conf(node).write_text(text)
        start_charon(nodes, node)
    return userspace


def _nodes(nodes: Nodes) -> list[str]:
    return [CLOUD, *(site.node for site in nodes.sites)]


def start_charon(nodes: Nodes, node: str) -> None:
    """Start a node's charon, also again after it was killed."""
    environment = {"STRONGSWAN_CONF": str(nodes.strongswan_conf(node))}
    real_time = _REAL_TIME if works([*_REAL_TIME, "true"]) else ()
    nodes.start(node, f"charon-{node}", [*real_time, "/usr/sbin/charon-systemd"], environment)


def wait_for_charons(nodes: Nodes) -> None:
    """Return when all accept connections to their VICI sockets."""
    for node in _nodes(nodes):
        wait_for(f"charon in {node}", partial(listening, nodes.vici(node)))


def list_sas(nodes: Nodes, node: str) -> str:
    """The output of ``swanctl --list-sas`` in a node; empty if there is no SA."""
    return nodes.command(node, ["swanctl", "--list-sas"]).strip()


def _kernel_has_esp(nodes: Nodes) -> bool:
    # A state is added in a namespace that does not use it, and removed again.
    ip = ["ip", "-n", nodes.namespace(INTERNET), "xfrm", "state"]
    state = ["add", "src", "192.0.2.1", "dst", "192.0.2.2", "proto", "esp", "spi", "0x1000", "mode", "tunnel"]
    keys = ["enc", "cbc(aes)", f"0x{'0' * 64}", "auth-trunc", "hmac(sha256)", f"0x{'0' * 64}", "128"]
    return works([*ip, *state, *keys]) and works([*ip, "flush"])
