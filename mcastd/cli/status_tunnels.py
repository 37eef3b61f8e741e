"""Tunnels and forwarding in ``mcastd status``, with keepalives, PIM and IGMP. Pure."""

from collections.abc import Collection, Iterator
from itertools import zip_longest
from typing import Final

from mcastd.cli.layout import Block, Cell, Column, Row, Table, Text
from mcastd.cli.status_sas import STATES, age
from mcastd.cli.units import count, duration, short, size
from mcastd.listed import listed
from mcastd.status import ForwardStatus, KeepaliveStatus, NeighborStatus, PimStatus, QuerierStatus, TunnelStatus

_SHOWN_AUTO_RP = 10
_SHOWN_ROUTES = 6
_RECENT: Final = 60.0  # seconds; an ICMP error that is older is of no use to look at now
# What GRE in user space counts as dropped also on a path where all is well, in words.
_EXPECTED: Final = {
    "firewall_igmp": "IGMP reports kept from the tunnel",
    "child_down": "packets kept back while the CHILD_SA was down",
    "unreachable": "ICMP errors for GRE in user space",
    "tun_eio": "packets that came while the interface was down",
}

_TUNNEL = (
    Column("tunnel"),
    Column("state"),
    Column("address"),
    Column("MTU", right=True, rank=1),
    Column("neighbour"),
    Column("for", right=True),
    Column("expires", right=True),
    Column("keepalives", right=True),
    Column("last", right=True),
)
_FORWARD = (
    Column("forward"),
    Column("state"),
    Column("from"),
    Column("groups", right=True),
    Column("packets", right=True),
    Column("bytes", right=True, rank=1),
    Column("IGMP querier"),
    Column("wanted", right=True),
    Column("hosts", right=True),
)


def blocks(tunnels: tuple[TunnelStatus, ...], expecting: Collection[str]) -> Iterator[Block]:
    """One table of all; on the tunnels ``expecting`` there are groups."""
    if tunnels:
        yield Text()
        yield Table(_TUNNEL, tuple(row for one in tunnels for row in _tunnel(one, one.name in expecting)))


def forward(found: tuple[ForwardStatus, ...]) -> Iterator[Block]:
    """One table of all downstream interfaces."""
    if found:
        yield Text()
        yield Table(_FORWARD, tuple(row for one in found for row in _forward(one)))


def _tunnel(tunnel: TunnelStatus, is_expected: bool) -> Iterator[Row | Text]:
    first = (
        tunnel.name,
        Cell(tunnel.state, STATES[tunnel.state]),
        tunnel.address,
        "" if tunnel.mtu is None else str(tunnel.mtu),
    )
    alive = tunnel.keepalive
    last = ("", "") if alive is None else (count(alive.answered), age(alive.last_age))
    neighbors = tunnel.pim.neighbors if tunnel.pim is not None else ()
    for number, (_, neighbor) in enumerate(zip_longest((first,), neighbors)):
        yield (*(("",) * 4 if number else first), *_neighbor(neighbor), *(("", "") if number else last))
    kind = "GRE" if tunnel.encapsulation == "gre" else "XFRM interface"
    others = f", also {' '.join(tunnel.addresses)}" if tunnel.addresses else ""
    reason = f", MTU by {tunnel.mtu_reason}" if tunnel.mtu_reason else ""
    yield Text(f"{kind} {tunnel.local} - {tunnel.remote} ({tunnel.datapath}){others}{reason}", "dim", indent=2)
    if tunnel.problem:
        yield Text(f"problem: {tunnel.problem}", "bad", indent=2)
    yield from _routes(tunnel)
    dropped = {reason: number for reason, number in tunnel.dropped.items() if reason not in _EXPECTED}
    yield from _counters("dropped", dropped, indent=2)
    for reason, words in _EXPECTED.items():
        if expected := tunnel.dropped.get(reason):
            yield Text(f"{words}: {count(expected)}", "dim", indent=2)
    if alive is not None:
        yield from _keepalive(alive)
    if tunnel.pim is not None:
        yield from _pim(tunnel.pim)
    if tunnel.upstream == "igmp":
        yield Text("groups are joined by IGMP", indent=2)
    elif tunnel.upstream == "none" and is_expected:
        yield Text("groups are joined nowhere: the far end sends unasked", indent=2)


def _neighbor(neighbor: NeighborStatus | None) -> Row:
    if neighbor is None:
        return "", "", ""
    return neighbor.address, duration(neighbor.uptime), age(neighbor.expires_in) or "never"


