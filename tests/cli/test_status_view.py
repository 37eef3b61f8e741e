"""What mcastd status shows, whole: on 80 columns without colour, in four situations."""

from datetime import datetime

from msgspec.structs import replace

from mcastd.cli.layout import plain, wide
from mcastd.cli.status_view import blocks
from mcastd.cli.terminal import fitting
from mcastd.problems import ProblemCode
from mcastd.status import (
    ChildStatus,
    FirewallStatus,
    ForwardStatus,
    GroupStatus,
    HistoryStatus,
    KeepaliveStatus,
    NeighborStatus,
    PeerStatus,
    PimStatus,
    ProblemStatus,
    QuerierStatus,
    RouteStatus,
    Status,
    TunnelStatus,
)

CLOCK = datetime.fromisoformat("2026-03-02T09:05:07Z").timestamp()
SINCE = "2026-03-02T09:00:00Z"

GRE = ChildStatus(
    name="dc-tun-gre", state="up", local_ts="10.44.6.1/32", remote_ts="10.44.7.1/32", encap=True, mode="tunnel",
    proposal="AES_CBC-256/HMAC_SHA2_256_128", spi_in="c9788976", spi_out="0e1488b7", bytes_in=33_532_890,
    packets_in=60_808, bytes_out=2712, packets_out=77, last_in_age=0.4, last_out_age=12.4, uptime=7260.0,
    rekey_in=2040.0,
)  # fmt: skip
TCP = ChildStatus(
    name="dc-tun-tcp", state="up", local_ts="10.45.8.16/28", remote_ts="100.15.30.0/24", encap=True, mode="tunnel",
    proposal="AES_CBC-256/HMAC_SHA2_256_128", spi_in="c9788977", spi_out="0e1488b8", uptime=7260.0, rekey_in=2050.0,
)  # fmt: skip
PEER = PeerStatus(
    name="dc", state="up", local="10.1.1.246", remote="177.54.214.20", local_id="222.45.67.1", rekey_in=5900.0,
    remote_id="177.54.214.20", proposal="AES_CBC-256/HMAC_SHA2_256_128/MODP_2048", uptime=90_000.0,
    children=(GRE, TCP),
)  # fmt: skip
TUNNEL = TunnelStatus(
    name="gre1", state="up", datapath="userspace", local="10.44.6.1", remote="10.44.7.1", address="10.44.4.6/30",
    mtu=1376, mtu_reason="GRE on ipsec0 of 1400", dropped={"firewall_igmp": 35, "child_down": 1},
    routes=(RouteStatus(prefix="239.0.0.0/8", table=254, state="up"),),
    keepalive=KeepaliveStatus(
        reply=True, answered=1452, last_age=3.2, dropped={"child_down": 1}, icmp_errors={"econnrefused": 2},
        icmp_age=7256.0,
    ),
    pim=PimStatus(running=True, neighbors=(NeighborStatus(address="10.44.4.5", uptime=7255.0, expires_in=89.0),)),
)  # fmt: skip
GROUP = GroupStatus(
    group="239.1.1.1", source=None, tunnel="gre1", state="joined", rp="100.15.30.253", upstream="10.44.4.5",
    origins=("file", "application"), uptime=7254.0, arrival="arriving",
)  # fmt: skip
HEALTHY = Status(
    version="0.1.0", pid=42, uptime=90_010.0, health="ok", healthy=True, config_file="/etc/mcastd.toml",
    summary="up: 1 peer(s), 1 tunnel(s), 1 join(s)",
    firewall=FirewallStatus(guard=True, in_place=True, igmp_kept=35, leaks_by_child={"dc-tun-gre": 0}),
    peers=(PEER,), tunnels=(TUNNEL,), groups=(GROUP,),
    forward=(
        ForwardStatus(
            name="eth1", state="forwarding", tunnels=("gre1",), groups=1, packets=7000, bytes=1_400_000,
            igmp=QuerierStatus(state="querier", is_ours=True, groups=1, hosts=2),
        ),
    ),
    history=(HistoryStatus(event="ended", subject="gre1", what="tunnel_down", count=1, last_age=2000.0),),
)  # fmt: skip


