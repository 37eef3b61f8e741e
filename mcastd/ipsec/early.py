"""ESP that came before its keys: which packets it is, and which of them to give back. Sans-IO.

Who answers an exchange that makes a CHILD_SA may send by it as soon as the answer is sent (RFC 7296, section 2.8); who
asked has its keys a moment after that. What comes in between has an SPI that the host does not know, and is dropped. A
copy that is kept, and received once more when the keys are there, is decrypted as if it had come that moment later.
What the SA has had by then, its replay window refuses.
"""

from collections import deque
from typing import Final

KEEP: Final = 1.0
MOST: Final = 2000
_UDP: Final = 17


class EarlyEsp:
    """Packets of SPIs without keys, each for ``KEEP`` seconds, ``MOST`` at a time."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, int, bytes]] = deque()

    def arrived(self, packet: bytes, now: float) -> bool:
        """Keep an ESP packet, also one in UDP, from its IP header on; False, and all are forgotten, if it is too many.

        So many are not early: they belong to an SA that this host has lost.
        """
        self._forget(now)
        if len(self._kept) == MOST:
            self._kept.clear()
            return False
        spi, packet = _decode(packet)
        self._kept.append((now, spi, packet))
        return True

    def keyed(self, spi: int, now: float) -> list[bytes]:
        """The keys of an SPI are there: its packets, as they came, which are not kept any longer."""
        self._forget(now)
        found = [packet for _, its, packet in self._kept if its == spi]
        self._kept = deque(kept for kept in self._kept if kept[1] != spi)
        return found

    def _forget(self, now: float) -> None:
        while self._kept and self._kept[0][0] <= now - KEEP:
            self._kept.popleft()


def _decode(packet: bytes) -> tuple[int, bytes]:
    """The SPI, and the packet with a UDP checksum that holds.

    A sender on the same machine leaves the checksum to hardware that is not there; ESP has one of its own, and that of
    UDP may be 0 (RFC 3948, section 2.1).
    """
    at = (packet[0] & 0x0F) * 4
    if packet[9] != _UDP:
        return int.from_bytes(packet[at : at + 4]), packet
    return int.from_bytes(packet[at + 8 : at + 12]), packet[: at + 6] + b"\0\0" + packet[at + 8 :]
