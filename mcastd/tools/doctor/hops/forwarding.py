"""The hop from the tunnel to machines behind this host: what arrives for them leaves by their interface."""

from ipaddress import IPv4Address
from typing import Final

from mcastd.config.downstream import Forward
from mcastd.overlay_status import OverlayStatus
from mcastd.status import GroupStatus
from mcastd.tools.doctor import firewall
from mcastd.tools.doctor.facts import Downstream, Facts, TunnelView, Way
from mcastd.tools.doctor.finding import Cause, Note, about, either, here
from mcastd.tools.doctor.hops import INCOMING, OUTGOING, Found, dropping
from mcastd.tools.doctor.hops.pim import entry_of, matches

_SOME: Final = 5  # packets
_LISTED: Final = 3  # ways


class Forwarding(Cause):
    """What the hop to machines behind this host can find."""

    MULTICAST_ROUTING_TAKEN = here(
        "one program at a time can have the kernel's multicast routing, and another one has it",
        "stop it and disable it (systemctl disable --now pimd, frr with pimd=no, mrouted, smcroute, igmpproxy)",
    )
    DOWNSTREAM_MISSING = here(
        "nothing is forwarded to an interface that does not exist or is down",
        "ip link: make the interface, or set it up (ip link set {interface} up), or correct [forward.{interface}]",
    )
    FORWARD_LIMIT = here(
        "more is asked for behind this host than a limit allows, and the rest is not forwarded",
        "raise max_groups if the machines do need so many; of interfaces the kernel has 32 for multicast routing",
    )
    TTL_TOO_LOW = either(
        "a router forwards only packets of a TTL above its threshold, which is at least 1; routers on the way lower it",
        "ask whether the source can send with a larger TTL; forward.{interface}.ttl_threshold is {threshold}",
    )
    LARGER_THAN_MTU = here(
        "a packet that may not be fragmented (DF) and exceeds the MTU of the interface is dropped without a message",
        "raise the MTU of {interface} to {length}, or ask for smaller datagrams, or for a source that does not set DF",
    )
    FORWARD_DROPPED = here(
        "the firewall of this host drops what is forwarded; Docker and ufw do that to all that they do not know",
        "accept it: iptables -I DOCKER-USER -i {tunnel} -o {interface} -d 224.0.0.0/4 -j ACCEPT (Docker), "
        "ufw route allow in on {tunnel} out on {interface} (ufw), else a rule in the chain that drops",
    )
    OVERLAY_DROPPED_HERE = here(
        "no machine is heard on the overlay, and a firewall of this host drops what they send by VXLAN",
        "accept it, as UDP: iptables -I INPUT -p udp --dport {port} -j ACCEPT; mcastd lets in members alone",
    )
    OVERLAY_HELD_BACK = here(
        "what is forwarded to the overlay does not leave this host by VXLAN as it should: its firewall (OUTPUT, "
        "POSTROUTING) drops it, or NAT changes its source, or there is no way to the machines, or another one",
        "allow UDP {port} to the machines (iptables -I OUTPUT -p udp --dport {port} -j ACCEPT), and exclude it from "
        "NAT; ip rule, ip route get and ip neigh of their addresses",
    )
    NOT_FORWARDED = here(
        "the kernel has the route, and packets do not leave: a firewall drops them (FORWARD, POSTROUTING), or a qdisc",
        "look for drops in `nft list ruleset`, `iptables -L FORWARD -v` and `tc -s qdisc show dev {interface}`",
    )


def forwarding(facts: Facts) -> Found:
    """What arrives for machines behind this host leaves towards them."""
    yield from _reported(facts)
    yield from _standing_by(facts)
    yield from _overlays(facts)
    configured = {one.name: one for one in facts.config.downstream} if facts.config else {}
    for view, group in facts.groups():
        for name in group.forwarded_to:
            if name in configured and facts.was_forwarded(group, name):
                leaves = _leaves(facts, view, group, configured[name])
                yield from about(leaves, view.tunnel.name, entry_of(group))


def _reported(facts: Facts) -> Found:
    """What the daemon knows itself."""
    for problem in facts.status.problems if facts.status is not None else ():
        if problem.code == "multicast_routing_taken":
            who = f"; these programs can have it: {', '.join(facts.routing_holders)}" if facts.routing_holders else ""
            yield Forwarding.MULTICAST_ROUTING_TAKEN.found(problem.text + who).on(problem.subject)
        elif problem.code == "downstream_missing":
            missing = Forwarding.DOWNSTREAM_MISSING.found(problem.text, interface=problem.subject)
            yield missing.on(problem.subject)
        elif problem.code in ("groups_limit", "vif_limit"):
            yield Forwarding.FORWARD_LIMIT.found(problem.text).on(problem.subject)


