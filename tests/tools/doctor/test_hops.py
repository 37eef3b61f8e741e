"""Both sides of each decision of the hops, and what a finding says it saw."""

from dataclasses import replace as changed
from ipaddress import IPv4Address

import pytest
from msgspec.structs import replace

from mcastd.config.downstream import Forward
from mcastd.config.model import Group
from mcastd.links import NextHop
from mcastd.status import (
    ForwardState,
    ForwardStatus,
    KeepaliveStatus,
    NeighborStatus,
    PimStatus,
    QuerierStatus,
    RouteStatus,
    Status,
)
from mcastd.tools.doctor.facts import Esp, Facts, Interface, Multicast, Probe, TunnelFacts, Way, Wire
from mcastd.tools.doctor.proc import UdpSocket
from mcastd.tools.doctor.walk import walk
from tests.tools.doctor.cases import LOST, NAT, rule
from tests.tools.doctor.observed import (
    GATEWAY,
    GROUP,
    HOST,
    LOCAL,
    PEER,
    PORT,
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
    on_overlay,
    outwards_lost,
    overdue,
    peer,
    seen,
    sent,
    status,
    transported,
    tunnel,
    unheard,
    wire,
    with_pim,
    without_gre,
)

DOWN = {"status": status(peers=(peer(state="connecting"),))}
NO_RX = {"gre1": seen(received=0)}
NEVER_RX = {"gre1": seen(received=0, total=0)}
OUT = Way("eth0", HOST)
OPEN_SOCKET = UdpSocket(IPv4Address(0), PORT, 0, 1, 0)


FORWARDING = replace(config(), forward=(Forward(name="eth1", from_=("gre1",)),))
EXPECTING = replace(config(), tunnels=(replace(config().tunnels[0], pim=None),))


def expecting() -> Status:
    """A tunnel whose far end sends unasked, and a group of it."""
    found = tunnel(upstream="none", pim=None)
    return status(tunnels=(found,), groups=(group(state="expected", rp=None, upstream=None),))


def same(found: Status, **changes: object) -> Facts:
    """The same status at the beginning and at the end."""
    return facts(**({"before": found, "status": found} | changes))


def carrying(**changes: object) -> Status:
    return status(peers=(peer(children=(child(**changes),)),))


def alive(**changes: object) -> Status:
    return status(tunnels=(tunnel(keepalive=KeepaliveStatus(reply=True, **changes)),))  # type: ignore[arg-type]


def late(places: int, *, window: int) -> Facts:
    after = carrying(replay_window=window, packets_in=199)
    return facts(before=carrying(replay_window=window), status=after, wire_in=wire(1, 99, late=places))


def with_child(mode: str, **changes: object) -> Facts:
    had = config()
    first = replace(had.peers[0].children[0], mode=mode)
    return facts(config=replace(had, peers=(replace(had.peers[0], children=(first,)),)), **changes)


def exactly(count: int) -> dict[str, TunnelFacts]:
    """Of a stream exactly so many packets arrived."""
    return {"gre1": seen(arrived=Multicast({STREAM: count}), delivered={}, exact=True)}


ONLY = frozenset({GROUP})
BOTH = {"gre1": ONLY, "gre2": ONLY}
TWO = status(tunnels=(tunnel(), replace(tunnel(), name="gre2")))
LOOKED = {"gre1": seen(), "gre2": seen(**SILENT)}


def moving(behind: tuple[Forward, ...] = (), **changes: object) -> Facts:
    """A group that either of two tunnels can carry."""
    had = config()
    tunnels = (*had.tunnels, replace(had.tunnels[0], name="gre2"))
    groups = (Group(group=GROUP, several=("gre1", "gre2")),)
    own = replace(had, tunnels=tunnels, groups=groups, forward=behind)
    return facts(**({"config": own, "status": TWO, "before": TWO, "tunnels": LOOKED} | changes))


