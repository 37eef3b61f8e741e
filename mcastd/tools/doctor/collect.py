"""The look: it changes nothing, and sends nothing but echoes into the tunnels."""

import asyncio
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import msgspec

from mcastd import control
from mcastd.config.load import load
from mcastd.config.model import Config, Peer, Tunnel
from mcastd.errors import ConfigError, ControlError, HostError
from mcastd.links import Way
from mcastd.status import Status
from mcastd.system import sysctl
from mcastd.system.netlink import Netlink
from mcastd.tools.doctor import proc
from mcastd.tools.doctor.facts import Facts, Kernel, Link, TunnelFacts
from mcastd.tools.doctor.listen import DeliveryTap, EspTap, GreTap, StreamTap
from mcastd.tools.doctor.probe import MtuProbe

WINDOW: Final = 1.5
"""Seconds: at 1,000 packets a second plenty, and a stream of one packet a second shows, too."""

_ROUTES: Final = 50  # groups and sources of a tunnel whose route is asked for
_PROC: Final = Path("/proc/net")
_IKE_PORTS: Final = (500, 4500)
_CREDENTIALS: Final = struct.Struct("iII")  # struct ucred


async def look(config_file: Path, control_socket: Path) -> Facts:
    """Look at everything; what cannot be seen is left out, and its hop says so."""
    facts = Facts(config_file=str(config_file), privileged=_privileged())
    if not facts.privileged:
        return facts
    try:
        loaded = await asyncio.to_thread(load, config_file)
    except ConfigError as error:
        return replace(facts, config_errors=tuple(map(str, error.problems)))
    config = loaded.config
    facts = replace(facts, config=config, config_notes=loaded.notes, kernel=await asyncio.to_thread(_kernel))
    try:
        before = await _status(control_socket)
        facts = await _watch(facts, config, before)
        return replace(facts, before=before, status=await _status(control_socket))
    except ControlError as error:
        return replace(facts, silent=str(error))


async def _status(control_socket: Path) -> Status:
    answer = await asyncio.to_thread(control.ask, control_socket, "status", timeout=3.0)
    return msgspec.json.decode(answer, type=Status)


async def _watch(facts: Facts, config: Config, before: Status) -> Facts:
    """Listen for the window, and take what the kernel counted in it."""
    interfaces, counters = _interfaces(), _counters()  # before the probes, whose answers they count
    with ExitStack() as stack:
        taps = {tunnel.name: stack.enter_context(StreamTap(tunnel.name)) for tunnel in config.tunnels}
        delivered = {tunnel.name: stack.enter_context(DeliveryTap(tunnel.name)) for tunnel in config.tunnels}
        gre_taps = [stack.enter_context(GreTap(delivered=delivered)) for delivered in (False, True)]
        wires = [stack.enter_context(EspTap(outgoing=outgoing)) for outgoing in (False, True)]
        probes = {tunnel.name: stack.enter_context(MtuProbe(tunnel)) for tunnel in config.tunnels}
        began = time.monotonic()
        sockets = _sockets()
        await asyncio.sleep(WINDOW)
        seconds = time.monotonic() - began
        wire_in, wire_out = (tap.wire() for tap in wires)
        arrived, taken = (tap.seen() for tap in gre_taps)
        totals = _interfaces()
        drops = {inode: one.drops - sockets[inode].drops for inode, one in _sockets().items() if inode in sockets}
        async with Netlink() as netlink:
            tunnels = {
                tunnel.name: await _tunnel(
                    netlink,
                    tunnel,
                    TunnelFacts(
                        received=_risen(interfaces.get(tunnel.name, {}), totals.get(tunnel.name, {})),
                        total=totals.get(tunnel.name, {}),
                        heard=taps[tunnel.name].heard(),
                        delivered=delivered[tunnel.name].heard().streams,
                        probe=probes[tunnel.name].result(),
                    ),
                    _groups(config, tunnel),
                )
                for tunnel in config.tunnels
            }
            addresses = await _addresses(netlink)
            ways = {peer.remote: await _way(netlink, peer) for peer in config.peers}
        return replace(
            facts,
            seconds=seconds,
            tunnels=tunnels,
            ways=ways,
            addresses=addresses,
            wire_in=wire_in,
            wire_out=wire_out,
            gre_seen=arrived | taken,  # of each the greater count
            memberships=proc.memberships(_read("igmp")),
            source_filters=proc.source_filters(_read("mcfilter")),
            multicast_routers=proc.multicast_routers(_read("ip_mr_vif")),
            strangers=await asyncio.to_thread(_strangers, config.daemon.vici_socket) if not before.healthy else {},
            sockets=tuple(_sockets().values()),
            socket_drops=drops,
            counters=_risen(counters, _counters()),
        )