def _standing_by(facts: Facts) -> Found:
    """Machines want groups that another router is to forward."""
    for one in facts.status.forward if facts.status is not None else ():
        if one.state == "standby" and one.igmp is not None and one.igmp.hosts:
            text = (
                f"{one.igmp.hosts} hosts on {one.name} want groups, and this host forwards none there: that is the "
                f"part of {one.igmp.querier}, the IGMP querier. If it does not (a switch, a host), turn its querier "
                "off, or give it a higher address than ours"
            )
            yield Note(text=text, subject=one.name)


def _overlays(facts: Facts) -> Found:
    """Machines that could ask for groups are heard, and what is forwarded leaves this host."""
    for overlay in facts.status.overlay if facts.status is not None else ():
        words = str(overlay.port), "vxlan"
        rule = firewall.naming(facts.rules, INCOMING, words, IPv4Address(overlay.local), None)
        heard = any(one.was_heard for one in overlay.endpoints)
        if rule is not None and overlay.state == "up" and heard:
            drops = f"{firewall.described(rule)} drops UDP {overlay.port}, if no rule before it accepts that"
            text = f"{drops}: machines that have not been heard for the membership time get nothing any more"
            yield Note(text=text, subject=overlay.name)
        if rule is not None and overlay.state == "up" and not heard:
            saw = f"no machine was heard on {overlay.name}, and {firewall.described(rule)} drops UDP {overlay.port}"
            yield Forwarding.OVERLAY_DROPPED_HERE.found(saw, port=overlay.port).on(overlay.name)
        out = facts.downstream.get(overlay.name, Downstream())
        sent = sum(out.sent.streams.values())
        if sent >= _SOME and any(one.groups for one in overlay.endpoints):
            yield from _leaves_by_vxlan(facts, overlay, sent, out.ways)


def _leaves_by_vxlan(facts: Facts, overlay: OverlayStatus, sent: int, ways: frozenset[Way] | None) -> Found:
    """What is forwarded to an overlay leaves by the interface that has ``local``, and with that as its source."""
    local = IPv4Address(overlay.local)
    right = Way(facts.addresses.get(local, ""), local)
    if ways is not None and right not in ways:
        saw = f"{sent} packets were forwarded to {overlay.name} in {facts.seconds:.1f} s, and no VXLAN left"
        saw += f" by {right.interface} with the source {local}" if right.interface else ""
        others = ", ".join(f"by {one.interface} with the source {one.source}" for one in sorted(ways)[:_LISTED])
        saw += f"; it left {others}" if others else dropping(facts, sent, OUTGOING)
        yield Forwarding.OVERLAY_HELD_BACK.found(saw, port=overlay.port).on(overlay.name)


def _leaves(facts: Facts, view: TunnelView, group: GroupStatus, forward: Forward) -> Found:
    name, tunnel = forward.name, view.tunnel.name
    seen, out = view.seen.arrived, facts.downstream.get(forward.name, Downstream())
    for stream, count in seen.streams.items():
        sent = out.sent.streams.get(stream, 0)
        if not matches(group, stream) or count < _SOME or out.sent.capped or not view.seen.lacks(count, sent):
            continue
        saw = f"{count} packets of {stream.group} from {stream.source} arrived on {tunnel}, and {sent} left by {name}"
        ttl, length = seen.ttls.get(stream, 255), seen.whole.get(stream, 0)
        if ttl <= forward.ttl_threshold:
            threshold = forward.ttl_threshold
            saw += f"; their TTL is {ttl}"
            yield Forwarding.TTL_TOO_LOW.found(saw, interface=name, threshold=threshold)
        if out.mtu is not None and length > out.mtu:
            saw += f"; they have up to {length} bytes and DF, the MTU of {name} is {out.mtu}"
            yield Forwarding.LARGER_THAN_MTU.found(saw, interface=name, length=length)
        if why := dropping(facts, count - sent, ("forward",)):
            saw += why
            yield Forwarding.FORWARD_DROPPED.found(saw, interface=name, tunnel=tunnel)
        saw += dropping(facts, count - sent, ("postrouting", "egress"))
        yield Forwarding.NOT_FORWARDED.found(saw, interface=name)
