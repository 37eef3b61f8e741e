"""Show health, peers and SAs, tunnels, keepalives, neighbours and groups. The exit code is 1 if health is not ok.

Examples: mcastd status
          mcastd status --watch
          mcastd status --group 239.1.1.1
          mcastd status --json | jq .groups
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address

import msgspec

from mcastd import control
from mcastd.cli.client import add_socket_arguments, socket_of
from mcastd.cli.group_lines import group_lines
from mcastd.cli.layout import Text
from mcastd.cli.units import duration
from mcastd.cli.watch import Answer, add_watch_arguments, watch
from mcastd.group_status import GroupReport
from mcastd.listed import listed
from mcastd.status import (
    ChildStatus,
    FirewallStatus,
    ForwardStatus,
    GroupStatus,
    HistoryStatus,
    KeepaliveStatus,
    PeerStatus,
    PimStatus,
    Status,
    TunnelStatus,
)

_SHOWN_GROUPS = 40
_SHOWN_AUTO_RP = 10
_SHOWN_ROUTES = 6
_SHOWN_HISTORY = 10
_GROUP = "{:<34} {:<10} {:<11} {:<15} {:<15} {:>7}  {}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_watch_arguments(parser)
    parser.add_argument("--group", metavar="G", type=IPv4Address, help="one group: who wants it, and what arrives")
    parser.add_argument("--all", action="store_true", help=f"show every group, not only the first {_SHOWN_GROUPS}")
    add_socket_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask the daemon and print its status; returns the exit code."""
    path = socket_of(arguments)

    def ask() -> Answer:
        if arguments.group is None:
            answer = control.ask(path, "status")
            status = msgspec.json.decode(answer, type=Status)
            is_well, blocks = status.healthy, tuple(map(Text, _lines(status, arguments.all)))
        else:
            answer = control.ask(path, "group", {"group": str(arguments.group)})
            report = msgspec.json.decode(answer, type=GroupReport)
            is_well, blocks = all(join.problem is None for join in report.joins), tuple(group_lines(report))
        return answer.decode() if arguments.json else blocks, is_well

    return watch(arguments, ask)


def _lines(status: Status, everything: bool) -> Iterator[str]:
    yield f"mcastd {status.version}, pid {status.pid}, up {duration(status.uptime)}, {status.config_file}"
    yield f"{status.health if status.healthy else status.health.upper()}: {status.summary}"
    yield from (f"problem {one.code} of {one.subject} since {one.since}: {one.text}" for one in status.problems)
    yield from (f"note: {note}" for note in status.notes)
    if status.firewall is not None:
        yield from _firewall(status.firewall)
    for peer in status.peers:
        yield from _peer(peer)
    for tunnel in status.tunnels:
        yield from _tunnel(tunnel, any(group.tunnel == tunnel.name for group in status.groups))
    for forward in status.forward:
        yield from _forward(forward)
    if status.groups:
        yield ""
        yield _GROUP.format("group", "tunnel", "state", "rp", "upstream", "for", "origin")
        states = Counter(group.arrival for group in status.groups)
        quiet = f"{states['silent']} silent, {states['never_arrived']} never arrived"
        if states["silent"] or states["never_arrived"]:
            yield f"  of {len(status.groups)} groups {quiet}"
    shown = status.groups if everything else status.groups[:_SHOWN_GROUPS]
    yield from map(_group, shown)
    yield from _more(len(status.groups) - len(shown), " (--all)")
    if status.history:
        yield ""
        yield "in the last hour:"
    yield from map(_happened, status.history[:_SHOWN_HISTORY])
    yield from _more(len(status.history) - _SHOWN_HISTORY, " (--json)", indent="  ")


def _happened(entry: HistoryStatus) -> str:
    times = f"{entry.count} times, the last" if entry.count > 1 else "once,"
    return f"  {entry.subject}: {entry.what} {entry.event} {times} {duration(entry.last_age)} ago"


def _firewall(firewall: FirewallStatus) -> Iterator[str]:
    guard = "off" if not firewall.guard else "on" if firewall.in_place else "not in place"
    yield (
        f"firewall: guard {guard}, dropped {firewall.leaks_out} leaving and {firewall.leaks_in} arriving unencrypted;"
        f" IGMP kept {firewall.igmp_kept}, SNAT {firewall.snat_packets} packets, MSS clamped {firewall.mss_clamped}"
    )
    dropped = ", ".join(f"{name} {count}" for name, count in firewall.leaks_by_child.items() if count)
    yield from _given("  kept from leaving unencrypted, by CHILD_SA: {}", dropped or None)
    yield from _given("  problem: {}", firewall.problem)


def _peer(peer: PeerStatus) -> Iterator[str]:
    yield ""
    ends = f"{peer.local}[{peer.local_id}] - {peer.remote}[{peer.remote_id}]"
    yield f"peer {peer.name}: {peer.state}{_after(' for', peer.uptime)}, {ends}"
    if peer.proposal:
        reauthentication = _after(", reauthentication in", peer.reauth_in)
        yield f"  {peer.proposal}{_after(', rekey in', peer.rekey_in)}{reauthentication}"
    yield from _given("  problem: {}", peer.problem)
    for child in peer.children:
        yield from _child(child)


def _child(child: ChildStatus) -> Iterator[str]:
    selectors = f"{child.local_ts} === {child.remote_ts}" + (f" {child.protocol}" if child.protocol != "any" else "")
    yield f"  CHILD_SA {child.name}: {child.state}{_after(' for', child.uptime)}, {selectors}"
    if child.state == "up":
        mode = f"{child.mode} mode" if child.if_id is None else f"XFRM interface {child.if_id}"
        spis = f"SPIs {child.spi_in}_i {child.spi_out}_o{_after(', rekey in', child.rekey_in)}"
        yield f"    {child.proposal}, {mode}{' in UDP' if child.encap else ''}, {spis}"
        yield (
            f"    in {child.packets_in} packets, {child.bytes_in} bytes;"
            f" out {child.packets_out} packets, {child.bytes_out} bytes"
        )
    yield from _given("    problem: {}{}", child.problem, _after("; next try in", child.next_try_in))


