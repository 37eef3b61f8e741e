"""The other side: its charon waits, FRR is its PIM router and rendezvous point, and its keepalives are a Cisco's.

Its configuration is what ``mcastd peer-config`` makes of the cloud's.
"""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from mcastd.config.agreement import carrier, seen
from mcastd.config.load import load
from mcastd.config.model import Config, Tunnel
from mcastd.lab import topology
from mcastd.lab.charon import list_sas
from mcastd.lab.commands import command, listening, python, wait_for, works
from mcastd.lab.places import Places
from mcastd.lab.topology import DC, DcIpsec
from mcastd.tools.peerconfig import PSK, linux

_FRR = Path("/usr/lib/frr")
# FRR writes crash logs under /var/tmp; in the mount namespace of its own that ``ip netns exec`` gives, they go nowhere.
_PRIVATE_TMP = ["sh", "-c", 'mount -t tmpfs tmpfs /var/tmp && exec "$@"', "sh"]


class CiscoStats(msgspec.Struct, frozen=True):
    """The data centre's keepalives; ``line_protocol`` is ``up`` or ``down``, ``rtt`` in seconds.

    ``asked_of_us`` counts the requests that came from the VM.
    """

    sent: int = 0
    answered: int = 0
    line_protocol: str = "up"
    downs: int = 0
    rtt: float | None = None
    asked_of_us: int = 0


