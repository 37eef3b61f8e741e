import argparse
import socket
import threading
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from mcastd.cli import main
from mcastd.cli.client import socket_of
from mcastd.cli.group_lines import group_lines
from mcastd.cli.layout import plain
from mcastd.group_status import EntryStatus, GroupReport, OriginStatus, ReceiverStatus
from mcastd.status import (
    AutoRpStatus,
    ChildStatus,
    FirewallStatus,
    ForwardStatus,
    GroupStatus,
    KeepaliveStatus,
    NeighborStatus,
    OtherQuerierStatus,
    PeerStatus,
    PimStatus,
    QuerierStatus,
    RouteStatus,
    Status,
    StreamStatus,
    TunnelStatus,
)

CHILD = ChildStatus(
    name="dc-tun-gre",
    state="up",
    local_ts="10.44.6.1/32",
    remote_ts="10.44.7.1/32",
    proposal="AES_CBC-256/HMAC_SHA2_256_128",
    encap=True,
    mode="tunnel",
    spi_in="c9788976",
    spi_out="0e1488b7",
    bytes_in=13872,
    packets_in=221,
    bytes_out=3072,
    packets_out=121,
    uptime=7260.0,
    rekey_in=2040.0,
)
WAITING = ChildStatus(
    name="dc-tun-tcp",
    state="waiting",
    local_ts="10.45.8.16/28",
    remote_ts="100.15.30.0/24",
    problem="the selectors differ",
    next_try_in=4.2,
)
PEER = PeerStatus(
    name="dc-tun",
    state="up",
    local="10.1.1.246",
    remote="177.54.214.20",
    local_id="222.45.67.1",
    remote_id="177.54.214.20",
    proposal="AES_CBC-256/HMAC_SHA2_256_128/MODP_2048",
    uptime=90_000.0,
    rekey_in=59.0,
    children=(CHILD, WAITING),
)
TUNNEL = TunnelStatus(
    name="gre1",
    state="up",
    datapath="kernel",
    local="10.44.6.1",
    remote="10.44.7.1",
    address="10.44.4.6/30",
    mtu=1398,
    mtu_reason="ESP tunnel mode in UDP on a path of 1500",
    dropped={"gre_key": 2},
    routes=(
        RouteStatus(prefix="239.0.0.0/8", table=254, state="up"),
        RouteStatus(prefix="232.1.1.1/32", table=254, state="taken", problem="it leads elsewhere"),
    )
    + 8 * (RouteStatus(prefix="10.9.0.0/16", table=254, state="up"),),
    keepalive=KeepaliveStatus(
        reply=False,
        answered=7,
        last_age=3.0,
        stopped=True,
        dropped={"reply_off": 4, "nested": 1},
        period=10.0,
        sent=9,
        received=5,
        rtt=0.0123,
        path="dead",
        missed=4,
    ),
    pim=PimStatus(
        running=True,
        problem="Operation not permitted",
        neighbors=(NeighborStatus(address="10.44.4.5", uptime=61.0, expires_in=None),),
        auto_rp=(
            AutoRpStatus(
                groups="239.0.0.0/8", rp="10.1.1.1", kind="mapping", sender="10.1.1.9", expires_in=170.0, used=True
            ),
        )
        + 10 * (AutoRpStatus(groups="239.255.0.0/16", rp=None, kind="mapping", sender="10.1.1.9", expires_in=None),),
        dropped={"own": 1},
    ),
)
GROUPS = (
    GroupStatus(
        group="239.1.1.1",
        source=None,
        tunnel="gre1",
        state="joined",
        rp="100.15.30.253",
        upstream="10.44.4.5",
        origins=("file", "command"),
        uptime=5.0,
    ),
    GroupStatus(
        group="239.1.1.2",
        source=None,
        tunnel="gre1",
        state="joined",
        rp="100.15.30.253",
        upstream="10.44.4.7",
        origins=("file",),
        uptime=5.0,
    ),
    GroupStatus(group="232.1.1.1", source="100.15.30.10", tunnel="gre1", state="not joined", problem="no neighbor"),
)
STATUS = Status(
    version="0.1.0",
    pid=42,
    uptime=0.5,
    health="down",
    healthy=False,
    summary="child dc-tun-tcp is waiting",
    config_file="/etc/mcastd.toml",
    peers=(PEER,),
    tunnels=(TUNNEL,),
    groups=GROUPS,
)
TEXT = """\
DOWN: child dc-tun-tcp is waiting
groups: 1 not joined, 2 joined
gre1: 1 of 3 groups not joined (no neighbor): 232.1.1.1 from 100.15.30.10
mcastd 0.1.0, pid 42, up 0.5s, /etc/mcastd.toml

peer, CHILD_SA  state      for   in    bytes  out   bytes  rekey in
dc-tun          up       1d01h                                59.0s
  10.1.1.246[222.45.67.1] - 177.54.214.20[177.54.214.20]
  AES_CBC-256/HMAC_SHA2_256_128/MODP_2048
  dc-tun-gre    up       2h01m  221  13.9 kB  121  3.1 kB    34m00s
    10.44.6.1/32 === 10.44.7.1/32, tunnel mode in UDP
    AES_CBC-256/HMAC_SHA2_256_128, SPIs c9788976_i 0e1488b7_o
  dc-tun-tcp    waiting
    10.45.8.16/28 === 100.15.30.0/24
    problem: the selectors differ; next try in 4.2s

tunnel  state  address        MTU  neighbour    for  expires  keepalives  last
gre1    up     10.44.4.6/30  1398  10.44.4.5  1m01s    never           7  3.0s
  GRE 10.44.6.1 - 10.44.7.1 (kernel), MTU by ESP tunnel mode in UDP on a path of 1500
  routes: 239.0.0.0/8, 232.1.1.1/32 (taken), 10.9.0.0/16, 10.9.0.0/16, 10.9.0.0/16, 10.9.0.0/16 and 4 more
    232.1.1.1/32: it leads elsewhere
  dropped: gre_key 2
  the far end's keepalives have stopped
  keepalives are not answered: reply is off
  keepalives not answered: nested 1, reply_off 4
  keepalives of ours: path dead, 9 sent, 5 came back, 4 missed, round trip 12.3ms
  PIM cannot send: Operation not permitted
  Auto-RP: RP 10.1.1.1 for 239.0.0.0/8, mapping of 10.1.1.9, expires in 2m50s
  Auto-RP (not used): no RP for 239.255.0.0/16, mapping of 10.1.1.9, never expires
  Auto-RP (not used): no RP for 239.255.0.0/16, mapping of 10.1.1.9, never expires
  Auto-RP (not used): no RP for 239.255.0.0/16, mapping of 10.1.1.9, never expires
  Auto-RP (not used): no RP for 239.255.0.0/16, mapping of 10.1.1.9, never expires
  Auto-RP (not used): no RP for 239.255.0.0/16, mapping of 10.1.1.9, never expires
  Auto-RP (not used): no RP for 239.255.0.0/16, mapping of 10.1.1.9, never expires
  Auto-RP (not used): no RP for 239.255.0.0/16, mapping of 10.1.1.9, never expires
  Auto-RP (not used): no RP for 239.255.0.0/16, mapping of 10.1.1.9, never expires
  Auto-RP (not used): no RP for 239.255.0.0/16, mapping of 10.1.1.9, never expires
  ... and 1 more ranges (--json)
  PIM dropped: own 1

group                      tunnel  state       rp             upstream    for  origin        arrives
(100.15.30.10, 232.1.1.1)  gre1    not joined                                                no neighbor
(*, 239.1.1.1)             gre1    joined      100.15.30.253  10.44.4.5  5.0s  file,command
(*, 239.1.1.2)             gre1    joined      100.15.30.253  10.44.4.7  5.0s  file
"""


