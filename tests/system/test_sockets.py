"""Raw and packet sockets on a real kernel, and what their filters let through.

A filter is run over a packet alone on a pair of sockets that hands it to the kernel, or on the socket that it is for.
"""

import errno
import itertools
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from ipaddress import IPv4Address

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import GRE
from scapy.packet import Packet, Raw

from mcastd.system import sockets
from mcastd.system.sockets import Instruction
from tests import pcap
from tests.namespaces import Namespace, join

GROUPS = (IPv4Address("224.0.1.39"), IPv4Address("224.0.1.40"))
SENDER, NEIGHBOR, FEED = IPv4Address("10.1.1.9"), IPv4Address("10.1.1.10"), IPv4Address("239.1.1.1")
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
    program = sockets.accept_esp_between((PEER, PEER + 1), (SENDER, SENDER + 1), (SPI + 1, SPI + 2))
    assert accepted(program, packet) is expected


def test_so_many_peers_and_spis_that_no_conditional_jump_spans_them() -> None:
    locals_ = [SENDER + n for n in range(150)]
    program = sockets.accept_esp_between([PEER + n for n in range(150)], locals_, range(SPI, SPI + 150))
    for source in (PEER, PEER + 149):
        found = [accepted(program, esp(spi, source)) for spi in (SPI - 1, SPI, SPI + 149, SPI + 150)]
        assert found == [True, False, False, True]
        assert accepted(program, esp(SPI - 1, source, SENDER + 149))
    assert not accepted(program, esp(SPI - 1, PEER + 150))
    assert not accepted(program, esp(SPI - 1, PEER, SENDER + 150))


@pytest.mark.root
def test_what_this_host_is_to_receive_comes_in_once_and_goes_nowhere_else(
    namespace: Callable[[], Namespace],
) -> None:
    here, there = namespace(), namespace()
    join(here, f"{SENDER}/24", there, f"{NEIGHBOR}/24")
    program = sockets.accept_esp_between((PEER,), (SENDER,), ())
    with (
        here.call(sockets.to_this_host) as sock,
        here.call(lambda: sockets.packets_coming(program)) as came,
        there.call(lambda: sockets.packets_anywhere(sockets.accept_protocol(50))) as elsewhere,
    ):
        with suppress(OSError):
            sock.sendto(pcap.ipv4(esp()[20:], PEER + 1, NEIGHBOR, protocol=50), (str(NEIGHBOR), 0))
        sock.sendto(esp(), (str(SENDER), 0))
        assert until(came, b"ciphertext") == []
        with here.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 50)) as control:
            control.sendto(LAST, (str(NEIGHBOR), 0))
        assert until(elsewhere, LAST) == []
        came.setblocking(False)
        with pytest.raises(BlockingIOError):
            came.recv(1)


def test_one_protocol() -> None:
    assert accepted(sockets.accept_protocol(17), udp())
    assert not accepted(sockets.accept_protocol(17), udp(protocol=47))


def test_nothing() -> None:
    assert not accepted(sockets.ACCEPT_NOTHING, udp())


NEAR, FAR, OTHER = (IPv4Address(text) for text in ("10.44.6.1", "10.44.7.1", "10.44.8.1"))
CMD = bytes.fromhex("0800010100010000")
LAST = bytes(GRE(proto=0) / b"last")
PATIENCE = 10.0


@pytest.fixture
def host(namespace: Callable[[], Namespace]) -> Namespace:
    """A namespace whose loopback has the addresses of both ends."""
    made = namespace()
    for address in (NEAR, FAR, OTHER):
        made.ip("addr", "add", f"{address}/32", "dev", "lo")
    return made


@pytest.fixture
def opened(host: Namespace) -> Iterator[Callable[[Callable[[], socket.socket]], socket.socket]]:
    """A function that opens a socket in the namespace."""
    with ExitStack() as stack:
        yield lambda make: stack.enter_context(host.call(make))


Opened = Callable[[Callable[[], socket.socket]], socket.socket]


def until(sock: socket.socket, last: bytes) -> list[bytes]:
    """What arrives, up to a packet that ends with ``last``; that one is left out."""
    sock.settimeout(PATIENCE)
    found: list[bytes] = []
    while not found or not found[-1].endswith(last):
        found.append(sock.recv(65535))
    return found[:-1]


