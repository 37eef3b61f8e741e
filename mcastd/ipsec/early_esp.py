"""A buffer of ESP packets that arrive before the keys of their SA are installed. Sans-IO.

The responder of an exchange that makes a CHILD_SA may send by it as soon as it has sent its answer (RFC 7296, section
2.8); the initiator installs the keys a moment later, or a retransmission later. The SPI of packets that arrive in
between is unknown to the kernel, which drops them. A copy is kept here and replayed once the keys are installed: the
kernel then decrypts it as if it had arrived at that time, as far back as the replay window reaches. What the SA has
received already is refused by that window.

An SPI whose packets keep coming for ``KEEP`` seconds, or that has more packets than the largest replay window, is not
early: it belongs to an SA that this host has lost. Its packets are dropped, and it is reported in ``refused`` so that
no more of them are captured.
"""

from collections import deque
from contextlib import suppress
from typing import Final

import msgspec

from mcastd.errors import DecodeError
from mcastd.net import ipv4

KEEP: Final = 5.0  # seconds
MAX_PER_SPI: Final = 4096
MAX_PACKETS: Final = 2 * MAX_PER_SPI
MAX_REFUSED: Final = 64
MAX_RATE: Final = 10_000  # packets a second


class _Stream(msgspec.Struct, frozen=True):
    """The packets of one SPI, and when the first of them arrived."""

    since: float
    packets: list[bytes]


class EarlyEsp:
    """Packets of SPIs without keys, in the order of arrival."""

    def __init__(self) -> None:
        self._streams: dict[int, _Stream] = {}  # by SPI, the oldest first
        self._refused: deque[int] = deque(maxlen=MAX_REFUSED)  # SPIs, the oldest first
        self._kept = 0  # packets in all streams
        self._second = 0.0  # the start of the second in which _counted packets arrived
        self._counted = 0  # packets in that second

    @property
    def refused(self) -> frozenset[int]:
        """The most recent SPIs whose packets are not kept."""
        return frozenset(self._refused)

    def add(self, packet: bytes, now: float) -> bool:
        """Keep an ESP packet, bare or in UDP, that begins with its IP header.

        Returns False when ``MAX_RATE`` packets, of whatever SPIs, arrived within a second and capturing should pause.
        """
        if now - self._second >= 1.0:
            self._second, self._counted = now, 0
        self._counted += 1
        while self._streams and now - next(iter(self._streams.values())).since >= KEEP:
            self._refuse(next(iter(self._streams)))
        with suppress(DecodeError):  # a packet that the kernel drops too
            spi, packet = _decode(packet)
            if spi not in self._refused:
                self._keep(spi, packet, now)
        return self._counted < MAX_RATE

    def take(self, spi: int, now: float) -> list[bytes]:
        """Remove and return the packets of an SPI whose keys are installed now."""
        stream = self._remove(spi)
        if spi in self._refused:
            self._refused.remove(spi)
        return stream.packets if stream is not None and now - stream.since < KEEP else []

    def _keep(self, spi: int, packet: bytes, now: float) -> None:
        stream = self._streams.setdefault(spi, _Stream(now, []))
        stream.packets.append(packet)
        self._kept += 1
        if len(stream.packets) > MAX_PER_SPI:
            self._refuse(spi)
        elif self._kept > MAX_PACKETS:
            self._refuse(next(iter(self._streams)))

    def _refuse(self, spi: int) -> None:
        self._remove(spi)
        self._refused.append(spi)

    def _remove(self, spi: int) -> _Stream | None:
        stream = self._streams.pop(spi, None)
        self._kept -= len(stream.packets) if stream is not None else 0
        return stream


def _decode(packet: bytes) -> tuple[int, bytes]:
    """Return the SPI, and the packet with a valid UDP checksum.

    A packet socket sees checksums that offloading has not computed yet. ESP has its own, and the UDP checksum may be
    0 (RFC 3948, section 2.1).
    """
    header, payload = parsed = ipv4.parse(packet)
    if parsed.protocol != ipv4.UDP:
        return int.from_bytes(payload[:4]), packet
    return int.from_bytes(payload[8:12]), bytes(header) + bytes(payload[:6]) + b"\0\0" + bytes(payload[8:])
