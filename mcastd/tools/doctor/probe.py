"""Whether a packet of a tunnel's full MTU passes: two ICMP echoes (RFC 792) with DF set, a small and a full one."""

import asyncio
import errno
import fcntl
import os
import socket
import struct
from ipaddress import IPv4Address
from typing import Final

from mcastd.config.model import Tunnel
from mcastd.config.other_side import far_address
from mcastd.errors import DecodeError
from mcastd.net import ipv4
from mcastd.net.checksum import internet_checksum
from mcastd.tools.doctor.facts import Probe

_ECHO, _ECHO_REPLY = 8, 0
_TRIES: Final = 3  # echoes of each size: one that is lost on the way must not look like an MTU that is too large
_HEADER: Final = struct.Struct("!BBHHH")
_SMALL, _FULL = 1, 2  # sequence numbers
_IP_MTU_DISCOVER, _IP_PMTUDISC_DO, _IP_MTU = 10, 2, 14
_SIOCGIFMTU: Final = 0x8921
_IFREQ: Final = struct.Struct("16si12x")
_BARE: Final = ipv4.HEADER_LENGTH + _HEADER.size


class MtuProbe:
    """Sends the echoes into one tunnel. An interface that does not exist or is down has no result."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._sock: socket.socket | None = None
        self._id = int.from_bytes(os.urandom(2))
        self._probe: Probe | None = None  # the answers so far
        if (far_end := far_address(tunnel)) is not None:
            try:
                self._begin(tunnel.name, far_end.ip)
            except OSError:
                self._probe = None

    def result(self) -> Probe | None:
        """Which echoes have been answered so far."""
        return self._probe

    def _begin(self, name: str, far_end: IPv4Address) -> None:
        self._sock = sock = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP)
        asyncio.get_running_loop().add_reader(sock, self._readable, sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode())
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
        sock.connect((str(far_end), 0))
        self._probe = Probe(int(_IFREQ.unpack(fcntl.ioctl(sock, _SIOCGIFMTU, _IFREQ.pack(name.encode(), 0)))[1]))
        try:
            for _ in range(_TRIES):
                sock.send(self._echo(_SMALL, 0))
                sock.send(self._echo(_FULL, self._probe.size - _BARE))
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            self._probe = self._probe._replace(refused=sock.getsockopt(socket.IPPROTO_IP, _IP_MTU))

    def _echo(self, sequence: int, padding: int) -> bytes:
        body = b"\0" * padding
        total = internet_checksum(_HEADER.pack(_ECHO, 0, 0, self._id, sequence) + body)
        return _HEADER.pack(_ECHO, 0, total, self._id, sequence) + body

    def _readable(self, sock: socket.socket) -> None:
        try:
            payload = ipv4.parse(sock.recv(65535)).payload
        except (OSError, DecodeError):
            return  # an ICMP error for the socket: the missing answer shows it
        if len(payload) >= _HEADER.size:
            kind, _code, _sum, number, sequence = _HEADER.unpack_from(payload)
            if (kind, number) == (_ECHO_REPLY, self._id) and self._probe is not None:
                answered = self._probe._replace(small=True) if sequence == _SMALL else self._probe._replace(full=True)
                self._probe = answered

    def close(self) -> None:
        """Close the socket."""
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._sock = None
