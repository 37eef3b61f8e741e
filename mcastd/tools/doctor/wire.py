"""The hops that ESP on the wire shows: what the children send leaves this host, and what comes for them is decrypted;
and, at the very end, whether all of it comes.

Each function is one hop: facts in, the finding or None out.
"""

from ipaddress import IPv4Address
from typing import Final

from mcastd.status import ChildStatus, PeerStatus
from mcastd.tools.doctor.advice import found
from mcastd.tools.doctor.facts import Esp, Facts
from mcastd.tools.doctor.finding import Finding

LOOPBACK: Final = "lo"
_SOME: Final = 3
_ECHOES: Final = 2  # that the doctor sends into a tunnel
_MUCH, _SOME_LOSS = 4, 100  # one in so many packets lost: of much nothing else works, less than some is a note
_NAT_T: Final = 4500


def wrong_way(facts: Facts, peer: PeerStatus) -> str | None:
    """Words for what is wrong with the way to a peer, on this side of its next hop."""
    remote = IPv4Address(peer.remote)
    if remote not in facts.ways:
        return None
    if facts.addresses and IPv4Address(peer.local) not in facts.addresses:
        return f"{peer.local}, by which it is to go out, is not an address of this host"
    way = facts.ways[remote]
    if way is None:
        return f"there is no route from {peer.local} to {remote}"
    if way.interface == LOOPBACK:
        return f"{remote} is an address of this host"
    hop = f"{way.gateway}, the gateway to {remote}," if way.gateway else f"{remote}, on the link by the routes,"
    return f"{hop} does not answer on {way.interface} (ARP)" if way.silent else None


def esp(facts: Facts) -> Finding | None:
    """What the children send leaves this host; what comes for them is decrypted, and most of it comes."""
    for peer in facts.peers():
        carried, came = facts.carried(peer), _came(facts, peer)
        if carried is None or not any(child.spi_in for child in peer.children):
            continue
        finding = (
            _outwards(facts, peer, carried)
            or _too_late(peer, came)
            or _not_decrypted(facts, peer, sum(one.packets for one in came.values()), carried[0])
            or _lost("esp", peer, came, _MUCH)
        )
        if finding is not None:
            return finding
    return None


def loss(facts: Facts) -> Finding | None:
    """All that the other side sends comes."""
    found_ = (_lost("loss", peer, _came(facts, peer), _SOME_LOSS) for peer in facts.peers())
    return next((finding for finding in found_ if finding is not None), None)


def _came(facts: Facts, peer: PeerStatus) -> dict[ChildStatus, Esp]:
    spis = {int(child.spi_in, 16): child for child in peer.children if child.spi_in}
    return {spis[spi]: one for spi, one in facts.wire_in.sas.items() if spi in spis}


def _outwards(facts: Facts, peer: PeerStatus, carried: tuple[int, int]) -> Finding | None:
    """What goes out leaves by an interface; where it does, and packets come in, the way there is not to be doubted."""
    packets_in, packets_out = carried
    words = {"remote": peer.remote, "local": peer.local}
    left = {int(child.spi_out or "0", 16) for child in peer.children} & facts.wire_out.sas.keys()
    held = packets_out >= _ECHOES and facts.wire_out.whole and not left
    if (held or packets_in == 0) and (no_way := wrong_way(facts, peer)) is not None:
        return found("esp", "no_way", no_way, **words)
    if held:
        sent = f"the children of {peer.name} sent {packets_out} packets in {facts.seconds:.1f} s"
        saw = f"{sent}, and no ESP left this host"
        saw += _errors(facts, "Xfrm.Out")
        return found("esp", "esp_held_back", saw, **words)
    return None


def _too_late(peer: PeerStatus, came: dict[ChildStatus, Esp]) -> Finding | None:
    for child, one in came.items():
        if child.replay_window and one.late > child.replay_window:
            saw = f"a packet of {child.name} came {one.late} places late; its replay_window is {child.replay_window}"
            return found("esp", "replay_window", saw, peer=peer.name, child=child.name)
    return None


def _not_decrypted(facts: Facts, peer: PeerStatus, came: int, decrypted: int) -> Finding | None:
    """The look at the wire is the shorter one: what came in it has been decrypted by its end."""
    remote = IPv4Address(peer.remote)
    names = {child.name for child in peer.children}
    carried = [
        facts.tunnels[one.name] for one in facts.configured() if one.child in names and one.name in facts.tunnels
    ]
    if not came and any(seen.received.get("rx_packets") for seen in carried):
        return None  # by an SA that is being replaced, or a second one
    strange = {spi: one.packets for spi, one in facts.wire_in.sas.items() if one.peer == remote} if not came else {}
    total = came or sum(strange.values())
    enough = max(_SOME, total // 4) if decrypted or not came else 1
    if total - decrypted < enough or (decrypted and not facts.wire_in.whole):
        return None
    saw = f"{total} ESP packets came from {remote} in {facts.seconds:.1f} s, and {decrypted} were decrypted"
    if strange:
        saw += f"; their SPI, {min(strange):08x}, is none that charon has for {peer.name}"
    full = sum(facts.socket_drops.get(one.inode, 0) for one in facts.sockets if one.port == _NAT_T)
    saw += f"; charon's socket was full for {full}" if full else ""
    saw += _errors(facts, "Xfrm.In")
    return found("esp", "not_decrypted", saw, remote=remote, peer=peer.name)


def _errors(facts: Facts, kind: str) -> str:
    """Words for the kernel's counters of IPsec that have risen (Documentation/networking/xfrm_proc.rst)."""
    risen = {name: count for name, count in facts.counters.items() if name.startswith(kind) and count}
    return "".join(f"; the kernel counted {count} Xfrm{name.partition('.')[2]}" for name, count in risen.items())


def _lost(hop: str, peer: PeerStatus, came: dict[ChildStatus, Esp], one_in: int) -> Finding | None:
    """ESP is numbered: what is missing has been lost since it was encrypted."""
    missing = sum(one.missing for one in came.values())
    sent = missing + sum(one.packets for one in came.values())
    if missing < _SOME or missing * one_in < sent:
        return None
    saw = f"{missing} of {sent} ESP packets that {peer.remote} sent did not come ({100 * missing / sent:.0f} %)"
    return found(hop, "lost_on_the_way", saw, remote=peer.remote)