async def _addresses(netlink: Netlink) -> frozenset[IPv4Address]:
    try:
        return frozenset(address.interface.ip for address in await netlink.addresses())
    except HostError:
        return frozenset()


async def _way(netlink: Netlink, peer: Peer) -> Way | None:
    try:
        return await netlink.way(peer.remote, peer.local)
    except HostError:
        return None


async def _tunnel(netlink: Netlink, tunnel: Tunnel, seen: TunnelFacts, groups: Iterable[IPv4Address]) -> TunnelFacts:
    link = await netlink.link(tunnel.name)
    if link is None:
        return seen
    filters = [sysctl.read(f"net/ipv4/conf/{name}/rp_filter") for name in ("all", tunnel.name)]
    sources = sorted({stream.source for stream in seen.heard.streams})
    way_to: dict[IPv4Address, str | None] = {}
    ends = [(tunnel.remote, tunnel.local)] if tunnel.encapsulation == "gre" else []
    others = [(address, None) for address in [*sources[:_ROUTES], *list(groups)[:_ROUTES]]]
    for address, ours in [*ends, *others]:
        try:
            way = await netlink.link_towards(address, ours)
        except HostError:
            way = None
        way_to[address] = way.name if way else None
    return replace(
        seen,
        link=Link(link.mtu, link.up, link.multicast),
        rp_filter=max(int(value or 0) for value in filters),
        way_to=way_to,
    )


def _groups(config: Config, tunnel: Tunnel) -> list[IPv4Address]:
    return [group.group for group in config.groups if group.tunnel == tunnel.name]


def _privileged() -> bool:
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0).close()
    except PermissionError:
        return False
    return True


def _kernel() -> Kernel:
    return Kernel(
        gre=_module("ip_gre"),
        esp=_module("esp4"),
        xfrm_interface=_module("xfrm_interface"),
        tun=Path("/dev/net/tun").exists(),
        nft=shutil.which("nft") is not None,
    )


def _module(name: str) -> bool | None:
    """Whether the kernel has a module, loaded, built in or to be loaded; None where that cannot be told."""
    if Path(f"/sys/module/{name}").exists():
        return True
    modprobe = shutil.which("modprobe") or shutil.which("modprobe", path="/sbin:/usr/sbin")
    if modprobe is None:
        return None
    return subprocess.run([modprobe, "--dry-run", "--quiet", name], check=False, capture_output=True).returncode == 0


def _read(name: str) -> str:
    """A file of the kernel's; nothing where this kernel does not have it."""
    try:
        return (_PROC / name).read_text()
    except FileNotFoundError:
        return ""


def _interfaces() -> dict[str, dict[str, int]]:
    return proc.interfaces(_read("dev"))


def _counters() -> dict[str, int]:
    return proc.counters(_read("snmp"), _read("netstat")) | proc.xfrm_counters(_read("xfrm_stat"))


def _sockets() -> dict[int, proc.UdpSocket]:
    return {one.inode: one for one in proc.udp_sockets(_read("udp"))}


def _strangers(vici_socket: Path) -> dict[int, str]:
    """Who, other than the charon that serves this socket, holds a port of IKE; nobody where that cannot be told."""
    holders = {one.inode: one.port for one in _sockets().values() if one.port in _IKE_PORTS}
    charon = _serves(vici_socket)
    found: dict[int, str] = {}
    for process in (entry for entry in _PROC.parent.iterdir() if entry.name.isdigit()) if holders and charon else ():
        with suppress(OSError):  # it may end meanwhile
            links = [str(entry.readlink()) for entry in (process / "fd").iterdir()]
            ports = {port for inode, port in holders.items() if f"socket:[{inode}]" in links}
            if ports and int(process.name) != charon:
                name = (process / "comm").read_text().strip()
                found |= dict.fromkeys(ports, f"{name} (pid {process.name})")
    return found


def _serves(path: Path) -> int | None:
    """The process that listens on a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        try:
            sock.connect(str(path))
            return int(
                _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[0]
            )
        except OSError:
            return None


def _risen(before: dict[str, int], now: dict[str, int]) -> dict[str, int]:
    return {name: value - before.get(name, 0) for name, value in now.items()}
