"""The hops that carry: configuration, privilege, kernel, daemon, charon, IKE, children, guard, GRE, MTU, keepalives.

Each function is one hop: facts in, the finding or None out.
"""

import errno
from typing import Final

from mcastd.config.model import Config, Tunnel, digest
from mcastd.firewall import rules
from mcastd.problems import ProblemCode
from mcastd.status import ChildStatus, PeerStatus, TunnelStatus
from mcastd.tools.doctor.advice import found
from mcastd.tools.doctor.facts import Facts, GreSeen, TunnelFacts
from mcastd.tools.doctor.finding import Finding
from mcastd.tools.doctor.wire import LOOPBACK, wrong_way

_LISTED: Final = 3
_SOME: Final = 3
_REFUSALS: Final = ("econnrefused", "enoprotoopt")  # what ICMP port and protocol unreachable become
_ERRNOS: Final = frozenset(name.lower() for name in errno.errorcode.values())


def configuration(facts: Facts) -> Finding | None:
    """The file is valid."""
    if not facts.config_errors:
        return None
    more = len(facts.config_errors) - _LISTED
    rest = f" (and {more} more)" if more > 0 else ""
    return found("configuration", "configuration_refused", "; ".join(facts.config_errors[:_LISTED]) + rest)


def privilege(facts: Facts) -> Finding | None:
    """Without privilege there is little to see."""
    return None if facts.privileged else found("privilege", "not_privileged", "packet sockets are refused to this user")


def kernel(facts: Facts) -> Finding | None:
    """The host can do what the configuration asks of it."""
    missing = _missing(facts, facts.config) if facts.config else []
    return found("kernel", "kernel_lacks", f"this host has no {', no '.join(missing)}") if missing else None


def _missing(facts: Facts, config: Config) -> list[str]:
    host, datapath = facts.kernel, config.daemon.datapath
    modes = {child.mode for peer in config.peers for child in peer.children}
    with_gre = any(tunnel.encapsulation == "gre" for tunnel in config.tunnels)
    userspace = datapath == "userspace" or (datapath == "auto" and host.gre is False)
    wants = {
        "GRE (module ip_gre)": with_gre and datapath == "kernel" and host.gre is False,
        "TUN (/dev/net/tun)": with_gre and userspace and not host.tun,
        "ESP (module esp4)": bool(modes & {"transport", "interface"}) and host.esp is False,
        "XFRM interfaces (module xfrm_interface)": "interface" in modes and host.xfrm_interface is False,
        "program nft (package nftables)": bool(rules.table(config)) and not host.nft,
    }
    return [what for what, is_missing in wants.items() if is_missing]


def daemon(facts: Facts) -> Finding | None:
    """The daemon answers, and has what is in the file."""
    if facts.silent is not None:
        return found("daemon", "daemon_silent", facts.silent)
    unknown = [tunnel.name for tunnel in facts.configured() if facts.told(tunnel.name) is None]
    if unknown:
        saw = f"the file has tunnel {', '.join(unknown)}, the running daemon has none of that name"
        return found("daemon", "not_loaded", saw)
    runs = facts.status.config_digest if facts.status else None
    if facts.config is not None and runs not in (None, digest(facts.config)):
        return found("daemon", "not_loaded", f"{facts.config_file} says something else than the daemon has read")
    return None


def charon(facts: Facts) -> Finding | None:
    """charon answers the daemon, and has taken what is configured."""
    if facts.status is not None and facts.status.charon is not None and facts.peers():
        unclear = facts.status.charon_code == "charon_unclear"
        return found("charon", "charon_unclear" if unclear else "charon_absent", facts.status.charon)
    refused = next(
        (one for one in facts.peers() if one.problem_code in ("charon_refused", "connection_not_ours")), None
    )
    return found("charon", "charon_refuses", f"peer {refused.name}: {refused.problem}") if refused else None