def problem(code: ProblemCode, subject: str, text: str) -> ProblemStatus:
    return ProblemStatus(code=code, subject=subject, since=SINCE, text=text)


def shown(status: Status, width: int | None = 80) -> str:
    return "\n" + plain(blocks(status, CLOCK, everything=False), width)


def test_where_all_is_well() -> None:
    assert (
        shown(HEALTHY)
        == """
ok: up: 1 peer(s), 1 tunnel(s), 1 join(s)
groups: 1 arriving
mcastd 0.1.0, pid 42, up 1d01h, /etc/mcastd.toml

peer, CHILD_SA  state    for      in    bytes  last  out   last  rekey in
dc              up     1d01h                                        1h38m
  10.1.1.246[222.45.67.1] - 177.54.214.20[177.54.214.20]
  AES_CBC-256/HMAC_SHA2_256_128/MODP_2048
  dc-tun-gre    up     2h01m  60,808  33.5 MB  0.4s   77  12.4s    34m00s
    10.44.6.1/32 === 10.44.7.1/32, tunnel mode in UDP
    AES_CBC-256/HMAC_SHA2_256_128, SPIs c9788976_i 0e1488b7_o
  dc-tun-tcp    up     2h01m       0      0 B          0           34m10s
    10.45.8.16/28 === 100.15.30.0/24, tunnel mode in UDP
    AES_CBC-256/HMAC_SHA2_256_128, SPIs c9788977_i 0e1488b8_o

tunnel  state  address        MTU  neighbour    for  expires  keepalives  last
gre1    up     10.44.4.6/30  1376  10.44.4.5  2h00m    1m29s       1,452  3.2s
  GRE 10.44.6.1 - 10.44.7.1 (userspace), MTU by GRE on ipsec0 of 1400
  routes: 239.0.0.0/8
  IGMP reports kept from the tunnel: 35
  packets kept back while the CHILD_SA was down: 1
  keepalives that came while the CHILD_SA was down: 1
  ICMP errors of the far end for GRE: econnrefused 2, the last 2h00m ago

forward  state       from  groups  packets   bytes  IGMP querier  wanted  hosts
eth1     forwarding  gre1       1    7,000  1.4 MB  this host          1      2

firewall: guard on, dropped 0 leaving and 0 arriving unencrypted
  IGMP reports kept from tunnels 35

group           tunnel  state   rp               for  origin            arrives
(*, 239.1.1.1)  gre1    joined  100.15.30.253  2h00m  file,application  arriving

in the last hour:
  gre1: tunnel_down ended once, 33m20s ago
"""
    )


def test_where_charon_is_away() -> None:
    text = "charon: no VICI socket /var/run/charon.vici; is strongswan.service running?"
    down = replace(GRE, state="down", uptime=None, problem=text)
    peer = replace(PEER, state="down", uptime=None, rekey_in=None, proposal=None, problem=text, children=(down,))
    tunnel = replace(TUNNEL, state="waiting", pim=PimStatus(running=False))
    why = "tunnel gre1 is waiting"
    status = replace(
        HEALTHY, health="down", healthy=False, summary=text, peers=(peer,), tunnels=(tunnel,), forward=(), history=(),
        problems=(
            problem("charon_gone", "charon", text),
            problem("peer_down", "dc", "peer dc is down"),
            problem("tunnel_down", "gre1", "tunnel gre1 is waiting"),
        ),
        groups=(replace(GROUP, state="not joined", problem=why, arrival=None, rp=None, upstream=None),),
    )  # fmt: skip
    assert (
        shown(status)
        == """
DOWN: 3 problems
problem charon_gone of charon for 5m07s: charon: no VICI socket
  /var/run/charon.vici; is strongswan.service running?
problem peer_down of dc for 5m07s: peer dc is down
problem tunnel_down of gre1 for 5m07s: tunnel gre1 is waiting
groups: 1 not joined
gre1: 1 of 1 groups not joined (tunnel gre1 is waiting): 239.1.1.1
mcastd 0.1.0, pid 42, up 1d01h, /etc/mcastd.toml

peer, CHILD_SA  state
dc              down
  10.1.1.246[222.45.67.1] - 177.54.214.20[177.54.214.20]
  problem: charon: no VICI socket /var/run/charon.vici; is strongswan.service
    running?
  dc-tun-gre    down
    10.44.6.1/32 === 10.44.7.1/32
    problem: charon: no VICI socket /var/run/charon.vici; is strongswan.service
      running?

tunnel  state    address        MTU  keepalives  last
gre1    waiting  10.44.4.6/30  1376       1,452  3.2s
  GRE 10.44.6.1 - 10.44.7.1 (userspace), MTU by GRE on ipsec0 of 1400
  routes: 239.0.0.0/8
  IGMP reports kept from the tunnel: 35
  packets kept back while the CHILD_SA was down: 1
  keepalives that came while the CHILD_SA was down: 1
  ICMP errors of the far end for GRE: econnrefused 2, the last 2h00m ago
  PIM: no neighbour, not running

firewall: guard on, dropped 0 leaving and 0 arriving unencrypted
  IGMP reports kept from tunnels 35

group           tunnel  state         for  arrives
(*, 239.1.1.1)  gre1    not joined  2h00m  tunnel gre1 is waiting
"""
    )


