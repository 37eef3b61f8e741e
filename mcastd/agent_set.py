"""Every agent, and what they share. Adding one is two lines here and a function in ``mcastd.wiring``."""

import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from mcastd import overlay_wiring, wiring
from mcastd.adapters import REAL, System
from mcastd.config.model import Config
from mcastd.firewall.agent import FirewallAgent
from mcastd.follow.agent import FollowAgent
from mcastd.forward.agent import ForwardAgent
from mcastd.history import History
from mcastd.igmp.agent import IgmpAgent
from mcastd.igmp_host.agent import IgmpHostAgent
from mcastd.ipsec.agent import IpsecAgent
from mcastd.joined_hosts import JoinedHosts
from mcastd.keepalive.agent import KeepaliveAgent
from mcastd.members.agent import MembersAgent
from mcastd.meter.agent import MeterAgent
from mcastd.metrics.agent import MetricsAgent
from mcastd.overlay.agent import OverlayAgent
from mcastd.pim.agent import PimAgent
from mcastd.streams.agent import StreamsAgent
from mcastd.supervision import Part
from mcastd.system.log import Logger
from mcastd.tunnel.agent import TunnelAgent
from mcastd.wanted import Wanted


class AgentSet:
    """The agents; ``parts`` has them in start order, each with its wiring."""

    def __init__(
        self,
        config: Config,
        on_change: Callable[[], None],
        log: Logger,
        rng: Random,
        system: System = REAL,
        directory: Path | None = None,
    ) -> None:
        """``on_change`` is the reconcile nudge, upon which all agents are to be configured.

        ``directory`` is where the ledger is, if not where the configuration says.
        """
        self.ledger = ledger = system.ledger((directory or config.daemon.runtime_dir) / "ledger.json")
        for warning in ledger.warnings:
            log.warning("ledger_damaged", problem=warning)
        self.history = History(log)
        # What is desired from upstream, by tunnel, and by receivers behind this host, by downstream interface.
        # What is held by sockets of our own, by tunnel, so that applications receive by each of several tunnels.
        self.wanted, self.downstream, self.held = (Wanted(lambda: time.monotonic()) for _ in range(3))
        self.joined = JoinedHosts(lambda: time.monotonic())
        self.firewall = FirewallAgent(
            nftables=system.nftables,
            conntrack=system.conntrack,
            sysctls=system.sysctls,
            ledger=ledger,
            history=self.history,
            log=log,
            on_change=on_change,
        )
        self.ipsec = IpsecAgent(
            charon=system.charon(config.daemon.vici_socket),
            esp_sockets=system.esp_sockets,
            ledger=ledger,
            history=self.history,
            log=log,
            on_change=on_change,
            rng=rng,
        )
        store = system.store(log)
        self.tunnels = TunnelAgent(
            netlink=system.netlink(),
            sysctls=system.sysctls,
            devices=system.gre_devices,
            ledger=ledger,
            store=store,
            history=self.history,
            log=log,
            on_change=on_change,
        )
        self.keepalive = KeepaliveAgent(log=log, on_change=on_change, open_socket=system.open_keepalive)
        self.pim = PimAgent(log=log, on_change=on_change, rng=rng, wanted=self.wanted, open_transport=system.open_pim)
        self.overlay = OverlayAgent(
            netlink=system.netlink(),
            vxlan=system.vxlan,
            sysctls=system.sysctls,
            devices=system.gre_devices,
            joined=self.joined,
            ledger=ledger,
            store=store,
            history=self.history,
            log=log,
            on_change=on_change,
        )
        self.igmp = IgmpAgent(
            links=system.downstream_links(),
            downstream=self.downstream,
            joined=self.joined,
            log=log,
            on_change=on_change,
            open_transport=system.open_igmp,
        )
        self.igmp_host = IgmpHostAgent(
            wanted=self.wanted,
            held=self.held,
            sysctls=system.sysctls,
            store=store,
            log=log,
            on_change=on_change,
            open_socket=system.open_membership_socket,
            query=system.multicast_addresses.query,
        )
        self.follow = FollowAgent(
            kernel=system.multicast_addresses,
            wanted=self.wanted,
            sysctls=system.sysctls,
            ledger=ledger,
            log=log,
            on_change=on_change,
        )
        self.members = MembersAgent(files=system.file_changes, downstream=self.downstream, log=log, on_change=on_change)
        self.streams = StreamsAgent(
            nftables=system.nftables,
            counters=system.counters,
            memberships=system.memberships,
            ledger=ledger,
            history=self.history,
            log=log,
            on_change=on_change,
        )
        self.meter = MeterAgent(
            bpf=system.bpf, ingress=system.ingress, store=store, ledger=ledger, log=log, on_change=on_change
        )
        self.forward = ForwardAgent(
            open_socket=system.open_mroute,
            routing=system.multicast,
            store=store,
            wanted=self.wanted,
            downstream=self.downstream,
            history=self.history,
            log=log,
            on_change=on_change,
        )
        self.metrics = MetricsAgent(log=log, on_change=on_change)
        self.parts: tuple[Part[Any], ...] = (
            Part(self.firewall, wiring.firewall),  # the guard is in place before anything of ours could send
            Part(self.ipsec, wiring.ipsec),
            Part(self.tunnels, wiring.tunnels),
            Part(self.overlay, overlay_wiring.overlay),
            Part(self.keepalive, wiring.keepalive),
            Part(self.follow, wiring.follow),
            Part(self.pim, wiring.pim),
            Part(self.igmp_host, wiring.igmp_host),
            Part(self.igmp, wiring.igmp),
            Part(self.members, wiring.members),
            Part(self.streams, wiring.streams),
            Part(self.meter, wiring.meter),
            Part(self.forward, wiring.forward),
            Part(self.metrics, wiring.metrics),
        )
