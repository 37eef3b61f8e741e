"""The hops, on facts made by hand: what the lab cannot show, and the order of the walk."""

import dataclasses
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from msgspec.structs import replace

from mcastd.config.model import Child, Config, Daemon, Firewall, Peer, Pim, RpRange, Tunnel, digest
from mcastd.errors import Problem
from mcastd.links import Way
from mcastd.net.gre import PROTOCOL_IPV4, GreHeader, GreOptions
from mcastd.status import (
    ChildStatus,
    FirewallStatus,
    GroupStatus,
    KeepaliveStatus,
    NeighborStatus,
    PeerStatus,
    PimStatus,
    RouteStatus,
    Status,
    TunnelStatus,
)
from mcastd.tools.doctor.facts import Esp, Facts, GreSeen, Heard, Kernel, Link, Probe, Stream, TunnelFacts, Wire
from mcastd.tools.doctor.proc import UdpSocket
from mcastd.tools.doctor.walk import HOPS, walk

GROUP, SOURCE, PORT = IPv4Address("239.1.1.1"), IPv4Address("100.15.30.10"), 5001
STREAM = Stream(GROUP, SOURCE, PORT)
LOCAL, REMOTE = IPv4Address("10.44.6.1"), IPv4Address("10.44.7.1")
PEER, GATEWAY = IPv4Address("177.54.214.20"), IPv4Address("10.1.1.1")


def config(**daemon: object) -> Config:
    child = Child(
        name="dc-tun-gre",
        local_ts=IPv4Network("10.44.6.1/32"),
        remote_ts=IPv4Network("10.44.7.1/32"),
        proposals=("aes256-sha256-modp2048",),
    )
    peer = Peer(
        name="dc-tun",
        local=IPv4Address("10.1.1.246"),
        remote=IPv4Address("177.54.214.20"),
        local_id="222.45.67.1",
        remote_id="177.54.214.20",
        proposals=("aes256-sha256-modp2048",),
        children=(child,),
    )
    pim = Pim(neighbor=IPv4Address("10.44.4.5"), rp=(RpRange(address=IPv4Address("100.15.30.253")),))
    tunnel = Tunnel(
        name="gre1", local=LOCAL, remote=REMOTE, address=IPv4Interface("10.44.4.6/30"), child="dc-tun-gre", pim=pim
    )
    return Config(daemon=Daemon(**daemon), peers=(peer,), tunnels=(tunnel,))  # type: ignore[arg-type]


def child(**changes: object) -> ChildStatus:
    found: dict[str, object] = {
        "state": "up",
        "packets_in": 100,
        "packets_out": 100,
        "spi_in": "1",
        "spi_out": "2",
    } | changes
    return ChildStatus(name="dc-tun-gre", local_ts="10.44.6.1/32", remote_ts="10.44.7.1/32", **found)  # type: ignore[arg-type]


def peer(**changes: object) -> PeerStatus:
    found: dict[str, object] = {"state": "up", "children": (child(),)} | changes
    return PeerStatus(
        name="dc-tun",
        local="10.1.1.246",
        remote="177.54.214.20",
        local_id="222.45.67.1",
        remote_id="177.54.214.20",
        **found,  # type: ignore[arg-type]
    )


def tunnel(**changes: object) -> TunnelStatus:
    pim = PimStatus(running=True, neighbors=(NeighborStatus(address="10.44.4.5", uptime=9.0, expires_in=90.0),))
    keepalive = KeepaliveStatus(reply=True, answered=5, last_age=1.0)
    found: dict[str, object] = {"state": "up", "mtu": 1398, "pim": pim, "keepalive": keepalive} | changes
    return TunnelStatus(
        name="gre1",
        datapath="kernel",
        local="10.44.6.1",
        remote="10.44.7.1",
        address="10.44.4.6/30",
        **found,  # type: ignore[arg-type]
    )


def status(**changes: object) -> Status:
    group = GroupStatus(
        group=str(GROUP), source=None, tunnel="gre1", state="joined", rp="100.15.30.253", upstream="10.44.4.5"
    )
    found: dict[str, object] = {"peers": (peer(),), "tunnels": (tunnel(),), "groups": (group,)} | changes
    return Status(version="1", pid=1, uptime=1.0, healthy=True, summary="up", config_file="f", **found)  # type: ignore[arg-type]