def counted(count: int, delivered: int, *, exact: bool = False, **counters: int) -> Facts:
    """Of a stream so many packets arrived, and so many were delivered."""
    return facts(
        tunnels={"gre1": seen(arrived=Multicast({STREAM: count}), delivered={STREAM: delivered}, exact=exact)},
        counters={name.replace("_", "."): value for name, value in counters.items()},
    )


DECISIONS: dict[str, tuple[str | None, Facts]] = {
    # This host
    "TUN for a datapath in user space": (
        "kernel_lacks",
        facts(config=config(datapath="userspace"), lacks=frozenset({"tun"})),
    ),
    "no TUN for the kernel's GRE": (None, facts(lacks=frozenset({"tun"}))),
    "no GRE for a datapath in user space": (
        None,
        facts(config=config(datapath="userspace"), lacks=frozenset({"ip_gre"})),
    ),
    "the kernel's ESP for transport mode": ("kernel_lacks", with_child("transport", lacks=frozenset({"esp4"}))),
    "no kernel's ESP for tunnel mode": (None, with_child("tunnel", lacks=frozenset({"esp4"}))),
    "what is unknown of the kernel is not missing": (None, with_child("transport", lacks=frozenset())),
    "without a peer charon is not needed": (
        None,
        facts(status=status(charon="none", charon_code="charon_gone", peers=())),
    ),
    # The route to the peer
    "a peer by a route of unknown addresses": ("not_up", facts(**DOWN, routes={PEER: NextHop("eth0", GATEWAY)})),
    "a peer whose route was not asked for": ("not_up", facts(**DOWN, addresses={LOCAL: "lo"})),
    "a peer down behind a gateway": ("no_way", facts(**DOWN, routes={PEER: NextHop("eth0", GATEWAY, True)})),
    # The leak guard
    "counters of leaks that stand": (None, same(status(firewall=guard(leaks_out=3, leaks_in=9)))),
    "no guard at the beginning": ("gre_arrives_in_the_clear", facts(status=status(firewall=guard(leaks_in=1)))),
    # ESP
    "a packet as late as the window allows": (None, late(32, window=32)),
    "no replay window": (None, late(33, window=0)),
    "two packets that do not leave": ("esp_held_back", flowed(9, 2, wire_out=Wire())),
    "one packet that does not leave": (None, flowed(9, 1, wire_out=Wire())),
    "ESP leaves with our address": (None, flowed(0, 9, wire_out=Wire({2: sent(HOST)}))),
    "ESP leaves by the interface of our address, too": (
        None,
        flowed(
            0,
            9,
            wire_out=Wire({2: sent(HOST)._replace(ways=frozenset({OUT, OUT._replace(interface="eth1")}))}),
            addresses={HOST: "eth0"},
        ),
    ),
    "ESP leaves by some interface, and our address is on lo": (
        None,
        flowed(0, 9, wire_out=Wire({2: sent(HOST, "eth1")}), addresses={HOST: "lo"}),
    ),
    "ESP leaves with another address, and all works": (
        None,
        flowed(9, 9, wire_out=Wire({2: sent(GATEWAY)})),
    ),
    "ESP leaves with another address, and echoes are not answered": (
        "wrong_source",
        flowed(
            9,
            9,
            wire_out=Wire({2: sent(GATEWAY)}),
            tunnels={"gre1": seen(received=9, probe=Probe(1398))},
        ),
    ),
    "more than was looked at leaves": (None, flowed(9, 9, wire_out=Wire(complete=False))),
    "an unanswered route, and packets come and go": (None, flowed(9, 9, routes={PEER: NextHop("eth0", GATEWAY, True)})),
    "an unanswered route, and none comes": ("no_way", flowed(0, 9, routes={PEER: NextHop("eth0", GATEWAY, True)})),
    "a quarter is not decrypted": ("not_decrypted", flowed(75, 9, wire_in=wire(1, 100))),
    "less than a quarter is not decrypted": (None, flowed(76, 9, wire_in=wire(1, 100))),
    "three of a few are not decrypted": ("not_decrypted", flowed(2, 9, wire_in=wire(1, 5))),
    "two of a few are not decrypted": (None, flowed(2, 9, wire_in=wire(1, 4))),
    "none of more than was looked at": (
        "not_decrypted",
        flowed(0, 9, wire_in=Wire({1: Esp(PEER, 1500)}, complete=False)),
    ),
    "three of an unknown SA": ("not_decrypted", flowed(0, 9, wire_in=wire(7, 3), tunnels={"gre1": seen(received=0)})),
    "two of an unknown SA": (None, flowed(0, 9, wire_in=wire(7, 2), tunnels={"gre1": seen(received=0)})),
    "an unknown SA of another peer": (
        None,
        flowed(0, 9, wire_in=Wire({7: Esp(GATEWAY, 1500)}), tunnels={"gre1": seen(received=0, **SILENT)}),
    ),
    "three of twelve lost": ("lost_on_the_way", flowed(9, 9, wire_in=wire(1, 9, missing=3))),
    "two of eight lost": (None, flowed(6, 9, wire_in=wire(1, 6, missing=2))),
    "one in a hundred lost": ("lost_on_the_way", flowed(1485, 9, wire_in=wire(1, 1485, missing=15))),
    "fewer than one in a hundred lost": (None, flowed(1486, 9, wire_in=wire(1, 1486, missing=14))),
    # The interface of the tunnel
    "a tunnel that waits": ("tunnel_down", facts(status=status(tunnels=(tunnel(state="waiting"),)))),
    "an echo unanswered, and nothing leaves": ("not_encrypted", facts(tunnels={"gre1": seen(probe=Probe(1398))})),
    "nothing leaves, and the echo was answered": (None, facts()),
    "the echo leaves by a new SA": (
        None,
        facts(
            status=carrying(spi_in="5", spi_out="6", packets_in=9, packets_out=9),
            tunnels={"gre1": seen(probe=Probe(1398))},
        ),
    ),
    # GRE to the interface
    "two keys, one of them ours": (
        "gre_dropped_here",
        facts(tunnels=NO_RX, gre_seen={gre_seen(40): 1, gre_seen(): 2}),
    ),
    "one GRE packet, and the interface has had some": (None, facts(tunnels=NO_RX, gre_seen={gre_seen(): 1})),
    "three packets in transport mode": (
        None,
        flowed(3, 3, before=transported(0), status=transported(3), tunnels=NO_RX),
    ),
    "nothing in, and the interface has had some": (None, facts(tunnels=NO_RX)),
    "ICMP unreachable from elsewhere": (None, facts(tunnels=NO_RX, counters={"Icmp.InDestUnreachs": 1})),
    "ICMP unreachable beside GRE": (
        None,
        flowed(2, 9, tunnels=NO_RX, gre_seen={gre_seen(): 1}, counters={"Icmp.InDestUnreachs": 1}),
    ),
    "ICMP unreachable alone": ("gre_refused", flowed(2, 9, tunnels=NO_RX, counters={"Icmp.InDestUnreachs": 1})),
    "nothing in after four packets out": (
        "nothing_comes_back",
        same(carrying(packets_in=0, packets_out=4), tunnels=NEVER_RX),
    ),
    "nothing in after three packets out": (None, same(carrying(packets_in=0, packets_out=3), tunnels=NEVER_RX)),
    "a first packet is on its way": (
        None,
        same(carrying(packets_in=3), tunnels=NEVER_RX, gre_seen={gre_seen(): 1}),
    ),
    "no answer to our keepalives, and nothing else": (
        "nothing_comes_back",
        same(alive(answered=9, path="dead"), tunnels=NO_RX),
    ),
    "keepalives stopped, and other GRE comes out": (
        None,
        flowed(
            2,
            9,
            tunnels=NO_RX,
            status=replace(alive(answered=9, stopped=True), peers=carrying(packets_in=102, packets_out=109).peers),
        ),
    ),
    "without GRE no GRE is expected": (
        None,
        changed(
            without_gre(),
            tunnels={"gre1": seen(interface=Interface(1422, True, True), probe=None, received=0, total=0)},
        ),
    ),
    # MTU
    "a smaller MTU": ("mtu", facts(tunnels={"gre1": seen(interface=Interface(1300, True, True))})),
    "an unknown MTU": (None, facts(status=status(tunnels=(tunnel(mtu=None),)))),
    "a full echo alone unanswered": ("mtu", facts(tunnels={"gre1": seen(probe=Probe(1398, small=True))})),
    "no echo answered": (None, flowed(1500, 2, tunnels={"gre1": seen(probe=Probe(1398))})),
    # Keepalives
    "none was ever answered": ("keepalive_rate", same(status(tunnels=keepalive(rate=4)))),
    "one was not answered once": (None, same(alive(answered=5, dropped={"rate": 4}))),
    "the most frequent reason": ("keepalive_key", facts(status=alive(dropped={"rate": 1, "inner_key": 5}))),
    # PIM
    "a neighbour by its other address": (
        None,
        facts(
            status=status(
                tunnels=(
                    tunnel(
                        pim=PimStatus(
                            running=True,
                            neighbors=(
                                NeighborStatus(
                                    address="10.44.4.9",
                                    uptime=9.0,
                                    expires_in=90.0,
                                    secondary_addresses=("10.44.4.5",),
                                ),
                            ),
                        )
                    ),
                )
            )
        ),
    ),
    "no configured neighbour": (None, facts(config=with_pim(neighbor=None))),
    "PIM that does not run for a reason": (
        "pim_not_running",
        facts(status=status(tunnels=(tunnel(pim=PimStatus(running=False, problem="no")),))),
    ),
    "PIM that ends after a neighbour was heard": (
        None,
        facts(status=status(tunnels=(tunnel(pim=replace(tunnel().pim, running=False)),))),  # type: ignore[type-var]
    ),
    "no neighbour and no groups": ("no_neighbor", facts(status=replace(unheard(), groups=()))),
    # Groups
    "a source needs no RP": (None, facts(status=status(groups=(group(source=str(SOURCE), rp=None),)))),
    "silence, and the far end answers keepalives": ("silent", outwards_lost(path="alive")),
    "another source": ("silent", facts(status=overdue(groups=(group(source="192.0.2.1"),)))),
    "a group as old as the observation": (
        "silent",
        facts(status=overdue(groups=(group(uptime=1.5),)), tunnels={"gre1": seen(**SILENT)}),
    ),
    "an expected group without an RP": (None, facts(config=EXPECTING, status=expecting())),
    "an expected group that does not arrive": (
        "silent",
        facts(
            config=EXPECTING, status=replace(expecting(), problems=overdue().problems), tunnels={"gre1": seen(**SILENT)}
        ),
    ),
    # Delivery
    "machines behind this host alone": (
        None,
        facts(
            config=FORWARDING,
            status=status(groups=(group(origins=("eth1",)),)),
            memberships={},
            sockets=(),
            tunnels={"gre1": seen(delivered={})},
        ),
    ),
    "machines behind this host, and an application on no tunnel": (
        None,
        facts(
            config=FORWARDING,
            status=status(groups=(group(origins=("eth1", "file")),)),
            memberships={"eth0": frozenset({GROUP})},
        ),
    ),
    "machines behind this host and an application": (
        "wrong_port",
        facts(config=FORWARDING, status=status(groups=(group(origins=("eth1", "application")),)), sockets=()),
    ),
    "a strict reverse path by the tunnel": (
        None,
        facts(rp_filter={"gre1": 1}, tunnels={"gre1": seen(route_to={SOURCE: "gre1", GROUP: "gre1"})}),
    ),
    "no reverse path without rp_filter": (
        None,
        facts(rp_filter={"gre1": 0}, tunnels={"gre1": seen(route_to={SOURCE: None, GROUP: "gre1"})}),
    ),
    "no membership for a stream that was not looked at": (
        None,
        facts(memberships={}, tunnels={"gre1": seen(arrived=Multicast(capped=True), delivered={})}),
    ),
    "a socket on the group's address": (None, facts(sockets=(UdpSocket(GROUP, PORT, 0, 1, 0),))),
    "a socket of another address beside it": (
        None,
        facts(sockets=(OPEN_SOCKET, UdpSocket(LOCAL, PORT, 0, 2, 9))),
    ),
    "on several tunnels, and mcastd alone has joined": ("nobody_joined", moving(memberships=BOTH, alone=BOTH)),
    "on several tunnels, and an application has joined on another one": (
        None,
        moving(memberships=BOTH, alone={"gre1": ONLY}),
    ),
    "on several tunnels, and applications have joined on another one, and get nothing": (
        "no_socket_takes_it",
        moving(memberships=BOTH, alone={"gre1": ONLY}, counters={"Udp.IgnoredMulti": 1500}),
    ),
    "on several tunnels for machines behind this host, and mcastd alone has joined": (
        None,
        moving(
            memberships=BOTH,
            alone=BOTH,
            sockets=(),
            status=replace(TWO, groups=(group(origins=("file", "eth1")),)),
            behind=(Forward(name="eth1", from_=("gre1",)),),
        ),
    ),
    "a socket that is connected elsewhere": (
        "no_socket_takes_it",
        facts(sockets=(UdpSocket(LOCAL, PORT, 0, 1, 0, IPv4Address("192.0.2.1")),)),
    ),
    "a socket on the group's address that is connected elsewhere": (
        "no_socket_takes_it",
        facts(sockets=(UdpSocket(GROUP, PORT, 0, 1, 0, IPv4Address("192.0.2.1")),)),
    ),
    "a socket that is connected to the source": (None, facts(sockets=(UdpSocket(GROUP, PORT, 0, 1, 0, SOURCE),))),
    "a socket of a process that is stopped": (
        "socket_full",
        facts(sockets=(UdpSocket(GROUP, PORT, 9000, 1, 0),), stopped=frozenset({1})),
    ),
    "a process that is stopped, and nothing waits": (
        None,
        facts(sockets=(UdpSocket(GROUP, PORT, 0, 1, 0),), stopped=frozenset({1})),
    ),
    "packets that wait for a process that runs": (None, facts(sockets=(UdpSocket(GROUP, PORT, 9000, 1, 0),))),
    "more than one in twenty not delivered": ("dropped_here", counted(100, 94, exact=True)),
    "one in twenty not delivered": (None, counted(100, 95, exact=True)),
    "one in ten not forwarded": ("not_forwarded", forwarded(1350, tunnels=exactly(1500))),
    "one in twenty not forwarded": (None, forwarded(1425, tunnels=exactly(1500))),
    "a machine that has just asked": (None, forwarded(100, before=status())),
    "VXLAN that leaves": (None, on_overlay(OUT)),
    "VXLAN that leaves by another interface": ("overlay_held_back", on_overlay(OUT._replace(interface="eth1"))),
    "a rule that drops VXLAN, and machines that were heard": (
        None,
        on_overlay(OUT, rules=(rule("input", "udp dport 4789 drop"),)),
    ),
    "five packets, none delivered": ("dropped_here", counted(5, 0)),
    "four packets, none delivered": (None, counted(4, 0)),
    "more than a quarter not delivered": ("dropped_here", counted(100, 74)),
    "a quarter not delivered": (None, counted(100, 75)),
    "the filter counted half": ("rp_filter", counted(100, 0, TcpExt_IPReversePathFilter=50)),
    "the filter counted less than half": ("dropped_here", counted(100, 0, TcpExt_IPReversePathFilter=49)),
    "fragments, some whole": ("dropped_here", counted(100, 0, Ip_ReasmReqds=100, Ip_ReasmOKs=1)),
    "half have a wrong checksum": ("udp_checksum", counted(100, 100, Udp_InCsumErrors=50)),
    "less than half have a wrong checksum": (None, counted(100, 100, Udp_InCsumErrors=49)),
    "three quarters without a socket": ("no_socket_takes_it", counted(100, 100, Udp_IgnoredMulti=75)),
    "less than three quarters without a socket": (None, counted(100, 100, Udp_IgnoredMulti=74)),
}