def heard(opened: Opened, program: tuple[Instruction, ...] | None, packets: list[bytes]) -> list[bytes]:
    """Which of these GRE packets of the far end, outer IP header aside, a raw GRE socket with that filter hears."""
    with opened(lambda: sockets.raw_gre(NEAR, FAR, 255, program)) as near:
        far = opened(lambda: sockets.raw_gre(FAR, NEAR, 255, sockets.ACCEPT_NOTHING))
        for packet in [*packets, LAST]:
            far.send(packet)
        return [packet[20:] for packet in until(near, LAST)]


def inner(protocol: int, payload: bytes = bytes(4)) -> bytes:
    return bytes(IP(src=str(NEAR), dst=str(FAR), proto=protocol) / payload)


def flagged() -> Iterator[dict[str, int]]:
    for checksum, key, sequence in itertools.product((0, 1), repeat=3):
        # The values look like what the filter seeks, in the wrong place.
        yield {"chksum_present": checksum, "key_present": key, "key": 0x2F2F2F2F} | (
            {"seqnum_present": sequence, "sequence_number": 0x2F2F2F2F}
        )


def gre(protocol: int, payload: bytes, flags: dict[str, int]) -> bytes:
    header = GRE(proto=protocol)
    for name, value in flags.items():
        setattr(header, name, value)
    return bytes(header / payload)


KEEPALIVES = [
    packet
    for flags in flagged()
    for packet in (
        gre(0, b"", flags),
        gre(0x0800, inner(socket.IPPROTO_GRE), flags),
        gre(0x8909, CMD + inner(socket.IPPROTO_GRE), flags),
    )
]
OF_THE_FEED = [
    packet
    for flags in flagged()
    for packet in (
        gre(0x0800, inner(socket.IPPROTO_UDP, b"\x2f" * 64), flags),
        gre(0x8909, CMD + inner(socket.IPPROTO_ICMP, b"\x2f" * 64), flags),
        gre(0x8909, inner(socket.IPPROTO_GRE)[:9] + b"\x11" * 20, flags),
        gre(0x86DD, b"\x2f" * 64, flags),
        gre(0x2000, b"\x2f" * 64, flags),
        gre(0x0800, inner(socket.IPPROTO_GRE)[:9], flags),
    )
]
SHORT = [b"", b"\0", b"\0\0", b"\0\0\0", b"\xb0\0\x08\0", b"\xb0\0\x89\x09" + bytes(19)]


@pytest.mark.root
def test_keepalives_of_every_kind_pass_and_nothing_of_the_feed(opened: Opened) -> None:
    mixed = [
        packet
        for pair in itertools.zip_longest(KEEPALIVES, OF_THE_FEED, SHORT)
        for packet in pair
        if packet is not None
    ]
    assert heard(opened, sockets.accept_gre_keepalives(), mixed) == KEEPALIVES
    assert heard(opened, None, mixed) == mixed


@pytest.mark.root
def test_who_wants_nothing_hears_nothing(opened: Opened) -> None:
    deaf = opened(lambda: sockets.raw_gre(NEAR, FAR, 255, sockets.ACCEPT_NOTHING))
    assert heard(opened, None, OF_THE_FEED) == OF_THE_FEED
    with pytest.raises(BlockingIOError):
        deaf.recv(1)


@pytest.mark.root
def test_only_the_far_end_is_heard(opened: Opened) -> None:
    stranger = opened(lambda: sockets.raw_gre(OTHER, NEAR, 255, sockets.ACCEPT_NOTHING))
    near = opened(lambda: sockets.raw_gre(NEAR, FAR, 255, sockets.accept_gre_keepalives()))
    both = opened(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_GRE))
    stranger.send(bytes(4))
    far = opened(lambda: sockets.raw_gre(FAR, NEAR, 255, sockets.ACCEPT_NOTHING))
    far.send(LAST)
    assert len(until(both, LAST)) == 1
    assert until(near, LAST) == []


@pytest.mark.root
def test_what_arrived_before_the_filter_is_thrown_away(opened: Opened) -> None:
    """As between socket(2) and setsockopt(2), where nobody can hold a packet back."""
    early = opened(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_GRE))
    far = opened(lambda: sockets.raw_gre(FAR, NEAR, 255, sockets.ACCEPT_NOTHING))
    for packet in OF_THE_FEED:
        far.send(packet)
    sockets.attach_filter(early, sockets.accept_gre_keepalives())
    assert early.recv(65535).endswith(OF_THE_FEED[0])
    sockets.drain(early)
    far.send(KEEPALIVES[0])
    assert early.recv(65535)[20:] == KEEPALIVES[0]


