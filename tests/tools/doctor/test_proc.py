from ipaddress import IPv4Address
from pathlib import Path

from mcastd.net import memberships
from mcastd.tools.doctor import proc

IGMP = """\
Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter
1\tlo        :     1      V3
\t\t\t\t010000E0     1 0:00000000\t\t0
7\tgre1      :     2      V3
\t\t\t\t010101EF     1 0:00000000\t\t0
\t\t\t\t010000E0     1 0:00000000\t\t0
"""
UDP = """\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  165: 00000000:1389 00000000:0000 07 00000000:000016D0 00:00000000 00000000     0        0 24031 2 0000000000000000 17
  166: F601010A:1194 0B1E0F64:0009 01 00000000:00000000 00:00000000 00000000     0        0 24032 2 0000000000000000 0
"""
DEV = """\
Inter-|   Receive                                  |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
  gre1:  3193   29    1    2    0     0          0         0   3193   31    3    4    0     0       0          0
"""
MCFILTER = """\
Idx Device        MCA        SRC    INC    EXC
  3   gre1 0xef010101 0x640f1e0b      1      0
  3   gre1 0xef010102 0x640f1e0b      0      1
"""
VIFS = """\
Interface      BytesIn  PktsIn  BytesOut PktsOut Flags Local    Remote
 0 pimreg            0       0         0       0 00004 00000000 00000000
 1 gre1           1200      12         0       0 00000 06042C0A 00000000
"""
SNMP = """\
Ip: Forwarding InReceives
Ip: 1 77
Udp: InDatagrams InCsumErrors
Udp: 5 6
"""


def test_memberships_by_interface() -> None:
    found = memberships.parse(IGMP)
    assert found["gre1"] == {IPv4Address("239.1.1.1"), IPv4Address("224.0.0.1")}
    assert found["lo"] == {IPv4Address("224.0.0.1")}


def test_groups_of_one_socket() -> None:
    two = IGMP.replace("010101EF     1", "010101EF     2")
    both = frozenset(map(IPv4Address, ("239.1.1.1", "224.0.0.1")))
    assert proc.alone(IGMP)["gre1"] == both
    assert proc.alone(two)["gre1"] == {IPv4Address("224.0.0.1")}


def test_udp_sockets() -> None:
    full, other = proc.udp_sockets(UDP)
    assert full == proc.UdpSocket(IPv4Address(0), 5001, 0x16D0, 24031, 17)
    assert (other.address, other.port, other.drops) == (IPv4Address("10.1.1.246"), 4500, 0)
    assert (full.remote, other.remote) == (None, IPv4Address("100.15.30.11"))


def test_received_packets() -> None:
    assert proc.received(DEV) == {"gre1": 29}


def test_source_filters() -> None:
    channel = {IPv4Address("239.1.1.1"): {IPv4Address("100.15.30.11")}}
    for name in ("gre1", "a-longer-name"):
        found = proc.source_filters(MCFILTER, {int(MCFILTER.splitlines()[1].split()[0]): name})
        assert found == {(name, group): sources for group, sources in channel.items()}


def test_multicast_routers() -> None:
    assert proc.multicast_routers(VIFS) == {"pimreg", "gre1"}


def test_xfrm_counters() -> None:
    assert proc.xfrm_counters("XfrmInError             \t0\nXfrmInStateSeqError     \t9\n") == {
        "Xfrm.InError": 0,
        "Xfrm.InStateSeqError": 9,
    }


def test_counters() -> None:
    assert proc.counters(SNMP, "TcpExt: IPReversePathFilter\nTcpExt: 9\n") == {
        "Ip.Forwarding": 1,
        "Ip.InReceives": 77,
        "Udp.InDatagrams": 5,
        "Udp.InCsumErrors": 6,
        "TcpExt.IPReversePathFilter": 9,
    }


def test_what_rose_between_the_beginning_and_the_end() -> None:
    before = {"net/dev": DEV, "net/udp": UDP, "net/snmp": SNMP, "net/xfrm_stat": "XfrmInError 2\n"}
    after = {
        "net/dev": DEV.replace("   29    1", "   30    1"),
        "net/udp": UDP.replace("000 17", "000 20").replace("24032 2 0000000000000000 0", "24033 2 0000000000000000 7"),
        "net/snmp": SNMP.replace("5 6", "9 6"),
        "net/xfrm_stat": "XfrmInError 9\n",
        "net/igmp": IGMP,
        "sys/net/ipv4/conf/all/rp_filter": "1\n",
        "sys/net/ipv4/conf/gre1/rp_filter": "2\n",
        "sys/net/ipv4/conf/eth0/rp_filter": "0\n",
    }
    found = proc.parse(before, after)
    assert [socket.drops for socket in found.sockets] == [3, 0]
    assert (found.received, found.total) == ({"gre1": 1}, {"gre1": 30})
    risen = {name: count for name, count in found.counters.items() if count}
    assert risen == {"Udp.InDatagrams": 4, "Xfrm.InError": 7}
    assert found.memberships["lo"] == {IPv4Address("224.0.0.1")}
    assert found.rp_filter == {"all": 1, "gre1": 2, "eth0": 1}
    assert (found.source_filters, found.multicast_routers) == ({}, frozenset())


def test_this_hosts_own_files_are_read() -> None:
    net = Path("/proc/net")
    assert IPv4Address("224.0.0.1") in memberships.parse((net / "igmp").read_text())["lo"]
    assert "lo" in proc.received((net / "dev").read_text())
    counted = proc.counters((net / "snmp").read_text(), (net / "netstat").read_text())
    assert {"Udp.InDatagrams", "Udp.InCsumErrors", "TcpExt.IPReversePathFilter"} <= counted.keys()
    assert all(0 < sock.port < 65536 for sock in proc.udp_sockets((net / "udp").read_text()))


def test_how_full_the_table_of_connections_is() -> None:
    texts = {"sys/net/netfilter/nf_conntrack_count": "7\n", "sys/net/netfilter/nf_conntrack_max": "9\n"}
    assert proc.conntrack(texts) == (7, 9)
    assert proc.conntrack({}) is None