def answering(path: Path, status: Status | GroupReport) -> threading.Thread:
    """A daemon for one question: the real protocol, a status made up."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as client, client.makefile("rwb") as lines:
            expected = {"command": "status", "arguments": {}}
            if isinstance(status, GroupReport):
                expected = {"command": "group", "arguments": {"group": status.group}}
            assert msgspec.json.decode(lines.readline()) == expected
            lines.write(b'{"ok":true,"result":' + msgspec.json.encode(status) + b"}\n")

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_everything_is_shown_and_what_is_down_is_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "control.sock"
    daemon = answering(path, STATUS)
    assert main(["status", "--socket", str(path)]) == 1
    daemon.join()
    assert capsys.readouterr().out == TEXT


def test_json_is_the_snapshot_and_health_exits_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "control.sock"
    healthy = msgspec.structs.replace(STATUS, health="ok", healthy=True)
    daemon = answering(path, healthy)
    assert main(["status", "--json", "--socket", str(path)]) == 0
    daemon.join()
    out = capsys.readouterr().out
    assert msgspec.json.decode(out, type=Status) == healthy
    assert msgspec.json.decode(out)["schema"] == 1


@pytest.mark.parametrize(
    ("firewall", "said"),
    [
        (
            FirewallStatus(guard=True, in_place=True, leaks_out=3, leaks_in=2),
            "guard on, dropped 3 leaving and 2 arriving",
        ),
        (
            FirewallStatus(guard=True, in_place=True, leaks_by_child={"dc-tun-tcp": 4, "c": 0}),
            "  kept from leaving unencrypted, by CHILD_SA: dc-tun-tcp 4\n",
        ),
        (FirewallStatus(guard=False, in_place=True, snat_packets=7), "guard off, dropped 0 leaving"),
        (FirewallStatus(guard=True, in_place=False, problem="nft: no"), "firewall: guard not in place"),
    ],
)
def test_the_firewall_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], firewall: FirewallStatus, said: str
) -> None:
    path = tmp_path / "control.sock"
    daemon = answering(path, msgspec.structs.replace(STATUS, firewall=firewall))
    main(["status", "--socket", str(path)])
    daemon.join()
    shown = capsys.readouterr().out
    assert said in shown
    assert firewall.problem is None or f"  problem: {firewall.problem}\n" in shown


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        (
            ForwardStatus(
                name="eth1", state="forwarding", tunnels=("gre1", "gre2"), groups=3, packets=100, bytes=9000,
                igmp=QuerierStatus(querier="192.168.1.1", is_ours=True, groups=3, hosts=2),
            ),
            "\nforward  state       from        groups  packets   bytes  IGMP querier  wanted  hosts\n"
            "eth1     forwarding  gre1, gre2       3      100  9.0 kB  this host          3      2\n",
        ),
        (
            ForwardStatus(
                name="eth1", state="standby", tunnels=("gre1",), groups=3, refused=1, problem="no",
                igmp=QuerierStatus(
                    querier="192.168.1.2", version=2, pim_router="192.168.1.3", dropped={"short": 1},
                    others=(OtherQuerierStatus(address="192.168.1.2", version=2, heard_age=3.0),),
                ),
            ),
            "\nforward  state    from  groups  packets  bytes  IGMP querier  wanted  hosts\n"
            "eth1     standby  gre1       3        0    0 B  192.168.1.2        0      0\n"
            "  refused beyond max_groups: 1 groups\n  problem: no\n"
            "  IGMPv2\n  other queriers: 192.168.1.2 (IGMPv2, 3.0s ago)\n"
            "  a PIM router is there too: 192.168.1.3\n"
            "  IGMP dropped: short 1\n",
        ),
        (
            ForwardStatus(name="eth1", state="waiting", igmp=QuerierStatus()),
            "\neth1     waiting  no tunnel       0        0    0 B  not known yet       0      0\n",
        ),
    ],
)  # fmt: skip
def test_forwarding_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], forward: ForwardStatus, said: str
) -> None:
    path = tmp_path / "control.sock"
    daemon = answering(path, msgspec.structs.replace(STATUS, forward=(forward,)))
    main(["status", "--socket", str(path)])
    daemon.join()
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("upstream", "said"),
    [("igmp", "  groups are joined by IGMP\n"), ("none", "  groups are joined nowhere: the far end sends unasked\n")],
)
def test_a_tunnel_without_pim_says_how_groups_arrive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], upstream: str, said: str
) -> None:
    tunnel = msgspec.structs.replace(TUNNEL, upstream=upstream, pim=None)
    for groups in (GROUPS, ()):
        path = tmp_path / f"{len(groups)}.sock"
        daemon = answering(path, msgspec.structs.replace(STATUS, tunnels=(tunnel,), groups=groups))
        main(["status", "--socket", str(path)])
        daemon.join()
        out = capsys.readouterr().out
        assert (said in out) == (groups != () or upstream == "igmp")
        assert "PIM" not in out


REPORT = GroupReport(
    group="239.1.1.1",
    origins=(
        OriginStatus(tunnel="gre1", origin="file", source=None, age=7200.0),
        OriginStatus(tunnel="gre1", origin="eth1", source=None, age=3.0, excluded=("10.9.0.7",)),
        OriginStatus(tunnel="gre2", origin="command", source="10.9.0.1", age=60.0),
    ),
    receivers=(
        ReceiverStatus(kind="application", interface="gre1"),
        ReceiverStatus(kind="host", interface="eth1", address="192.168.1.5", age=3.0),
        ReceiverStatus(kind="hosts", interface="eth2", age=4.0),
        ReceiverStatus(kind="static", interface="eth2", age=5.0),
    ),
    joins=(
        GroupStatus(
            group="239.1.1.1", source=None, tunnel="gre1", state="joined", rp="100.15.30.253", upstream="10.44.4.5",
            uptime=7200.0, arrival="arriving", forwarded_to=("eth1",), forwarded=70,
        ),
        GroupStatus(
            group="239.1.1.1", source="10.9.0.1", tunnel="gre2", state="not joined", problem="tunnel gre2 is down",
            problem_code="tunnel_down",
        ),
    ),
    streams=(
        StreamStatus(
            tunnel="gre1", source="100.15.30.5", port=5000, state="arriving", packets=70, last_age=0.1, rate=9.96
        ),
        StreamStatus(tunnel="gre1", source="100.15.30.6", port=5001, state="silent", packets=1, last_age=90.0),
    ),
    forwarded=(
        EntryStatus(
            tunnel="gre1", source=None, to=("eth1", "eth2"), packets=72, bytes=7200, wrong_interface=2, last_age=0.1
        ),
        EntryStatus(tunnel="gre2", source="10.9.0.1", to=(), packets=0, bytes=0, wrong_interface=0, last_age=None),
    ),
)  # fmt: skip
OF_GROUP = """\
group 239.1.1.1
wanted by:
  the file for 2h00m: from any source, on gre1
  receivers behind eth1 for 3.0s: from any source, except from 10.9.0.7, on gre1
  mcastd join for 1m00s: from 10.9.0.1, on gre2
