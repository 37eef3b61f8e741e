"""A status and a report of streams in which every struct and every field is there, and the page made of them."""

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from mcastd.config.model import Metrics
from mcastd.metrics.page import Kept, Page
from mcastd.metrics.shown import Shown
from mcastd.overlay_status import EndpointStatus, OverlayStatus
from mcastd.status import (
    ApplicationsStatus,
    AutoRpStatus,
    ChildStatus,
    FirewallStatus,
    ForwardStatus,
    GroupStatus,
    HistoryStatus,
    KeepaliveStatus,
    NeighborStatus,
    NotFollowedStatus,
    OtherQuerierStatus,
    PathStatus,
    PeerStatus,
    PimStatus,
    ProblemStatus,
    QuerierStatus,
    RouteStatus,
    Status,
    TunnelStatus,
)
from mcastd.stream_status import (
    DestinationCount,
    LossStatus,
    PairCount,
    SocketStatus,
    StreamCount,
    StreamMeasure,
    StreamNumbers,
    StreamsReport,
)

CLOCK: Final = 1_795_000_000.0
ALL: Final = Shown(Metrics(streams="all"))

CHILD = ChildStatus(
    name="dc-gre", state="up", local_ts="10.44.6.1/32", remote_ts="10.44.7.1/32", proposal="aes256", encap=True,
    mode="tunnel", spi_in="c0ffee01", spi_out="c0ffee02", bytes_in=1000, packets_in=10, bytes_out=200, packets_out=2,
    last_in_age=0.5, last_out_age=4.0,
    uptime=50.0, rekey_in=3000.0, problem="x", problem_code="no_answer", next_try_in=3.0, protocol="gre", if_id=7,
    replay_window=1024,
)  # fmt: skip
PEER = PeerStatus(
    name="dc", state="up", local="192.0.2.1", remote="198.51.100.1", local_id="a", remote_id="b", proposal="aes",
    nat_local=True, nat_remote=False, uptime=60.0, reauth_in=5000.0, rekey_in=4000.0, attempts=2, problem="x",
    problem_code="peer_psk", children=(CHILD,), standby_for="x", active_for=70.0, active_because="x",
)  # fmt: skip
TUNNEL = TunnelStatus(
    name="gre1", state="up", datapath="kernel", local="10.44.6.1", remote="10.44.7.1", address="10.44.4.6/30",
    addresses=("10.44.4.10/30",), mtu=1398, mtu_reason="x", problem="x", dropped={"gre_key": 3},
    routes=(RouteStatus(prefix="224.0.0.0/4", table=254, state="up", problem="x"),),
    keepalive=KeepaliveStatus(
        reply=True, answered=5, last_age=1.5, dropped={"limit": 1}, icmp_errors={"econnrefused": 2}, icmp_age=70.0,
        period=5.0, sent=9, received=8, rtt=0.02,
        path="alive", missed=1,
    ),
    pim=PimStatus(
        running=True, problem="x", problem_code="pim_send_failed", generation_id=77,
        neighbors=(
            NeighborStatus(
                address="10.44.4.5", uptime=40.0, expires_in=90.0, generation_id=88, dr_priority=1,
                secondary_addresses=("10.44.4.9",),
            ),
        ),
        auto_rp=(
            AutoRpStatus(
                groups="239.0.0.0/8", rp="10.9.9.9", kind="mapping", sender="10.9.9.8", expires_in=100.0, used=True
            ),
        ),
        sent={"hello": 4}, received={"hello": 5}, dropped={"checksum": 1},
    ),
    applications=ApplicationsStatus(
        joins=3, not_followed=(NotFollowedStatus("239.7.7.7", "no_rp"),), beyond_limit=2, lost=("239.8.8.8",),
        problem="x",
    ),
)  # fmt: skip
GROUP = GroupStatus(
    group="239.1.1.1", source="100.15.30.5", tunnel="gre1", state="joined", tunnels=("gre1",), rp="10.9.9.9",
    feeds=("trades", "quotes"), upstream="10.44.4.5", origins=("file",), arrival="arriving", uptime=30.0,
    next_join_in=20.0, problem="x",
    problem_code="rp_missing", forwarded_to=("eth1",), forwarded=12,
)  # fmt: skip
QUERIER = QuerierStatus(
    state="querier", address="192.168.1.1", querier="192.168.1.1", is_ours=True,
    others=(OtherQuerierStatus(address="192.168.1.2", version=2, heard_age=9.0),), groups=4, hosts=6,
    pim_router="192.168.1.3", problem="x", sent={"query": 1}, received={"report": 2}, dropped={"limit": 3},
)  # fmt: skip
FIREWALL = FirewallStatus(
    guard=True, in_place=True, leaks_out=1, leaks_in=2, leaks_by_child={"dc-gre": 3}, igmp_kept=4, snat_packets=5,
    mss_clamped=6, repairs=7, problem="x",
)  # fmt: skip
STATUS = Status(
    version="1.0", pid=7, uptime=100.0, health="degraded", healthy=False,
    problems=(ProblemStatus("peer_down", "dc", "2026-11-28T06:00:00Z", "x"),),
    history=(HistoryStatus("began", "dc", "peer_down", 2, 9.0),), summary="x", config_file="/etc/mcastd.toml",
    config_digest="abc", charon="x", charon_code="charon_gone", firewall=FIREWALL, peers=(PEER,), tunnels=(TUNNEL,),
    groups=(GROUP,),
    paths=(
        PathStatus(
            tunnels=("gre1", "gre2"), group="239.1.1.1", groups=1, tunnel="gre2", age=8.0, why="x", leaving="gre1",
            by_hand="gre2", by_hand_left=60.0, moves=3, dead={"gre1": "x"},
        ),
    ),
    forward=(
        ForwardStatus(
            name="eth1", state="forwarding", tunnels=("gre1",), groups=4, refused=1, packets=100, bytes=9000,
            sent_back=2, fragments=3, problem="x", igmp=QUERIER,
        ),
    ),
    overlay=(
        OverlayStatus(
            name="vx0", state="up", vni=7, port=4789, local="10.0.0.1", address="10.99.0.1/24",
            members=("10.0.0.0/28",), mtu=1450, mode="mdb", groups=2, copies=3, asked=14,
            endpoints=(EndpointStatus(endpoint="10.0.0.2", was_heard=True, groups=2, names=("239.1.1.1",)),),
            unreachable=("10.99.0.9",), refused=5, problem="x",
        ),
    ),
    notes=("a note",),
)  # fmt: skip
MEASURE = StreamMeasure(
    unit=1, packets=90, longest_gap=0.4, longest_gap_age=3.0, gaps=(1, 2, 3, *[0] * 29), burst_1ms=4, burst_10ms=9,
    unnumbered=2,
    numbers=StreamNumbers(
        seen=80, missing=5, awaited=1, duplicate=3, late=4, resets=1, last_gap=2, last_gap_age=8.0
    ),
)  # fmt: skip
STREAM = StreamCount(
    tunnel="gre1", source="100.15.30.5", group="239.1.1.1", port=5000, state="arriving", packets=100, bytes=9000,
    rate=10.0, last_age=0.5, age=60.0, feed="trades A", dropped=3,
    destinations=(DestinationCount(interface="eth1", packets=97, dropped=3, withheld=1),), fragments=2,
    measured=(MEASURE,),
)  # fmt: skip
REPORT = StreamsReport(
    counting_since="2026-11-28T06:00:00Z", period=60.0, problem="x", not_measured="x",
    not_recorded=3, history_until="2026-11-28T06:01:00.010Z",
    losses=(LossStatus(stage="nic", subject="eth0", packets=1, late=1, text="x"),), losses_period=9.0,
    sockets=(
        SocketStatus(port=5000, address="0.0.0.0", uid=0, inode=1, cgroup=1, queued=0, receive_buffer=9, dropped=1),
    ),
    pairs=(
        PairCount(
            feed="trades", a="239.1.1.1", b="239.2.1.1", unit=1, compared=90, not_compared=1, restarts=1, lost_a=2,
            lost_b=3, lost_both=1, awaited_a=1, awaited_b=2, awaited_both=0, a_first=(5, 6), b_first=(3, 4),
        ),
    ),
    streams=(STREAM,),
)  # fmt: skip


def made(status: Status = STATUS, report: StreamsReport = REPORT, shown: Shown = ALL, kept: Kept | None = None) -> Page:
    """A page."""
    page = Page(shown, kept or Kept(), CLOCK)
    for steps in (page.add_status(status), page.add_report(report)):
        for _ in steps:
            pass
    page.add_streams(report.streams)
    page.end(report)
    return page


def text(page: Page, *, openmetrics: bool = False) -> str:
    return b"".join(page.text(openmetrics=openmetrics)).decode()


def lines(*pages: Page) -> list[str]:
    """The samples, and no comments."""
    return [line for page in pages for line in text(page).splitlines() if not line.startswith("#")]


def of(name: str, page: Page) -> list[str]:
    """The samples of one metric, without its name."""
    return [line.removeprefix(name) for line in lines(page) if line.startswith((f"{name}{{", f"{name} "))]


def streams(count: int, group: str = "239.1.1.1") -> Iterable[StreamCount]:
    """Streams of one group."""
    return (replace(STREAM, port=5000 + place, group=group) for place in range(count))
