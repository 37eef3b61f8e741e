"""The hops, on facts made by hand: what the lab cannot show, and the order of the walk."""

import dataclasses
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from msgspec.structs import replace

from mcastd.config.model import Child, Config, Daemon, Peer, Pim, RpRange, Tunnel
from mcastd.doctor.facts import Facts, GreSeen, Heard, Kernel, Link, Probe, Stream, TunnelFacts
from mcastd.doctor.proc import UdpSocket
from mcastd.doctor.walk import HOPS, walk
from mcastd.errors import Problem
from mcastd.ipsec.contact import UNSURE
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

GROUP, SOURCE, PORT = IPv4Address("239.1.1.1"), IPv4Address("100.15.30.10"), 5001
STREAM = Stream(GROUP, SOURCE, PORT)
LOCAL, REMOTE = IPv4Address("10.44.6.1"), IPv4Address("10.44.7.1")


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
    found: dict[str, object] = {"state": "up", "packets_in": 100, "packets_out": 100, "spi_in": "1"} | changes
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
    "charon hangs": ("charon_unclear", facts(status=status(charon=f"{UNSURE}charon did not answer within 5 s"))),
    "no charon": ("charon_absent", facts(status=status(charon="no answer on the socket"))),
    "charon refuses": (
        "charon_refuses",
        facts(status=status(peers=(peer(state="down", problem="charon refused the connection: no plugin"),))),
    ),
    "the first attempt": ("not_up", facts(status=status(peers=(peer(state="connecting"),)))),
    "a child without an address": (
        "host_cannot",
        facts(
            status=status(peers=(peer(children=(child(state="down", problem="no address of this host is in it"),)),))
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
        facts(tunnels={"gre1": seen(received={})}, gre_seen=frozenset({GreSeen(REMOTE, LOCAL, 40)})),
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
    "keepalives that stopped": (
        "keepalives_stopped",
        facts(status=status(tunnels=(tunnel(keepalive=KeepaliveStatus(reply=True, answered=9, last_age=40.0)),))),
    ),
    "no PIM socket": ("pim_not_running", facts(status=status(tunnels=(tunnel(pim=PimStatus(running=False)),)))),
    "Hellos that are refused": (
        "hello_refused",
        facts(status=status(tunnels=(tunnel(pim=PimStatus(running=True, dropped={"neighbor_not_accepted": 3})),))),
    ),
    "errors of the host beside no Hello": (
        "no_neighbor",
        facts(status=status(tunnels=(tunnel(pim=PimStatus(running=True, dropped={"enetdown": 3})),))),
    ),
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


def test_a_far_end_that_answers_no_echo_is_no_fault() -> None:
    assert walk(facts(tunnels={"gre1": seen(probe=Probe(1398))})).finding is None


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


def without_gre() -> Facts:
    """A healthy path through an XFRM interface, which has no GRE, and so no keepalives and no guard."""
    had = config()
    carrier = replace(had.peers[0].children[0], mode="interface", if_id=7, mss=0)
    tunnels = (replace(had.tunnels[0], encapsulation="none"),)
    told = status(tunnels=(tunnel(encapsulation="none", mtu=1422, keepalive=None),))
    return facts(
        config=replace(had, peers=(replace(had.peers[0], children=(carrier,)),), tunnels=tunnels),
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
