"""The packets of one interface: a raw socket for PIM, and a packet socket for Auto-RP."""

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from typing import Final, Protocol

from mcastd.config.model import Tunnel
from mcastd.net import bpf, gre, ipv4
from mcastd.pim.auto_rp_packet import AUTO_RP_PORT, RP_ANNOUNCE, RP_DISCOVERY
from mcastd.pim.packet import ALL_PIM_ROUTERS
from mcastd.pim.settings import PimInterface
from mcastd.system import sockets

RECEIVE_BUFFER: Final = 1 << 20
_BATCH: Final = 32  # packets of a socket that are read at once, so that a flood leaves time for the rest of the daemon


class Transport(Protocol):
    """What the agent needs of an interface."""

    def send(self, destination: IPv4Address, payload: bytes) -> None:
        """Send a PIM message. Raises OSError."""

    def receive(self) -> Iterator[bytes]:
        """IPv4 packets of PIM and of Auto-RP that have arrived, a bounded number. Raises OSError."""

    def close(self) -> None:
        """Close the sockets."""


OpenTransport = Callable[[PimInterface, Callable[[], None]], Transport]
"""Opens a transport, which calls back when packets have arrived. Raises OSError."""


class SocketTransport:
    """The real one. Opening it raises OSError if the interface is gone, or CAP_NET_RAW is missing."""

    def __init__(self, settings: PimInterface, on_arrival: Callable[[], None]) -> None:
        self._pim = _open_pim(settings)
        try:
            # No UDP socket: it would need a privileged port, and a membership, which looks like an application's.
            program = bpf.accept_udp(AUTO_RP_PORT, (RP_ANNOUNCE, RP_DISCOVERY))
            self._auto_rp = sockets.packets_on(settings.name, program)
        except OSError:
            self._pim.close()
            raise
        for sock in (self._pim, self._auto_rp):
            asyncio.get_running_loop().add_reader(sock, on_arrival)

    def send(self, destination: IPv4Address, payload: bytes) -> None:
        """Send a PIM message. Raises OSError."""
        self._pim.sendto(payload, (str(destination), 0))

    def receive(self) -> Iterator[bytes]:
        """IPv4 packets that have arrived. Raises OSError."""
        for sock in (self._pim, self._auto_rp):
            for _ in range(_BATCH):
                try:
                    yield sock.recv(65535)
                except BlockingIOError:
                    break
                except OSError as error:
                    if sock is self._auto_rp and error.errno == errno.ENETDOWN:  # once when the link goes down
                        break
                    raise

    def close(self) -> None:
        """Close the sockets."""
        for sock in (self._pim, self._auto_rp):
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()


class GreTransport:
    """Sends through a tunnel whose interface is gone, as one in user space is with its process. Nothing is received.

    Opening it raises OSError if the tunnel's local endpoint is gone, or CAP_NET_RAW is missing. Like keepalives, what
    is sent has no GRE sequence number.
    """

    def __init__(self, tunnel: Tunnel) -> None:
        self._source = tunnel.address.ip
        self._header = tunnel.gre.header(gre.PROTOCOL_IPV4)
        self._sock = sockets.raw_gre(tunnel.local, tunnel.remote, tunnel.gre.ttl, bpf.ACCEPT_NOTHING)

    def send(self, destination: IPv4Address, payload: bytes) -> None:
        """Send a PIM message. Raises OSError."""
        tos = ipv4.INTERNETWORK_CONTROL
        packet = ipv4.encode(payload, self._source, destination, protocol=ipv4.PIM, tos=tos, ttl=1)
        self._sock.send(self._header.encode(packet))

    def receive(self) -> Iterator[bytes]:
        """Nothing."""
        return iter(())

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()


def _open_pim(settings: PimInterface) -> socket.socket:
    """A raw PIM socket bound to the interface, in ALL-PIM-ROUTERS there; TTL 1, tos 0xc0, no loop."""
    with sockets.configuring(socket.AF_INET, socket.SOCK_RAW, ipv4.PIM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, settings.name.encode())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        for option, value in (
            (socket.IP_TTL, 1),
            (socket.IP_MULTICAST_TTL, 1),
            (socket.IP_MULTICAST_LOOP, 0),
            (socket.IP_TOS, ipv4.INTERNETWORK_CONTROL),
        ):
            sock.setsockopt(socket.IPPROTO_IP, option, value)
        # struct ip_mreqn: the address becomes the source address, the index is the interface.
        request = struct.pack("@4s4si", ALL_PIM_ROUTERS.packed, settings.address.packed, settings.ifindex)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    return sock