@pytest.mark.parametrize("case", DECISIONS)
def test_each_decision(case: str) -> None:
    problem, observed = DECISIONS[case]
    finding = walk(observed).finding
    assert (finding.problem if finding else None) == problem, finding


@pytest.mark.parametrize(
    ("observed", "saw"),
    [
        (facts(config_errors=("a", "b", "c")), "a; b; c"),
        (facts(config_errors=("a", "b", "c", "d")), "a; b; c (and 1 more)"),
        (
            facts(**DOWN, port_holders={4500: "b (pid 2)", 500: "a (pid 1)"}),
            "peer dc-tun is not up: UDP 500 is held by a (pid 1), UDP 4500 is held by b (pid 2), not by strongSwan's "
            "charon-systemd",
        ),
        (
            flowed(
                0, 9, wire_in=wire(1, 99), sockets=(UdpSocket(LOCAL, 4500, 0, 9, 98), UdpSocket(LOCAL, PORT, 0, 8, 5))
            ),
            "99 ESP packets came from 177.54.214.20 in 1.5 s, and 0 were decrypted; charon's socket was full for 98",
        ),
        (
            forwarded(0, rules=(rule("postrouting", "ip daddr 239.1.1.1 drop")._replace(packets=1500),)),
            "1500 packets of 239.1.1.1 from 100.15.30.10 arrived on gre1, and 0 left by eth1; the rule `ip daddr "
            "239.1.1.1 drop` of inet a b (nft: `nft -a list chain inet a b`) dropped 1500 meanwhile",
        ),
        (
            moving(memberships=BOTH, alone={"gre1": ONLY}, counters={"Udp.IgnoredMulti": 1500}),
            "239.1.1.1 is delivered, and the kernel counted 1500 packets that no socket accepts; applications have "
            "joined it on gre2, and with IP_MULTICAST_ALL = 0 get nothing of gre1",
        ),
        (
            facts(
                status=status(tunnels=(tunnel(pim=replace(tunnel().pim, problem="no")),)),  # type: ignore[type-var]
                rules=(rule("output", "udp dport 9 drop"), rule("output", "-o gre1 -p 103 -j DROP")),
            ),
            "PIM cannot send on gre1: no; the rule `-o gre1 -p 103 -j DROP` of inet a b (nft: `nft -a list chain inet "
            "a b`) drops PIM",
        ),
        (
            facts(sockets=(UdpSocket(GROUP, PORT, 90, 1, 0),), holders={1: "a (pid 7)"}, stopped=frozenset({1})),
            "a socket of 239.1.1.1 on port 5001 of a (pid 7), which is stopped, is not read, 90 bytes wait in it",
        ),
        (
            on_overlay(Way("eth1", GATEWAY)),
            "1500 packets were forwarded to vx0 in 1.5 s, and no VXLAN left by eth0 with the source 10.1.1.246; it "
            "left by eth1 with the source 10.1.1.1",
        ),
        (
            flowed(0, 9, wire_out=Wire({2: sent(GATEWAY)}), rules=(NAT,)),
            'ESP to 177.54.214.20 leaves with the source 10.1.1.1, not 10.1.1.246; the rule `oifname "eth0" '
            "masquerade` of ip nat POSTROUTING (iptables: `iptables-save -c`) may do that",
        ),
        (
            facts(sockets=(UdpSocket(GROUP, PORT, 90, 1, 3),), holders={1: "feedd (pid 70)"}, stopped=frozenset({1})),
            "a socket of 239.1.1.1 on port 5001 of feedd (pid 70), which is stopped, was full for 3 packets in 1.5 s, "
            "90 bytes wait in it",
        ),
        (facts(status=status(tunnels=(tunnel(state="waiting"),))), "the interface gre1 is waiting"),
        (facts(tunnels={"gre1": seen(interface=Interface(1398, False, True))}), "the interface gre1 is down"),
        (
            facts(status=unheard(dropped={"version": 1, "checksum": 5})),
            "PIM messages arrive on gre1 and are dropped: checksum (5 times)",
        ),
        (facts(status=status(groups=(group(state="not joined"),))), "(*, 239.1.1.1) on gre1: "),
    ],
)
def test_what_a_finding_saw(observed: Facts, saw: str) -> None:
    finding = walk(observed).finding
    assert finding is not None
    assert finding.saw.startswith(saw)
    assert finding.saw == saw or saw.endswith(": ")


