"""The observation: it changes nothing, and sends nothing but ICMP echoes into the tunnels."""

import asyncio
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final, TypeVar

from mcastd import control
from mcastd.config.load import load
from mcastd.config.model import Config, Tunnel
from mcastd.errors import ConfigError, ControlError, HostError
from mcastd.net import ipv4, memberships
from mcastd.overlay_status import OverlayStatus
from mcastd.status import PeerStatus, Status
from mcastd.system import ipmr
from mcastd.system.netlink import Netlink
from mcastd.system.processes import is_stopped, of_sockets
from mcastd.tools.doctor import proc
from mcastd.tools.doctor.facts import ControlSeen, Downstream, Facts, Feature, Interface, Multicast, TunnelFacts
from mcastd.tools.doctor.firewall import Rule, risen, rules, traced
from mcastd.tools.doctor.hops.ipsec import UNANSWERED
from mcastd.tools.doctor.listen import ControlTap, DeliveryTap, EspTap, GreTap, LeavingTap, StreamTap, VxlanTap
from mcastd.tools.doctor.probe import MtuProbe
from mcastd.tools.doctor.trace_firewall import Trace, tracing

T = TypeVar("T")

WINDOW: Final = 1.5
"""Seconds: enough for loss at 1,000 packets a second, and for a stream of one packet a second to show."""

_UNTIL_IKE: Final = 1.5  # seconds longer for IKE to leave, where a peer is not up
_ANSWER: Final = 0.5  # seconds for its answer
_TIMEOUT: Final = 3.0  # seconds for the daemon to answer
_ROUTES: Final = 50  # groups and sources of a tunnel whose route is looked up
_PROC: Final = Path("/proc")
_INTERFACES: Final = Path("/sys/class/net")
_RTPROT_STATIC: Final = 4  # the protocol of charon's routes
_CHARONS_TABLE: Final = 220  # of its routes into IPsec; strongswan.conf can set another one, which stays empty then
_IKE_PORTS: Final = (500, 4500)
_CREDENTIALS: Final = struct.Struct("iII")  # struct ucred


async def look(config_file: Path, control_socket: Path, *, trace: bool = False) -> Facts:
    """Observe everything; what cannot be seen is left at its default, and its hop reports that.

    With ``trace`` also the way of packets through nftables, by a table that is removed again.
    """
    facts = Facts(config_file=str(config_file), privileged=_privileged())
    if not facts.privileged:
        return facts
    try:
        loaded = await asyncio.to_thread(load, config_file)
    except ConfigError as error:
        return replace(facts, config_errors=tuple(map(str, error.problems)))
    facts = replace(facts, config=loaded.config, config_notes=loaded.notes, lacks=await asyncio.to_thread(lacks))
    try:
        before = await _status(control_socket)
        facts = await _observe(facts, loaded.config, before, trace=trace)
        return replace(facts, before=before, status=await _status(control_socket))
    except ControlError as error:
        return replace(facts, daemon_error=str(error))


async def _status(control_socket: Path) -> Status:
    answer = await asyncio.to_thread(control.ask, control_socket, "status", timeout=_TIMEOUT)
    return control.decode(answer, Status)


