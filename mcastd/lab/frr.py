"""FRR's daemons in a node, separate from the host's own."""

from pathlib import Path

from mcastd.lab.commands import command
from mcastd.lab.nodes import Nodes

_FRR = Path("/usr/lib/frr")
# FRR writes crash logs under /var/tmp; a tmpfs in the mount namespace of ``ip netns exec`` keeps them off the host.
_PRIVATE_TMP = ["sh", "-c", 'mount -t tmpfs tmpfs /var/tmp && exec "$@"', "sh"]


def start_frr(nodes: Nodes, node: str, daemon: str, configuration: str, name: str | None = None) -> Path:
    """Start a daemon of FRR, as a process called ``name``; returns zebra's socket."""
    frr = nodes.folder / node / "frr"
    conf = frr / f"{daemon}.conf"
    conf.write_text(configuration)
    command(["chown", "-R", "frr:frr", str(frr)])
    sockets = ["-z", str(frr / "zserv.api"), "--vty_socket", str(frr), "-P", "0", "-i", str(frr / f"{daemon}.pid")]
    argv = [str(_FRR / daemon), *sockets, "-f", str(conf), "--log", "stdout"]
    nodes.start(node, name or daemon, [*_PRIVATE_TMP, *argv])
    return frr / "zserv.api"
