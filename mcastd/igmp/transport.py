"""The packets of one downstream interface: a packet socket to receive, and a raw IGMP socket to send.

Where this host does not query there is no raw socket: the kernel would report the routers' groups that it joins.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Collection, Iterator
from ipaddress import IPv4Address
from typing import Final

from mcastd.igmp.settings import IgmpInterface
from mcastd.net import bpf, ipv4
from mcastd.net.igmp import ALL_ROUTERS, ALL_V3_ROUTERS
from mcastd.system import sockets

_BATCH: Final = 64  # packets that are read at once, so that a flood leaves time for the rest of the daemon
_LARGEST: Final = 9216  # bytes of a packet; a longer one is cut, and refused
_BUFFER: Final = 4 << 20
_ROUTER_ALERT: Final = bytes((0x94, 4, 0, 0))  # RFC 2113, section 2.1
# linux/if_packet.h
_SOL_PACKET, _ADD_MEMBERSHIP, _ALLMULTI = 263, 1, 2
_MEMBERSHIP: Final = struct.Struct("iHH8s")


class SocketTransport:
    """The real one. Opening it raises OSError if the interface is gone, or CAP_NET_RAW is missing."""

    def __init__(self, settings: IgmpInterface, on_arrival: Callable[[], None]) -> None:
        self._raw = _open_raw(settings) if settings.querier else None
        try:
            # A raw IGMP socket would miss reports of versions 1 and 2, which are sent to the group that they name.
            self._packets = sockets.packets_on(settings.name, bpf.accept_igmp())
            sockets.enlarge_receive_buffer(self._packets, _BUFFER)
            request = _MEMBERSHIP.pack(settings.ifindex, _ALLMULTI, 0, bytes(8))
            self._packets.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, request)
        except OSError:
            if self._raw is not None:
                self._raw.close()
            raise
        asyncio.get_running_loop().add_reader(self._packets, on_arrival)

    def send(self, destination: IPv4Address, payload: bytes) -> None:
        """Send an IGMP message. Raises OSError."""
        if self._raw is not None:
            self._raw.sendto(payload, (str(destination), 0))

    def receive(self) -> Iterator[tuple[bytes, bytes]]:
        """IPv4 packets that have arrived, each with the Ethernet address of its sender. Raises OSError."""
        for _ in range(_BATCH):
            try:
                packet, (*_, mac) = self._packets.recvfrom(_LARGEST)
            except BlockingIOError:
                return
            yield packet, mac

    def sample(self, hosts: Collection[IPv4Address]) -> None:
        """From now on receive only a few of the packets of these hosts. Raises OSError."""
        sockets.attach_filter(self._packets, bpf.accept_igmp(hosts))

    def close(self) -> None:
        """Close the sockets."""
        asyncio.get_running_loop().remove_reader(self._packets)
        self._packets.close()
        if self._raw is not None:
            self._raw.close()


def _open_raw(settings: IgmpInterface) -> socket.socket:
    """A raw IGMP socket that sends from the interface and its address: TTL 1, tos 0xc0, with Router Alert (section 4).

    What it sends is looped back, so that applications on this host report what they have joined there, too.
    """
    with sockets.configuring(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP) as sock:
        sockets.attach_filter(sock, bpf.ACCEPT_NOTHING)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, settings.name.encode())
        for option, value in (
            (socket.IP_TTL, 1),
            (socket.IP_MULTICAST_TTL, 1),
            (socket.IP_MULTICAST_LOOP, 1),
            (socket.IP_TOS, ipv4.INTERNETWORK_CONTROL),
        ):
            sock.setsockopt(socket.IPPROTO_IP, option, value)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, _ROUTER_ALERT)
        for group in (ALL_V3_ROUTERS, ALL_ROUTERS):  # section 6; RFC 2236, section 9
            # struct ip_mreqn: the address becomes the source address, the index is the interface.
            request = struct.pack("@4s4si", group.packed, settings.address.packed, settings.ifindex)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    return sock