def _tunnel(tunnel: TunnelStatus, is_expected: bool) -> Iterator[str]:
    yield ""
    kind = "GRE" if tunnel.encapsulation == "gre" else "XFRM interface"
    addresses = " ".join((tunnel.address, *tunnel.addresses))
    ends = f"{kind} {tunnel.local} - {tunnel.remote} ({tunnel.datapath})"
    yield f"tunnel {tunnel.name}: {tunnel.state}, {addresses}, {ends}"
    yield from _given("  MTU {} ({})", tunnel.mtu, tunnel.mtu_reason)
    yield from _given("  problem: {}", tunnel.problem)
    routes = [route.prefix if route.state == "up" else f"{route.prefix} ({route.state})" for route in tunnel.routes]
    yield from _given("  routes: {}", listed(routes, _SHOWN_ROUTES))
    for route in tunnel.routes:
        yield from _given("    {1}: {0}", route.problem, route.prefix)
    yield from _given("  dropped: {}", _counters(tunnel.dropped))
    if tunnel.keepalive is not None:
        yield from _keepalive(tunnel.keepalive)
    if tunnel.pim is not None:
        yield from _pim(tunnel.pim)
    if tunnel.upstream == "igmp":
        yield "  groups are joined by IGMP"
    elif tunnel.upstream == "none" and is_expected:
        yield "  groups are joined nowhere: the far end sends unasked"


def _keepalive(alive: KeepaliveStatus) -> Iterator[str]:
    last = _after(", the last", alive.last_age, " ago") + (": they have stopped" if alive.stopped else "")
    yield f"  keepalives: {alive.answered} answered{last}{'' if alive.reply else ' (reply is off)'}"
    yield from _given("    not answered: {}", _counters(alive.dropped))
    if alive.period:
        missed = f", {alive.missed} missed" if alive.missed else ""
        rtt = f", round trip {alive.rtt * 1000:.1f} ms" if alive.rtt is not None else ""
        path = f"path {alive.path or 'not known'}"
        yield f"    ours: {path}, {alive.sent} sent, {alive.received} came back{missed}{rtt}"


def _pim(pim: PimStatus) -> Iterator[str]:
    if not pim.neighbors:
        yield "  PIM: no neighbour" + ("" if pim.running else ", not running")
    yield from _given("  PIM cannot send: {}", pim.problem)
    for neighbor in pim.neighbors:
        yield f"  PIM neighbour {neighbor.address}: up {duration(neighbor.uptime)}, {_expiry(neighbor.expires_in)}"
    for mapping in pim.auto_rp[:_SHOWN_AUTO_RP]:
        rp = f"RP {mapping.rp}" if mapping.rp is not None else "no RP"
        source = f"{mapping.kind} of {mapping.sender}, {_expiry(mapping.expires_in)}"
        yield f"  Auto-RP{'' if mapping.used else ' (not used)'}: {rp} for {mapping.groups}, {source}"
    yield from _more(len(pim.auto_rp) - _SHOWN_AUTO_RP, " ranges (--json)", indent="  ")
    yield from _given("    dropped: {}", _counters(pim.dropped))


def _forward(forward: ForwardStatus) -> Iterator[str]:
    yield ""
    refused = f", {forward.refused} refused" if forward.refused else ""
    counted = f"{forward.groups} groups{refused}, {forward.packets} packets, {forward.bytes} bytes"
    yield f"forward {forward.name}: {forward.state}, from {', '.join(forward.tunnels) or 'no tunnel'}, {counted}"
    yield from _given("  problem: {}", forward.problem)
    if (igmp := forward.igmp) is not None:
        querier = "this host" if igmp.is_ours else igmp.querier or "not known yet"
        yield f"  IGMPv{igmp.version}: querier {querier}, {igmp.groups} groups of {igmp.hosts} hosts"
        yield from _given("    problem: {}", igmp.problem)
        others = (f"{one.address} (IGMPv{one.version}, {duration(one.heard_age)} ago)" for one in igmp.others)
        yield from _given("    other queriers: {}", ", ".join(others))
        yield from _given("    a PIM router is there too: {}", igmp.pim_router)
        yield from _given("    dropped: {}", _counters(igmp.dropped))


def _group(group: GroupStatus) -> str:
    arrival = "" if group.arrival in (None, "arriving") else f"  {group.arrival.replace('_', ' ')}"
    note = f"  {group.problem}" if group.problem else arrival
    entry, origin = f"({group.source or '*'}, {group.group})", ",".join(group.origins)
    rp, upstream, age = group.rp or "", group.upstream or "", _after("", group.uptime).lstrip()
    return _GROUP.format(entry, group.tunnel, group.state, rp, upstream, age, origin) + note


def _given(line: str, value: object, *more: object) -> Iterator[str]:
    """A line with values in place of ``{}``, if there is the first one."""
    if value:
        yield line.format(value, *more)


def _more(count: int, what: str, indent: str = "") -> Iterator[str]:
    """A line on what is not shown."""
    if count > 0:
        yield f"{indent}... and {count} more{what}"


def _expiry(seconds: float | None) -> str:
    return _after("expires in", seconds) or "never expires"


def _after(words: str, seconds: float | None, behind: str = "") -> str:
    """A duration with the words around it, or nothing."""
    return "" if seconds is None else f"{words} {duration(seconds)}{behind}"


def _counters(counters: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counters.items()))
