"""The hops of a tunnel: GRE, MTU, GRE keepalives."""

import errno
from collections import Counter
from collections.abc import Mapping
from itertools import chain
from typing import Final

from mcastd.status import KeepaliveStatus
from mcastd.tools.doctor.facts import Facts, TunnelView
from mcastd.tools.doctor.finding import Cause, Note, about, either, here
from mcastd.tools.doctor.hops import OUTGOING, Found, dropping
from mcastd.tools.doctor.hops.ipsec import route_to_remote, translated, xfrm_errors

_SOME: Final = 3  # packets
_REFUSALS: Final = ("econnrefused", "enoprotoopt")  # what ICMP port and protocol unreachable become
_ERRNOS: Final = frozenset(name.lower() for name in errno.errorcode.values())
_REFUSED: Final = {
    "gre_checksum_unexpected": "checksums, unlike",
    "gre_checksum_missing": "no checksums, unlike",
    "gre_sequence_missing": "no sequence numbers, unlike",
}
"""What a packet has that is refused for its GRE options, by the reason."""
_DOWN: Final = "their side of the tunnel goes down after three of these, while everything looks right on this side"
NO_ECHO: Final = "; an echo to the far end of the tunnel was not answered"


class Gre(Cause):
    """What the hops of a tunnel can find."""

    TUNNEL_DOWN = here(
        "nothing can pass on the tunnel: another program changes the interface, or the host refuses it",
        "ip -d link show {tunnel}; stop what else manages it (NetworkManager, ...); repaired within 30 s then",
    )
    NO_MULTICAST_FLAG = here(
        "routing daemons refuse such an interface, and the kernel has no multicast routes on it",
        "ip link set {tunnel} multicast on; stop what else manages the interface; mcastd repairs it within 30 s",
    )
    NOT_ENCRYPTED = here(
        "packets sent into the tunnel do not reach IPsec: a firewall (OUTPUT) drops GRE, or no policy matches",
        "look for drops in `nft list ruleset` and `iptables -L OUTPUT -v`; allow protocol 47 to {remote}; ip xfrm "
        "policy: is ours present, and before others? ip rule, ip route get {remote}",
    )
    GRE_KEY = either(
        "the kernel passes a GRE packet only to the tunnel with the same key",
        "set tunnels.{tunnel}.key to theirs, or ask the other side for the same `tunnel key` as ours",
    )
    GRE_OPTIONS = either(
        "a GRE packet whose options (checksums, sequence numbers) differ from those of the tunnel is dropped",
        "set checksum and sequence of tunnels.{tunnel} to theirs, or ask for our `tunnel checksum`, "
        "`sequence-datagrams`",
    )
    GRE_DROPPED_HERE = here(
        "GRE is decrypted and lost before the interface: this host's firewall drops it, or its endpoints differ",
        "look for drops in `nft list ruleset` and `iptables -L -v`; allow protocol 47 from {remote} to {local}; "
        "compare local and remote of the tunnel with their `tunnel destination` and `tunnel source`",
    )
    GRE_REFUSED = either(
        "the other side answers GRE with ICMP unreachable: key, checksums or endpoints differ, or its tunnel is down",
        "ask for `show interface tunnel`: is it up, do source, destination and key match tunnels.{tunnel}?",
    )
    NOTHING_COMES_BACK = either(
        "the SAs are up, but nothing arrives through them: the other side's tunnel is down, its routing does not lead "
        "into the crypto map, GRE is not permitted inside, it has lost its SAs (a restart), or ESP is lost on the path",
        "ask the other side: is the tunnel interface up, with source {remote} and destination {local}? Does the "
        "access list of the crypto map permit GRE, do the counters of `show crypto ipsec sa` rise? If they do: allow "
        "UDP 4500 in the security group, and ask the provider",
    )
    ONE_WAY = either(
        "packets of the other side arrive, and nothing shows that ours get there: they are lost on the path, or the "
        "other side's tunnel is down; or it answers no echoes, and its sources are silent",
        "ask the other side: do packets of ours come out of its SA (`show crypto ipsec sa`: decaps), is its tunnel up? "
        "If none come: `ip neigh` here (a PERMANENT entry of the gateway may be wrong), allow UDP 4500 out in the "
        "security group, and ask the provider. If they do: are the sources sending, and does `show ip mroute` list the "
        "tunnel as outgoing?",
    )
    MTU = either(
        "larger packets are lost on the path without an error",
        'set tunnels.{tunnel}.mtu = "auto", or lower, and ask the other side for the same `ip mtu` on their tunnel',
    )
    SENDING_REFUSED = here(
        "this host does not let packets of mcastd out: eperm is its firewall (OUTPUT), unreachable its routes",
        "look for drops in `nft list ruleset` and `iptables -L OUTPUT -v`: allow protocols 47 and 103; ip route",
    )
    KEEPALIVE_REPLY_OFF = here(
        f"GRE keepalives of the other side are not answered; {_DOWN}", "set keepalive.reply = true"
    )
    KEEPALIVE_INNER_ADDRESS = either(
        f"the answer that the other side asks for is not between our GRE endpoints, so it is not sent; {_DOWN}",
        "if a NAT makes us appear with another address, add that to keepalive.inner_addresses; otherwise compare "
        "local and remote of the tunnel with their `tunnel destination` and `tunnel source`",
    )
    KEEPALIVE_KEY = either(
        f"the GRE key in the other side's keepalives differs from ours, so they are not answered; {_DOWN}",
        "compare tunnels.{tunnel}.key with their `tunnel key`",
    )
    KEEPALIVE_RATE = here(
        "keepalives of the other side arrive faster than keepalive.max_per_second allows",
        "raise it, or ask the other side for a longer period",
    )
    KEEPALIVE_DROPPED = either(
        f"GRE keepalives of the other side cannot be answered; {_DOWN}", "mcastd trace shows the packets"
    )
    PATH_DEAD = either(
        "packets are lost although the SAs are up, or the other side answers no keepalives: only a Cisco and mcastd do",
        "mcastd trace shows whether they leave and what comes back; for a Linux router set keepalive.period = 0",
    )


