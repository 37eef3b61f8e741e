"""The packets of a group as they arrive on this host, for a moment: nothing is joined or changed for it."""

import struct
import time
from collections import defaultdict
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from mcastd.errors import DecodeError, HostError
from mcastd.net import bpf, ipv4
from mcastd.system import sockets

_LARGEST: Final = 65535
_RECEIVE_BUFFER: Final = 4 << 20
_UDP: Final = struct.Struct("!HHHH")


class Stream(NamedTuple):
    """What arrived on one interface from one source for one port."""

    interface: str
    source: IPv4Address
    port: int


def capture(group: IPv4Address, port: int | None, count: int, seconds: float) -> dict[Stream, list[bytes]]:
    """The payloads of each stream, until one has ``count`` or the time is over. Raises HostError."""
    found, end = defaultdict[Stream, list[bytes]](list), time.monotonic() + seconds
    try:
        sock = sockets.packets_coming(bpf.accept_udp(port, [group]))
    except OSError as error:
        raise HostError(f"cannot capture packets: {error.strerror}; it needs root or CAP_NET_RAW") from error
    with sock:
        sockets.enlarge_receive_buffer(sock, _RECEIVE_BUFFER)
        while (left := end - time.monotonic()) > 0 and all(len(one) < count for one in found.values()):
            sock.settimeout(left)
            with suppress(OSError, DecodeError):  # nothing came, or an interface went down, which is reported once
                data, address = sock.recvfrom(_LARGEST)
                stream, payload = _stream(data, address[0])
                found[stream].append(payload)
    return dict(found)


def _stream(data: bytes, interface: str) -> tuple[Stream, bytes]:
    """What a packet is of, and its payload; of a fragmented one the begin. Raises DecodeError."""
    packet = ipv4.parse(data, truncated=True)
    if len(packet.payload) < _UDP.size:
        raise DecodeError("udp_short")
    _, port, length, _ = _UDP.unpack_from(packet.payload)
    source = IPv4Address(bytes(packet.header[12:16]))
    return Stream(interface, source, port), bytes(packet.payload[_UDP.size : max(_UDP.size, length)])
