"""Generators of packets: the payload of each format, and a feed's packet as it arrives, behind an Ethernet header."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final, Literal

from mcastd.config.feed_formats import Field, Sequence

GROUP: Final = IPv4Address("239.1.2.3")
SOURCE: Final = IPv4Address("100.15.30.10")
PORT: Final = 5000

ETHERNET: Final = bytes(12) + b"\x08\0"


@dataclass(frozen=True)
class Packet:
    """What is in a packet that the sequence is about."""

    number: int
    count: int = 1
    session: int = 0
    unit: int = 1
    is_end: bool = False


def cme(packet: Packet) -> bytes:
    """MDP 3.0: the header, and a message of 20 bytes."""
    return struct.pack("<IQ", packet.number, 1_700_000_000_000_000_000) + struct.pack("<HHHHH", 20, 11, 12, 1, 9)


def simba(packet: Packet) -> bytes:
    """SIMBA SPECTRA: an incremental packet without messages."""
    return struct.pack("<IHHQ", packet.number, 16, 0x08, 1_700_000_000_000_000_000)


def moldudp64(packet: Packet) -> bytes:
    """MoldUDP64: messages of five bytes each."""
    count = 0xFFFF if packet.is_end else packet.count
    name = f"{packet.session:010}".encode()
    return name + struct.pack(">QH", packet.number, count) + struct.pack(">H", 5) * min(packet.count, 8)


def pitch(packet: Packet) -> bytes:
    """PITCH: the Sequenced Unit Header, and a time message for each count."""
    messages = struct.pack("<BBI", 6, 0x20, 34200) * packet.count
    return struct.pack("<HBBI", 8 + len(messages), packet.count, packet.unit, packet.number) + messages


def rtp(packet: Packet) -> bytes:
    """RTP without extensions."""
    return struct.pack(">BBHII", 0x80, 96, packet.number, 0, packet.session) + b"payload"


BUILDERS: Final[dict[str, Callable[[Packet], bytes]]] = {
    "cme-mdp3": cme, "moex-simba": simba, "moldudp64": moldudp64, "pitch": pitch, "rtp": rtp,
}  # fmt: skip


def custom(sequence: Sequence, packet: Packet) -> bytes:
    """The payload of a format that somebody described."""
    fields = [(sequence.number, packet.number), (sequence.count or Field(0, 0), packet.count)]
    payload = bytearray(64)
    for where, value in fields:
        if where.size:
            order: Literal["big", "little"] = "big" if where.big else "little"
            payload[where.offset : where.offset + where.size] = value.to_bytes(where.size, order)
    return bytes(payload)


def datagram(
    payload: bytes,
    *,
    group: IPv4Address = GROUP,
    port: int = PORT,
    source: IPv4Address = SOURCE,
    options: bytes = b"",
    fragment: int = 0,
    protocol: int = 17,
) -> bytes:
    """An IPv4 packet with UDP and a payload."""
    length = 20 + len(options) + 8 + len(payload)
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45 + len(options) // 4, 0, length, 0, fragment, 5, protocol, 0, source.packed, group.packed
    )
    return header + options + struct.pack("!HHHH", 30000, port, 8 + len(payload), 0) + payload


def frame(payload: bytes, **changes: object) -> bytes:
    """The same behind an Ethernet header, as the kernel wants it for a test run."""
    return ETHERNET + datagram(payload, **changes)  # type: ignore[arg-type]