def test_who_may_have_lost_a_membership_is_named_by_its_socket() -> None:
    finding = walk(LOST).finding
    assert finding is not None
    assert "239.1.1.1, 239.1.1.2 on gre1" in finding.saw
    assert finding.change.startswith("restart feedd (pid 70): they receive nothing")


def test_a_join_on_another_interface_of_a_group_that_a_tunnel_serves_is_a_note() -> None:
    joined = {
        "gre1": frozenset({GROUP}),
        "eth0": frozenset(map(IPv4Address, ("239.1.1.77", "224.0.0.251", "239.255.255.250"))),
    }
    (note,) = walk(facts(memberships=joined)).notes
    assert note.text.startswith("an application has joined 239.1.1.77 on eth0, and not on gre1, which serves it")


def test_a_route_of_another_tunnel_of_ours_is_not_another_programs() -> None:
    route = RouteStatus(prefix="239.0.0.0/8", table=254, state="taken")
    alone = status(tunnels=(tunnel(routes=(route,)),))
    (note,) = walk(facts(status=alone)).notes
    assert note.text.startswith("a route of another program leads 239.0.0.0/8 elsewhere than to gre1")
    second = replace(tunnel(routes=(replace(route, state="up"),)), name="gre2")
    had = config()
    both = replace(had, tunnels=(*had.tunnels, replace(had.tunnels[0], name="gre2")))
    told = replace(alone, tunnels=(*alone.tunnels, second))
    found = walk(facts(config=both, status=told, before=told, tunnels={"gre1": seen(), "gre2": seen()}))
    assert not [one for one in found.notes if "another program" in one.text]


@pytest.mark.parametrize(
    "observed",
    [
        facts(rules=(rule("input", "ip protocol pim drop")._replace(packets=None, total=None),)),
        on_overlay(OUT, rules=(rule("input", "udp dport 4789 drop"),)),
    ],
)
def test_a_rule_whose_consequence_is_to_come_is_a_note(observed: Facts) -> None:
    (note,) = walk(observed).notes
    assert "if no rule before it accepts that" in note.text


@pytest.mark.parametrize(("state", "hosts", "notes"), [("standby", 2, 1), ("standby", 0, 0), ("forwarding", 2, 0)])
def test_who_forwards_where_another_router_is_the_querier_is_a_note(
    state: ForwardState, hosts: int, notes: int
) -> None:
    igmp = QuerierStatus(state="non-querier", querier="192.168.50.0", hosts=hosts)
    found = walk(facts(status=status(forward=(ForwardStatus(name="eth1", state=state, igmp=igmp),))))
    assert [("of 192.168.50.0, the IGMP querier" in one.text, one.subject) for one in found.notes] == [
        (True, "eth1")
    ] * notes
    assert found.healthy
