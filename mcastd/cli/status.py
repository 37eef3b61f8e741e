"""Show peers and SAs, tunnels, keepalives, neighbours and groups. The exit code is 1 if something is down.

Examples: mcastd status
          mcastd status --watch
          mcastd status --json | jq .groups
"""

import argparse
import sys
import time
from collections.abc import Iterator

import msgspec

from mcastd import control
from mcastd.cli.client import add_socket_arguments, socket_of
from mcastd.status import (
    ChildStatus,
    FirewallStatus,
    GroupStatus,
    KeepaliveStatus,
    PeerStatus,
    PimStatus,
    RouteStatus,
    Status,
    TunnelStatus,
)

_CLEAR = "\x1b[H\x1b[2J"
_SHOWN_GROUPS = 40
_SHOWN_AUTO_RP = 10
_SHOWN_ROUTES = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--json", action="store_true", help="one JSON object, whose keys stay stable")
    parser.add_argument("--watch", action="store_true", help="again every second, until Ctrl-C")
    parser.add_argument("--all", action="store_true", help=f"every group, not the first {_SHOWN_GROUPS}")
    add_socket_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask and print."""
    path = socket_of(arguments)
    while True:
        answer = control.ask(path, "status")
        status = msgspec.json.decode(answer, type=Status)
        text = answer.decode() if arguments.json else "\n".join(_lines(status, arguments.all))
        if arguments.watch and not arguments.json and sys.stdout.isatty():
            print(_CLEAR, end="")
        print(text, flush=True)
        if not arguments.watch:
            return 0 if status.healthy else 1
        time.sleep(1.0)


def _lines(status: Status, everything: bool) -> Iterator[str]:
    yield f"mcastd {status.version}, pid {status.pid}, up {_duration(status.uptime)}, {status.config_file}"
    yield f"{'ok' if status.healthy else 'DOWN'}: {status.summary}"
    for note in status.notes:
        yield f"note: {note}"
    if status.firewall is not None:
        yield from _firewall(status.firewall)
    for peer in status.peers:
        yield from _peer(peer)
    for tunnel in status.tunnels:
        yield from _tunnel(tunnel)
    if status.groups:
        yield ""
        yield f"{'group':<34} {'tunnel':<10} {'state':<11} {'rp':<15} {'upstream':<15} {'for':>7}  origin"
    shown = status.groups if everything else status.groups[:_SHOWN_GROUPS]
    for group in shown:
        yield _group(group)
    if len(shown) < len(status.groups):
        yield f"... and {len(status.groups) - len(shown)} more (--all)"


def _peer(peer: PeerStatus) -> Iterator[str]:
    yield ""
    up = f" for {_duration(peer.uptime)}" if peer.uptime is not None else ""
    yield f"peer {peer.name}: {peer.state}{up}, {peer.local}[{peer.local_id}] - {peer.remote}[{peer.remote_id}]"
    details = [peer.proposal or ""]
    details += [f"rekey in {_duration(peer.rekey_in)}"] if peer.rekey_in is not None else []
    details += [f"reauthentication in {_duration(peer.reauth_in)}"] if peer.reauth_in is not None else []
    if peer.proposal:
        yield "  " + ", ".join(details)
    if peer.problem:
        yield f"  problem: {peer.problem}"
    for child in peer.children:
        yield from _child(child)


def _child(child: ChildStatus) -> Iterator[str]:
    up = f" for {_duration(child.uptime)}" if child.uptime is not None else ""
    only = "" if child.protocol == "any" else f" {child.protocol}"
    yield f"  child {child.name}: {child.state}{up}, {child.local_ts} === {child.remote_ts}{only}"
    if child.state == "up":
        encap = " in UDP" if child.encap else ""
        rekey = f", rekey in {_duration(child.rekey_in)}" if child.rekey_in is not None else ""
        mode = f"{child.mode} mode" if child.if_id is None else f"XFRM interface {child.if_id}"
        yield f"    {child.proposal}, {mode}{encap}, SPIs {child.spi_in}_i {child.spi_out}_o{rekey}"
        yield (
            f"    in {child.packets_in} packets, {child.bytes_in} bytes;"
            f" out {child.packets_out} packets, {child.bytes_out} bytes"
        )
    if child.problem:
        wait = f"; next try in {_duration(child.next_try_in)}" if child.next_try_in is not None else ""
        yield f"    problem: {child.problem}{wait}"


def _firewall(firewall: FirewallStatus) -> Iterator[str]:
    guard = "off" if not firewall.guard else "on" if firewall.in_place else "not in place"
    yield (
        f"firewall: guard {guard}, dropped {firewall.leaks_out} leaving and {firewall.leaks_in} arriving in the clear;"
        f" IGMP kept {firewall.igmp_kept}, SNAT {firewall.snat_packets} packets, MSS clamped {firewall.mss_clamped}"
    )
    if firewall.problem:
        yield f"  problem: {firewall.problem}"


def _tunnel(tunnel: TunnelStatus) -> Iterator[str]:
    yield ""
    kind = "GRE" if tunnel.encapsulation == "gre" else "XFRM interface"
    ends = f"{kind} {tunnel.local} - {tunnel.remote} ({tunnel.datapath})"
    addresses = " ".join((tunnel.address, *tunnel.addresses))
    yield f"tunnel {tunnel.name}: {tunnel.state}, {addresses}, {ends}"
    if tunnel.mtu is not None:
        yield f"  MTU {tunnel.mtu} ({tunnel.mtu_reason})"
    if tunnel.problem:
        yield f"  problem: {tunnel.problem}"
    if tunnel.routes:
        yield f"  routes: {_routes(tunnel.routes)}"
    for route in tunnel.routes:
        if route.problem:
            yield f"    {route.prefix}: {route.problem}"
    if tunnel.dropped:
        yield f"  dropped: {_counters(tunnel.dropped)}"
    if tunnel.keepalive is not None:
        yield from _keepalive(tunnel.keepalive)
    if tunnel.pim is not None:
        yield from _pim(tunnel.pim)


def _keepalive(alive: KeepaliveStatus) -> Iterator[str]:
    last = f", the last {_duration(alive.last_age)} ago" if alive.last_age is not None else ""
    last += ": they have stopped" if alive.stopped else ""
    off = "" if alive.reply else " (reply is off)"
    yield f"  keepalives: {alive.answered} answered{last}{off}"
    if alive.dropped:
        yield f"    not answered: {_counters(alive.dropped)}"
    if alive.period:
        rtt = f", round trip {alive.rtt * 1000:.1f} ms" if alive.rtt is not None else ""
        missed = f", {alive.missed} missed" if alive.missed else ""
        path = f"path {alive.path}" if alive.path else "path not known"
        yield f"    ours: {path}, {alive.sent} sent, {alive.received} came back{missed}{rtt}"


def _routes(routes: tuple[RouteStatus, ...]) -> str:
    shown = [route.prefix if route.state == "up" else f"{route.prefix} ({route.state})" for route in routes]
    more = f" and {len(shown) - _SHOWN_ROUTES} more" if len(shown) > _SHOWN_ROUTES else ""
    return ", ".join(shown[:_SHOWN_ROUTES]) + more


def _pim(pim: PimStatus) -> Iterator[str]:
    if not pim.neighbors:
        yield "  PIM: no neighbour" + ("" if pim.running else ", not running")
    if pim.problem:
        yield f"  PIM cannot send: {pim.problem}"
    for neighbor in pim.neighbors:
        expires = f"expires in {_duration(neighbor.expires_in)}" if neighbor.expires_in is not None else "never expires"
        yield f"  PIM neighbour {neighbor.address}: up {_duration(neighbor.uptime)}, {expires}"
    for mapping in pim.auto_rp[:_SHOWN_AUTO_RP]:
        rp = f"RP {mapping.rp}" if mapping.rp is not None else "no RP"
        expires = f"expires in {_duration(mapping.expires_in)}" if mapping.expires_in is not None else "never expires"
        unused = "" if mapping.used else " (not used)"
        yield f"  Auto-RP{unused}: {rp} for {mapping.groups}, {mapping.kind} of {mapping.sender}, {expires}"
    if len(pim.auto_rp) > _SHOWN_AUTO_RP:
        yield f"  ... and {len(pim.auto_rp) - _SHOWN_AUTO_RP} more ranges (--json)"
    if pim.dropped:
        yield f"    dropped: {_counters(pim.dropped)}"


def _group(group: GroupStatus) -> str:
    entry = f"({group.source or '*'}, {group.group})"
    age = _duration(group.uptime) if group.uptime is not None else ""
    problem = f"  {group.problem}" if group.problem else "  by Assert" if group.assert_winner else ""
    return (
        f"{entry:<34} {group.tunnel:<10} {group.state:<11} {group.rp or '':<15} {group.upstream or '':<15} {age:>7}"
        f"  {','.join(group.origins)}{problem}"
    )


def _counters(counters: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counters.items()))


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"
