"""What is sent and received: the burst, its packets, the receive buffers; and the messages of the processes. Pure."""

import struct
from ipaddress import IPv4Address
from typing import Final

from msgspec import Struct

from mcastd.net import gre, ipv4
from mcastd.net.checksum import internet_checksum

NEAR: Final = IPv4Address("192.0.2.2")
"""Where the reader is: the tunnel's local endpoint."""
FAR: Final = IPv4Address("192.0.2.1")
"""Where the sender is."""
LINK: Final = "veth0"
TUNNEL: Final = "gre1"
SPI: Final = 0x6D636173
"""Of the SA by which the reader's side decrypts, where the kernel has ESP."""
LARGEST: Final = 1400
"""Bytes of payload that fit, with all headers, into the veth's MTU."""
SMALLEST: Final = 4
"""Bytes of payload: the number of the burst."""

_SOURCE: Final = IPv4Address("192.0.2.9")
_PORT: Final = 30000
_TTL: Final = 32
_SIZES: Final = (4 << 20, 16 << 20)


class Burst(Struct, frozen=True, kw_only=True):
    """``packets`` of ``size`` bytes of UDP payload, evenly ``within`` seconds; ``bursts`` times, with a ``pause``."""

    group: str
    port: int
    packets: int
    size: int
    within: float
    bursts: int
    pause: float

    @property
    def total(self) -> int:
        """Packets of all bursts."""
        return self.packets * self.bursts

    def packet(self, number: int) -> bytes:
        """A packet of a burst, from the GRE header on. All packets of a burst are the same."""
        group = IPv4Address(self.group)
        length = ipv4.UDP_HEADER_LENGTH + self.size
        payload = number.to_bytes(4) + bytes(self.size - 4)
        pseudo = _SOURCE.packed + group.packed + struct.pack("!HH", ipv4.UDP, length)
        head = struct.pack("!HHH", _PORT, self.port, length)
        udp = head + (internet_checksum(pseudo + head + b"\0\0" + payload) or 0xFFFF).to_bytes(2) + payload
        return gre.PLAIN.feed_header.encode(
            ipv4.encode(udp, _SOURCE, group, protocol=ipv4.UDP, tos=0, ttl=_TTL),
        )


class Buffer(Struct, frozen=True, kw_only=True):
    """A receive buffer: how many bytes an application asks for; None if it does not ask.

    ``forced`` where ``net.core.rmem_max`` does not allow it (SO_RCVBUFFORCE).
    """

    asked: int | None
    forced: bool = False


class Open(Struct, frozen=True, kw_only=True):
    """To the reader: a new socket, and for how many seconds it stalls at the first packet of each burst."""

    group: str
    port: int
    buffer: Buffer
    stall: float


class Sent(Struct, frozen=True, kw_only=True):
    """From the sender: packets that were sent, and that the kernel refused; of the slowest burst how long it took.

    ``late`` is the longest time (seconds) that a packet left after it was due.
    """

    packets: int
    refused: int
    took: float
    late: float


class Counts(Struct, frozen=True, kw_only=True):
    """From the reader: what its socket gave and dropped, its size and the most that was in it (bytes).

    ``counters`` are those of its namespace, by name: ``dev/IF`` and ``esp`` packets received, ``Ip/NAME`` and
    ``Udp/NAME`` of the MIB, ``pump/REASON``, and those of ``mcastd.system.losses``.
    """

    received: int
    dropped: int
    size: int
    most: int
    counters: dict[str, int]


def buffers(default: int, allowed: int, chosen: int | None) -> tuple[Buffer, ...]:
    """The receive buffers to measure, the smallest first, for ``rmem_default`` and ``rmem_max`` (bytes).

    The kernel doubles what is asked for, but not the default.
    """
    sizes = {allowed, *_SIZES, *(() if chosen is None else (chosen,))}
    found = [(2 * size, Buffer(asked=size, forced=size > allowed)) for size in sizes]
    return tuple(buffer for _, buffer in sorted([(default, Buffer(asked=None)), *found], key=lambda one: one[0]))


def cpu_mask(cpu: int) -> str:
    """A CPU as sysfs takes it: hexadecimal, with a comma before each 32 bits but the first."""
    digits = f"{1 << cpu:x}"
    digits = digits.zfill(-(-len(digits) // 8) * 8)
    return ",".join(digits[place : place + 8] for place in range(0, len(digits), 8))


def memory(size: int) -> str:
    """Bytes in words, by powers of 2 as the sizes of buffers are: ``208 KiB``, ``1.8 MiB``."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f}".removesuffix(".0") + f" {name}"
    return f"{size} bytes"
