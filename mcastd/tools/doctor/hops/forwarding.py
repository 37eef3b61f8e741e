"""The hop from the tunnel to machines behind this host: what arrives for them leaves by their interface."""

from ipaddress import IPv4Address
from typing import Final

from mcastd.config.downstream import Forward
from mcastd.status import GroupStatus
from mcastd.tools.doctor import firewall
from mcastd.tools.doctor.facts import Downstream, Facts, TunnelView
from mcastd.tools.doctor.finding import Cause, about, either, here
from mcastd.tools.doctor.hops import INCOMING, Found, dropping
from mcastd.tools.doctor.hops.pim import entry_of, matches

_SOME: Final = 5  # packets


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
    NOT_FORWARDED = here(
        "the kernel has the route, and packets do not leave: a firewall drops them (FORWARD, POSTROUTING), or a qdisc",
        "look for drops in `nft list ruleset`, `iptables -L FORWARD -v` and `tc -s qdisc show dev {interface}`",
    )


def forwarding(facts: Facts) -> Found:
    """What arrives for machines behind this host leaves towards them."""
    yield from _reported(facts)
    yield from _overlays(facts)
    configured = {one.name: one for one in facts.config.downstream} if facts.config else {}
    for view, group in facts.groups():
        for name in group.forwarded_to:
            if name in configured and not facts.is_new(group):
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


def _overlays(facts: Facts) -> Found:
    """Machines that could ask for groups are heard."""
    for overlay in facts.status.overlay if facts.status is not None else ():
        words = str(overlay.port), "vxlan"
        rule = firewall.naming(facts.rules, INCOMING, words, IPv4Address(overlay.local), None)
        if rule is not None and overlay.state == "up" and not any(one.was_heard for one in overlay.endpoints):
            saw = f"no machine was heard on {overlay.name}, and {firewall.described(rule)} drops UDP {overlay.port}"
            yield Forwarding.OVERLAY_DROPPED_HERE.found(saw, port=overlay.port).on(overlay.name)


def _leaves(facts: Facts, view: TunnelView, group: GroupStatus, forward: Forward) -> Found:
    name, tunnel = forward.name, view.tunnel.name
    seen, out = view.seen.arrived, facts.downstream.get(forward.name, Downstream())
    for stream, count in seen.streams.items():
        sent = out.sent.streams.get(stream, 0)
        if not matches(group, stream) or count < _SOME or out.sent.capped or sent >= count * 3 // 4:
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
        yield Forwarding.NOT_FORWARDED.found(saw, interface=name)
