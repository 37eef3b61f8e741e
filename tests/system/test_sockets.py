"""The classic BPF filters, run by the kernel over packets that a pair of sockets hands it."""

import socket
from ipaddress import IPv4Address

import pytest

from mcastd.system import sockets
from tests import pcap

GROUPS = (IPv4Address("224.0.1.39"), IPv4Address("224.0.1.40"))
SENDER, FEED = IPv4Address("10.1.1.9"), IPv4Address("239.1.1.1")
DATAGRAM = b"\x01\xf0\x01\xf0\0\x0c\0\0data"


def accepted(program: tuple[sockets.Instruction, ...], packet: bytes) -> bool:
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        receiver.setblocking(False)
        sockets.attach_filter(receiver, program)
        try:
            sender.send(packet)
            return receiver.recv(65535) == packet
        except (BlockingIOError, PermissionError):
            return False


def udp(group: IPv4Address = GROUPS[0], port: int = 496, *, protocol: int = 17, fragment: int = 0) -> bytes:
    packet = pcap.ipv4(DATAGRAM[:2] + port.to_bytes(2) + DATAGRAM[4:], SENDER, group, protocol=protocol)
    return packet[:6] + fragment.to_bytes(2) + packet[8:]


def with_options(packet: bytes) -> bytes:
    return bytes([0x46]) + packet[1:20] + b"\x94\x04\0\0" + packet[20:]


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (udp(), True),
        (udp(GROUPS[1]), True),
        (with_options(udp()), True),
        (udp(fragment=0x4000), True),  # don't fragment
        (udp(fragment=0x2000), True),  # a first fragment: refused later, with a reason
        (udp(fragment=0x0001), False),
        (udp(FEED), False),
        (udp(port=5001), False),
        (udp(protocol=47), False),
        (udp()[:21], False),
        (b"", False),
    ],
)
def test_udp_to_one_port_of_these_addresses(packet: bytes, expected: bool) -> None:
    assert accepted(sockets.accept_udp(496, GROUPS), packet) is expected


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_addresses(count: int) -> None:
    addresses = tuple(IPv4Address("224.0.1.39") + n for n in range(count))
    program = sockets.accept_udp(496, addresses)
    assert all(accepted(program, udp(address)) for address in addresses)
    assert not accepted(program, udp(addresses[0] + count))


def test_one_protocol() -> None:
    assert accepted(sockets.accept_protocol(17), udp())
    assert not accepted(sockets.accept_protocol(17), udp(protocol=47))


def test_gre_of_one_protocol() -> None:
    keepalive = pcap.ipv4(b"\0\0\0\0", SENDER, FEED, protocol=47)
    assert accepted(sockets.accept_gre_protocol(0), keepalive)
    assert accepted(sockets.accept_gre_protocol(0), with_options(keepalive))
    assert not accepted(sockets.accept_gre_protocol(0x0800), keepalive)


def test_nothing() -> None:
    assert not accepted(sockets.ACCEPT_NOTHING, udp())