def ike(facts: Facts) -> Finding | None:
    """Every peer has an IKE_SA."""
    peer = next((peer for peer in facts.peers() if peer.state != "up"), None)
    if peer is None:
        return None
    if (no_way := wrong_way(facts, peer)) is not None:
        return found("ike", "no_way", f"peer {peer.name} is not up: {no_way}", remote=peer.remote, local=peer.local)
    if facts.strangers:
        held = ", ".join(f"UDP {port} is held by {who}" for port, who in sorted(facts.strangers.items()))
        return found("ike", "port_taken", f"peer {peer.name} is not up: {held}, not by strongSwan's charon-systemd")
    return _negotiation("ike", f"peer {peer.name}", peer, peer)


def children(facts: Facts) -> Finding | None:
    """Every child has a CHILD_SA."""
    for peer in facts.peers():
        child = next((child for child in peer.children if child.state != "up"), None)
        if child is not None:
            what = f"child {child.name} ({child.local_ts} === {child.remote_ts})"
            return _negotiation("child", what, child, peer)
    return None


# The finding for the code of a peer's or a CHILD_SA's problem.
_NEGOTIATION: Final[dict[ProblemCode, str]] = {
    "certificate_issuer_unknown": "authentication",
    "certificate_key_mismatch": "authentication",
    "certificate_not_pinned": "authentication",
    "certificate_or_identity": "authentication",
    "certificate_untrusted": "authentication",
    "peer_identity": "authentication",
    "peer_psk": "authentication",
    "psk_or_identity": "authentication",
    "esp_proposal": "proposal",
    "ike_proposal": "proposal",
    "traffic_selectors": "selectors",
    "host_cannot": "host_cannot",
    "local_address_missing": "host_cannot",
    "ike_sa_unanswered": "udp_4500_blocked",
    "udp_4500_blocked": "udp_4500_blocked",
    "no_answer": "no_answer",
}


def _negotiation(hop: str, what: str, why: PeerStatus | ChildStatus, peer: PeerStatus) -> Finding:
    """The finding for a peer or a CHILD_SA that is not up."""
    saw = f"{what} is not up: {why.problem or 'the first attempt is still under way'}"
    name = _NEGOTIATION.get(why.problem_code, "not_up") if why.problem_code else "not_up"
    return found(hop, name, saw, local_id=peer.local_id, remote_id=peer.remote_id, remote=peer.remote)


def leak_guard(facts: Facts) -> Finding | None:
    """The guard is in place, and has nothing to hold back while the children are up."""
    firewall = facts.status.firewall if facts.status else None
    if firewall is None:
        return None
    if firewall.problem is not None:
        return found("leak_guard", "firewall_failed", firewall.problem)
    was = facts.before.firewall if facts.before else None
    arriving = firewall.leaks_in - (was.leaks_in if was else 0)
    if arriving:
        saw = f"{arriving} GRE packets in the clear came from a far endpoint in {facts.seconds:.1f} s, and were dropped"
        return found("leak_guard", "gre_arrives_in_the_clear", saw)
    leaving = firewall.leaks_out - (was.leaks_out if was else 0)
    if leaving:
        saw = f"{leaving} GRE packets would have left in the clear in {facts.seconds:.1f} s, and were dropped"
        saw += "".join(_led_by(facts, tunnel) for tunnel in facts.configured())
        return found("leak_guard", "gre_leaves_in_the_clear", saw)
    return None


def _led_by(facts: Facts, tunnel: Tunnel) -> str:
    """Words for where the routes to a tunnel's far endpoint lead."""
    seen = facts.tunnels.get(tunnel.name, TunnelFacts())
    if tunnel.remote not in seen.way_to:
        return ""
    way = seen.way_to[tunnel.remote]
    if way == LOOPBACK:
        return f"; {tunnel.remote} is an address of this host"
    return f"; the route to {tunnel.remote} is by {way}" if way else f"; there is no route to {tunnel.remote}"


def gre(facts: Facts) -> Finding | None:
    """Every tunnel has its interface, which is up, as configured, and gets what arrives in its child."""
    for tunnel in facts.configured():
        told, seen = facts.told(tunnel.name), facts.tunnels.get(tunnel.name, TunnelFacts())
        finding = (_link(tunnel, told, seen) if told else None) or _leaves(facts, tunnel, seen)
        finding = finding or _arrives(facts, tunnel, seen)
        if finding is not None:
            return finding
    return None