def _routes(tunnel: TunnelStatus) -> Iterator[Text]:
    routes = [route.prefix if route.state == "up" else f"{route.prefix} ({route.state})" for route in tunnel.routes]
    if routes:
        yield Text(f"routes: {listed(routes, _SHOWN_ROUTES)}", "dim", indent=2)
    for route in tunnel.routes:
        if route.problem:
            yield Text(f"{route.prefix}: {route.problem}", "bad", indent=4)


def _keepalive(alive: KeepaliveStatus) -> Iterator[Text]:
    if alive.stopped:
        yield Text("the far end's keepalives have stopped", "bad", indent=2)
    if not alive.reply:
        yield Text("keepalives are not answered: reply is off", indent=2)
    dropped = {reason: number for reason, number in alive.dropped.items() if reason != "child_down"}
    yield from _counters("keepalives not answered", dropped, indent=2)
    if early := alive.dropped.get("child_down"):
        yield Text(f"keepalives that came while the CHILD_SA was down: {count(early)}", "dim", indent=2)
    if alive.icmp_errors and alive.icmp_age is not None:
        errors = ", ".join(f"{name} {number}" for name, number in sorted(alive.icmp_errors.items()))
        text = f"ICMP errors of the far end for GRE: {errors}, the last {duration(alive.icmp_age)} ago"
        yield Text(text, "warn" if alive.icmp_age < _RECENT else "dim", indent=2)
    if alive.period:
        missed = f", {alive.missed} missed" if alive.missed else ""
        rtt = "" if alive.rtt is None else f", round trip {short(alive.rtt)}"
        path = f"path {alive.path or 'not known'}"
        text = f"keepalives of ours: {path}, {count(alive.sent)} sent, {count(alive.received)} came back{missed}{rtt}"
        yield Text(text, "bad" if alive.path == "dead" else "plain", indent=2)


def _pim(pim: PimStatus) -> Iterator[Text]:
    if not pim.neighbors:
        yield Text(f"PIM: no neighbour{'' if pim.running else ', not running'}", "bad", indent=2)
    if pim.problem:
        yield Text(f"PIM cannot send: {pim.problem}", "bad", indent=2)
    for mapping in pim.auto_rp[:_SHOWN_AUTO_RP]:
        rp = f"RP {mapping.rp}" if mapping.rp is not None else "no RP"
        expiry = "never expires" if mapping.expires_in is None else f"expires in {duration(mapping.expires_in)}"
        used = "" if mapping.used else " (not used)"
        yield Text(f"Auto-RP{used}: {rp} for {mapping.groups}, {mapping.kind} of {mapping.sender}, {expiry}", indent=2)
    if (more := len(pim.auto_rp) - _SHOWN_AUTO_RP) > 0:
        yield Text(f"... and {more} more ranges (--json)", "dim", indent=2)
    yield from _counters("PIM dropped", pim.dropped, indent=2)


def _forward(forward: ForwardStatus) -> Iterator[Row | Text]:
    igmp = forward.igmp
    asked: Row = "", "", ""
    if igmp is not None:
        unheard = "none heard" if igmp.state == "listener" else "not known yet"
        querier = "this host" if igmp.is_ours else igmp.querier or unheard
        asked = querier, count(igmp.groups), count(igmp.hosts)
    counted = count(forward.groups), count(forward.packets), size(forward.bytes)
    state = Cell(forward.state, STATES[forward.state])
    yield forward.name, state, ", ".join(forward.tunnels) or "no tunnel", *counted, *asked
    if forward.refused:
        yield Text(f"refused beyond max_groups: {count(forward.refused)} groups", "bad", indent=2)
    if forward.fragments:
        yield Text(f"sent in fragments, which the gateway drops: {count(forward.fragments)} packets", "bad", indent=2)
    if forward.problem:
        yield Text(f"problem: {forward.problem}", "bad", indent=2)
    if igmp is not None:
        yield from _igmp(igmp)


def _igmp(igmp: QuerierStatus) -> Iterator[Text]:
    if igmp.version != 3:
        yield Text(f"IGMPv{igmp.version}", indent=2)
    if igmp.problem:
        yield Text(f"IGMP: problem: {igmp.problem}", "bad", indent=2)
    others = [f"{one.address} (IGMPv{one.version}, {duration(one.heard_age)} ago)" for one in igmp.others]
    if others:
        yield Text(f"other queriers: {', '.join(others)}", indent=2)
    if igmp.pim_router:
        yield Text(f"a PIM router is there too: {igmp.pim_router}", "warn", indent=2)
    yield from _counters("IGMP dropped", igmp.dropped, indent=2)


def _counters(words: str, counters: dict[str, int], indent: int) -> Iterator[Text]:
    if counters:
        found = ", ".join(f"{name} {count(number)}" for name, number in sorted(counters.items()))
        yield Text(f"{words}: {found}", "warn", indent=indent)