_UNANSWERED: Final[Mapping[str, Cause]] = {
    "reply_off": Gre.KEEPALIVE_REPLY_OFF,
    "inner_source": Gre.KEEPALIVE_INNER_ADDRESS,
    "inner_destination": Gre.KEEPALIVE_INNER_ADDRESS,
    "inner_key": Gre.KEEPALIVE_KEY,
    "gre_key": Gre.KEEPALIVE_KEY,
    "rate": Gre.KEEPALIVE_RATE,
    **dict.fromkeys(_ERRNOS, Gre.SENDING_REFUSED),
    **dict.fromkeys(_REFUSALS, Gre.GRE_REFUSED),
}
"""The cause for the reason for which a keepalive was not answered."""


def gre(facts: Facts) -> Found:
    """Every tunnel has its interface as configured and up, and packets pass between it and its CHILD_SA."""
    for view in facts.views():
        yield from about(chain(_interface(view), _leaves(facts, view), _arrives(facts, view)), view.tunnel.name)


def _interface(view: TunnelView) -> Found:
    name, status, interface = view.tunnel.name, view.status, view.seen.interface
    if status.problem:
        yield Gre.TUNNEL_DOWN.found(f"tunnel {name}: {status.problem}", tunnel=name)
    if interface is None:
        yield Gre.TUNNEL_DOWN.found(f"there is no interface {name}", tunnel=name)
    elif not interface.up or status.state != "up":
        yield Gre.TUNNEL_DOWN.found(f"the interface {name} is {status.state if interface.up else 'down'}", tunnel=name)
    elif not interface.multicast:
        yield Gre.NO_MULTICAST_FLAG.found(f"the interface {name} has no MULTICAST flag", tunnel=name)


def _leaves(facts: Facts, view: TunnelView) -> Found:
    """What is sent into the tunnel, at least the echoes, leaves by the CHILD_SA."""
    tunnel, _, seen, child = view
    if child is not None and seen.unanswered and not facts.passed(child)[1]:
        saw = f"echoes were sent into {tunnel.name}, and nothing by CHILD_SA {child.name}{route_to_remote(view)}"
        yield from translated(facts, tunnel.child, saw)
        saw += xfrm_errors(facts, "Xfrm.Out") + dropping(facts, _SOME, OUTGOING)
        yield Gre.NOT_ENCRYPTED.found(saw, remote=tunnel.remote)


