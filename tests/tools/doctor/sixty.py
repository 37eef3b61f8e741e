"""Faults as they befall a host, in words, with what the doctor must name and whose it is.

The facts are those of the fault with its consequences: where nothing arrives any more (``stops``), the daemon reports
silence, missing keepalives and a late Hello beside it, and all of them would be something to ask the other side.
"""

import dataclasses
from dataclasses import dataclass
from ipaddress import IPv4Address

from msgspec.structs import replace

from mcastd.links import NextHop
from mcastd.problems import ProblemCode
from mcastd.status import ProblemStatus
from mcastd.tools.doctor.facts import Esp, Facts, Probe, Wire
from mcastd.tools.doctor.finding import Side
from tests.tools.doctor.cases import CASES, DOCKER, NAT, rule
from tests.tools.doctor.observed import (
    GATEWAY,
    PEER,
    SILENT,
    facts,
    flowed,
    guard,
    negotiated,
    outwards_lost,
    seen,
    sent,
    status,
    wire,
    with_pim,
)

HERE, THERE, EITHER = Side
_AFTER: tuple[tuple[ProblemCode, str], ...] = (
    ("all_silent", "gre1"),
    ("child_sa_silent", "dc-tun-gre"),
    ("keepalives_stopped", "gre1"),
    ("hello_overdue", "gre1"),
    ("joins_not_joined", "gre1"),
)


@dataclass(frozen=True)
class Fault:
    """A fault, the code that must be found (None: nothing is broken), and which side has to change something."""

    what: str
    code: str | None
    side: Side | None
    facts: Facts
    stops: bool = False  # nothing arrives any more


def case(name: str) -> Facts:
    return CASES[name][1]


def problem(code: ProblemCode, subject: str) -> ProblemStatus:
    return ProblemStatus(code, subject, "2026-01-01T00:00:00Z", "something is wrong")


def suffering(had: Facts) -> Facts:
    """The facts with what follows when nothing arrives on the tunnel."""
    if had.status is None:
        return had
    after = tuple(problem(code, subject) for code, subject in _AFTER)
    stopped = tuple(
        one if one.keepalive is None else replace(one, keepalive=replace(one.keepalive, stopped=True, last_age=40.0))
        for one in had.status.tunnels
    )
    told = replace(had.status, problems=(*had.status.problems, *after), tunnels=stopped)
    looked = {
        name: dataclasses.replace(one, received=0, probe=one.probe and Probe(one.probe.size), **SILENT)  # type: ignore[arg-type]
        for name, one in had.tunnels.items()
    }
    return dataclasses.replace(had, status=told, tunnels=looked)


def also(had: Facts, code: ProblemCode, subject: str) -> Facts:
    """The facts with one more problem of the daemon."""
    assert had.status is not None
    return dataclasses.replace(had, status=replace(had.status, problems=(*had.status.problems, problem(code, subject))))


def changed(had: Facts, **changes: object) -> Facts:
    return dataclasses.replace(had, **changes)  # type: ignore[arg-type]


_DEAD = flowed(0, 9)
_BY_ETH1 = {"routes": {PEER: NextHop("eth1", GATEWAY)}}
_STRICT = {"rp_filter": {"eth0": 1, "gre1": 2}}
_LEAKING = facts(before=status(firewall=guard(leaks_out=3)), status=status(firewall=guard(leaks_out=9)))

