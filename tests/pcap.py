"""Capture files: enough of pcap to read published captures and to hand packets to tshark and tcpdump."""

import json
import struct
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

RAW_IP = 101
PIM = 103
UDP = 17
CAPTURES = Path(__file__).parent / "captures"


def read(path: Path) -> list[bytes]:
    """The frames of a pcap file."""
    data = path.read_bytes()
    order = "<" if data[:4] == b"\xd4\xc3\xb2\xa1" else ">"
    at, frames = 24, []
    while at + 16 <= len(data):
        held = struct.unpack(order + "I", data[at + 8 : at + 12])[0]
        frames.append(data[at + 16 : at + 16 + held])
        at += 16 + held
    return frames


def ipv4(payload: bytes, source: IPv4Address, destination: IPv4Address, ttl: int = 1, protocol: int = PIM) -> bytes:
    """An IPv4 packet."""
    head = struct.pack("!BBHHHBBH", 0x45, 0xC0, 20 + len(payload), 0, 0, ttl, protocol, 0)
    head += source.packed + destination.packed
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + head[12:] + payload


def write(path: Path, packets: list[bytes]) -> None:
    """A pcap file of IPv4 packets."""
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, RAW_IP)
    path.write_bytes(head + b"".join(struct.pack("<IIII", 1, 0, len(p), len(p)) + p for p in packets))


def tshark(path: Path, *options: str) -> list[dict[str, Any]]:
    """The layers of each packet as tshark decodes them."""
    command = ["tshark", "-r", str(path), "-T", "json", "--no-duplicate-keys", *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [packet["_source"]["layers"] for packet in json.loads(done.stdout)]


def values(found: Any, name: str) -> Iterator[str]:
    """Every value of a field anywhere in tshark's JSON."""
    if isinstance(found, list):
        for item in found:
            yield from values(item, name)
    for key, value in found.items() if isinstance(found, dict) else ():
        if key == name:
            yield from value if isinstance(value, list) else [value]
        else:
            yield from values(value, name)


def tcpdump(path: Path) -> str:
    """What tcpdump prints of a file."""
    command = ["tcpdump", "-nvvr", str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