def _link(tunnel: Tunnel, told: TunnelStatus, seen: TunnelFacts) -> Finding | None:
    name = tunnel.name
    if told.problem:
        return found("gre", "tunnel_down", f"tunnel {name}: {told.problem}", tunnel=name)
    if seen.link is None:
        return found("gre", "tunnel_down", f"there is no interface {name}", tunnel=name)
    if not seen.link.up or told.state != "up":
        state = told.state if seen.link.up else "down"
        return found("gre", "tunnel_down", f"the interface {name} is {state}", tunnel=name)
    if not seen.link.multicast:
        return found("gre", "no_multicast_flag", f"the interface {name} has no MULTICAST flag", tunnel=name)
    return None


def _leaves(facts: Facts, tunnel: Tunnel, seen: TunnelFacts) -> Finding | None:
    """What goes into the tunnel, the echoes at least, goes out by the child."""
    child = facts.children().get(tunnel.child or "")
    if child is None or seen.probe is None or seen.probe.small or facts.risen(child.name)[1]:
        return None
    saw = f"echoes went into {tunnel.name}, and nothing out of child {child.name}{_led_by(facts, tunnel)}"
    return found("gre", "not_encrypted", saw, remote=tunnel.remote)


def _arrives(facts: Facts, tunnel: Tunnel, seen: TunnelFacts) -> Finding | None:
    """GRE that comes out of the child reaches the interface, unless the key differs or a firewall drops protocol 47."""
    child = facts.children().get(tunnel.child or "")
    if child is None or tunnel.encapsulation != "gre" or seen.received.get("rx_packets", 0) > 0:
        return None
    ends = {"tunnel": tunnel.name, "local": tunnel.local, "remote": tunnel.remote}
    theirs = [one for one in facts.gre_seen if (one.source, one.destination) == (tunnel.remote, tunnel.local)]
    if theirs and not any(tunnel.gre.receives(one.header) for one in theirs):
        keys = f"{_key(theirs[0].header.key)}, tunnel {tunnel.name} has {_key(tunnel.gre.key)}"
        return found("gre", "gre_key", f"GRE from {tunnel.remote} has {keys}", **ends)
    if theirs and (differs := next((words for one in theirs if (words := _options(tunnel, one))), None)):
        return found("gre", "gre_options", f"GRE from {tunnel.remote} has {differs}", **ends)
    packets_in, _ = facts.risen(child.name)
    # In transport mode it shows nowhere before it is delivered, but there nothing else comes out of the child.
    shows = sum(facts.gre_seen[one] for one in theirs), 1
    arrived, enough = (packets_in, _SOME) if child.mode == "transport" else shows
    never = child.packets_in if not seen.total.get("rx_packets") else 0
    if arrived > enough or (arrived and never > _SOME):
        saw = f"{arrived} packets of GRE came out of child {child.name} in {facts.seconds:.1f} s, none on {tunnel.name}"
        return found("gre", "gre_dropped_here", saw, **ends)
    if packets_in and not arrived and facts.counters.get("Icmp.InDestUnreachs", 0):
        saw = f"of GRE that went out by child {child.name} only ICMP unreachable came back"
        return found("gre", "gre_refused", saw, **ends)
    if child.packets_out > _SOME and (child.packets_in == 0 or (never and not arrived)):
        saw = f"child {child.name} has carried {child.packets_out} packets out and, for {tunnel.name}, none in"
        return found("gre", "nothing_comes_back", saw, **ends)
    told = facts.told(tunnel.name)
    alive = told.keepalive if told else None
    if packets_in == 0 and alive is not None and (alive.stopped or alive.path == "dead"):
        last = f", the last keepalive {alive.last_age:.0f} s ago" if alive.last_age is not None else ""
        saw = f"nothing came out of child {child.name} in {facts.seconds:.1f} s{last}{no_echo(seen)}"
        return found("gre", "nothing_comes_back", saw, **ends)
    return None