received by:
  applications on this host, on gre1
  host 192.168.1.5 behind eth1 for 3.0s
  hosts behind eth2 for 4.0s
  eth2: static for 5.0s
joined:
  (*, 239.1.1.1) on gre1: joined for 2h00m, RP 100.15.30.253, to 10.44.4.5, arriving, forwarded to eth1 (70 packets)
  (10.9.0.1, 239.1.1.1) on gre2: not joined: tunnel gre2 is down
forwarded:
  from        on    to            packets   bytes  last  but
  any source  gre1  eth1, eth2         72  7.2 kB  0.1s  2 came from elsewhere, dropped
  10.9.0.1    gre2  no interface        0     0 B
arrives:
  from         port  on    state     packets  rate   last
  100.15.30.5  5000  gre1  arriving       70  10/s   0.1s
  100.15.30.6  5001  gre1  silent          1        1m30s
"""


def test_one_group_is_shown_and_what_is_not_joined_is_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "control.sock"
    daemon = answering(path, REPORT)
    assert main(["status", "--group", "239.1.1.1", "--socket", str(path)]) == 1
    daemon.join()
    assert capsys.readouterr().out == OF_GROUP


def test_the_feeds_of_a_group_are_beside_it() -> None:
    stream = replace(REPORT.streams[0], feed="trades A")
    out = plain(group_lines(replace(REPORT, feeds=("trades A", "news"), streams=(stream,))))
    assert out.startswith("group 239.1.1.1 (trades A, news)\n")
    (row,) = [line for line in out.splitlines() if "100.15.30.5" in line and "5000" in line]
    assert row.endswith("  trades A")


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (
            GroupReport(group="239.1.1.9"),
            "wanted by nothing\nreceived by nothing that is known\njoined nowhere\nnothing of it has arrived\n",
        ),
        (
            GroupReport(group="239.1.1.9", streams_problem="no nft"),
            "what arrives is not known: streams are not counted: no nft\n",
        ),
    ],
)
def test_a_group_that_nothing_wants(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], report: GroupReport, said: str
) -> None:
    for words in ([], ["--json"]):
        path = tmp_path / f"control{len(words)}.sock"
        daemon = answering(path, report)
        assert main(["status", "--group", "239.1.1.9", *words, "--socket", str(path)]) == 0
        daemon.join()
        out = capsys.readouterr().out
        assert msgspec.json.decode(out, type=GroupReport) == report if words else said in out


def test_many_groups_are_cut_unless_all_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = msgspec.structs.replace(STATUS, groups=GROUPS[:1] * 100)
    for words, lines in (([], 40), (["--all"], 100)):
        path = tmp_path / f"{lines}.sock"
        daemon = answering(path, many)
        main(["status", *words, "--socket", str(path)])
        daemon.join()
        shown = capsys.readouterr().out
        assert shown.count("(*, 239.1.1.1)") == lines
        assert ("... and 60 more (--all)" in shown) == (lines == 40)


def test_nobody_answers_is_exit_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--socket", str(tmp_path / "none.sock")]) == 3
    assert "no mcastd answers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "directory"),
    [
        ('[daemon]\nruntime_dir = "/run/elsewhere"\n', "/run/elsewhere"),
        ("", "/run/mcastd"),
        ("[daemon\n", "/run/mcastd"),
        ("daemon = 3\n", "/run/mcastd"),
    ],
    ids=["named", "empty", "broken", "of another shape"],
)
def test_a_broken_file_keeps_nobody_from_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, directory: str
) -> None:
    monkeypatch.delenv("MCASTD_SOCKET", raising=False)
    config = tmp_path / "mcastd.toml"
    config.write_text(text)
    arguments = argparse.Namespace(socket=None, config=config)
    assert socket_of(arguments) == Path(directory) / "control.sock"
    monkeypatch.setenv("MCASTD_SOCKET", "/run/from/environment.sock")
    assert socket_of(arguments) == Path("/run/from/environment.sock")
    arguments.socket = Path("/run/asked/for.sock")
    assert socket_of(arguments) == Path("/run/asked/for.sock")