def test_where_one_of_two_neighbours_is_lost() -> None:
    other = replace(TUNNEL, name="gre2", remote="10.44.7.2", address="10.44.4.10/30", dropped={}, keepalive=None)
    lost = replace(TUNNEL, dropped={}, keepalive=None, pim=PimStatus(running=True))
    second = replace(GROUP, tunnel="gre2", upstream="10.44.4.9")
    status = replace(
        HEALTHY, health="degraded", healthy=False, peers=(), tunnels=(lost, other), forward=(), firewall=None,
        problems=(
            problem("pim_neighbor_missing", "gre1", "no Hello of the PIM neighbor 10.44.4.5 has been received"),
            problem("nothing_joined", "gre1", "1 of 1 joins not joined on gre1"),
        ),
        groups=(replace(GROUP, state="not joined", problem="no PIM neighbor", arrival=None, upstream=None), second),
    )  # fmt: skip
    assert (
        shown(status)
        == """
DEGRADED: 2 problems
problem pim_neighbor_missing of gre1 for 5m07s: no Hello of the PIM neighbor
  10.44.4.5 has been received
problem nothing_joined of gre1 for 5m07s: 1 of 1 joins not joined on gre1
groups: 1 not joined, 1 arriving
gre1: 1 of 1 groups not joined (no PIM neighbor): 239.1.1.1
mcastd 0.1.0, pid 42, up 1d01h, /etc/mcastd.toml

tunnel  state  address         MTU  neighbour    for  expires
gre1    up     10.44.4.6/30   1376
  GRE 10.44.6.1 - 10.44.7.1 (userspace), MTU by GRE on ipsec0 of 1400
  routes: 239.0.0.0/8
  PIM: no neighbour
gre2    up     10.44.4.10/30  1376  10.44.4.5  2h00m    1m29s
  GRE 10.44.6.1 - 10.44.7.2 (userspace), MTU by GRE on ipsec0 of 1400
  routes: 239.0.0.0/8

group           tunnel  state         for  origin            arrives
(*, 239.1.1.1)  gre1    not joined  2h00m  file,application  no PIM neighbor
(*, 239.1.1.1)  gre2    joined      2h00m  file,application  arriving

in the last hour:
  gre1: tunnel_down ended once, 33m20s ago
"""
    )


def many() -> Status:
    groups = [replace(GROUP, group=f"239.1.{number // 256}.{number % 256}") for number in range(400)]
    for number in (7, 90, 399):
        groups[number] = replace(groups[number], arrival="silent")
    return replace(
        HEALTHY, health="degraded", healthy=False, groups=tuple(groups),
        problems=(problem("group_silent", "239.1.1.143", "239.1.1.143 on gre1 is silent for 5m07s (max_silence 5s)"),),
        notes=("mcastd.toml:7: a note on the configuration",),
    )  # fmt: skip


