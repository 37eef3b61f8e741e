"""ESP that came before its keys: which packets it is, and which of them to give back. Sans-IO.

Who answers an exchange that makes a CHILD_SA may send by it as soon as the answer is sent (RFC 7296, section 2.8); who
asked has its keys a moment after that, or a retransmission later. What comes in between has an SPI that the host does
not know, and is dropped. A copy that is kept, and received once more when the keys are there, is decrypted as if it had
come then: of the newest, as many as the SA's replay window has room for. What the SA has had already, that window
refuses.

What goes on for longer than ``KEEP`` seconds, or is more than the largest window has room for, is not early but of an
SA that this host has lost: none of it is kept, and more of it is not looked at.
"""

from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from mcastd.errors import DecodeError
from mcastd.net import ipv4

KEEP: Final = 5.0
MOST_OF_ONE: Final = 4096
MOST: Final = 2 * MOST_OF_ONE
MOST_REFUSED: Final = 64
MOST_A_SECOND: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Stream:
    """What came with one SPI, and when the first of it did."""

    since: float
    packets: list[bytes]


class EarlyEsp:
    """Packets of SPIs without keys."""

    def __init__(self) -> None:
        self._streams: dict[int, _Stream] = {}
        self._refused: deque[int] = deque(maxlen=MOST_REFUSED)
        self._kept = self._counted = 0
        self._second = 0.0

    @property
    def refused(self) -> frozenset[int]:
        """The SPIs, of the newest ones, whose packets there is no use in keeping."""
        return frozenset(self._refused)

    def arrived(self, packet: bytes, now: float) -> bool:
        """Keep an ESP packet, also one in UDP, from its IP header on.

        Returns False when so much came within a second, whatever its SPIs, that listening should pause.
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
        return self._counted < MOST_A_SECOND

    def keyed(self, spi: int, now: float) -> list[bytes]:
        """The keys of an SPI are there: its packets, as they came, which are not kept any longer."""
        stream = self._taken(spi)
        if spi in self._refused:
            self._refused.remove(spi)
        return stream.packets if stream is not None and now - stream.since < KEEP else []

    def _keep(self, spi: int, packet: bytes, now: float) -> None:
        stream = self._streams.setdefault(spi, _Stream(now, []))
        stream.packets.append(packet)
        self._kept += 1
        if len(stream.packets) > MOST_OF_ONE:
            self._refuse(spi)
        elif self._kept > MOST:
            self._refuse(next(iter(self._streams)))

    def _refuse(self, spi: int) -> None:
        self._taken(spi)
        self._refused.append(spi)

    def _taken(self, spi: int) -> _Stream | None:
        stream = self._streams.pop(spi, None)
        self._kept -= len(stream.packets) if stream is not None else 0
        return stream


def _decode(packet: bytes) -> tuple[int, bytes]:
    """The SPI, and the packet with a UDP checksum that holds.

    A sender on the same machine leaves the checksum to hardware that is not there; ESP has one of its own, and that of
    UDP may be 0 (RFC 3948, section 2.1).
    """
    header, payload = parsed = ipv4.parse(packet)
    if parsed.protocol != ipv4.UDP:
        return int.from_bytes(payload[:4]), packet
    return int.from_bytes(payload[8:12]), bytes(header) + bytes(payload[:6]) + b"\0\0" + bytes(payload[8:])
