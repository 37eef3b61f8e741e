"""The raw PIM socket of one interface."""

import socket
import struct
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from mcastd.errors import DecodeError
from mcastd.pim.packet import ALL_PIM_ROUTERS
from mcastd.pim.settings import PimInterface

IPPROTO_PIM: Final = 103
INTERNETWORK_CONTROL: Final = 0xC0
RECEIVE_BUFFER: Final = 1 << 20


class Datagram(NamedTuple):
    """What an IPv4 packet carried."""

    source: IPv4Address
    destination: IPv4Address
    payload: bytes


def open_socket(settings: PimInterface) -> socket.socket:
    """A non-blocking raw PIM socket bound to the interface, in ALL-PIM-ROUTERS there; TTL 1, tos 0xc0, no loop.

    Raises OSError if the interface is gone, or the privilege (CAP_NET_RAW) is missing.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, IPPROTO_PIM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, settings.name.encode())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        for option, value in (
            (socket.IP_TTL, 1),
            (socket.IP_MULTICAST_TTL, 1),
            (socket.IP_MULTICAST_LOOP, 0),
            (socket.IP_TOS, INTERNETWORK_CONTROL),
        ):
            sock.setsockopt(socket.IPPROTO_IP, option, value)
        # struct ip_mreqn: the address in it becomes the source of what is sent, the index says where.
        request = struct.pack("@4s4si", ALL_PIM_ROUTERS.packed, settings.address.packed, settings.ifindex)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    except OSError:
        sock.close()
        raise
    return sock


def parse_ipv4(packet: bytes) -> Datagram:
    """An IPv4 packet as a raw socket hands it over.

    Raises DecodeError ``ip_header`` or ``ip_length``.
    """
    if len(packet) < 20 or packet[0] >> 4 != 4:
        raise DecodeError("ip_header")
    header = (packet[0] & 0x0F) * 4
    total = int.from_bytes(packet[2:4])
    if header < 20 or not header <= total <= len(packet):
        raise DecodeError("ip_length")
    return Datagram(IPv4Address(packet[12:16]), IPv4Address(packet[16:20]), packet[header:total])