def seen(**changes: object) -> TunnelFacts:
    found: dict[str, object] = {
        "link": Link(1398, True, True),
        "rp_filter": 2,
        "received": {"rx_packets": 1500},
        "total": {"rx_packets": 90000},
        "heard": Heard({STREAM: 1500}),
        "delivered": {STREAM: 1500},
        "probe": Probe(1398, small=True, full=True),
        "way_to": {SOURCE: "eth0", GROUP: "gre1"},
    } | changes
    return TunnelFacts(**found)  # type: ignore[arg-type]


def gre_seen(key: int | None = None, *, checksum: bool = False, sequence: int | None = None) -> GreSeen:
    return GreSeen(REMOTE, LOCAL, GreHeader(PROTOCOL_IPV4, key, sequence, checksum))


def facts(**changes: object) -> Facts:
    found: dict[str, object] = {
        "config": config(),
        "kernel": Kernel(gre=True, esp=True, xfrm_interface=True),
        "before": status(),
        "status": status(),
        "seconds": 1.5,
        "tunnels": {"gre1": seen()},
        "memberships": {"gre1": frozenset({GROUP})},
        "sockets": (UdpSocket(IPv4Address(0), PORT, 0, 1, 0),),
    } | changes
    return Facts(config_file="mcastd.toml", **found)  # type: ignore[arg-type]


def test_a_healthy_path_passes_every_hop() -> None:
    found = walk(facts())
    assert found.finding is None
    assert found.well == tuple(HOPS)
    assert found.notes == ()


def keepalive(**dropped: int) -> tuple[TunnelStatus, ...]:
    return (tunnel(keepalive=KeepaliveStatus(reply=True, answered=0, dropped=dropped)),)


def guard(**changes: object) -> FirewallStatus:
    return FirewallStatus(guard=True, in_place="problem" not in changes, **changes)  # type: ignore[arg-type]


def flowed(packets_in: int, packets_out: int, **changes: object) -> Facts:
    """The child's counters have risen by so much during the look; on the wire as much has passed, unless changed."""
    after = status(peers=(peer(children=(child(packets_in=100 + packets_in, packets_out=100 + packets_out),)),))
    wires = {"wire_in": wire(1, packets_in), "wire_out": wire(2, packets_out)}
    return facts(**({"status": after} | wires | changes))


def transported(packets: int) -> Status:
    return status(
        peers=(peer(children=(child(mode="transport", packets_in=100 + packets, packets_out=100 + packets),)),)
    )


def wire(spi: int, packets: int, missing: int = 0, late: int = 0) -> Wire:
    return Wire({spi: Esp(PEER, packets, missing, late)} if packets else {})


def unheard(**pim: object) -> Status:
    """No neighbour is heard, and the daemon waits no longer."""
    group = GroupStatus(group=str(GROUP), source=None, tunnel="gre1", state="not joined", rp="100.15.30.253")
    return status(tunnels=(tunnel(pim=PimStatus(running=True, **pim)),), groups=(group,))  # type: ignore[arg-type]


NARROW = status(peers=(peer(children=(child(replay_window=32),)),))
SILENT = {"heard": Heard(), "delivered": {}}

