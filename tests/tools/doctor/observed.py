"""Facts made by hand: a healthy path as the doctor observes it, and what changes it."""

import dataclasses
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from msgspec.structs import replace

from mcastd.config.downstream import Forward
from mcastd.config.model import Child, Config, Daemon, Firewall, Peer, Pim, RpRange, Tunnel
from mcastd.net.gre import PROTOCOL_IPV4, GreHeader
from mcastd.overlay_status import EndpointStatus, OverlayStatus
from mcastd.problems import ProblemCode
from mcastd.status import (
    ChildStatus,
    FirewallStatus,
    GroupStatus,
    KeepaliveStatus,
    NeighborStatus,
    PeerStatus,
    PimStatus,
    ProblemStatus,
    Status,
    TunnelStatus,
)
from mcastd.tools.doctor.facts import (
    Downstream,
    Esp,
    Facts,
    GreSeen,
    Interface,
    Multicast,
    Probe,
    Stream,
    TunnelFacts,
    Way,
    Wire,
)
from mcastd.tools.doctor.proc import Proc, UdpSocket

GROUP, SOURCE, PORT = IPv4Address("239.1.1.1"), IPv4Address("100.15.30.10"), 5001
STREAM = Stream(GROUP, SOURCE, PORT)
LOCAL, REMOTE = IPv4Address("10.44.6.1"), IPv4Address("10.44.7.1")
PEER, GATEWAY = IPv4Address("177.54.214.20"), IPv4Address("10.1.1.1")
HOST = IPv4Address("10.1.1.246")


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


def group(**changes: object) -> GroupStatus:
    found: dict[str, object] = {"state": "joined", "rp": "100.15.30.253", "upstream": "10.44.4.5"} | changes
    return GroupStatus(**{"group": str(GROUP), "source": None, "tunnel": "gre1"} | found)  # type: ignore[arg-type]


def status(**changes: object) -> Status:
    found: dict[str, object] = {"peers": (peer(),), "tunnels": (tunnel(),), "groups": (group(),)} | changes
    return Status(version="1", pid=1, uptime=1.0, health="ok", healthy=True, summary="up", config_file="f", **found)  # type: ignore[arg-type]


def seen(**changes: object) -> TunnelFacts:
    found: dict[str, object] = {
        "interface": Interface(1398, True, True),
        "received": 1500,
        "total": 90000,
        "arrived": Multicast({STREAM: 1500}),
        "delivered": {STREAM: 1500},
        "probe": Probe(1398, small=True, full=True),
        "route_to": {SOURCE: "eth0", GROUP: "gre1"},
    } | changes
    return TunnelFacts(**found)  # type: ignore[arg-type]


def gre_seen(key: int | None = None, *, checksum: bool = False, sequence: int | None = None) -> GreSeen:
    return GreSeen(REMOTE, LOCAL, GreHeader(PROTOCOL_IPV4, key, sequence, checksum))


def facts(**changes: object) -> Facts:
    found: dict[str, object] = {
        "config": config(),
        "before": status(),
        "status": status(),
        "seconds": 1.5,
        "tunnels": {"gre1": seen()},
    } | changes
    read: dict[str, object] = {
        "memberships": {"gre1": frozenset({GROUP})},
        "rp_filter": {"gre1": 2},
        "sockets": (UdpSocket(IPv4Address(0), PORT, 0, 1, 0),),
    }
    read |= {name: found.pop(name) for name in Proc.__slots__ if name in found}
    return Facts(config_file="mcastd.toml", proc=Proc(**read), **found)  # type: ignore[arg-type]


def forwarded(sent: int = 1500, *, ttl: int = 30, whole: int = 0, mtu: int = 1500, **changes: object) -> Facts:
    """The group is forwarded to a machine behind eth1, and joined for nobody else; ``sent`` of 1500 packets leave."""
    told = status(groups=(group(origins=("eth1",), forwarded_to=("eth1",)),))
    arrived = Multicast({STREAM: 1500}, {STREAM: ttl}, {STREAM: whole})
    found: dict[str, object] = {
        "config": replace(config(), forward=(Forward(name="eth1", from_=("gre1",)),)),
        "before": told,
        "status": told,
        "tunnels": {"gre1": seen(arrived=arrived, delivered={})},
        "downstream": {"eth1": Downstream(mtu, Multicast({STREAM: sent}))},
        "memberships": {},
        "sockets": (),
        "multicast_routers": frozenset({"gre1", "eth1"}),
    }
    return facts(**(found | changes))


