"""What nftables' ``log group`` hands to a program (linux/netfilter/nfnetlink_log.h), as bytes. Pure.

::

    struct nlmsghdr    its type is 4 << 8 | message
    struct nfgenmsg    family 8, version 8, resource 16: the group
    attributes         numbers are in the byte order of the network
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Final
from zlib import crc32

from mcastd.errors import DecodeError
from mcastd.net import netlink

_GENERIC: Final = struct.Struct(">BBH")
_SUBSYSTEM: Final = 4  # NFNL_SUBSYS_ULOG
_PACKET, _CONFIG = 0, 1  # NFULNL_MSG_*
_PAYLOAD: Final = 9  # NFULA_PAYLOAD
_COMMAND, _MODE, _THRESHOLD = 1, 2, 5  # NFULA_CFG_*
_BIND, _COPY_PACKET = 1, 2
_LENGTH: Final = 1500  # bytes of a packet that are copied
_LEAST, _MOST = 20000, 60000  # the groups that we use; programs for the log of a firewall take 0 or small ones


def group_of(tunnel: str) -> int:
    """The group to which a tunnel's IGMP goes: the same in the rule and for who reads it."""
    return _LEAST + crc32(tunnel.encode()) % (_MOST - _LEAST)


def bind(group: int) -> bytes:
    """The request for whole packets of a group, each at once."""
    mode = struct.pack(">IBx", _LENGTH, _COPY_PACKET)
    attributes = ((_COMMAND, bytes((_BIND,))), (_MODE, mode), (_THRESHOLD, struct.pack(">I", 1)))
    body = _GENERIC.pack(0, 0, group) + b"".join(netlink.attribute(*one) for one in attributes)
    return netlink.request(_SUBSYSTEM << 8 | _CONFIG, netlink.ACK, body)


def packets(datagram: bytes) -> Iterator[bytes]:
    """The packets in a datagram, from the IP header on; what is cut off or broken ends it."""
    with suppress(DecodeError):
        for kind, _, body in netlink.messages(datagram):
            if kind == _SUBSYSTEM << 8 | _PACKET:
                found = netlink.values(body, _GENERIC.size)
                if _PAYLOAD in found:
                    yield found[_PAYLOAD]