async def _observe(facts: Facts, config: Config, before: Status, *, trace: bool) -> Facts:
    """Listen for the window, then collect what the kernel counted in it."""
    names = [tunnel.name for tunnel in config.tunnels]
    unanswered = any(map(_may_be_unanswered, before.peers))
    had_rules = await asyncio.to_thread(_rules)
    texts = _read_proc()  # before the echoes are sent, whose answers count
    async with AsyncExitStack() as stack:
        tracer = await stack.enter_async_context(tracing(config)) if trace else Trace()
        # What is compared with what arrived is counted from earlier on, and until later, so that none seems lost.
        deliveries = {name: stack.enter_context(closing(DeliveryTap(name))) for name in names}
        leaving = {one.name: stack.enter_context(closing(LeavingTap(one.name))) for one in config.downstream}
        arrivals = {name: stack.enter_context(closing(StreamTap(name))) for name in names}
        vxlan = {one.name: stack.enter_context(closing(_vxlan(one))) for one in before.overlay}
        gre_taps = [stack.enter_context(closing(GreTap(delivered=delivered))) for delivered in (False, True)]
        esp_taps = [stack.enter_context(closing(EspTap(outgoing=outgoing))) for outgoing in (False, True)]
        control, ike, pim = (
            stack.enter_context(closing(ControlTap(protocol))) for protocol in (None, ipv4.UDP, ipv4.PIM)
        )
        probes = [stack.enter_context(closing(MtuProbe(tunnel))) for tunnel in config.tunnels]
        began = time.monotonic()
        await asyncio.sleep(WINDOW)
        if unanswered:
            await _answer_to_ike(control)
        seconds = time.monotonic() - began
        wire_in, wire_out = (tap.wire() for tap in esp_taps)
        before_filters, gre_delivered = (tap.seen() for tap in gre_taps)
        arrived = {name: tap.arrived() for name, tap in arrivals.items()}
        delivered = {name: tap.arrived() for name, tap in deliveries.items()}
        sent = {name: tap.arrived() for name, tap in leaving.items()}
        ways = {name: tap.ways() for name, tap in vxlan.items()}
        for tap in (control, ike, pim):
            tap.drain()
        counted = proc.parse(texts, _read_proc())
        had_joined = memberships.parse(texts.get("net/igmp", ""))
        seen = {
            name: TunnelFacts(
                received=counted.received.get(name, 0),
                total=counted.total.get(name, 0),
                arrived=arrived[name],
                delivered=delivered[name].streams,
                exact=_is_exact(arrived[name], delivered[name])
                and had_joined.get(name) == counted.memberships.get(name),
                probe=probe.result(),
            )
            for name, probe in zip(names, probes, strict=True)
        }
    holders, stopped = await asyncio.to_thread(_holders, counted, whole=_have_lost(before))
    async with Netlink() as netlink:
        return replace(
            facts,
            seconds=seconds,
            moment=datetime.now(UTC),
            tunnels={one.name: await _tunnel(netlink, config, one, seen[one.name]) for one in config.tunnels},
            routes={
                peer.remote: await _asked(netlink.next_hop(peer.remote, peer.local), None) for peer in config.peers
            },
            addresses=await _addresses(netlink),
            vrfs=_vrfs(),
            rule_220_missing=await _rule_220_missing(netlink),
            rules=traced(risen(had_rules, await asyncio.to_thread(_rules)), tracer.text),
            downstream={name: Downstream(_mtu(name), passed, ways.get(name)) for name, passed in sent.items()},
            routing_holders=await ipmr.holders() if config.downstream else (),
            wire_in=wire_in,
            wire_out=wire_out,
            control=ControlSeen(control.arrived, control.left, ike.arrived | pim.arrived, control.ways()),
            gre_seen=before_filters | gre_delivered,  # the greater count of each
            port_holders=await asyncio.to_thread(_port_holders, config, counted) if unanswered else {},
            holders=holders,
            stopped=stopped,
            proc=counted,
        )


def _is_exact(arrived: Multicast, delivered: Multicast) -> bool:
    """Whether all of both was counted, in whole packets."""
    return not (arrived.capped or arrived.fragments or delivered.capped)


def _vxlan(overlay: OverlayStatus) -> VxlanTap:
    return VxlanTap(overlay.port, (IPv4Address(one.endpoint) for one in overlay.endpoints if one.groups))


def _may_be_unanswered(peer: PeerStatus) -> bool:
    """Whether a peer is not up, and it is not known that it has answered, by what it has refused."""
    return peer.state not in ("up", "standby") and peer.problem_code in (None, "ike_not_sent", *UNANSWERED)


async def _answer_to_ike(tap: ControlTap) -> None:
    """Wait until charon has sent once, which between two attempts it does seldom, and an answer may have come."""
    with suppress(TimeoutError):
        await asyncio.wait_for(tap.sent_ike.wait(), _UNTIL_IKE)
    await asyncio.sleep(_ANSWER)


async def _asked(question: Awaitable[T], otherwise: T) -> T:
    """The answer of the kernel, or ``otherwise`` for an error, such as that there is no route."""
    try:
        return await question
    except HostError:
        return otherwise


async def _addresses(netlink: Netlink) -> dict[IPv4Address, str]:
    """The addresses of this host, each with its interface."""
    found: dict[IPv4Address, str] = {}
    for address in await _asked(netlink.addresses(), ()):
        with suppress(OSError):  # it may have gone meanwhile
            found[address.interface.ip] = socket.if_indextoname(address.index)
    return found


async def _rule_220_missing(netlink: Netlink) -> bool:
    """Whether charon's table has routes and no rule leads to it."""
    routes = await _asked(netlink.routes(_CHARONS_TABLE, (), _RTPROT_STATIC), ())
    rules = await _asked(netlink.rules(), ())
    return bool(routes) and all(rule.table != _CHARONS_TABLE for rule in rules)


def _vrfs() -> dict[str, str]:
    """The VRF of each interface that is in one."""
    found: dict[str, str] = {}
    for entry in _INTERFACES.glob("*/master"):
        with suppress(OSError):  # it may have gone meanwhile
            master = entry.resolve()
            if "DEVTYPE=vrf" in (master / "uevent").read_text():
                found[entry.parent.name] = master.name
    return found


