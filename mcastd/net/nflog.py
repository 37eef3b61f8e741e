"""What nftables' ``log group`` hands to a program (linux/netfilter/nfnetlink_log.h), as bytes. Pure.

::

    struct nlmsghdr    length 32, type 16 (4 << 8 | message), flags 16, sequence 32, port 32
    struct nfgenmsg    family 8, version 8, resource 16: the group
    attributes         length 16, type 16, value, padding to 4 bytes; numbers are in the byte order of the network
"""

import struct
from collections.abc import Iterator
from typing import Final
from zlib import crc32

_HEADER: Final = struct.Struct("=IHHII")
_GENERIC: Final = struct.Struct(">BBH")
_ATTRIBUTE: Final = struct.Struct("=HH")
_SUBSYSTEM: Final = 4  # NFNL_SUBSYS_ULOG
_PACKET, _CONFIG = 0, 1  # NFULNL_MSG_*
_PAYLOAD: Final = 9  # NFULA_PAYLOAD
_COMMAND, _MODE, _THRESHOLD = 1, 2, 5  # NFULA_CFG_*
_BIND, _COPY_PACKET = 1, 2
_LENGTH: Final = 1500  # bytes of a packet that are copied
_REQUEST, _ACK = 0x1, 0x4
_LEAST, _MOST = 20000, 60000  # the groups that we use; programs for the log of a firewall take 0 or small ones


def group_of(tunnel: str) -> int:
    """The group to which a tunnel's IGMP goes: the same in the rule and for who reads it."""
    return _LEAST + crc32(tunnel.encode()) % (_MOST - _LEAST)


def bind(group: int) -> bytes:
    """The request for whole packets of a group, each at once."""
    mode = struct.pack(">IBx", _LENGTH, _COPY_PACKET)
    attributes = ((_COMMAND, bytes((_BIND,))), (_MODE, mode), (_THRESHOLD, struct.pack(">I", 1)))
    body = _GENERIC.pack(0, 0, group) + b"".join(
        _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)
        for kind, value in attributes
    )
    return _HEADER.pack(_HEADER.size + len(body), _SUBSYSTEM << 8 | _CONFIG, _REQUEST | _ACK, 1, 0) + body


def packets(datagram: bytes) -> Iterator[bytes]:
    """The packets in a datagram, from the IP header on."""
    position = 0
    while position + _HEADER.size <= len(datagram):
        length, kind, *_ = _HEADER.unpack_from(datagram, position)
        at, end = position + _HEADER.size + _GENERIC.size, min(position + length, len(datagram))
        while kind == _SUBSYSTEM << 8 | _PACKET and at + _ATTRIBUTE.size <= end:
            size, attribute = _ATTRIBUTE.unpack_from(datagram, at)
            if attribute == _PAYLOAD:
                yield datagram[at + _ATTRIBUTE.size : at + size]
            at += max((size + 3) & ~3, _ATTRIBUTE.size)
        position += max((length + 3) & ~3, _HEADER.size)