@pytest.mark.root
def test_draining_passes_over_the_peer_s_icmp_errors(opened: Opened) -> None:
    near = opened(lambda: sockets.raw_gre(NEAR, FAR, 255, sockets.ACCEPT_NOTHING))
    raw = opened(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
    sent = IP(src=str(NEAR), dst=str(FAR), proto=socket.IPPROTO_GRE) / bytes(8)
    unreachable = ip_of(ICMP(type="dest-unreach", code="protocol-unreachable") / sent)
    errors = select.poll()
    errors.register(near, select.POLLERR)
    raw.sendto(unreachable, (str(NEAR), 0))
    assert errors.poll(PATIENCE * 1000)
    with pytest.raises(OSError, match="Protocol not available"):
        near.recv(1)
    raw.sendto(unreachable, (str(NEAR), 0))
    assert errors.poll(PATIENCE * 1000)
    sockets.drain(near)
    with pytest.raises(BlockingIOError):
        near.recv(1)


@pytest.mark.root
def test_the_kernel_writes_the_outer_header(opened: Opened) -> None:
    near = opened(lambda: sockets.raw_gre(NEAR, FAR, 17, sockets.ACCEPT_NOTHING))
    far = opened(lambda: sockets.raw_gre(FAR, NEAR, 255, None))
    near.send(b"one" + LAST)
    sockets.send_as(near, b"two" + LAST, tos=0xC0, ttl=255)
    near.send(b"three" + LAST)
    far.settimeout(PATIENCE)
    found = [IP(far.recv(65535)) for _ in range(3)]
    assert [(ip.ttl, ip.tos) for ip in found] == [(17, 0), (255, 0xC0), (17, 0)]
    assert {(ip.src, ip.dst, ip.proto) for ip in found} == {(str(NEAR), str(FAR), 47)}
    assert near.getsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL) == 0


@pytest.mark.root
@pytest.mark.parametrize(("local", "remote"), [(IPv4Address("10.9.9.9"), FAR), (NEAR, IPv4Address("10.9.9.9"))])
def test_a_socket_that_cannot_be_had_is_not_left_open(host: Namespace, local: IPv4Address, remote: IPv4Address) -> None:
    with pytest.raises(OSError, match=r"assign|unreachable"):
        host.call(lambda: sockets.raw_gre(local, remote, 255, None))


def ip_of(packet: Packet) -> bytes:
    return bytes(IP(src=str(FAR), dst=str(NEAR)) / packet)


@pytest.mark.root
@pytest.mark.parametrize("protocol", [socket.IPPROTO_ICMP, socket.IPPROTO_UDP, socket.IPPROTO_GRE])
def test_a_packet_socket_hears_one_protocol(opened: Opened, protocol: int) -> None:
    packets = [ip_of(packet) for packet in (UDP(sport=1, dport=2) / b"u", GRE(proto=0), ICMP(type=13), UDP() / b"v")]
    last = ip_of(Raw(b"last"))
    last = last[:9] + bytes([protocol]) + last[10:]
    tap = opened(lambda: sockets.packets_on("lo", sockets.accept_protocol(protocol)))
    raw = opened(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
    for packet in [*packets, last]:
        raw.sendto(packet, (str(NEAR), 0))
    # The host's own answers, as ICMP port unreachable, pass too.
    found = [packet for packet in until(tap, b"last") if packet[12:16] == FAR.packed and packet[20:21] != b"\x03"]
    assert [packet[20:] for packet in found] == [packet[20:] for packet in packets if packet[9] == protocol]


@pytest.mark.root
def test_a_packet_socket_on_no_interface_is_not_left_open(host: Namespace) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011  # its number says which
        host.call(lambda: sockets.packets_on("gre9", sockets.ACCEPT_NOTHING))
    assert caught.value.errno == errno.ENODEV


@pytest.mark.root
def test_a_receive_buffer_past_the_system_s_limit(opened: Opened) -> None:
    near = opened(lambda: sockets.raw_gre(NEAR, FAR, 255, None))
    sockets.enlarge_receive_buffer(near, 8 << 20)
    assert near.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 16 << 20  # the kernel doubles it (socket(7))