def _mtu(name: str) -> int | None:
    """The MTU of an interface; None if it does not exist."""
    try:
        return int((_INTERFACES / name / "mtu").read_text())
    except OSError:
        return None


def _rules() -> tuple[Rule, ...]:
    """What the firewalls of this host drop and translate; none where that cannot be listed."""
    nft = _listing("nft", "--handle", "--terse", "list", "ruleset")
    # It lists the tables that exist, and would load the modules of those that it is asked for.
    legacy = _read_text(_PROC / "net/ip_tables_names")
    return rules(nft, _listing("iptables-legacy-save", "--counters") if legacy else "")


def _listing(*command: str) -> str:
    program = shutil.which(command[0]) or shutil.which(command[0], path="/sbin:/usr/sbin")
    if program is None:
        return ""
    try:
        found = subprocess.run([program, *command[1:]], check=True, capture_output=True, timeout=_TIMEOUT)
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.decode(errors="replace")


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


async def _tunnel(netlink: Netlink, config: Config, tunnel: Tunnel, seen: TunnelFacts) -> TunnelFacts:
    link = await netlink.link(tunnel.name)
    if link is None:
        return seen
    sources = sorted({stream.source for stream in seen.arrived.streams})
    groups = [group.group for group in config.groups if tunnel.name in group.tunnels]
    ends = {tunnel.remote: tunnel.local} if tunnel.encapsulation == "gre" else {}
    route_to: dict[IPv4Address, str | None] = {}
    for address in [*ends, *sources[:_ROUTES], *groups[:_ROUTES]]:
        way = await _asked(netlink.link_towards(address, ends.get(address)), None)
        route_to[address] = way.name if way else None
    return replace(seen, interface=Interface(link.mtu, link.up, link.multicast), route_to=route_to)


def _privileged() -> bool:
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0).close()
    except PermissionError:
        return False
    return True


def lacks() -> frozenset[Feature]:
    """What this host does not have, as far as that can be determined."""
    modules: tuple[Feature, ...] = ("ip_gre", "esp4", "xfrm_interface")
    found: dict[Feature, bool | None] = {name: _module(name) for name in modules}
    found |= {"tun": Path("/dev/net/tun").exists(), "nft": shutil.which("nft") is not None}
    return frozenset(name for name, present in found.items() if present is False)


def _module(name: str) -> bool | None:
    """Whether the kernel has a module: loaded, built in or loadable; None if that cannot be determined."""
    if Path(f"/sys/module/{name}").exists():
        return True
    modprobe = shutil.which("modprobe") or shutil.which("modprobe", path="/sbin:/usr/sbin")
    if modprobe is None:
        return None
    return subprocess.run([modprobe, "--dry-run", "--quiet", name], check=False, capture_output=True).returncode == 0


def _read_proc() -> dict[str, str]:
    paths = [path for pattern in proc.FILES for path in _PROC.glob(pattern)]
    return {str(path.relative_to(_PROC)): path.read_text() for path in paths}


def _have_lost(status: Status) -> bool:
    """Whether applications have lost memberships with the interface of a tunnel."""
    return any(tunnel.applications is not None and tunnel.applications.lost for tunnel in status.tunnels)


def _holders(counted: proc.Proc, *, whole: bool) -> tuple[dict[int, str], frozenset[int]]:
    """The process of each UDP socket (if not ``whole``, of those in which packets wait or were dropped), by its inode.

    Also the sockets all of whose processes are stopped.
    """
    found = of_sockets([one.inode for one in counted.sockets if whole or one.waiting or one.drops])
    stopped = frozenset(inode for inode, processes in found.items() if all(map(is_stopped, processes)))
    named = {inode: _named(pid, name) for inode, processes in found.items() for pid, name in processes.items()}
    return named, stopped


def _port_holders(config: Config, counted: proc.Proc) -> dict[int, str]:
    """The programs other than the configured charon that hold a port of IKE; empty if charon's process is unknown."""
    ports = {one.inode: one.port for one in counted.sockets if one.port in _IKE_PORTS}
    charon = _listener(config.daemon.vici_socket)
    if not ports or not charon:
        return {}
    return {
        ports[inode]: _named(pid, name)
        for inode, processes in of_sockets(ports).items()
        for pid, name in processes.items()
        if pid != charon
    }


def _named(pid: int, name: str) -> str:
    return f"{name} (pid {pid})"


def _listener(path: Path) -> int | None:
    """The process that listens on a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        try:
            sock.connect(str(path))
            credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            return int(_CREDENTIALS.unpack(credentials)[0])
        except OSError:
            return None
