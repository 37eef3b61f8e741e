"""The other side: charon as responder, FRR as PIM router and rendezvous point, and a Cisco's keepalives.

Its configuration is generated from the cloud's by ``mcastd peer-config``.
"""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from mcastd.config.load import load
from mcastd.config.model import Config, Tunnel
from mcastd.config.other_side import carrier, endpoint_seen
from mcastd.lab import topology
from mcastd.lab.charon import list_sas, start_charon
from mcastd.lab.commands import command, listening, python, wait_for, works
from mcastd.lab.frr import start_frr
from mcastd.lab.nodes import Nodes
from mcastd.lab.sites import FIRST, Site, of_site
from mcastd.lab.topology import DcIpsec
from mcastd.tools.peerconfig import PSK, linux


class CiscoStats(msgspec.Struct, frozen=True):
    """The data centre's keepalives: requests ``sent``, replies received (``answered``), times the line went down.

    ``line_protocol`` is ``up`` or ``down``, ``rtt`` in seconds; ``requests_received`` counts requests from the VM.
    """

    sent: int = 0
    answered: int = 0
    line_protocol: str = "up"
    downs: int = 0
    rtt: float | None = None
    requests_received: int = 0


class DataCentre:
    """A data centre of a scene, whose charon has been started."""

    def __init__(self, nodes: Nodes, ipsec: DcIpsec, site: Site = FIRST) -> None:
        self.site = site
        self._nodes = nodes
        self._ipsec = ipsec
        self._folder = nodes.folder / site.node
        self._keepalives = self._folder / "cisco.json"  # the report of ``mcastd.lab.cisco``
        self._agreed = Config()  # the cloud's configuration with this side's changes
        self._mtu: int | None = None  # of the tunnel; None: the largest that fits

    def start(self, mtu: int | None) -> None:
        """Start GRE (``mtu`` None: the largest that fits), FRR, keepalives and charon's connection, and wait for all.

        The cloud's configuration must have been written.
        """
        self._agreed, self._mtu = self._agreement(mtu), mtu
        zebra = start_frr(self._nodes, self.site.node, "zebra", "", self._name("zebra"))
        self._start_tunnel()
        wait_for("FRR's zebra", lambda: listening(zebra))
        self.start_pimd()
        wait_for("the data centre's charon", lambda: listening(self._nodes.vici(self.site.node)))
        self.load()
        wait_for("FRR's PIM interfaces", self._pim_is_up, poll=0.05)
        if self._with_gre:
            wait_for("the data centre's keepalives", self._keepalives.exists)
        self.no_shutdown()

    def _agreement(self, mtu: int | None) -> Config:
        cloud = load(self._nodes.config, check_files=False).config
        return topology.data_centre(of_site(cloud, self.site), self._ipsec, mtu)

    def _name(self, process: str) -> str:
        return f"{process}{self.site.suffix}"

    def crash(self) -> None:
        """End everything at once, so that nothing says goodbye; its source goes on sending."""
        node, tunnel = self.site.node, self.site.tunnel
        for name in (f"charon-{node}", *map(self._name, ("pimd", "zebra", "cisco", "gre"))):
            self._nodes.end(name, signal.SIGKILL)
        # What the kernel has of it, where GRE and ESP are the kernel's.
        for line in (["xfrm", "state", "flush"], ["xfrm", "policy", "flush"], ["link", "del", tunnel]):
            works(["ip", "-n", self._nodes.namespace(node), *line])
        self._keepalives.unlink(missing_ok=True)

    def restart(self) -> None:
        """Start everything again after a crash."""
        start_charon(self._nodes, self.site.node)
        self.start(self._mtu)

    def start_pimd(self) -> None:
        """Start FRR's pimd, also again after it was killed."""
        start_frr(self._nodes, self.site.node, "pimd", self._frr_conf(), self._name("pimd"))

    def _frr_conf(self) -> str:
        """Where the VM speaks no PIM, its configuration does not have the RP."""
        text = linux.frr_conf(self._agreed, inside="lan0")
        return text if "ip pim rp " in text else f"ip pim rp {topology.RP} {topology.RP_GROUPS}\n{text}"

    def _start_tunnel(self) -> None:
        ip = ["ip", "-n", self._nodes.namespace(self.site.node)]
        tunnel = self._agreed.tunnels[0]
        below = linux.xfrm_link(self._agreed, tunnel, "eth0")
        command([*ip, "-batch", "-"], text="\n".join(below))
        if self._with_gre:
            self._start_gre(ip, tunnel)
        settings = linux.link_settings(self._agreed, tunnel)
        if not topology.IPV6.exists():
            settings = [line for line in settings if linux.WITHOUT_IPV6 not in line]
        command([*ip, "-batch", "-"], text="\n".join(settings))
        # With GRE or ESP in user space, a process that is scheduled late must not lose packets.
        for link in (tunnel.name, "ipsec0"):
            works([*ip, "link", "set", link, "txqueuelen", "5000"])

    @property
    def _with_gre(self) -> bool:
        return self._agreed.tunnels[0].encapsulation == "gre"

    def _start_gre(self, ip: list[str], tunnel: Tunnel) -> None:
        ends = [tunnel.name, tunnel.remote, endpoint_seen(carrier(self._agreed, tunnel), tunnel.local)]
        report = ["--period", self._nodes.options.keepalive_period, "--report", self._keepalives]
        self._nodes.start(self.site.node, self._name("cisco"), python("mcastd.lab.cisco", *ends, *report))
        if not works([*ip, *linux.gre_link(self._agreed, tunnel).split()]):
            self._nodes.start(self.site.node, self._name("gre"), python("mcastd.lab.dcgre", *ends))
            wait_for("the data centre's GRE interface", lambda: works([*ip, "link", "show", tunnel.name]))

    def _pim_is_up(self) -> bool:
        if not (self._folder / "frr" / "pimd.vty").exists():
            return False
        rps = self.frr_json("show ip pim rp-info").get(topology.RP, [{}])
        names = ["lan0"] if self._nodes.options.upstream == "none" else [self.site.tunnel, "lan0"]
        return bool(rps[0].get("iAmRP")) and all(map(self._sends_hellos, names))

    def _sends_hellos(self, interface: str) -> bool:
        """Whether pimd has its socket: it reports an interface as up earlier, but its Hello Timer runs only then."""
        found = self.frr_json(f"show ip pim interface {interface}").get(interface, {})
        return bool(found.get("state") == "up" and found.get("helloTimer", "--:--:--") != "--:--:--")

    def _command(self, argv: list[str], *, text: str | None = None) -> str:
        return self._nodes.command(self.site.node, argv, text=text)

    def load(self, **changes: Any) -> None:
        """Load connection and PSK into charon, with fields of DcIpsec changed; replaces what was loaded."""
        self._load(self._agreed, replace(self._ipsec, **changes))

    def agree(self, *, certificate: Path | None = None) -> None:
        """Load the connection that follows from the cloud's present configuration, until the next ``load``.

        The node's folder takes the part of /etc/swanctl, with ``certificate`` and its key.
        """
        self._load(self._agreement(None), self._ipsec, certificate)

    def _load(self, agreed: Config, ipsec: DcIpsec, certificate: Path | None = None) -> None:
        text = linux.swanctl_conf(topology.data_centre(agreed, ipsec))
        conf = self._folder / "swanctl.conf"
        conf.touch(0o600)
        conf.write_text(text.replace(PSK, ipsec.psk).replace(linux.CERTIFICATE, str(certificate)))
        self._command(["swanctl", "--load-all", "--clear", "--file", str(conf)])

    def security_associations(self) -> str:
        """The output of ``swanctl --list-sas``; empty if there is no SA."""
        return list_sas(self._nodes, self.site.node)

    def frr(self, question: str) -> str:
        """FRR's output for a command of vtysh."""
        return self._command(["vtysh", "-c", question])

    def frr_json(self, question: str) -> dict[str, Any]:
        """FRR's output for ``QUESTION json``."""
        return msgspec.json.decode(self.frr(f"{question} json"), type=dict[str, Any])

    def neighbors(self) -> list[str]:
        """The addresses of FRR's PIM neighbours on the tunnel."""
        return list(self.frr_json("show ip pim neighbor").get(self.site.tunnel, {}))

    def reported(self) -> set[str]:
        """FRR's IGMP state on the tunnel: ``GROUP`` for any source, ``GROUP@SOURCE`` for one."""
        found = self.frr_json("show ip igmp sources").get(self.site.tunnel, {})
        entries = [(group, entry["sources"]) for group, entry in found.items() if "sources" in entry]
        names = {(group, source["source"]) for group, sources in entries for source in sources}
        return {group if source == "*" else f"{group}@{source}" for group, source in names}

    def joined(self) -> set[str]:
        """FRR's Join state on the tunnel: ``GROUP`` for (*,G), ``GROUP@SOURCE`` for (S,G)."""
        entries = self.frr_json("show ip pim join").get(self.site.tunnel, {})
        channels = [(group, channel) for group, found in entries.items() if "." in group for channel in found.values()]
        joined = [(group, channel["source"]) for group, channel in channels if channel["channelJoinName"] == "JOIN"]
        return {group if source == "*" else f"{group}@{source}" for group, source in joined}

    def keepalives(self) -> CiscoStats:
        """The report of the keepalive process."""
        return msgspec.json.decode(self._keepalives.read_bytes(), type=CiscoStats)

    def no_shutdown(self) -> None:
        """``shutdown`` and ``no shutdown`` on the tunnel: line protocol up, no reply missed."""
        self._nodes.kill(self._name("cisco"), signal.SIGUSR1)

    def toggle_replies(self) -> None:
        """Stop or start replying to the VM's keepalives."""
        self._nodes.kill(self._name("cisco"), signal.SIGUSR2)
