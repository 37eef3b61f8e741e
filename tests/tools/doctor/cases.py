"""What makes each problem: facts by a name, with the code that is found."""

from dataclasses import replace as changed
from ipaddress import IPv4Address

from mcastd.links import NextHop
from mcastd.overlay_status import OverlayStatus
from mcastd.status import (
    ApplicationsStatus,
    KeepaliveStatus,
    NotFollowedReason,
    NotFollowedStatus,
    PimStatus,
    Status,
)
from mcastd.tools.doctor.facts import Control, ControlSeen, Esp, Facts, Interface, Probe, Way, Wire
from mcastd.tools.doctor.firewall import Rule
from mcastd.tools.doctor.proc import UdpSocket
from tests.tools.doctor.observed import (
    GATEWAY,
    GROUP,
    HOST,
    LOCAL,
    NARROW,
    PEER,
    PORT,
    REMOTE,
    SILENT,
    SOURCE,
    STREAM,
    child,
    config,
    facts,
    flowed,
    forwarded,
    gre_seen,
    group,
    guard,
    keepalive,
    negotiated,
    on_overlay,
    outwards_lost,
    overdue,
    peer,
    reported,
    seen,
    sent,
    status,
    transported,
    tunnel,
    unforwarded,
    unheard,
    wire,
    with_pim,
)


def applied(reason: NotFollowedReason) -> Status:
    """An application has joined a group on the tunnel that is not followed."""
    applications = ApplicationsStatus(not_followed=(NotFollowedStatus("239.7.7.7", reason),))
    return status(tunnels=(tunnel(applications=applications),))


OVERLAY = OverlayStatus(
    name="vx0", state="up", vni=7, port=4789, local="10.1.1.246", address="10.99.0.1/24", members=("10.1.1.0/24",)
)
REFUSED = KeepaliveStatus(reply=True, icmp_errors={"econnrefused": 4}, icmp_age=1.0)
LOST = facts(
    status=status(tunnels=(tunnel(applications=ApplicationsStatus(lost=("239.1.1.1", "239.1.1.2"))),)),
    sockets=(UdpSocket(GROUP, 9000, 0, 7, 0), UdpSocket(IPv4Address(0), 9, 0, 8, 0)),
    holders={7: "feedd (pid 70)", 8: "ntpd (pid 80)"},
)


def rule(hook: str, text: str) -> Rule:
    """A rule that has dropped 9 packets, none of them during the observation."""
    return Rule("nft", "inet a b", frozenset({hook}), text, 0, total=9)


IKE, PIM = Control("ike", PEER, "eth0"), Control("pim", IPv4Address("10.44.4.5"), "gre1")
NAT = Rule(
    "iptables", "ip nat POSTROUTING", frozenset({"postrouting"}), 'oifname "eth0" masquerade', 3, translates=True
)
DOCKER = Rule("Docker", "ip filter FORWARD", frozenset({"forward"}))

