"""What GRE in user space needs of the kernel: a TUN interface, and a raw GRE socket."""

import fcntl
import os
import socket
import struct
from typing import Final

from mcastd.errors import HostError
from mcastd.links import Gre
from mcastd.system import sockets

_TUNSETIFF: Final = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_RECEIVE_BUFFER: Final = 8 << 20

read_tun = os.read
write_tun = os.write


def open_tun(name: str) -> int:
    """Make a TUN interface, which exists until its descriptor is closed. Raises HostError."""
    try:
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(
            f"{name}: GRE in user space needs /dev/net/tun, which cannot be opened: {error.strerror}"
        ) from error
    try:
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError as error:
        os.close(tun)
        raise HostError(f"{name}: no TUN interface of that name can be made: {error.strerror}") from error
    return tun


def open_gre(gre: Gre, inherited: int | None) -> socket.socket:
    """Open a raw GRE socket between the endpoints, or use the inherited one. Raises OSError.

    The local endpoint must be an address of this host, and there must be a route to the remote one.
    """
    sock = socket.socket(fileno=inherited) if inherited is not None else None
    if sock is not None and sock.getsockname()[0] == str(gre.local):
        sock.connect((str(gre.remote), 0))  # unlike the local end, the remote one can change
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, gre.options.ttl)
    else:
        if sock is not None:
            sock.close()
        sock = sockets.raw_gre(gre.local, gre.remote, gre.options.ttl, None)
    sockets.enlarge_receive_buffer(sock, _RECEIVE_BUFFER)
    return sock
