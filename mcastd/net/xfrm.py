"""The question for the replay state of an SA to XFRM over netlink, and the answer, as bytes (linux/xfrm.h). Pure.

::

    xfrm_aevent_id           destination 128, SPI 32, family 16, protocol 8, padding 8, source 128, flags 32, reqid 32,
                             then attributes
    xfrm_replay_state        sent 32, highest received 32, bitmap 32
    xfrm_replay_state_esn    words of the bitmap 32, sent 32, highest received 32, the high halves of both 32 each,
                             window 32, bitmap
    xfrm_lifetime_cur        bytes 64, packets 64, added 64, used 64

The SPI is in network order, all else in that of the host. The kernel reads both states of an SA under one lock, so that
they belong together; the answer has no keys.
"""

import struct
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from mcastd.errors import DecodeError
from mcastd.net import netlink

_SA: Final = struct.Struct("=4s12x4sHBx")
_REST: Final = struct.Struct("=16xII")
_REPLAY: Final = struct.Struct("=III")
_REPLAY_ESN: Final = struct.Struct("=IIIIII")
_LIFETIME: Final = struct.Struct("=QQQQ")

_NEWAE, _GETAE = 0x1E, 0x1F
_AF_INET, _ESP = 2, 50
_LTIME_VAL, _REPLAY_VAL, _REPLAY_ESN_VAL = 9, 10, 23  # XFRMA_*


class Sa(NamedTuple):
    """An ESP SA by which this host receives: at which address, and how packets name it."""

    address: IPv4Address
    spi: int


class Replay(NamedTuple):
    """What an SA has received: the highest sequence number, and how many packets."""

    highest: int
    packets: int

    @property
    def missing(self) -> int:
        """How many have not come, or came later than the replay window allows."""
        return self.highest - self.packets


def ask(sa: Sa) -> bytes:
    """Ask for the state of an SA."""
    body = _SA.pack(sa.address.packed, sa.spi.to_bytes(4, "big"), _AF_INET, _ESP) + _REST.pack(0, 0)
    return netlink.request(_GETAE, 0, body)


def answer(datagram: bytes) -> Replay | None:
    """The state; None without such an SA, or where it has no replay window. Raises DecodeError."""
    kind, _, body = next(netlink.messages(datagram), (0, 0, b""))
    if kind == netlink.ERROR:
        return None
    if kind != _NEWAE:
        raise DecodeError("type")
    found = netlink.values(body, _SA.size + _REST.size)
    try:
        packets = _LIFETIME.unpack_from(found[_LTIME_VAL])[1]
        if _REPLAY_ESN_VAL in found:
            _, _, low, _, high, _ = _REPLAY_ESN.unpack_from(found[_REPLAY_ESN_VAL])
            highest = high << 32 | low
        else:
            _, highest, _ = _REPLAY.unpack_from(found[_REPLAY_VAL])
    except (KeyError, struct.error) as error:
        raise DecodeError("incomplete") from error
    return Replay(highest, packets) if highest else None