def _arrives(facts: Facts, view: TunnelView) -> Found:
    """GRE that comes out of the CHILD_SA reaches the interface."""
    tunnel, status, seen, child = view
    if child is None or tunnel.encapsulation != "gre" or seen.received:
        return
    ends = {"tunnel": tunnel.name, "local": tunnel.local, "remote": tunnel.remote}
    theirs = [one for one in facts.gre_seen if (one.source, one.destination) == (tunnel.remote, tunnel.local)]
    if theirs and not any(tunnel.gre.receives(one.header) for one in theirs):
        keys = f"{_key(theirs[0].header.key)}, tunnel {tunnel.name} has {_key(tunnel.gre.key)}"
        yield Gre.GRE_KEY.found(f"GRE from {tunnel.remote} has {keys}", **ends)
    alive = status.keepalive
    if not theirs and alive is not None and not alive.answered and (other := alive.dropped.get("gre_key")):
        saw = f"{other} keepalives of {tunnel.remote} had another key than tunnel {tunnel.name}, {_key(tunnel.gre.key)}"
        yield Gre.GRE_KEY.found(saw, **ends)
    for refusal in filter(None, (tunnel.gre.refusal(one.header) for one in theirs)):
        if (options := _REFUSED.get(refusal)) is not None:
            yield Gre.GRE_OPTIONS.found(f"GRE from {tunnel.remote} has {options} tunnel {tunnel.name}", **ends)
    packets_in, _ = facts.passed(child)
    # In transport mode GRE shows nowhere before it is delivered, but nothing else comes out of that CHILD_SA.
    shows = sum(facts.gre_seen[one] for one in theirs), 1
    arrived, enough = (packets_in, _SOME) if child.mode == "transport" else shows
    never = 0 if seen.total else child.packets_in
    in_time = f"in {facts.seconds:.1f} s"
    if arrived > enough or (arrived and never > _SOME):
        saw = f"{arrived} packets of GRE came out of CHILD_SA {child.name} {in_time}, none on {tunnel.name}"
        yield Gre.GRE_DROPPED_HERE.found(saw + dropping(facts, arrived), **ends)
    if packets_in and not arrived and facts.proc.counters.get("Icmp.InDestUnreachs", 0):
        yield Gre.GRE_REFUSED.found(f"GRE sent by CHILD_SA {child.name} was answered by ICMP unreachable only", **ends)
    if child.packets_out > _SOME and (child.packets_in == 0 or (never and not arrived)):
        saw = f"CHILD_SA {child.name} has carried {child.packets_out} packets out and, for {tunnel.name}, none in"
        yield Gre.NOTHING_COMES_BACK.found(saw, **ends)
    if packets_in == 0 and alive is not None and (alive.stopped or alive.path == "dead"):
        last = f", the last keepalive {alive.last_age:.0f} s ago" if alive.last_age is not None else ""
        echo = NO_ECHO if seen.unanswered else ""
        yield Gre.NOTHING_COMES_BACK.found(f"nothing came out of CHILD_SA {child.name} {in_time}{last}{echo}", **ends)


def _key(key: int | None) -> str:
    return "no key" if key is None else f"key {key}"


def mtu(facts: Facts) -> Found:
    """The interface has its MTU, and a packet of that size passes."""
    for view in facts.views():
        yield from about(_mtu(view), view.tunnel.name)


def _mtu(view: TunnelView) -> Found:
    tunnel, status, seen, _ = view
    name, probe, actual = tunnel.name, seen.probe, seen.interface.mtu if seen.interface else None
    if status.mtu is not None and actual != status.mtu:
        saw = f"the MTU of {name} is {actual}, mcastd set it to {status.mtu} ({status.mtu_reason})"
        yield Gre.MTU.found(saw, tunnel=name)
    if probe is not None and probe.refused is not None:
        saw = f"this host refuses to send {probe.size} bytes through {name}: it knows a path MTU of {probe.refused}"
        yield Gre.MTU.found(saw, tunnel=name)
    if probe is not None and probe.small and not probe.full:
        saw = f"an echo of {probe.size} bytes through {name} with DF set was not answered; a small one was"
        yield Gre.MTU.found(saw, tunnel=name)
    if count := seen.arrived.fragments:
        what = f"{count} fragments of multicast packets arrived on {name}, since datagrams exceed the other side's MTU"
        yield Note(text=f"{what}; each lost fragment loses a datagram: ask for a larger `ip mtu`, or smaller datagrams")


def keepalives(facts: Facts) -> Found:
    """Keepalives of the other side are answered; ours, if any are sent, are answered as well."""
    for view in facts.views():
        yield from about(_keepalives(facts, view), view.tunnel.name)


def _keepalives(facts: Facts, view: TunnelView) -> Found:
    tunnel, status, seen, _ = view
    alive = status.keepalive
    if alive is None:
        return
    before = facts.tunnel_before(tunnel.name)
    was = _refused(before.keepalive) if before and before.keepalive else {}
    refused = _refused(alive)
    risen = {reason: count for reason, count in refused.items() if count > was.get(reason, 0)}
    at_start = {reason: count for reason, count in refused.items() if reason != "child_down"}
    unanswered = risen or (at_start if not alive.answered else {})
    if unanswered:
        reason = max(unanswered, key=lambda name: unanswered[name])
        cause = _UNANSWERED.get(reason, Gre.KEEPALIVE_DROPPED)
        saw = f"{refused[reason]} keepalives from {tunnel.remote} have not been answered: {reason}"
        if cause is Gre.GRE_REFUSED:
            saw = f"{tunnel.remote} answered GRE with ICMP unreachable {refused[reason]} times ({reason})"
        yield cause.found(saw, tunnel=tunnel.name)
    if alive.path == "dead":
        saw = f"{tunnel.remote} has not answered our last {alive.missed} keepalives, {alive.received} before"
        arrived = f"{seen.received} packets arrived on {tunnel.name} in {facts.seconds:.1f} s"
        yield Gre.PATH_DEAD.found(f"{saw}; {arrived}", tunnel=tunnel.name)
    if alive.stopped:
        last = f"no keepalive of {tunnel.remote} arrived for {alive.last_age or 0.0:.0f} s, but other packets did"
        yield Note(text=f"{last}: ask whether the other side has turned them off; it detects a dead path by them")


def _refused(alive: KeepaliveStatus) -> dict[str, int]:
    """What was not answered, here and by the other side."""
    return dict(Counter(alive.dropped) + Counter(alive.icmp_errors))
