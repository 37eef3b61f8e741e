"""Does a packet of a tunnel's full MTU get through? Two echoes (RFC 792) with DF set, one small and one full."""

import asyncio
import errno
import fcntl
import os
import socket
import struct
from ipaddress import IPv4Address
from types import TracebackType
from typing import Final, Self

from mcastd.config.agreement import far_address
from mcastd.config.model import Tunnel
from mcastd.errors import DecodeError
from mcastd.net import ipv4
from mcastd.net.checksum import internet_checksum
from mcastd.tools.doctor.facts import Probe

_ECHO, _ECHO_REPLY = 8, 0
_HEADER: Final = struct.Struct("!BBHHH")
_SMALL, _FULL = 1, 2
_IP_MTU_DISCOVER, _IP_PMTUDISC_DO, _IP_MTU = 10, 2, 14
_SIOCGIFMTU: Final = 0x8921
_IFREQ: Final = struct.Struct("16si12x")
_BARE: Final = ipv4.HEADER_LENGTH + _HEADER.size


class MtuProbe:
    """The echoes into one tunnel, sent when entered. An interface that is not there, or down, has no result."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._sock: socket.socket | None = None
        self._id = int.from_bytes(os.urandom(2))
        self._size = 0
        self._refused: int | None = None
        self._answered: set[int] = set()

    def __enter__(self) -> Self:
        far_end = far_address(self._tunnel)
        if far_end is not None:
            try:
                self._begin(far_end.ip)
            except OSError:
                self._stop()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def result(self) -> Probe | None:
        """What was answered so far."""
        if self._sock is None:
            return None
        return Probe(self._size, _SMALL in self._answered, _FULL in self._answered, self._refused)

    def _begin(self, far_end: IPv4Address) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP)
        self._sock = sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._tunnel.name.encode())
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
        sock.connect((str(far_end), 0))
        asyncio.get_running_loop().add_reader(sock, self._readable, sock)
        self._size = _mtu_of(self._tunnel.name)
        sock.send(self._echo(_SMALL, 0))
        try:
            sock.send(self._echo(_FULL, self._size - _BARE))
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            self._refused = sock.getsockopt(socket.IPPROTO_IP, _IP_MTU)

    def _echo(self, sequence: int, padding: int) -> bytes:
        body = b"\0" * padding
        total = internet_checksum(_HEADER.pack(_ECHO, 0, 0, self._id, sequence) + body)
        return _HEADER.pack(_ECHO, 0, total, self._id, sequence) + body

    def _readable(self, sock: socket.socket) -> None:
        try:
            payload = ipv4.parse(sock.recv(65535)).payload
        except (OSError, DecodeError):
            return  # an ICMP error that came for the socket; the answer is missing, which says it
        if len(payload) >= _HEADER.size:
            kind, _code, _sum, number, sequence = _HEADER.unpack_from(payload)
            if (kind, number) == (_ECHO_REPLY, self._id):
                self._answered.add(sequence)

    def _stop(self) -> None:
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._sock = None


def _mtu_of(name: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, _SIOCGIFMTU, _IFREQ.pack(name.encode(), 0))
    return int(_IFREQ.unpack(answer)[1])
