"""What this host loses on the way from its network card to a socket, as the kernel and the driver count it.

A name is ``STAGE/INTERFACE/REASON``; the interface is empty where the counter is of the whole host.
"""

import array
import fcntl
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_NET: Final = Path("/proc/thread-self/net")  # of the thread: tests enter namespaces by thread
_DEVICES: Final = Path("/sys/class/net")
_RX: Final = {"errors": 2, "dropped": 3, "fifo": 4, "frame": 5}  # the columns of net/dev behind the name
_RX_FIELDS: Final = 8
_SOFTNET_DROPPED: Final = 1  # the column of net/softnet_stat
_ESP: Final = {
    "XfrmInStateSeqError": "replay",
    "XfrmInStateProtoError": "integrity",
    "XfrmInNoStates": "no_sa",
    "XfrmInStateInvalid": "sa_not_valid",
    "XfrmInStateExpired": "sa_expired",
    "XfrmInTmplMismatch": "selectors",
    "XfrmInBufferError": "no_buffer",
    "XfrmInError": "error",
}
_LIMITS: Final = "_allowance_exceeded"  # what a cloud's hypervisor drops (ENA)
_SIOCETHTOOL: Final = 0x8946
_GSSET_INFO, _GSTRINGS, _GSTATS, _SS_STATS = 0x37, 0x1B, 0x1D, 1  # linux/ethtool.h
_NAME: Final = 32  # bytes of the name of a statistic
_SLACK: Final = 1024  # statistics that a driver may have more of by the time that it is asked: the kernel writes all


def losses() -> dict[str, int]:
    """All counters; those that this host does not have are left out."""
    return dict([*_interfaces(), *_softnet(), *_esp(), *_protocols()])


def _interfaces() -> Iterator[tuple[str, int]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for line in _lines("dev")[2:]:
            name, _, rest = line.partition(":")
            name, fields = name.strip(), rest.split()
            if len(fields) < _RX_FIELDS or name == "lo":
                continue
            is_card = (_DEVICES / name / "device").exists()
            for reason, column in _RX.items():
                yield f"{'nic' if is_card else 'interface'}/{name}/{reason}", int(fields[column])
            for reason, count in _limits(sock, name) if is_card else ():
                yield f"cloud/{name}/{reason}", count


def _softnet() -> Iterator[tuple[str, int]]:
    if lines := _lines("softnet_stat"):
        yield "softnet//dropped", sum(int(line.split()[_SOFTNET_DROPPED], 16) for line in lines)


def _esp() -> Iterator[tuple[str, int]]:
    for line in _lines("xfrm_stat"):
        name, _, count = line.partition(" ")
        if name in _ESP:
            yield f"esp//{_ESP[name]}", int(count)


def _protocols() -> Iterator[tuple[str, int]]:
    for file, protocol, column, name in (
        ("netstat", "TcpExt:", "IPReversePathFilter", "host//reverse_path_filter"),
        ("snmp", "Udp:", "RcvbufErrors", "socket//receive_buffer"),
        ("snmp", "Udp:", "InCsumErrors", "socket//checksum"),
    ):
        names, *values = [line.split() for line in _lines(file) if line.startswith(protocol)] or [[]]
        if values and column in names:
            yield name, int(values[0][names.index(column)])


def _lines(file: str) -> list[str]:
    try:
        return (_NET / file).read_text().splitlines()
    except OSError:
        return []


def _limits(sock: socket.socket, name: str) -> Iterator[tuple[str, int]]:
    """The statistics of a driver that say what the hypervisor dropped."""
    try:
        info = _ethtool(sock, name, struct.pack("=IIQI", _GSSET_INFO, 0, 1 << _SS_STATS, 0))
        count = struct.unpack_from("=IIQI", info)[3]
        names = _ethtool(sock, name, struct.pack("=III", _GSTRINGS, _SS_STATS, count) + bytes(_NAME * (count + _SLACK)))
        values = _ethtool(sock, name, struct.pack("=II", _GSTATS, count) + bytes(8 * (count + _SLACK)))
    except OSError:  # a driver without statistics
        return
    for place in range(count):
        text = names[12 + _NAME * place :][:_NAME].rstrip(b"\0").decode(errors="replace")
        if text.endswith(_LIMITS):
            yield text.removesuffix(_LIMITS), struct.unpack_from("=Q", values, 8 + 8 * place)[0]


def _ethtool(sock: socket.socket, name: str, request: bytes) -> bytes:
    data = array.array("B", request)
    address, _ = data.buffer_info()
    fcntl.ioctl(sock, _SIOCETHTOOL, struct.pack("16sP", name.encode(), address))
    return data.tobytes()