def test_of_400_groups_the_three_that_are_silent_are_on_the_first_screen() -> None:
    screen = ["".join(cell.text for cell in line) for line in fitting(blocks(many(), CLOCK, everything=False), 80, 24)]
    assert (
        "\n" + "\n".join(screen) + "\n"
        == """
DEGRADED: 1 problem
problem group_silent of 239.1.1.143 for 5m07s: 239.1.1.143 on gre1 is silent for
  5m07s (max_silence 5s)
groups: 3 silent, 397 arriving
gre1: 3 of 400 groups silent: 239.1.0.7, 239.1.0.90, 239.1.1.143
note: mcastd.toml:7: a note on the configuration
mcastd 0.1.0, pid 42, up 1d01h, /etc/mcastd.toml

peer, CHILD_SA  state    for      in    bytes  last  out   last  rekey in
dc              up     1d01h                                        1h38m
  10.1.1.246[222.45.67.1] - 177.54.214.20[177.54.214.20]
  AES_CBC-256/HMAC_SHA2_256_128/MODP_2048
  dc-tun-gre    up     2h01m  60,808  33.5 MB  0.4s   77  12.4s    34m00s
    10.44.6.1/32 === 10.44.7.1/32, tunnel mode in UDP
    AES_CBC-256/HMAC_SHA2_256_128, SPIs c9788976_i 0e1488b7_o
  dc-tun-tcp    up     2h01m       0      0 B          0           34m10s
    10.45.8.16/28 === 100.15.30.0/24, tunnel mode in UDP
    AES_CBC-256/HMAC_SHA2_256_128, SPIs c9788977_i 0e1488b8_o

tunnel  state  address        MTU  neighbour    for  expires  keepalives  last
gre1    up     10.44.4.6/30  1376  10.44.4.5  2h00m    1m29s       1,452  3.2s
  GRE 10.44.6.1 - 10.44.7.1 (userspace), MTU by GRE on ipsec0 of 1400
  routes: 239.0.0.0/8
... 56 more lines
"""
    )


def test_a_group_has_its_feeds_beside_it_where_there_is_room() -> None:
    groups = (replace(GROUP, feeds=("trades A", "news"), arrival="silent"), replace(GROUP, group="239.1.1.2"))
    text = shown(replace(HEALTHY, groups=groups), None)
    assert "gre1: 1 of 2 groups silent: 239.1.1.1 (trades A, news)\n" in text
    rows = [line.split("  ") for line in text.splitlines() if line.startswith("(*, ")]
    assert [row[1] for row in rows] == ["trades A, news", ""]
    assert "trades A, news  " not in shown(replace(HEALTHY, groups=groups), 60)


def test_the_rows_of_the_groups_have_what_is_wrong_first_and_are_cut() -> None:
    rows = [line for line in shown(many(), None).splitlines() if line.startswith("(*, ")]
    assert [row.split()[-1] for row in rows] == 3 * ["silent"] + 37 * ["arriving"]
    assert shown(many()).count("... and 360 more (--all)") == 1
    assert plain(blocks(many(), CLOCK, everything=True)).count("\n(*, ") == 400


def test_many_problems_of_one_kind_are_a_few_lines() -> None:
    problems = tuple(problem("group_silent", f"239.1.1.{number}", "it is silent") for number in range(100))
    status = replace(HEALTHY, health="degraded", healthy=False, problems=problems)
    lines = [line for line in shown(status, None).splitlines() if line.startswith("problem")]
    assert lines[1:] == [
        "problem group_silent of 239.1.1.1 for 5m07s: it is silent",
        "problem group_silent of 239.1.1.2 for 5m07s: it is silent",
        "problem group_silent also of 239.1.1.3, 239.1.1.4, 239.1.1.5, 239.1.1.6, 239.1.1.7 and 92 more (--all)",
    ]
    assert plain(blocks(status, CLOCK, everything=True)).count("problem group_silent of") == 100


def test_no_line_is_wider_than_the_terminal() -> None:
    for status in (HEALTHY, many()):
        for width in (80, 100, 132):
            assert max(map(wide, shown(status, width).splitlines())) <= width


def test_a_pipe_gets_what_a_terminal_of_any_width_gets_and_more() -> None:
    words = shown(HEALTHY, None).split()
    assert all(word in words for word in shown(HEALTHY, 200).split())
