"""What a host loses, by its files."""

from pathlib import Path

import pytest

from mcastd.system import losses

DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    1000      10    0    5    0     0          0         0     1000      10    0    0    0     0       0          0
  eth0:    1000      10    1    2    3     1          0         0     1000      10    0    0    0     0       0          0
  gre1:90000000 1000000    0    4    0     0          0         0        0       7    0    0    0     0       0          0
"""  # noqa: E501
FILES = {
    "dev": DEV,
    "softnet_stat": "00000010 00000002 00000000\n00000010 0000000a 00000000\n",
    "xfrm_stat": "XfrmInError             \t0\nXfrmInStateSeqError     \t7\nXfrmOutError            \t9\n",
    "netstat": "TcpExt: SyncookiesSent IPReversePathFilter\nTcpExt: 1 12\nIpExt: InNoRoutes\nIpExt: 4\n",
    "snmp": "Udp: InDatagrams RcvbufErrors InCsumErrors\nUdp: 100 13 14\nUdpLite: InDatagrams\nUdpLite: 1\n",
}


def test_every_counter_has_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "class" / "eth0" / "device").mkdir(parents=True)
    monkeypatch.setattr(losses, "_NET", tmp_path)
    monkeypatch.setattr(losses, "_DEVICES", tmp_path / "class")
    found = losses.losses()
    assert {name: count for name, count in found.items() if count} == {
        "nic/eth0/errors": 1, "nic/eth0/dropped": 2, "nic/eth0/fifo": 3, "nic/eth0/frame": 1,
        "interface/gre1/dropped": 4, "softnet//dropped": 12, "esp//replay": 7, "host//reverse_path_filter": 12,
        "socket//receive_buffer": 13, "socket//checksum": 14,
    }  # fmt: skip


def test_what_a_kernel_does_not_have_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_NET", tmp_path)
    assert losses.losses() == {}


def test_a_driver_that_has_more_statistics_when_it_is_asked_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = list[int]()

    def ethtool(_sock: object, _name: str, request: bytes) -> bytes:
        rooms.append(len(request))
        return request if request[0] != 0x37 else request[:16] + (3).to_bytes(4, "little")

    monkeypatch.setattr(losses, "_ethtool", ethtool)
    assert list(losses._limits(None, "eth0")) == []  # type: ignore[arg-type]
    assert rooms[1] >= 12 + 32 * 500
    assert rooms[2] >= 8 + 8 * 500


def test_the_limits_of_the_cloud_are_those_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("tx_timeout", "pps_allowance_exceeded", "bw_in_allowance_exceeded")

    def ethtool(_sock: object, _name: str, request: bytes) -> bytes:
        match request[0]:
            case 0x37:
                return request[:16] + len(names).to_bytes(4, "little")
            case 0x1B:
                return request[:12] + b"".join(name.encode().ljust(32, b"\0") for name in names)
        return request[:8] + b"".join(number.to_bytes(8, "little") for number in (5, 6, 7))

    monkeypatch.setattr(losses, "_ethtool", ethtool)
    assert list(losses._limits(None, "eth0")) == [("pps", 6), ("bw_in", 7)]  # type: ignore[arg-type]
