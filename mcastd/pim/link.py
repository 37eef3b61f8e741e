"""The raw PIM socket of one interface."""

import socket
import struct
from typing import Final

from mcastd.net import ipv4
from mcastd.pim.packet import ALL_PIM_ROUTERS
from mcastd.pim.settings import PimInterface

RECEIVE_BUFFER: Final = 1 << 20


def open_socket(settings: PimInterface) -> socket.socket:
    """A non-blocking raw PIM socket bound to the interface, in ALL-PIM-ROUTERS there; TTL 1, tos 0xc0, no loop.

    Raises OSError if the interface is gone, or the privilege (CAP_NET_RAW) is missing.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, ipv4.PIM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, settings.name.encode())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        for option, value in (
            (socket.IP_TTL, 1),
            (socket.IP_MULTICAST_TTL, 1),
            (socket.IP_MULTICAST_LOOP, 0),
            (socket.IP_TOS, ipv4.INTERNETWORK_CONTROL),
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
