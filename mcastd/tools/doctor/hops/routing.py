"""The hop of this host's routes to the peer, and to the far end of each tunnel."""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network

from mcastd.config.other_side import far_address
from mcastd.status import PeerStatus
from mcastd.tools.doctor import firewall
from mcastd.tools.doctor.facts import Facts, Way
from mcastd.tools.doctor.finding import Cause, about, here
from mcastd.tools.doctor.hops import LOOPBACK, Found


class Routing(Cause):
    """What the hop of the routes can find."""

    REMOTE_IS_LOCAL = here(
        "GRE to the far end of the tunnel does not leave this host, which has that address itself, and the kernel "
        "drops what comes from there as a martian",
        "ip address del {remote}/32 dev {interface}, and stop what adds it",
    )
    NEIGHBOR_IS_LOCAL = here(
        "the kernel drops what comes from its own address as a martian, so the other side's Hellos and replies; and "
        "what is sent to the neighbour does not leave this host",
        "ip address del {address}/32 dev {interface}, and stop what adds it; or correct address and pim.neighbor",
    )
    ROUTE_TO_PEER = here(
        "an ip rule or a route of another program leads packets to the peer out of another interface than that of our "
        "address, where they are lost; what arrives fails the reverse path filter",
        "ip rule; ip route get {remote} from {local}: remove the rule or the route, or set peers.{peer}.local to an "
        "address of the interface that is meant",
    )
    WRONG_SOURCE = here(
        "what this host sends to the peer leaves with another source address than the configured one: NAT of this host "
        "changes it, and the path or the other side drops it (a cloud does, if it is not the address of the interface)",
        "exclude UDP 500, UDP 4500 and ESP to {remote} from that rule (`nft list ruleset`: snat, masquerade, saddr "
        "set); then conntrack -D -d {remote}, since a connection keeps what it began with",
    )
    PEER_IN_VRF = here(
        "the sockets of charon and mcastd are outside of the VRF of the interface, and their packets do not reach it",
        "ip link set {interface} nomaster, or run strongSwan and mcastd in the VRF: ip vrf exec {vrf} ...",
    )
    TUNNEL_IN_VRF = here(
        "mcastd and applications outside of the VRF get nothing from the interface, and send nothing into it",
        "ip link set {tunnel} nomaster, and stop what puts it there",
    )
    RULE_220_MISSING = here(
        "charon's routes into IPsec are in table 220, and no ip rule leads there: GRE does not reach IPsec",
        "ip rule add pref 220 table 220; stop what removes it (systemd-networkd does: set "
        "ManageForeignRoutingPolicyRules=no in networkd.conf)",
    )


def routes(facts: Facts) -> Found:
    """What is sent to the peer and to the far end of a tunnel takes the way that it should."""
    for tunnel in facts.configured:
        if tunnel.encapsulation == "gre" and (interface := facts.addresses.get(tunnel.remote)) is not None:
            saw = f"{tunnel.remote}, the remote endpoint of {tunnel.name}, is an address of {interface}"
            yield Routing.REMOTE_IS_LOCAL.found(saw, remote=tunnel.remote, interface=interface).on(tunnel.name)
        far = far_address(tunnel)
        if far is not None and (interface := facts.addresses.get(far.ip)) is not None:
            saw = f"{far.ip}, the address of the other side on {tunnel.name}, is an address of {interface} here"
            yield Routing.NEIGHBOR_IS_LOCAL.found(saw, address=far.ip, interface=interface).on(tunnel.name)
        if (vrf := facts.vrfs.get(tunnel.name)) is not None:
            yield Routing.TUNNEL_IN_VRF.found(f"{tunnel.name} is in the VRF {vrf}", tunnel=tunnel.name).on(tunnel.name)
    reported = {(one.code, one.subject): one.text for one in facts.status.problems} if facts.status else {}
    is_reported = any(code == "rule_220_missing" for code, _ in reported)
    if facts.rule_220_missing and (is_reported or any(view.seen.unanswered for view in facts.views())):
        yield Routing.RULE_220_MISSING.found("table 220 has routes, and no ip rule leads to it")
    for peer in facts.peers:
        if (text := reported.get(("route_to_peer", peer.name))) is not None:
            found = Routing.ROUTE_TO_PEER.found(text, remote=peer.remote, local=peer.local, peer=peer.name)
            yield found.on(peer.name)
        elif not any(facts.passed(child)[0] for child in peer.children):
            yield from about(_to_peer(facts, peer), peer.name)


def _to_peer(facts: Facts, peer: PeerStatus) -> Found:
    """The route to a peer from which nothing is decrypted."""
    remote, local = IPv4Address(peer.remote), IPv4Address(peer.local)
    way, interface = facts.routes.get(remote), facts.addresses.get(local, LOOPBACK)
    if (vrf := facts.vrfs.get(interface)) is not None:
        saw = f"{interface}, which has {local}, is in the VRF {vrf}"
        yield Routing.PEER_IN_VRF.found(saw, interface=interface, vrf=vrf)
    if way is not None and LOOPBACK not in (way.interface, interface) and way.interface != interface:
        saw = f"the route from {local} to {remote} is by {way.interface}, and {local} is an address of {interface}"
        yield Routing.ROUTE_TO_PEER.found(saw, remote=remote, local=local, peer=peer.name)


def way_out(facts: Facts, peer: PeerStatus, ways: Collection[Way], saw: str) -> Found:
    """What leaves for a peer does so with our address, and by the interface that has it."""
    local = IPv4Address(peer.local)
    interface = facts.addresses.get(local, LOOPBACK)
    if other := [one for one in ways if one.source != local]:
        rule = firewall.translating(facts.rules, [IPv4Network(local)])
        why = f"; {firewall.described(rule)} may do that" if rule is not None else ""
        saw = f"{saw} with the source {other[0].source}, not {local}{why}"
        yield Routing.WRONG_SOURCE.found(saw, remote=peer.remote)
    elif ways and interface != LOOPBACK and all(one.interface != interface for one in ways):
        saw = f"{saw} by {min(ways).interface}, and {local} is an address of {interface}"
        yield Routing.ROUTE_TO_PEER.found(saw, remote=peer.remote, local=local, peer=peer.name)