def unforwarded(code: ProblemCode, subject: str = "eth1", holders: tuple[str, ...] = ()) -> Facts:
    """The daemon's status says why something is not forwarded."""
    found, problem = forwarded().status, reported(code, subject).status
    assert found is not None
    assert problem is not None
    return forwarded(status=replace(found, problems=problem.problems), routing_holders=holders)


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
    waiting = tunnel(pim=PimStatus(running=True, **pim))  # type: ignore[arg-type]
    return status(tunnels=(waiting,), groups=(group(state="not joined"),))


def overdue(**changes: object) -> Status:
    """The daemon reports that all streams of the tunnel are silent, which it does after 3 s and within their hours."""
    return status(problems=(ProblemStatus("all_silent", "gre1", "2026-01-01T00:00:00Z", "silent"),), **changes)


def outwards_lost(**keepalive: object) -> Facts:
    """Keepalives come and leave, no echo is answered, and all streams of the tunnel are silent."""
    had = flowed(2, 9, tunnels={"gre1": seen(received=2, probe=Probe(1398), **SILENT)})
    assert had.status is not None
    alive = KeepaliveStatus(reply=True, answered=5, last_age=1.0, **keepalive)  # type: ignore[arg-type]
    told = replace(had.status, problems=overdue().problems, tunnels=(tunnel(keepalive=alive),))
    return dataclasses.replace(had, status=told)


def on_overlay(*ways: Way, was_heard: bool = True, **changes: object) -> Facts:
    """The group is forwarded to an overlay, of which one machine gets it."""
    endpoint = EndpointStatus(endpoint="10.1.1.7", was_heard=was_heard, groups=1, names=(str(GROUP),))
    overlay = OverlayStatus(
        name="vx0",
        state="up",
        vni=7,
        port=4789,
        local="10.1.1.246",
        address="10.99.0.1/24",
        members=("10.1.1.0/24",),
        endpoints=(endpoint,),
    )
    out = {"vx0": Downstream(1450, Multicast({STREAM: 1500}), frozenset(ways))}
    return facts(**({"status": status(overlay=(overlay,)), "downstream": out, "addresses": {HOST: "eth0"}} | changes))


def sent(source: IPv4Address, interface: str = "eth0") -> Esp:
    """ESP that left this host."""
    return Esp(PEER, 9, ways=frozenset({Way(interface, source)}))


NARROW = status(peers=(peer(children=(child(replay_window=32),)),))
SILENT = {"arrived": Multicast(), "delivered": {}}


def negotiated(code: ProblemCode, *, ike: bool = False) -> Facts:
    """A CHILD_SA, or with ``ike`` the peer, that is not up for a reason."""
    if ike:
        return facts(status=status(peers=(peer(state="waiting", problem="it failed", problem_code=code),)))
    down = child(state="waiting", problem="it failed", problem_code=code)
    return facts(status=status(peers=(peer(children=(down,)),)))


def reported(code: ProblemCode, subject: str = "gre1") -> Facts:
    """All passes, and the daemon's status has a problem."""
    problem = ProblemStatus(code, subject, "2026-01-01T00:00:00Z", "something is wrong")
    return facts(status=status(problems=(problem,)))


def with_pim(**changes: object) -> Config:
    """The configuration with other settings of PIM."""
    had = config()
    pim = had.tunnels[0].pim
    assert pim is not None
    return replace(had, tunnels=(replace(had.tunnels[0], pim=replace(pim, **changes)),))


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
        lacks=frozenset({"ip_gre", "tun", "nft"}),
        before=told,
        status=told,
        tunnels={"gre1": seen(interface=Interface(1422, True, True), probe=Probe(1422, small=True, full=True))},
    )