def no_echo(seen: TunnelFacts) -> str:
    """Words for an echo through the tunnel that had no answer."""
    return "; an echo to the far end of the tunnel has no answer" if seen.probe and not seen.probe.small else ""


def _options(tunnel: Tunnel, one: GreSeen) -> str | None:
    """Words for options of GRE that this side's tunnel does not take; numbers that nobody asked for it does."""
    words = _GRE_REFUSAL.get(tunnel.gre.refusal(one.header) or "")
    return words and words.format(tunnel=f"tunnel {tunnel.name}")


# What a packet has that a tunnel refuses for its options, by the reason.
_GRE_REFUSAL: Final = {
    "gre_checksum_unexpected": "checksums, {tunnel} is set to the contrary",
    "gre_checksum_missing": "no checksums, {tunnel} is set to the contrary",
    "gre_sequence_missing": "no sequence numbers, {tunnel} expects them",
}


def _key(key: int | None) -> str:
    return "no key" if key is None else f"key {key}"


def mtu(facts: Facts) -> Finding | None:
    """A full packet gets through, and the interface is as wide as it should be."""
    for tunnel in facts.configured():
        seen, told = facts.tunnels.get(tunnel.name, TunnelFacts()), facts.told(tunnel.name)
        if seen.link is None or told is None:
            continue
        saw = None
        if told.mtu is not None and seen.link.mtu != told.mtu:
            saw = f"the MTU of {tunnel.name} is {seen.link.mtu}, mcastd made it {told.mtu} ({told.mtu_reason})"
        elif seen.probe is not None and seen.probe.refused is not None:
            size, known = seen.probe.size, seen.probe.refused
            saw = f"this host refuses to send {size} bytes through {tunnel.name}: it knows a path MTU of {known}"
        elif seen.probe is not None and seen.probe.small and not seen.probe.full:
            saw = f"an echo of {seen.probe.size} bytes through {tunnel.name}, DF set, has no answer; a small one has"
        if saw is not None:
            return found("mtu", "mtu", saw, tunnel=tunnel.name)
    return None


# Why the reflector gave no answer, by the reason that it counted, and the name of the problem.
_KEEPALIVE: Final = {
    "reply_off": "keepalive_reply_off",
    "inner_source": "keepalive_inner_address",
    "inner_destination": "keepalive_inner_address",
    "inner_key": "keepalive_key",
    "gre_key": "keepalive_key",
    "rate": "keepalive_rate",
}


def keepalives(facts: Facts) -> Finding | None:
    """Theirs are answered; ours, if there are any, are answered as well."""
    for tunnel in facts.configured():
        told, before = facts.told(tunnel.name), facts.told_before(tunnel.name)
        alive = told.keepalive if told else None
        if alive is None:
            continue
        was = before.keepalive.dropped if before and before.keepalive else {}
        risen = {reason: count for reason, count in alive.dropped.items() if count > was.get(reason, 0)}
        at_start = {reason: count for reason, count in alive.dropped.items() if reason != "child_down"}
        unanswered = risen or (at_start if not alive.answered else {})
        if unanswered:
            reason = max(unanswered, key=lambda name: unanswered[name])
            if reason in _REFUSALS:
                saw = (
                    f"{tunnel.remote} has answered GRE with ICMP unreachable, {alive.dropped[reason]} times ({reason})"
                )
                return found("keepalives", "gre_refused", saw, tunnel=tunnel.name)
            saw = f"{alive.dropped[reason]} keepalives from {tunnel.remote} have not been answered: {reason}"
            name = "sending_refused" if reason in _ERRNOS else _KEEPALIVE.get(reason, "keepalive_dropped")
            return found("keepalives", name, saw, tunnel=tunnel.name)
        if alive.path == "dead":
            packets = facts.tunnels.get(tunnel.name, TunnelFacts()).received.get("rx_packets", 0)
            saw = (
                f"{tunnel.remote} has not answered the last {alive.missed} of our keepalives, {alive.received} before; "
                f"{packets} packets came in on {tunnel.name} in {facts.seconds:.1f} s"
            )
            return found("keepalives", "path_dead", saw, tunnel=tunnel.name)
    return None