CASES: dict[str, tuple[str, Facts]] = {
    "the file is refused": ("configuration_refused", facts(config_errors=("f:1: x: wrong",))),
    "no privilege": ("not_privileged", facts(privileged=False)),
    "no GRE in the kernel": (
        "kernel_lacks",
        facts(config=config(datapath="kernel"), kernel=Kernel(gre=False)),
    ),
    "no GRE and no TUN": ("kernel_lacks", facts(kernel=Kernel(gre=False, tun=False))),
    "no nft": ("kernel_lacks", facts(kernel=Kernel(gre=True, nft=False))),
    "no daemon": ("daemon_silent", facts(silent="nobody answers", status=None)),
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
    "the first attempt": ("not_up", facts(status=status(peers=(peer(state="connecting"),)))),
    "a child without an address": (
        "host_cannot",
        facts(
            status=status(
                peers=(peer(children=(child(state="down", problem="none", problem_code="local_address_missing"),)),)
            )
        ),
    ),
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
        facts(status=status(peers=(peer(state="connecting"),)), ways={PEER: None}),
    ),
    "another IKE daemon": (
        "port_taken",
        facts(status=status(peers=(peer(state="connecting"),)), strangers={500: "pluto (pid 7)"}),
    ),
    "no route to a peer": ("no_way", flowed(0, 2, wire_out=Wire(), ways={PEER: None})),
    "a gateway that does not answer": (
        "no_way",
        flowed(9, 2, wire_out=Wire(), ways={PEER: Way("eth0", GATEWAY, True)}),
    ),
    "the peer's address on this host": ("no_way", flowed(0, 2, ways={PEER: Way("lo")})),
    "no such address here": (
        "no_way",
        flowed(0, 2, ways={PEER: Way("eth0", GATEWAY)}, addresses=frozenset({LOCAL})),
    ),
    "ESP that does not leave": ("esp_held_back", flowed(9, 9, wire_out=Wire())),
    "ESP that is not decrypted": ("not_decrypted", flowed(0, 9, wire_in=wire(1, 1500))),
    "half of the ESP is not decrypted": ("not_decrypted", flowed(750, 9, wire_in=wire(1, 1500))),
    "ESP of another SA": (
        "not_decrypted",
        flowed(0, 9, wire_in=wire(7, 1500), tunnels={"gre1": seen(received={}, **SILENT)}),
    ),
    "ESP of which half is lost": ("lost_on_the_way", flowed(700, 9, wire_in=wire(1, 700, missing=700))),
    "ESP of which some is lost": ("lost_on_the_way", flowed(1400, 9, wire_in=wire(1, 1400, missing=100))),
    "ESP that comes too late": ("replay_window", facts(before=NARROW, status=NARROW, wire_in=wire(1, 99, late=33))),
    "nothing goes into IPsec": ("not_encrypted", facts(tunnels={"gre1": seen(probe=Probe(1398))})),
    "one packet of ESP is not decrypted": (
        "not_decrypted",
        flowed(0, 9, wire_in=wire(1, 1), tunnels={"gre1": seen(received={}, **SILENT)}),
    ),
    "GRE with checksums": (
        "gre_options",
        facts(
            tunnels={"gre1": seen(received={})},
            gre_seen={gre_seen(checksum=True): 1},
        ),
    ),
    "the tunnel has a problem": (
        "tunnel_down",
        facts(status=status(tunnels=(tunnel(state="down", problem="an interface gre1 exists"),))),
    ),
    "the interface is gone": ("tunnel_down", facts(tunnels={"gre1": seen(link=None)})),
    "the interface is down": (
        "tunnel_down",
        facts(tunnels={"gre1": seen(link=Link(1398, False, True))}),
    ),
    "no MULTICAST flag": (
        "no_multicast_flag",
        facts(tunnels={"gre1": seen(link=Link(1398, True, False))}),
    ),
    "another key": (
        "gre_key",
        facts(tunnels={"gre1": seen(received={})}, gre_seen={gre_seen(40): 1}),
    ),
    "GRE that a firewall drops here": (
        "gre_dropped_here",
        facts(tunnels={"gre1": seen(received={})}, gre_seen={gre_seen(): 2}),
    ),
    "GRE that a firewall drops here, seldom": (
        "gre_dropped_here",
        facts(
            tunnels={"gre1": seen(received={}, total={})},
            gre_seen={gre_seen(): 1},
        ),
    ),
    "GRE that a firewall drops here, in transport mode": (
        "gre_dropped_here",
        flowed(4, 4, before=transported(0), status=transported(4), tunnels={"gre1": seen(received={})}),
    ),
    "another far end whose tunnel is down": (
        "nothing_comes_back",
        facts(tunnels={"gre1": seen(received={}, total={})}),
    ),
    "a far end whose tunnel is down": (
        "gre_refused",
        facts(
            before=status(peers=(peer(children=(child(packets_in=98),)),)),
            tunnels={"gre1": seen(received={}, total={})},
            counters={"Icmp.InDestUnreachs": 1},
        ),
    ),
    "another MTU": ("mtu", facts(tunnels={"gre1": seen(link=Link(1476, True, True))})),
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
            tunnels={"gre1": seen(received={}, **SILENT)},
            status=status(tunnels=(tunnel(keepalive=KeepaliveStatus(reply=True, answered=9, stopped=True)),)),
        ),
    ),
    "GRE that nobody takes there": ("gre_refused", facts(status=status(tunnels=keepalive(econnrefused=4)))),
    "answers that this host does not let out": ("sending_refused", facts(status=status(tunnels=keepalive(eperm=4)))),
    "Joins that this host does not let out": (
        "sending_refused",
        facts(status=status(tunnels=(tunnel(pim=PimStatus(running=True, problem="Operation not permitted")),))),
    ),
    "no PIM socket": ("pim_not_running", facts(status=status(tunnels=(tunnel(pim=PimStatus(running=False)),)))),
    "Hellos that are refused": ("hello_refused", facts(status=unheard(dropped={"neighbor_not_accepted": 3}))),
    "errors of the host beside no Hello": ("no_neighbor", facts(status=unheard(dropped={"enetdown": 3}))),
    "not joined yet": (
        "not_joined",
        facts(
            status=status(
                groups=(
                    GroupStatus(group=str(GROUP), source=None, tunnel="gre1", state="not joined", rp="100.15.30.253"),
                )
            )
        ),
    ),
    "silence, and no echo": ("nothing_comes_back", flowed(0, 2, tunnels={"gre1": seen(probe=Probe(1398), **SILENT)})),
    "silence, and an echo": ("silent", facts(tunnels={"gre1": seen(**SILENT)})),
    "a source that this host has the address of": (
        "martian_source",
        facts(tunnels={"gre1": seen(way_to={SOURCE: "lo", GROUP: "gre1"})}),
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
    "wrong checksums": ("udp_checksum", facts(counters={"Udp.InCsumErrors": 1500})),
    "a reverse path that only the kernel's counter shows": (
        "rp_filter",
        facts(tunnels={"gre1": seen(delivered={})}, counters={"TcpExt.IPReversePathFilter": 1500}),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_problem_is_found(case: str) -> None:
    problem, broken = CASES[case]
    found = walk(broken)
    assert found.finding is not None
    assert found.finding.problem == problem
    assert found.finding.hop == tuple(HOPS)[len(found.well)]


def test_what_the_guard_held_back_before_the_children_were_up_is_no_fault() -> None:
    held = status(firewall=guard(leaks_out=7, leaks_in=7))
    assert walk(facts(before=held, status=held)).finding is None


def test_a_quiet_child_is_no_fault_while_the_feed_comes() -> None:
    assert walk(facts(status=status(peers=(peer(children=(child(packets_in=100),)),)))).finding is None


def test_esp_that_passes_as_it_should_is_no_fault() -> None:
    assert walk(flowed(1500, 9)).finding is None


def test_more_esp_than_was_looked_at_is_not_compared() -> None:
    much = Wire({1: Esp(PEER, 20_000)}, whole=False)
    assert walk(flowed(10, 9, wire_in=much, wire_out=Wire(whole=False))).finding is None


def test_esp_of_others_with_the_same_peer_is_no_fault_beside_ours() -> None:
    both = Wire({1: Esp(PEER, 10), 9: Esp(PEER, 500)})
    assert walk(flowed(10, 9, wire_in=both)).finding is None


def test_some_loss_hides_no_other_fault() -> None:
    found = walk(flowed(1400, 9, wire_in=wire(1, 1400, missing=100), tunnels={"gre1": seen(**SILENT)}))
    assert found.finding is not None
    assert found.finding.problem == "silent"


def test_esp_of_an_sa_that_is_being_replaced_is_no_fault() -> None:
    assert walk(flowed(0, 9, wire_in=wire(7, 1500))).finding is None


def test_children_that_were_made_anew_are_not_compared() -> None:
    renewed = status(peers=(peer(children=(child(spi_in="5", spi_out="6", packets_in=0),)),))
    assert walk(facts(status=renewed, wire_in=wire(5, 900))).finding is None


def test_a_neighbor_that_is_still_waited_for_is_no_fault() -> None:
    found = walk(facts(status=status(tunnels=(tunnel(pim=PimStatus(running=True)),))))
    assert found.finding is None
    assert [note.hop for note in found.notes] == ["neighbor"]


def test_the_configuration_that_the_daemon_has_is_no_fault() -> None:
    assert walk(facts(status=status(config_digest=digest(config())))).finding is None


def test_a_group_that_was_joined_during_the_look_is_not_judged() -> None:
    young = tuple(replace(group, uptime=1.0) for group in status().groups)
    found = walk(facts(status=status(groups=young), tunnels={"gre1": seen(**SILENT)}))
    assert found.finding is None
    assert [note.hop for note in found.notes] == ["packets_on_the_tunnel"]


def test_what_is_odd_but_carries_is_a_note() -> None:
    stopped = KeepaliveStatus(reply=True, answered=9, last_age=40.0, stopped=True)
    few = wire(1, 1500, missing=2)
    told = status(tunnels=(tunnel(keepalive=stopped),), peers=(peer(children=(child(packets_in=1600),)),))
    found = walk(facts(status=told, wire_in=few, multicast_routers=frozenset({"gre1"})))
    assert found.finding is None
    assert [note.hop for note in found.notes] == ["keepalives", "neighbor", "loss"]


def test_a_far_end_that_answers_no_echo_is_no_fault() -> None:
    assert walk(flowed(1500, 2, tunnels={"gre1": seen(probe=Probe(1398))})).finding is None


def test_more_packets_than_were_looked_at_leave_no_stream_silent() -> None:
    other = Stream(IPv4Address("239.9.9.9"), SOURCE, PORT)
    found = walk(facts(tunnels={"gre1": seen(heard=Heard({other: 20_000}, capped=True))}))
    assert found.finding is None


def test_fragments_are_a_note() -> None:
    found = walk(facts(tunnels={"gre1": seen(heard=Heard({STREAM: 1500}, fragments=12))}))
    assert found.finding is None
    assert [note.hop for note in found.notes] == ["mtu"]
    assert "12 fragments" in found.notes[0].text


def test_notes_on_strongswans_settings_are_charons() -> None:
    noted = (
        Problem("mcastd.toml", 3, "daemon.strongswan_conf", "make_before_break is not on"),
        Problem("mcastd.toml", 9, "tunnels.gre1.child", "GRE goes in the clear"),
    )
    found = walk(facts(config_notes=noted))
    assert found.finding is None
    assert [(note.hop, note.text) for note in found.notes] == [
        ("configuration", "mcastd.toml:9: tunnels.gre1.child: GRE goes in the clear"),
        ("charon", "make_before_break is not on"),
    ]


def test_a_sequence_number_that_is_not_expected_is_no_fault_and_one_that_is_missing_is() -> None:
    def problem(*, expected: bool, sent: bool) -> str:
        had = config()
        found = walk(
            facts(
                config=replace(had, tunnels=(replace(had.tunnels[0], gre=GreOptions(sequence=expected)),)),
                status=status(),
                tunnels={"gre1": seen(received={})},
                gre_seen={gre_seen(sequence=0 if sent else None): 2},
            )
        ).finding
        assert found is not None
        return found.saw if found.problem == "gre_options" else found.problem

    assert problem(expected=False, sent=True) == "gre_dropped_here"
    assert problem(expected=True, sent=True) == "gre_dropped_here"
    missing = problem(expected=True, sent=False)
    assert missing.endswith("has no sequence numbers, tunnel gre1 expects them")


TAKEN = status(tunnels=(tunnel(routes=(RouteStatus(prefix="239.0.0.0/8", table=254, state="taken"),)),))


def test_a_route_of_others_is_a_note() -> None:
    found = walk(facts(status=TAKEN))
    assert found.finding is None
    assert [note.hop for note in found.notes] == ["packets_at_an_application"]
    assert "leads 239.0.0.0/8 elsewhere than to gre1" in found.notes[0].text


@pytest.mark.parametrize(
    ("told", "way", "words"),
    [
        (TAKEN, "eth0", "has joined it on eth0; a route that is not mcastd's leads 239.0.0.0/8 to eth0"),
        (TAKEN, None, "has joined it on eth0; a route that is not mcastd's leads 239.0.0.0/8 elsewhere"),
        (status(), "eth0", "has joined it on eth0; the route to it leads to eth0"),
        (status(), "gre1", "has joined it on eth0"),
    ],
)
def test_an_application_on_another_interface_is_told_what_led_it_there(
    told: Status, way: str | None, words: str
) -> None:
    joined = {"eth0": frozenset({GROUP})}
    found = walk(facts(status=told, memberships=joined, tunnels={"gre1": seen(way_to={SOURCE: "eth0", GROUP: way})}))
    assert found.finding is not None
    assert found.finding.problem == "wrong_interface"
    assert found.finding.saw.endswith(words)


LEAKING = {"before": status(), "status": status(firewall=guard(leaks_out=4))}
NAT_T = UdpSocket(IPv4Address(0), 4500, 0, 9, 0)


@pytest.mark.parametrize(
    ("seen_", "words"),
    [
        (facts(**LEAKING, tunnels={"gre1": seen(way_to={REMOTE: "eth0"})}), "; the route to 10.44.7.1 is by eth0"),
        (facts(**LEAKING, tunnels={"gre1": seen(way_to={REMOTE: None})}), "; there is no route to 10.44.7.1"),
        (
            facts(**LEAKING, tunnels={"gre1": seen(way_to={REMOTE: "lo"})}),
            "; 10.44.7.1 is an address of this host",
        ),
        (
            flowed(9, 9, wire_out=Wire(), counters={"Xfrm.OutNoStates": 9, "Xfrm.InNoStates": 3}),
            "no ESP left this host; the kernel counted 9 XfrmOutNoStates",
        ),
        (
            flowed(0, 9, wire_in=wire(1, 99), counters={"Xfrm.InStateProtoError": 99, "Xfrm.OutError": 2}),
            "0 were decrypted; the kernel counted 99 XfrmInStateProtoError",
        ),
        (
            flowed(0, 9, wire_in=wire(1, 99), sockets=(NAT_T,), socket_drops={9: 98}),
            "0 were decrypted; charon's socket was full for 98",
        ),
    ],
)
def test_what_was_seen_beside_it_is_told(seen_: Facts, words: str) -> None:
    found = walk(seen_).finding
    assert found is not None
    assert found.saw.endswith(words)


@pytest.mark.parametrize(
    "well",
    [
        facts(status=status(tunnels=keepalive(child_down=4)), before=status(tunnels=keepalive(child_down=4))),
        facts(tunnels={"gre1": seen(delivered={STREAM: 1200})}),
        flowed(99, 9, wire_in=Wire({1: Esp(PEER, 120, 0, 0)}, whole=False)),
    ],
    ids=["keepalives before the child was up", "most is delivered", "more on the wire than was looked at"],
)
def test_what_is_no_fault(well: Facts) -> None:
    assert walk(well).finding is None


def without_gre() -> Facts:
    """A healthy path through an XFRM interface, which has no GRE, and so no keepalives and no guard."""
    had = config()
    carrier = replace(had.peers[0].children[0], mode="interface", if_id=7, mss=0)
    tunnels = (replace(had.tunnels[0], encapsulation="none"),)
    told = status(tunnels=(tunnel(encapsulation="none", mtu=1422, keepalive=None),))
    return facts(
        config=replace(
            had,
            firewall=Firewall(guard=False),
            peers=(replace(had.peers[0], children=(carrier,)),),
            tunnels=tunnels,
        ),
        kernel=Kernel(gre=False, esp=True, xfrm_interface=True, tun=False, nft=False),
        before=told,
        status=told,
        tunnels={"gre1": seen(link=Link(1422, True, True), probe=Probe(1422, small=True, full=True))},
    )


def test_a_path_without_gre_needs_nothing_of_gre() -> None:
    assert walk(without_gre()).finding is None


def test_a_path_without_gre_needs_xfrm_interfaces() -> None:
    lacking = dataclasses.replace(without_gre(), kernel=Kernel(esp=True, xfrm_interface=False))
    found = walk(lacking)
    assert found.finding is not None
    assert found.finding.saw == "this host has no XFRM interfaces (module xfrm_interface)"


def test_mss_clamping_alone_needs_nft() -> None:
    had = without_gre()
    assert had.config is not None
    peer = had.config.peers[0]
    clamped = replace(peer, children=(replace(peer.children[0], mss=None),))
    found = walk(dataclasses.replace(had, config=replace(had.config, peers=(clamped,))))
    assert found.finding is not None
    assert found.finding.saw == "this host has no program nft (package nftables)"
