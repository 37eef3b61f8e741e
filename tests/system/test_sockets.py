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

from mcastd.net import bpf
from mcastd.system import sockets
from tests import pcap
from tests.namespaces import Namespace, join

SENDER, NEIGHBOR = IPv4Address("10.1.1.9"), IPv4Address("10.1.1.10")


PEER, SPI = IPv4Address("192.0.2.1"), 0xC0FFEE01


def esp(spi: int = SPI, source: IPv4Address = PEER, destination: IPv4Address = SENDER) -> bytes:
    return pcap.ipv4(spi.to_bytes(4) + b"\0\0\0\1ciphertext", source, destination, protocol=50)


@pytest.mark.root
def test_what_this_host_is_to_receive_comes_in_once_and_goes_nowhere_else(
    namespace: Callable[[], Namespace],
) -> None:
    here, there = namespace(), namespace()
    join(here, f"{SENDER}/24", there, f"{NEIGHBOR}/24")
    program = bpf.accept_esp_between((PEER,), (SENDER,), ())
    with (
        here.call(sockets.to_this_host) as sock,
        here.call(lambda: sockets.packets_coming(program)) as came,
        there.call(lambda: sockets.packets_anywhere(bpf.accept_protocol(50))) as elsewhere,
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


def heard(opened: Opened, program: bpf.Program | None, packets: list[bytes]) -> list[bytes]:
    """Which of these GRE packets of the far end, outer IP header aside, a raw GRE socket with that filter hears."""
    with opened(lambda: sockets.raw_gre(NEAR, FAR, 255, program)) as near:
        far = opened(lambda: sockets.raw_gre(FAR, NEAR, 255, bpf.ACCEPT_NOTHING))
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
    assert heard(opened, bpf.accept_gre_keepalives(), mixed) == KEEPALIVES
    assert heard(opened, None, mixed) == mixed


@pytest.mark.root
def test_who_wants_nothing_hears_nothing(opened: Opened) -> None:
    deaf = opened(lambda: sockets.raw_gre(NEAR, FAR, 255, bpf.ACCEPT_NOTHING))
    assert heard(opened, None, OF_THE_FEED) == OF_THE_FEED
    with pytest.raises(BlockingIOError):
        deaf.recv(1)


@pytest.mark.root
def test_only_the_far_end_is_heard(opened: Opened) -> None:
    stranger = opened(lambda: sockets.raw_gre(OTHER, NEAR, 255, bpf.ACCEPT_NOTHING))
    near = opened(lambda: sockets.raw_gre(NEAR, FAR, 255, bpf.accept_gre_keepalives()))
    both = opened(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_GRE))
    stranger.send(bytes(4))
    far = opened(lambda: sockets.raw_gre(FAR, NEAR, 255, bpf.ACCEPT_NOTHING))
    far.send(LAST)
    assert len(until(both, LAST)) == 1
    assert until(near, LAST) == []


@pytest.mark.root
def test_what_arrived_before_the_filter_is_thrown_away(opened: Opened) -> None:
    """As between socket(2) and setsockopt(2), where nobody can hold a packet back."""
    early = opened(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_GRE))
    far = opened(lambda: sockets.raw_gre(FAR, NEAR, 255, bpf.ACCEPT_NOTHING))
    for packet in OF_THE_FEED:
        far.send(packet)
    sockets.attach_filter(early, bpf.accept_gre_keepalives())
    assert early.recv(65535).endswith(OF_THE_FEED[0])
    sockets.drain(early)
    far.send(KEEPALIVES[0])
    assert early.recv(65535)[20:] == KEEPALIVES[0]


@pytest.mark.root
def test_draining_passes_over_the_peer_s_icmp_errors(opened: Opened) -> None:
    near = opened(lambda: sockets.raw_gre(NEAR, FAR, 255, bpf.ACCEPT_NOTHING))
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
    near = opened(lambda: sockets.raw_gre(NEAR, FAR, 17, bpf.ACCEPT_NOTHING))
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
    tap = opened(lambda: sockets.packets_on("lo", bpf.accept_protocol(protocol)))
    raw = opened(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
    for packet in [*packets, last]:
        raw.sendto(packet, (str(NEAR), 0))
    # The host's own answers, as ICMP port unreachable, pass too.
    found = [packet for packet in until(tap, b"last") if packet[12:16] == FAR.packed and packet[20:21] != b"\x03"]
    assert [packet[20:] for packet in found] == [packet[20:] for packet in packets if packet[9] == protocol]


@pytest.mark.root
def test_a_packet_socket_on_no_interface_is_not_left_open(host: Namespace) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011  # its number says which
        host.call(lambda: sockets.packets_on("gre9", bpf.ACCEPT_NOTHING))
    assert caught.value.errno == errno.ENODEV


@pytest.mark.root
def test_a_receive_buffer_past_the_system_s_limit(opened: Opened) -> None:
    near = opened(lambda: sockets.raw_gre(NEAR, FAR, 255, None))
    sockets.enlarge_receive_buffer(near, 8 << 20)
    assert near.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 16 << 20  # the kernel doubles it (socket(7))


@pytest.mark.root
def test_what_a_socket_has_no_room_for_is_counted(opened: Opened) -> None:
    near = opened(lambda: sockets.raw_gre(NEAR, FAR, 255, None))
    far = opened(lambda: sockets.raw_gre(FAR, NEAR, 255, None))
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    assert sockets.dropped(near) == 0
    for _ in range(50):
        far.send(bytes(4) + bytes(400))
    assert 30 < sockets.dropped(near) < 50
