"""Peers and their SAs in ``mcastd status``: what passed, when the last packet did, and why one is not up. Pure."""

from collections.abc import Iterator
from typing import Final

from mcastd.cli.layout import Block, Cell, Column, Row, Style, Table, Text
from mcastd.cli.units import count, duration, size
from mcastd.status import ChildStatus, PeerStatus

STATES: Final[dict[str, Style]] = {
    "up": "good", "connecting": "warn", "waiting": "warn", "down": "bad", "forwarding": "good", "standby": "plain",
}  # fmt: skip

_COLUMNS = (
    Column("peer, CHILD_SA"),
    Column("state"),
    Column("for", right=True),
    Column("in", right=True),
    Column("bytes", right=True, rank=2),
    Column("last", right=True),
    Column("out", right=True),
    Column("bytes", right=True, rank=2),
    Column("last", right=True),
    Column("rekey in", right=True, rank=1),
)


def blocks(peers: tuple[PeerStatus, ...]) -> Iterator[Block]:
    """One table of all."""
    if peers:
        yield Text()
        yield Table(_COLUMNS, tuple(row for peer in peers for row in _peer(peer)))


def age(seconds: float | None) -> str:
    """A duration, if there is one."""
    return "" if seconds is None else duration(seconds)


def _peer(peer: PeerStatus) -> Iterator[Row | Text]:
    state = Cell(peer.state, STATES[peer.state])
    yield peer.name, state, age(peer.uptime), *("",) * 6, age(peer.rekey_in)
    ends = f"{peer.local}[{peer.local_id}] - {peer.remote}[{peer.remote_id}]"
    yield Text(ends, "dim", indent=2)
    if peer.proposal:
        reauthentication = "" if peer.reauth_in is None else f", reauthentication in {duration(peer.reauth_in)}"
        yield Text(f"{peer.proposal}{reauthentication}", "dim", indent=2)
    if peer.active_because is not None:
        yield Text(f"used for {age(peer.active_for)}: {peer.active_because}", "warn", indent=2)
    if peer.problem:
        yield Text(f"problem: {peer.problem}", "bad", indent=2)
    for child in peer.children:
        yield from _child(child)


def _child(child: ChildStatus) -> Iterator[Row | Text]:
    name, state, uptime = f"  {child.name}", Cell(child.state, STATES[child.state]), age(child.uptime)
    if child.state == "up":
        arrived = count(child.packets_in), size(child.bytes_in), age(child.last_in_age)
        left = count(child.packets_out), size(child.bytes_out), age(child.last_out_age)
        yield name, state, uptime, *arrived, *left, age(child.rekey_in)
    else:
        yield name, state, uptime, *("",) * 7
    selectors = f"{child.local_ts} === {child.remote_ts}{'' if child.protocol == 'any' else f' {child.protocol}'}"
    mode = f"{child.mode} mode" if child.if_id is None else f"XFRM interface {child.if_id}"
    how = f", {mode}{' in UDP' if child.encap else ''}" if child.state == "up" else ""
    yield Text(f"{selectors}{how}", "dim", indent=4)
    if child.state == "up":
        yield Text(f"{child.proposal}, SPIs {child.spi_in}_i {child.spi_out}_o", "dim", indent=4)
    if child.problem:
        again = "" if child.next_try_in is None else f"; next try in {duration(child.next_try_in)}"
        yield Text(f"problem: {child.problem}{again}", "bad", indent=4)