class DataCentre:
    """The data centre of a scene; its charon is started already."""

    def __init__(self, places: Places, ipsec: DcIpsec) -> None:
        self._places = places
        self._ipsec = ipsec
        self._folder = places.folder / DC
        self._keepalives = self._folder / "cisco.json"
        self._agreed = Config()

    def start(self, mtu: int | None) -> None:
        """Start GRE with this MTU or what fits, FRR, keepalives and charon's connection; returns when all are ready.

        The cloud's configuration is written already.
        """
        self._agreed = self._agreement(mtu)
        zebra = self._start_frr("zebra", "")
        self._start_tunnel()
        wait_for("FRR's zebra", lambda: listening(zebra))
        self.start_pimd()
        wait_for("the data centre's charon", lambda: listening(self._places.vici(DC)))
        self.load()
        wait_for("FRR's PIM interfaces", self._pim_is_up, poll=0.05)
        if self._with_gre:
            wait_for("the data centre's keepalives", self._keepalives.exists)
        self.no_shutdown()

    def _agreement(self, mtu: int | None) -> Config:
        return topology.data_centre(load(self._places.config, check_files=False).config, self._ipsec, mtu)

    def start_pimd(self) -> None:
        """Start FRR's pimd, again if it was killed."""
        self._start_frr("pimd", linux.frr_conf(self._agreed, inside="lan0"))

    def _start_tunnel(self) -> None:
        ip = ["ip", "-n", self._places.namespace(DC)]
        tunnel = self._agreed.tunnels[0]
        below = linux.xfrm_link(self._agreed, tunnel, "eth0")
        command([*ip, "-batch", "-"], text="\n".join(below))
        if self._with_gre:
            self._start_gre(ip, tunnel)
        settings = linux.link_settings(self._agreed, tunnel)
        if not topology.IPV6.exists():
            settings = [line for line in settings if linux.WITHOUT_IPV6 not in line]
        command([*ip, "-batch", "-"], text="\n".join(settings))
        # Where GRE or ESP is done in user space, a scheduler that comes late must not cost packets; elsewhere no link.
        for link in (topology.TUNNEL, "ipsec0"):
            works([*ip, "link", "set", link, "txqueuelen", "5000"])

    @property
    def _with_gre(self) -> bool:
        return self._agreed.tunnels[0].encapsulation == "gre"

    def _start_gre(self, ip: list[str], tunnel: Tunnel) -> None:
        ends = [tunnel.name, tunnel.remote, seen(carrier(self._agreed, tunnel), tunnel.local)]
        report = ["--period", self._places.options.keepalive_period, "--report", self._keepalives]
        self._places.start(DC, "cisco", python("mcastd.lab.cisco", *ends, *report))
        if not works([*ip, *linux.gre_link(self._agreed, tunnel).split()]):
            self._places.start(DC, "gre", python("mcastd.lab.dcgre", *ends))
            wait_for("the data centre's GRE interface", lambda: works([*ip, "link", "show", tunnel.name]))

    def _start_frr(self, daemon: str, configuration: str) -> Path:
        frr = self._folder / "frr"
        conf = frr / f"{daemon}.conf"
        conf.write_text(configuration)
        command(["chown", "-R", "frr:frr", str(frr)])
        sockets = ["-z", str(frr / "zserv.api"), "--vty_socket", str(frr), "-P", "0", "-i", str(frr / f"{daemon}.pid")]
        argv = [str(_FRR / daemon), *sockets, "-f", str(conf), "--log", "stdout"]
        self._places.start(DC, daemon, [*_PRIVATE_TMP, *argv])
        return frr / "zserv.api"

    def _pim_is_up(self) -> bool:
        if not (self._folder / "frr" / "pimd.vty").exists():
            return False
        rps = self.frr_json("show ip pim rp-info").get(topology.RP, [{}])
        return bool(rps[0].get("iAmRP")) and all(self._speaks_pim(name) for name in (topology.TUNNEL, "lan0"))

    def _speaks_pim(self, interface: str) -> bool:
        """Whether pimd has a socket there: it calls an interface up before, but its Hello Timer runs only then."""
        found = self.frr_json(f"show ip pim interface {interface}").get(interface, {})
        return bool(found.get("state") == "up" and found.get("helloTimer", "--:--:--") != "--:--:--")

    def _command(self, argv: list[str], *, text: str | None = None) -> str:
        return self._places.command(DC, argv, text=text)

    def load(self, **changes: Any) -> None:
        """Load connection and PSK into charon, with fields of DcIpsec changed: what it agrees to from now on."""
        self._load(self._agreed, replace(self._ipsec, **changes))

    def agree(self, *, certificate: Path | None = None) -> None:
        """Load what the cloud's configuration now makes of the connection, until the next ``load``.

        The place's folder is what /etc/swanctl is elsewhere, for ``certificate`` and what goes with it.
        """
        self._load(self._agreement(None), self._ipsec, certificate)

    def _load(self, agreed: Config, ipsec: DcIpsec, certificate: Path | None = None) -> None:
        text = linux.swanctl_conf(topology.data_centre(agreed, ipsec))
        conf = self._folder / "swanctl.conf"
        conf.touch(0o600)
        conf.write_text(text.replace(PSK, ipsec.psk).replace(linux.CERTIFICATE, str(certificate)))
        self._command(["swanctl", "--load-all", "--clear", "--file", str(conf)])

    def security_associations(self) -> str:
        """What charon lists; nothing where there is none."""
        return list_sas(self._places, DC)

    def frr(self, question: str) -> str:
        """What FRR answers."""
        return self._command(["vtysh", "-c", question])

    def frr_json(self, question: str) -> dict[str, Any]:
        """What FRR answers to ``QUESTION json``."""
        return msgspec.json.decode(self.frr(f"{question} json"), type=dict[str, Any])

    def neighbors(self) -> list[str]:
        """The addresses of FRR's PIM neighbours on the tunnel."""
        return list(self.frr_json("show ip pim neighbor").get(topology.TUNNEL, {}))

    def joined(self) -> set[str]:
        """What was joined through the tunnel, as FRR has it: ``GROUP`` for (*,G), ``GROUP@SOURCE`` for (S,G)."""
        entries = self.frr_json("show ip pim join").get(topology.TUNNEL, {})
        channels = [(group, channel) for group, found in entries.items() if "." in group for channel in found.values()]
        joined = [(group, channel["source"]) for group, channel in channels if channel["channelJoinName"] == "JOIN"]
        return {group if source == "*" else f"{group}@{source}" for group, source in joined}

    def keepalives(self) -> CiscoStats:
        """How the keepalives fare."""
        return msgspec.json.decode(self._keepalives.read_bytes(), type=CiscoStats)

    def no_shutdown(self) -> None:
        """``shutdown`` and ``no shutdown`` on the tunnel: up, with no keepalive missed."""
        self._places.kill("cisco", signal.SIGUSR1)

    def toggle_answering(self) -> None:
        """Answer the VM's keepalives no more, or again."""
        self._places.kill("cisco", signal.SIGUSR2)