CASES: dict[str, tuple[str, Facts]] = {
    "the file is refused": ("configuration_refused", facts(config_errors=("f:1: x: wrong",))),
    "no privilege": ("not_privileged", facts(privileged=False)),
    "no GRE in the kernel": (
        "kernel_lacks",
        facts(config=config(datapath="kernel"), lacks=frozenset({"ip_gre"})),
    ),
    "no GRE and no TUN": ("kernel_lacks", facts(lacks=frozenset({"ip_gre", "tun"}))),
    "no nft": ("kernel_lacks", facts(lacks=frozenset({"nft"}))),
    "no daemon": ("daemon_silent", facts(daemon_error="nobody answers", status=None)),
    "not reloaded": ("not_loaded", facts(status=status(tunnels=()))),
    "charon hangs": (
        "charon_unclear",
        facts(status=status(charon="no answer within 5 s", charon_code="charon_unclear")),
    ),
    "the file has changed": ("not_loaded", facts(status=status(config_digest="another"))),
    "no charon": ("charon_absent", facts(status=status(charon="no answer on the socket", charon_code="charon_gone"))),
    "charon refuses": (
        "charon_refuses",
        facts(status=status(peers=(peer(state="down", problem="no plugin", problem_code="charon_refused"),))),
    ),
    "another program's connection": ("foreign_selectors", reported("foreign_connection")),
    "another program's SA": ("foreign_selectors", reported("foreign_sa")),
    "the first attempt": ("not_up", facts(status=status(peers=(peer(state="connecting"),)))),
    "a child without an address": ("host_cannot", negotiated("local_address_missing")),
    "a child that the kernel refuses": ("host_cannot", negotiated("host_cannot")),
    "another PSK": ("authentication", negotiated("psk_or_identity", ike=True)),
    "another PSK for a further child": ("authentication", negotiated("psk_or_identity")),
    "another PSK of the other side": ("authentication", negotiated("peer_psk", ike=True)),
    "another identity of the other side": ("authentication", negotiated("peer_identity", ike=True)),
    "a certificate without the identity": ("authentication", negotiated("certificate_or_identity", ike=True)),
    "a certificate of another issuer": ("authentication", negotiated("certificate_issuer_unknown", ike=True)),
    "another key than the certificate's": ("authentication", negotiated("certificate_key_mismatch", ike=True)),
    "another certificate": ("authentication", negotiated("certificate_not_pinned", ike=True)),
    "a certificate that has expired": ("authentication", negotiated("certificate_untrusted", ike=True)),
    "other algorithms of IKE": ("proposal", negotiated("ike_proposal", ike=True)),
    "other algorithms of ESP": ("proposal", negotiated("esp_proposal")),
    "other selectors": ("selectors", negotiated("traffic_selectors")),
    "UDP 4500 is blocked": ("udp_4500_blocked", negotiated("udp_4500_blocked", ike=True)),
    "UDP 4500 is blocked by now": ("udp_4500_blocked", negotiated("ike_sa_unanswered")),
    "UDP is blocked": ("no_answer", negotiated("no_answer", ike=True)),
    "a peer that has gone": ("no_answer", negotiated("no_answer")),
    "an attempt that ended otherwise": ("not_up", negotiated("attempt_refused")),
    "a connection of the same name": ("charon_refuses", negotiated("connection_not_ours", ike=True)),
    "no guard": ("firewall_failed", facts(status=status(firewall=guard(problem="nft: no such program")))),
    "GRE comes in the clear": (
        "gre_arrives_in_the_clear",
        facts(before=status(firewall=guard(leaks_in=3)), status=status(firewall=guard(leaks_in=4))),
    ),
    "GRE would leave in the clear": (
        "gre_leaves_in_the_clear",
        facts(before=status(firewall=guard(leaks_out=3)), status=status(firewall=guard(leaks_out=4))),
    ),
    "no route to a peer that is down": (
        "no_way",
        facts(status=status(peers=(peer(state="connecting"),)), routes={PEER: None}),
    ),
    "the far end's address on this host": ("remote_is_local", facts(addresses={REMOTE: "lo"})),
    "no way into charon's table": (
        "rule_220_missing",
        facts(rule_220_missing=True, tunnels={"gre1": seen(probe=Probe(1398))}),
    ),
    "a rule that leads the peer elsewhere": (
        "route_to_peer",
        flowed(0, 2, routes={PEER: NextHop("eth1", GATEWAY)}, addresses={HOST: "eth0"}),
    ),
    "an interface in a VRF": (
        "peer_in_vrf",
        flowed(0, 2, routes={PEER: None}, addresses={HOST: "eth0"}, vrfs={"eth0": "vrf0"}),
    ),
    "the tunnel in a VRF": ("tunnel_in_vrf", facts(vrfs={"gre1": "vrf0"})),
    "a way that has changed": ("route_to_peer", reported("route_to_peer", "dc-tun")),
    "another multicast router": (
        "multicast_routing_taken",
        unforwarded("multicast_routing_taken", "forward", ("pimd (17)",)),
    ),
    "an interface to forward to that is missing": ("downstream_missing", unforwarded("downstream_missing")),
    "more groups than may be forwarded": ("forward_limit", unforwarded("groups_limit")),
    "a TTL that ends here": ("ttl_too_low", forwarded(0, ttl=1)),
    "packets that are too large for the machines": ("larger_than_mtu", forwarded(0, whole=1500, mtu=1400)),
    "Docker's policy": (
        "forward_dropped",
        forwarded(0, rules=(DOCKER,)),
    ),
    "a rule here that drops VXLAN": (
        "overlay_dropped_here",
        facts(status=status(overlay=(OVERLAY,)), rules=(rule("input", "udp dport 4789 drop"),)),
    ),
    "VXLAN that does not leave": ("overlay_held_back", on_overlay()),
    "what is forwarded does not leave": ("not_forwarded", forwarded(100)),
    "a source behind this host that is routed elsewhere": ("rp_filter", forwarded(0, rp_filter={"gre1": 1})),
    "a refusal of the host": ("reconcile_failed", reported("reconcile_failed")),
    "keepalives that have stopped, while all else arrives": ("keepalives_stopped", reported("keepalives_stopped")),
    "a Hello that is late": ("hello_overdue", reported("hello_overdue")),
    "all streams at once": ("all_silent", reported("all_silent")),
    "a tunnel on which nothing came": ("nothing_ever_arrived", reported("nothing_ever_arrived")),
    "a CHILD_SA that decrypts nothing": ("child_sa_silent", reported("child_sa_silent")),
    "a group that may not be silent": ("group_silent", reported("group_silent")),
    "a feed that may not be silent": ("feed_silent", reported("feed_silent")),
    "more streams than are counted": ("streams_set_full", reported("streams_set_full")),
    "a PIM router among the receivers": ("pim_router_on_segment", reported("pim_router_on_segment")),
    "an interface that has no address": ("downstream_without_address", reported("downstream_without_address")),
    "IGMP that the host refuses": ("igmp_failed", reported("igmp_failed")),
    "more machines than are kept apart": ("hosts_limit", reported("hosts_limit")),
    "an overlay that the host refuses": ("overlay_failed", reported("overlay_failed")),
    "an overlay on which all get all groups": ("overlay_not_exact", reported("overlay_not_exact")),
    "machines that are no members of the overlay": ("overlay_unreachable", reported("overlay_unreachable")),
    "a reauthentication that failed": ("reauth_failed", reported("reauth_failed")),
    "a rekeying that failed": ("rekey_failed", reported("rekey_failed")),
    "packets that the guard drops": ("guard_drops", reported("guard_drops")),
    "a tunnel that flaps": ("flapping", reported("flapping")),
    "another program": ("changed_by_another_program", reported("changed_by_another_program")),
    "a port that another program has": ("metrics_failed", reported("metrics_failed")),
    "a part that failed": ("agent_failed", reported("agent_failed")),
    "a full file system": ("state_not_saved", reported("state_not_saved")),
    "IKE that cannot be sent": ("ike_not_sent", negotiated("ike_not_sent", ike=True)),
    "IKE that a firewall here does not let in": (
        "ike_dropped_here",
        changed(negotiated("no_answer", ike=True), control=ControlSeen({IKE: 2}, {IKE: 2})),
    ),
    "IKE that a rule here has dropped before": (
        "ike_dropped_here",
        changed(negotiated("no_answer", ike=True), rules=(rule("input", "udp sport 500 drop"),)),
    ),
    "IKE of a CHILD_SA that a rule here does not let in": (
        "ike_dropped_here",
        changed(negotiated("udp_4500_blocked"), rules=(rule("input", "udp dport 4500 drop"),)),
    ),
    "IKE that a firewall here does not let out": (
        "ike_held_back",
        changed(negotiated("no_answer", ike=True), rules=(rule("output", "-p udp --dport 500 -j DROP"),)),
    ),
    "IKE that comes by another interface than that of the answer": (
        "peer_rp_filter",
        changed(
            facts(
                status=status(peers=(peer(state="waiting", problem="no", problem_code="no_answer"),)),
                rp_filter={"eth0": 1, "gre1": 2},
            ),
            control=ControlSeen({IKE: 2}, {IKE: 2}),
            routes={PEER: NextHop("eth1", GATEWAY)},
        ),
    ),
    "ESP that comes by another interface than that of the answer": (
        "peer_rp_filter",
        flowed(
            0,
            9,
            wire_in=Wire({1: Esp(PEER, 9, interface="eth0")}),
            routes={PEER: NextHop("eth1", GATEWAY)},
            rp_filter={"eth0": 1, "gre1": 2},
        ),
    ),
    "PIM that a firewall here does not let in": (
        "pim_dropped_here",
        facts(control=ControlSeen({PIM: 1})),
    ),
    "a late Hello, and a rule here that drops PIM": (
        "pim_dropped_here",
        changed(reported("hello_overdue"), rules=(rule("input", "meta l4proto pim drop"),)),
    ),
    "no Hello, and a rule here that drops PIM": (
        "pim_dropped_here",
        facts(status=unheard(), rules=(rule("input", "-p pim -j DROP"),)),
    ),
    "what nothing else explains": ("reported", reported("peer_down")),
    "a capability that is missing": ("host_refuses", reported("capability_missing", "CAP_BPF")),
    "what the daemon saw dropped": ("not_delivered", reported("not_delivered")),
    "a key that charon has no more": ("removed_from_charon", reported("removed_from_charon", "dc-tun")),
    "a connection that charon has no more": ("removed_from_charon", negotiated("connection_missing")),
    "the neighbour's address on this host": (
        "neighbor_is_local",
        facts(addresses={IPv4Address("10.44.4.5"): "lo"}),
    ),
    "NAT over everything, and the guard drops": (
        "translated",
        facts(before=status(firewall=guard(leaks_out=3)), status=status(firewall=guard(leaks_out=9)), rules=(NAT,)),
    ),
    "NAT over what a CHILD_SA is for": (
        "translated",
        facts(
            before=status(firewall=guard()),
            status=status(firewall=guard(leaks_by_child={"dc-tun-gre": 2})),
            rules=(NAT,),
        ),
    ),
    "NAT over everything, without the guard": (
        "translated",
        facts(tunnels={"gre1": seen(probe=Probe(1398))}, rules=(NAT,)),
    ),
    "no policy for what is decrypted": (
        "no_inbound_policy",
        flowed(9, 9, tunnels={"gre1": seen(received=0, **SILENT)}, counters={"Xfrm.InNoPols": 9}),
    ),
    "another IKE daemon": (
        "port_taken",
        facts(status=status(peers=(peer(state="connecting"),)), port_holders={500: "pluto (pid 7)"}),
    ),
    "no route to a peer": ("no_way", flowed(0, 2, wire_out=Wire(), routes={PEER: None})),
    "a gateway that does not answer": (
        "no_way",
        flowed(9, 2, wire_out=Wire(), routes={PEER: NextHop("eth0", GATEWAY, True)}),
    ),
    "the peer's address on this host": ("no_way", flowed(0, 2, routes={PEER: NextHop("lo")})),
    "no such address here": (
        "no_way",
        flowed(0, 2, routes={PEER: NextHop("eth0", GATEWAY)}, addresses={LOCAL: "lo"}),
    ),
    "NAT that gives ESP another source": (
        "wrong_source",
        flowed(0, 9, wire_out=Wire({2: sent(GATEWAY)})),
    ),
    "NAT that gives IKE another source": (
        "wrong_source",
        changed(negotiated("no_answer", ike=True), control=ControlSeen(ways={PEER: frozenset({Way("eth0", GATEWAY)})})),
    ),
    "a rule that leads ESP alone elsewhere": (
        "route_to_peer",
        flowed(0, 9, wire_out=Wire({2: sent(HOST, "eth1")}), addresses={HOST: "eth0"}),
    ),
    "what leaves does not seem to arrive": ("one_way", outwards_lost()),
    "ESP that does not leave": ("esp_held_back", flowed(9, 9, wire_out=Wire())),
    "ESP that is not decrypted": ("not_decrypted", flowed(0, 9, wire_in=wire(1, 1500))),
    "half of the ESP is not decrypted": ("not_decrypted", flowed(750, 9, wire_in=wire(1, 1500))),
    "ESP of another SA": (
        "not_decrypted",
        flowed(0, 9, wire_in=wire(7, 1500), tunnels={"gre1": seen(received=0, **SILENT)}),
    ),
    "ESP of which half is lost": ("lost_on_the_way", flowed(700, 9, wire_in=wire(1, 700, missing=700))),
    "ESP of which some is lost": ("lost_on_the_way", flowed(1400, 9, wire_in=wire(1, 1400, missing=100))),
    "ESP that comes too late": ("replay_window", facts(before=NARROW, status=NARROW, wire_in=wire(1, 99, late=33))),
    "nothing goes into IPsec": ("not_encrypted", facts(tunnels={"gre1": seen(probe=Probe(1398))})),
    "one packet of ESP is not decrypted": (
        "not_decrypted",
        flowed(0, 9, wire_in=wire(1, 1), tunnels={"gre1": seen(received=0, **SILENT)}),
    ),
    "GRE with checksums": (
        "gre_options",
        facts(tunnels={"gre1": seen(received=0)}, gre_seen={gre_seen(checksum=True): 1}),
    ),
    "the tunnel has a problem": (
        "tunnel_down",
        facts(status=status(tunnels=(tunnel(state="down", problem="an interface gre1 exists"),))),
    ),
    "the interface is gone": ("tunnel_down", facts(tunnels={"gre1": seen(interface=None)})),
    "the interface is down": (
        "tunnel_down",
        facts(tunnels={"gre1": seen(interface=Interface(1398, False, True))}),
    ),
    "no MULTICAST flag": (
        "no_multicast_flag",
        facts(tunnels={"gre1": seen(interface=Interface(1398, True, False))}),
    ),
    "another key": (
        "gre_key",
        facts(tunnels={"gre1": seen(received=0)}, gre_seen={gre_seen(40): 1}),
    ),
    "GRE that a firewall drops here": (
        "gre_dropped_here",
        facts(tunnels={"gre1": seen(received=0)}, gre_seen={gre_seen(): 2}),
    ),
    "GRE that a firewall drops here, seldom": (
        "gre_dropped_here",
        facts(tunnels={"gre1": seen(received=0, total=0)}, gre_seen={gre_seen(): 1}),
    ),
    "GRE that a firewall drops here, in transport mode": (
        "gre_dropped_here",
        flowed(4, 4, before=transported(0), status=transported(4), tunnels={"gre1": seen(received=0)}),
    ),
    "another far end whose tunnel is down": (
        "nothing_comes_back",
        facts(tunnels={"gre1": seen(received=0, total=0)}),
    ),
    "seldom keepalives with another key, and nothing else": (
        "gre_key",
        facts(tunnels={"gre1": seen(received=0, total=0)}, status=status(tunnels=keepalive(gre_key=4))),
    ),
    "a far end whose tunnel is down": (
        "gre_refused",
        facts(
            before=status(peers=(peer(children=(child(packets_in=98),)),)),
            tunnels={"gre1": seen(received=0, total=0)},
            counters={"Icmp.InDestUnreachs": 1},
        ),
    ),
    "another MTU": ("mtu", facts(tunnels={"gre1": seen(interface=Interface(1476, True, True))})),
    "a path MTU that the host knows": (
        "mtu",
        facts(tunnels={"gre1": seen(probe=Probe(1398, small=True, refused=1300))}),
    ),
    "keepalives of another inside": (
        "keepalive_inner_address",
        facts(status=status(tunnels=keepalive(inner_source=4))),
    ),
    "keepalives of another key": ("keepalive_key", facts(status=status(tunnels=keepalive(inner_key=4)))),
    "keepalives too often": ("keepalive_rate", facts(status=status(tunnels=keepalive(rate=4)))),
    "keepalives that are broken": ("keepalive_dropped", facts(status=status(tunnels=keepalive(gre_short=4)))),
    "keepalives of ours unanswered": (
        "path_dead",
        facts(
            status=status(
                tunnels=(
                    tunnel(keepalive=KeepaliveStatus(reply=True, answered=9, last_age=1.0, path="dead", missed=4)),
                )
            )
        ),
    ),
    "keepalives of another tunnel": ("keepalive_key", facts(status=status(tunnels=keepalive(gre_key=4)))),
    "keepalives that have stopped, and all else": (
        "nothing_comes_back",
        facts(
            tunnels={"gre1": seen(received=0, **SILENT)},
            status=status(tunnels=(tunnel(keepalive=KeepaliveStatus(reply=True, answered=9, stopped=True)),)),
        ),
    ),
    "GRE that nobody takes there": ("gre_refused", facts(status=status(tunnels=(tunnel(keepalive=REFUSED),)))),
    "answers that this host does not let out": ("sending_refused", facts(status=status(tunnels=keepalive(eperm=4)))),
    "Joins that this host does not let out": (
        "sending_refused",
        facts(status=status(tunnels=(tunnel(pim=PimStatus(running=True, problem="Operation not permitted")),))),
    ),
    "no PIM socket": ("pim_not_running", facts(status=status(tunnels=(tunnel(pim=PimStatus(running=False)),)))),
    "Hellos that are refused": ("hello_refused", facts(status=unheard(dropped={"checksum": 3}))),
    "Hellos of other routers alone": ("wrong_neighbor", facts(status=unheard(dropped={"neighbor_not_accepted": 3}))),
    "errors of the host beside no Hello": ("no_neighbor", facts(status=unheard(dropped={"enetdown": 3}))),
    "not joined yet": (
        "not_joined",
        facts(status=status(groups=(group(state="not joined"),))),
    ),
    "silence, and no echo": (
        "nothing_comes_back",
        facts(
            status=overdue(peers=(peer(children=(child(packets_out=102),)),)),
            wire_out=wire(2, 2),
            tunnels={"gre1": seen(probe=Probe(1398), **SILENT)},
        ),
    ),
    "silence, and an echo": ("silent", facts(status=overdue(), tunnels={"gre1": seen(**SILENT)})),
    "a source that this host has the address of": (
        "martian_source",
        facts(tunnels={"gre1": seen(route_to={SOURCE: "lo", GROUP: "gre1"})}),
    ),
    "another source wanted": (
        "source_filtered",
        facts(tunnels={"gre1": seen(delivered={})}, source_filters={("gre1", GROUP): frozenset({LOCAL})}),
    ),
    "a third is delivered": ("dropped_here", facts(tunnels={"gre1": seen(delivered={STREAM: 500})})),
    "fragments without the rest": (
        "fragments_lost",
        facts(tunnels={"gre1": seen(delivered={})}, counters={"Ip.ReasmReqds": 1500, "Ip.ReasmOKs": 0}),
    ),
    "a socket that takes nothing": ("no_socket_takes_it", facts(counters={"Udp.IgnoredMulti": 1500})),
    "no memory for UDP": ("udp_memory", facts(counters={"Udp.MemErrors": 1500})),
    "wrong checksums": ("udp_checksum", facts(counters={"Udp.InCsumErrors": 1500})),
    "a reverse path that only the kernel's counter shows": (
        "rp_filter",
        facts(tunnels={"gre1": seen(delivered={})}, counters={"TcpExt.IPReversePathFilter": 1500}),
    ),
    "keepalives that are not to be answered": (
        "keepalive_reply_off",
        facts(status=status(tunnels=keepalive(reply_off=4))),
    ),
    "another neighbour": (
        "wrong_neighbor",
        facts(config=with_pim(neighbor=IPv4Address("10.44.4.4"))),
    ),
    "no RP": ("no_rp", facts(status=status(groups=(group(rp=None, state="not joined"),)))),
    "a strict reverse path": ("rp_filter", facts(rp_filter={"gre1": 1})),
    "a loose reverse path without a route": (
        "rp_filter",
        facts(tunnels={"gre1": seen(route_to={SOURCE: None, GROUP: "gre1"})}),
    ),
    "an application on another interface": ("wrong_interface", facts(memberships={"eth0": frozenset({GROUP})})),
    "no application": ("nobody_joined", facts(memberships={})),
    "a socket on a unicast address": ("bound_to_unicast", facts(sockets=(UdpSocket(LOCAL, PORT, 0, 1, 0),))),
    "a socket on another port": ("wrong_port", facts(sockets=(UdpSocket(IPv4Address(0), PORT + 1, 0, 1, 0),))),
    "what an application joins, with follow = false": ("not_followed", facts(status=applied("off"))),
    "what an application joins outside of follow": ("not_followed", facts(status=applied("out_of_range"))),
    "what an application joins has no RP": ("not_followed_without_rp", facts(status=applied("no_rp"))),
    "a channel that is joined without its source": ("joined_without_source", facts(status=applied("source_specific"))),
    "an interface that was made again": ("memberships_lost", LOST),
    "too many joins of applications": ("follow_limit_reached", reported("follow_limit_reached")),
    "applications that cannot be followed": ("follow_failed", reported("follow_failed")),
    "a socket that is full": ("socket_full", facts(sockets=(UdpSocket(GROUP, PORT, 9000, 1, 3),))),
}
