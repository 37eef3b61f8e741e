"""What the filters of sockets accept, by the kernel itself: over a pair of sockets, without root."""

import socket
from ipaddress import IPv4Address

import pytest

from mcastd.net import bpf
from mcastd.system import sockets
from tests import pcap

GROUPS = (IPv4Address("224.0.1.39"), IPv4Address("224.0.1.40"))
SENDER, FEED = IPv4Address("10.1.1.9"), IPv4Address("239.1.1.1")
DATAGRAM = b"\x01\xf0\x01\xf0\0\x0c\0\0data"


def accepted(program: bpf.Program, packet: bytes) -> bool:
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
    assert accepted(bpf.accept_udp(496, GROUPS), packet) is expected


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_addresses(count: int) -> None:
    addresses = tuple(IPv4Address("224.0.1.39") + n for n in range(count))
    program = bpf.accept_udp(496, addresses)
    assert all(accepted(program, udp(address)) for address in addresses)
    assert not accepted(program, udp(addresses[0] + count))


PEER, SPI = IPv4Address("192.0.2.1"), 0xC0FFEE01


def esp(spi: int = SPI, source: IPv4Address = PEER, destination: IPv4Address = SENDER) -> bytes:
    return pcap.ipv4(spi.to_bytes(4) + b"\0\0\0\1ciphertext", source, destination, protocol=50)


def in_udp(spi: int = SPI, ports: tuple[int, int] = (4500, 4500)) -> bytes:
    inside = spi.to_bytes(4) + b"\0\0\0\1ciphertext"
    header = b"".join(port.to_bytes(2) for port in ports) + (8 + len(inside)).to_bytes(2) + bytes(2)
    return pcap.ipv4(header + inside, PEER, SENDER, protocol=17)


def in_fragments(packet: bytes, field: int) -> bytes:
    return packet[:6] + field.to_bytes(2) + packet[8:]


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (esp(), True),
        (with_options(esp()), True),
        (in_udp(), True),
        (with_options(in_udp()), True),
        (in_udp(ports=(1024, 4500)), True),  # a NAT's
        (in_udp(ports=(4500, 1024)), False),  # whoever listens there does not speak ESP
        (in_udp(0), False),  # IKE
        (in_udp()[:28] + b"\xff", False),  # a keepalive of NAT traversal
        (esp(SPI + 1), False),
        (in_udp(SPI + 1), False),
        (esp(SPI + 2), False),
        (esp(source=PEER + 1), True),
        (esp(source=PEER + 2), False),
        (esp(destination=SENDER + 1), True),
        (esp(destination=SENDER + 2), False),  # forwarded
        (in_fragments(esp(), 0x4000), True),  # don't fragment
        (in_fragments(esp(), 0x2000), False),
        (in_fragments(esp(), 0x0001), False),
        (b"\x60" + esp()[1:], False),
        (udp(), False),
        (esp()[:22], False),
        (b"", False),
    ],
)
def test_esp_of_a_peer_whose_spi_is_not_known(packet: bytes, expected: bool) -> None:
    program = bpf.accept_esp_between((PEER, PEER + 1), (SENDER, SENDER + 1), (SPI + 1, SPI + 2))
    assert accepted(program, packet) is expected


def test_so_many_peers_and_spis_that_no_conditional_jump_spans_them() -> None:
    locals_ = [SENDER + n for n in range(150)]
    program = bpf.accept_esp_between([PEER + n for n in range(150)], locals_, range(SPI, SPI + 150))
    for source in (PEER, PEER + 149):
        found = [accepted(program, esp(spi, source)) for spi in (SPI - 1, SPI, SPI + 149, SPI + 150)]
        assert found == [True, False, False, True]
        assert accepted(program, esp(SPI - 1, source, SENDER + 149))
    assert not accepted(program, esp(SPI - 1, PEER + 150))
    assert not accepted(program, esp(SPI - 1, PEER, SENDER + 150))


def test_one_protocol() -> None:
    assert accepted(bpf.accept_protocol(17), udp())
    assert not accepted(bpf.accept_protocol(17), udp(protocol=47))


@pytest.mark.parametrize("program", [bpf.accept_protocol(47), bpf.accept_multicast(64)])
def test_arp_is_not_ipv4(program: bpf.Program) -> None:
    """The addresses of ARP are where IPv4 has its protocol and the destination's first byte."""
    arp = bytes.fromhex("0001 0800 0604 0001 022f00000001 0a00e001 000000000000 0a000002")
    assert not accepted(program, arp)


def test_nothing() -> None:
    assert not accepted(bpf.ACCEPT_NOTHING, udp())