SIXTY = (
    # This host, mcastd and charon
    Fault("a slip in mcastd.toml", "configuration_refused", HERE, case("the file is refused")),
    Fault("sudo is forgotten", "not_privileged", HERE, case("no privilege")),
    Fault("a minimal kernel without GRE and TUN", "kernel_lacks", HERE, case("no GRE and no TUN")),
    Fault("nftables is not installed", "kernel_lacks", HERE, case("no nft")),
    Fault("mcastd does not run", "daemon_silent", HERE, case("no daemon")),
    Fault("the file was edited and not loaded", "not_loaded", HERE, case("the file has changed")),
    Fault("charon does not run", "charon_absent", HERE, case("no charon"), stops=True),
    Fault("charon hangs", "charon_unclear", HERE, case("charon hangs"), stops=True),
    Fault(
        "a certbot hook runs swanctl --load-creds, and the next authentication fails",
        "removed_from_charon",
        HERE,
        also(negotiated("peer_psk", ike=True), "removed_from_charon", "dc-tun"),
        stops=True,
    ),
    Fault(
        "systemctl reload strongswan has removed the connection",
        "removed_from_charon",
        HERE,
        case("a connection that charon has no more"),
        stops=True,
    ),
    Fault(
        "another swanctl.conf has our connection's name", "charon_refuses", HERE, case("a connection of the same name")
    ),
    Fault(
        "NetworkManager has a connection with our selectors",
        "foreign_selectors",
        HERE,
        case("another program's connection"),
    ),
    Fault(
        "an SA of another program takes our packets",
        "foreign_selectors",
        HERE,
        case("another program's SA"),
        stops=True,
    ),
    Fault("an agent of mcastd fails", "agent_failed", HERE, also(_DEAD, "agent_failed", "gre1"), stops=True),
    Fault("a full /run", "state_not_saved", HERE, case("a full file system")),
    Fault("a capability is missing", "host_refuses", HERE, case("a capability that is missing")),
    Fault(
        "a program sets the interface down again and again", "changed_by_another_program", HERE, case("another program")
    ),
    # Routes and addresses
    Fault(
        "the far end's GRE address is added to lo",
        "remote_is_local",
        HERE,
        also(changed(_DEAD, addresses={IPv4Address("10.44.7.1"): "lo"}), "guard_drops", "gre1"),
        stops=True,
    ),
    Fault(
        "the neighbour's address is added to lo",
        "neighbor_is_local",
        HERE,
        case("the neighbour's address on this host"),
        stops=True,
    ),
    Fault(
        "an ip rule leads the peer's traffic elsewhere",
        "route_to_peer",
        HERE,
        case("a rule that leads the peer elsewhere"),
        stops=True,
    ),
    Fault("eth0 is put into a VRF", "peer_in_vrf", HERE, case("an interface in a VRF"), stops=True),
    Fault("gre1 is put into a VRF", "tunnel_in_vrf", HERE, case("the tunnel in a VRF"), stops=True),
    Fault(
        "systemd-networkd removes the rule of table 220",
        "rule_220_missing",
        HERE,
        case("no way into charon's table"),
        stops=True,
    ),
    Fault("the default route is deleted", "no_way", HERE, case("no route to a peer"), stops=True),
    Fault(
        "the gateway does not answer ARP",
        "no_way",
        HERE,
        changed(_DEAD, routes={PEER: NextHop("eth0", GATEWAY, True)}),
        stops=True,
    ),
    Fault("eth0 loses its address", "no_way", HERE, case("no such address here"), stops=True),
    Fault("the peer's address is added to lo", "no_way", HERE, case("the peer's address on this host"), stops=True),
    Fault(
        "ESP arrives on eth0 with a strict rp_filter, and answers leave by eth1",
        "peer_rp_filter",
        HERE,
        flowed(0, 9, wire_in=Wire({1: Esp(PEER, 900, interface="eth0")}), **_BY_ETH1, **_STRICT),
        stops=True,
    ),
    Fault(
        "the same for IKE",
        "peer_rp_filter",
        HERE,
        case("IKE that comes by another interface than that of the answer"),
        stops=True,
    ),
    # IKE
    Fault("strongswan-starter holds UDP 500", "port_taken", HERE, case("another IKE daemon"), stops=True),
    Fault("another pre-shared key", "authentication", EITHER, case("another PSK"), stops=True),
    Fault("another identity", "authentication", EITHER, case("another identity of the other side"), stops=True),
    Fault("an expired certificate", "authentication", EITHER, case("a certificate that has expired"), stops=True),
    Fault("another IKE proposal", "proposal", EITHER, case("other algorithms of IKE"), stops=True),
    Fault("another ESP proposal", "proposal", EITHER, case("other algorithms of ESP"), stops=True),
    Fault("other traffic selectors", "selectors", EITHER, case("other selectors"), stops=True),
    Fault(
        "the security group lets UDP 500 and 4500 out alone", "no_answer", EITHER, case("UDP is blocked"), stops=True
    ),
    Fault("UDP 4500 is blocked on the path", "udp_4500_blocked", EITHER, case("UDP 4500 is blocked"), stops=True),
    Fault(
        "ufw's policy drops what the peer answers",
        "ike_dropped_here",
        HERE,
        case("IKE that a firewall here does not let in"),
        stops=True,
    ),
    Fault(
        "a rule of nft drops UDP 500 from everywhere",
        "ike_dropped_here",
        HERE,
        case("IKE that a rule here has dropped before"),
        stops=True,
    ),
    Fault(
        "a rule of OUTPUT drops UDP 500",
        "ike_held_back",
        HERE,
        case("IKE that a firewall here does not let out"),
        stops=True,
    ),
    Fault(
        "only the other side changes the key: a reauthentication fails",
        "reauth_failed",
        EITHER,
        case("a reauthentication that failed"),
    ),
    Fault("PFS differs: a rekeying fails", "rekey_failed", EITHER, case("a rekeying that failed")),
    Fault(
        "the local selector has no address on this host",
        "host_cannot",
        HERE,
        case("a child without an address"),
        stops=True,
    ),
    # ESP
    Fault(
        "iptables-legacy drops UDP 4500 in INPUT",
        "not_decrypted",
        HERE,
        flowed(0, 9, wire_in=wire(1, 900), rules=(rule("input", "-p udp --sport 4500 -j DROP")._replace(packets=900),)),
        stops=True,
    ),
    Fault("a rule of OUTPUT drops UDP 4500", "esp_held_back", HERE, case("ESP that does not leave"), stops=True),
    Fault(
        "the other side uses an SA that charon does not have",
        "not_decrypted",
        EITHER,
        case("ESP of another SA"),
        stops=True,
    ),
    Fault(
        "a SNAT rule for all UDP takes ESP",
        "wrong_source",
        HERE,
        changed(outwards_lost(), wire_out=Wire({2: sent(GATEWAY)})),
    ),
    Fault("the security group lets UDP 4500 in alone", "one_way", EITHER, outwards_lost()),
    Fault("a policer drops one packet in ten", "lost_on_the_way", EITHER, case("ESP of which some is lost")),
    Fault(
        "the path reorders more than the replay window allows", "replay_window", EITHER, case("ESP that comes too late")
    ),
    Fault("ip xfrm policy flush", "not_encrypted", HERE, case("nothing goes into IPsec")),
    Fault(
        "the inbound policy is removed", "no_inbound_policy", HERE, case("no policy for what is decrypted"), stops=True
    ),
    Fault(
        "Docker's or another masquerade over everything",
        "translated",
        HERE,
        changed(_LEAKING, rules=(NAT,)),
        stops=True,
    ),
    Fault("the same without the guard", "translated", HERE, case("NAT over everything, without the guard"), stops=True),
    Fault(
        "their crypto map lets GRE out in the clear",
        "gre_arrives_in_the_clear",
        THERE,
        case("GRE comes in the clear"),
        stops=True,
    ),
    Fault("no policy matches the tunnel's packets", "gre_leaves_in_the_clear", HERE, _LEAKING, stops=True),
    # GRE and keepalives
    Fault("another GRE key", "gre_key", EITHER, flowed(9, 9, gre_seen=case("another key").gre_seen), stops=True),
    Fault(
        "GRE with checksums on one side",
        "gre_options",
        EITHER,
        flowed(9, 9, gre_seen=case("GRE with checksums").gre_seen),
        stops=True,
    ),
    Fault(
        "a rule of INPUT drops GRE",
        "gre_dropped_here",
        HERE,
        flowed(9, 9, gre_seen=case("GRE that a firewall drops here").gre_seen),
        stops=True,
    ),
    Fault("their tunnel is shut: no echo, no keepalive", "nothing_comes_back", EITHER, _DEAD, stops=True),
    Fault("their tunnel is gone: ICMP unreachable", "gre_refused", EITHER, case("GRE that nobody takes there")),
    Fault("the path takes smaller packets", "mtu", EITHER, case("a path MTU that the host knows")),
    Fault("keepalive.reply = false", "keepalive_reply_off", HERE, case("keepalives that are not to be answered")),
    Fault(
        "their keepalives have another inner address",
        "keepalive_inner_address",
        EITHER,
        case("keepalives of another inside"),
    ),
    # PIM and groups
    Fault("no ip pim sparse-mode on their tunnel", "no_neighbor", EITHER, case("errors of the host beside no Hello")),
    Fault(
        "a rule of INPUT drops PIM, before the Holdtime ends",
        "pim_dropped_here",
        HERE,
        case("a late Hello, and a rule here that drops PIM"),
    ),
    Fault("another pim.neighbor than the router's address", "wrong_neighbor", EITHER, case("another neighbour")),
    Fault("no RP for a group", "no_rp", EITHER, case("no RP")),
    Fault(
        "the RP of the file is not theirs",
        "silent",
        EITHER,
        also(facts(tunnels={"gre1": seen(**SILENT)}), "nothing_ever_arrived", "gre1"),
    ),
    Fault(
        "the RP that they have announced is not where the source is",
        "silent",
        THERE,
        also(
            facts(config=with_pim(rp=(), bootstrap=True), tunnels={"gre1": seen(**SILENT)}),
            "nothing_ever_arrived",
            "gre1",
        ),
    ),
    Fault("no source sends at night", None, None, facts(tunnels={"gre1": seen(**SILENT)})),
    # Applications and machines behind this host
    Fault("a strict rp_filter on the tunnel", "rp_filter", HERE, case("a strict reverse path")),
    Fault(
        "the source's address is on this host",
        "martian_source",
        HERE,
        case("a source that this host has the address of"),
    ),
    Fault(
        "a rule of INPUT drops the feed's port",
        "dropped_here",
        HERE,
        also(case("a third is delivered"), "not_delivered", "gre1"),
    ),
    Fault("no application has joined", "nobody_joined", HERE, case("no application")),
    Fault("the application joined on eth0", "wrong_interface", HERE, case("an application on another interface")),
    Fault("the application listens on another port", "wrong_port", EITHER, case("a socket on another port")),
    Fault("the receive buffer overflows", "socket_full", HERE, case("a socket that is full")),
    Fault(
        "an application's group is not in the file",
        "not_followed",
        HERE,
        case("what an application joins outside of follow"),
    ),
    Fault("a rule of OUTPUT drops VXLAN", "overlay_held_back", HERE, case("VXLAN that does not leave")),
    Fault("Docker's FORWARD policy", "forward_dropped", HERE, changed(case("Docker's policy"), rules=(DOCKER,))),
)

__all__ = ["SIXTY", "Fault", "suffering"]
