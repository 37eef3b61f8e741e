"""ESP that arrives before its keys is received once they are installed: on a real kernel, also by the kernel's ESP."""

import errno
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import IPv4Address, IPv4Network

import pytest
from structlog.testing import capture_logs

from mcastd.firewall import rules
from mcastd.ipsec import early_esp
from mcastd.ipsec.early_esp import EarlyEsp
from mcastd.ipsec.esp_replay import EspReplay
from mcastd.net import bpf
from mcastd.system import sockets
from mcastd.system.log import get_logger
from tests.firewall.test_rules import child, config
from tests.ipsec.test_early_esp import SPI
from tests.namespaces import Namespace, join, until

pytestmark = pytest.mark.root

PEER, HOST, STRANGER = "192.0.2.1", "192.0.2.2", "192.0.2.3"
KEYS = f"enc cbc(aes) 0x{'11' * 32} auth-trunc hmac(sha256) 0x{'22' * 32} 128"
NAT_T = 4500
UDP_ENCAP, UDP_ENCAP_ESPINUDP = 100, 2
LAST = 0x7FFFFFFF


@pytest.fixture
def sides(namespace: Callable[[], Namespace]) -> tuple[Namespace, Namespace]:
    """The peer and this host."""
    peer, host = namespace(), namespace()
    join(peer, f"{PEER}/24", host, f"{HOST}/24")
    peer.batch(f"address add {STRANGER}/24 dev veth0")
    return peer, host


@contextmanager
def listening(*listed: int) -> Iterator[EspReplay]:
    subject = EspReplay(get_logger(), sockets)
    expect(subject, *listed)
    try:
        yield subject
    finally:
        subject.close()


def expect(subject: EspReplay, *listed: int) -> None:
    subject.watch({IPv4Address(PEER)}, {IPv4Address(HOST)}, set(listed))


def receiver(kind: int, protocol: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind, protocol)
    sock.setblocking(False)
    if kind == socket.SOCK_DGRAM:
        sock.bind((HOST, NAT_T))
    return sock


Senders = Callable[..., Callable[[bytes], None]]


@pytest.fixture
def sender(sides: tuple[Namespace, Namespace]) -> Iterator[Senders]:
    """Makes a function that sends from the peer's side what ESP is made of, bare or in UDP."""
    with ExitStack() as stack:

        def make(kind: int, protocol: int, source: str = PEER) -> Callable[[bytes], None]:
            port = NAT_T if kind == socket.SOCK_DGRAM else 0
            sock = stack.enter_context(sides[0].call(lambda: socket.socket(socket.AF_INET, kind, protocol)))
            sock.bind((source, port))

            def send(inside: bytes) -> None:
                sock.sendto(inside, (HOST, port))

            return send

        yield make


def esp(number: int, spi: int = SPI) -> bytes:
    return spi.to_bytes(4) + number.to_bytes(4) + b"ciphertext"


def received(sock: socket.socket) -> list[int]:
    """The sequence numbers of what has come since it was last asked."""
    numbers: list[int] = []
    while True:
        try:
            packet = sock.recv(2048)
        except BlockingIOError:
            return numbers
        at = 20 if sock.type == socket.SOCK_RAW else 0
        numbers.append(int.from_bytes(packet[at + 4 : at + 8]))


async def heard(sock: socket.socket, count: int) -> list[int]:
    """So many sequence numbers, which are under way."""
    numbers: list[int] = []

    def enough() -> bool:
        numbers.extend(received(sock))
        return len(numbers) >= count

    await until(enough, f"{count} packets")
    return numbers


async def heard_before(send: Callable[[bytes], None], sock: socket.socket) -> list[int]:
    """What comes in before something that is sent now, by an SPI that is like no other."""
    send(esp(LAST, LAST))
    numbers: list[int] = []

    def ended() -> bool:
        numbers.extend(received(sock))
        return numbers[-1:] == [LAST]

    await until(ended, "the last packet")
    return numbers[:-1]


async def a_turn() -> None:
    """Let the loop read what there is."""
    turns = iter((False, True))
    await until(lambda: next(turns), "a turn of the loop")


FORMS = pytest.mark.parametrize(
    ("kind", "protocol"),
    [(socket.SOCK_RAW, 50), (socket.SOCK_DGRAM, socket.IPPROTO_UDP)],
    ids=["esp", "esp in udp"],
)


@FORMS
def test_what_came_early_is_received_once_more(
    sides: tuple[Namespace, Namespace], sender: Senders, kind: int, protocol: int
) -> None:
    send = sender(kind, protocol)

    async def main() -> None:
        with listening() as subject, receiver(kind, protocol) as sock:
            for number in (1, 2, 3):
                send(esp(number))
            send(esp(9, SPI + 1))
            assert await heard(sock, 4) == [1, 2, 3, 9]
            subject.keys_installed(SPI)
            assert await heard(sock, 3) == [1, 2, 3]
            subject.keys_installed(SPI)
            assert await heard_before(send, sock) == []
            subject.keys_installed(SPI + 1)
            assert await heard(sock, 1) == [9]

    sides[1].run(main)


def test_only_what_the_peer_sends_by_an_spi_without_keys_is_kept(
    sides: tuple[Namespace, Namespace], sender: Senders
) -> None:
    send, strange = [sender(socket.SOCK_RAW, 50, source) for source in (PEER, STRANGER)]

    async def main() -> None:
        with listening(SPI) as subject, receiver(socket.SOCK_RAW, 50) as sock:
            send(esp(1))
            strange(esp(2, SPI + 1))
            send(esp(3, SPI + 1))
            assert await heard(sock, 3) == [1, 2, 3]
            for spi in (SPI, SPI + 1):
                subject.keys_installed(spi)
            assert await heard_before(send, sock) == [3]
            # Also while a listing says otherwise, which charon began before it had the keys.
            expect(subject, SPI)
            send(esp(4, SPI + 1))
            assert await heard(sock, 1) == [4]
            subject.keys_installed(SPI + 1)
            assert await heard_before(send, sock) == []

    sides[1].run(main)


def test_what_a_listing_forgets_is_kept_again(sides: tuple[Namespace, Namespace], sender: Senders) -> None:
    send = sender(socket.SOCK_RAW, 50)

    async def main() -> None:
        with listening(SPI) as subject, receiver(socket.SOCK_RAW, 50) as sock:
            expect(subject)
            send(esp(1))
            assert await heard(sock, 1) == [1]
            subject.keys_installed(SPI)
            assert await heard(sock, 1) == [1]

    sides[1].run(main)


def test_an_sa_that_is_lost_is_listened_to_no_more_and_hinders_no_other(
    sides: tuple[Namespace, Namespace], sender: Senders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_esp, "MAX_PER_SPI", 50)
    read: list[bytes] = []

    def arrived(self: EarlyEsp, packet: bytes, now: float) -> bool:
        read.append(packet)
        return genuine(self, packet, now)

    genuine = EarlyEsp.add
    monkeypatch.setattr(EarlyEsp, "add", arrived)
    send = sender(socket.SOCK_RAW, 50)

    async def main() -> None:
        with listening() as subject, receiver(socket.SOCK_RAW, 50) as sock:
            send(esp(8, SPI + 1))
            for number in range(100):
                send(esp(number))
            assert await heard(sock, 101) == [8, *range(100)]
            await until(lambda: len(read) == 101, "all is read")
            send(esp(101))
            assert await heard(sock, 1) == [101]
            subject.keys_installed(SPI + 1)
            assert await heard_before(send, sock) == [8]
        assert sum(packet[20:24] == SPI.to_bytes(4) for packet in read) == 100

    sides[1].run(main)


def test_in_a_flood_capturing_pauses(
    sides: tuple[Namespace, Namespace], sender: Senders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_esp, "MAX_RATE", 50)
    send = sender(socket.SOCK_RAW, 50)

    async def main() -> None:
        with listening() as subject, receiver(socket.SOCK_RAW, 50) as sock:
            for number in range(50):
                send(esp(number))
            assert await heard(sock, 50) == [*range(50)]
            await a_turn()
            send(esp(7, SPI - 1))
            assert await heard(sock, 1) == [7]
            subject.keys_installed(SPI - 1)
            assert await heard_before(send, sock) == []
            subject.keys_installed(SPI)
            assert await heard(sock, 50) == [*range(50)]
            for spi in range(SPI + 1, SPI + 1000):
                await a_turn()
                send(esp(8, spi))
                assert await heard(sock, 1) == [8]
                subject.keys_installed(spi)
                if await heard_before(send, sock) == [8]:
                    return
            pytest.fail("it never listens again")

    with capture_logs() as logs:
        sides[1].run(main)
    assert [(line["event"], line["log_level"]) for line in logs] == [("early_esp_lost", "warning")]


def test_without_peers_nothing_is_listened_to(
    sides: tuple[Namespace, Namespace], sender: Senders, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = sender(socket.SOCK_RAW, 50)
    opened: list[object] = []

    def packets_coming(program: bpf.Program) -> socket.socket:
        opened.append(program)
        return genuine(program)

    genuine = sockets.packets_coming
    monkeypatch.setattr(sockets, "packets_coming", packets_coming)

    async def main() -> None:
        with listening() as subject, receiver(socket.SOCK_RAW, 50) as sock:
            subject.watch(frozenset(), frozenset(), frozenset())
            send(esp(1))
            assert await heard(sock, 1) == [1]
            subject.keys_installed(SPI)
            assert await heard_before(send, sock) == []
        assert len(opened) == 1, "before"

    sides[1].run(main)


def test_a_filter_for_which_there_is_no_memory_beside_the_old_one_replaces_it_with_the_socket(
    sides: tuple[Namespace, Namespace], sender: Senders, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach, having = sockets.attach_filter, set[socket.socket]()

    def one_each(sock: socket.socket, program: bpf.Program) -> None:
        if sock in having:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        having.add(sock)
        attach(sock, program)

    monkeypatch.setattr(sockets, "attach_filter", one_each)
    send = sender(socket.SOCK_RAW, 50)

    async def main() -> None:
        with listening() as subject, receiver(socket.SOCK_RAW, 50) as sock:
            for listed in (SPI + 1, SPI + 2):
                expect(subject, listed)
                send(esp(1, listed + 2))
                assert await heard(sock, 1) == [1]
                subject.keys_installed(listed + 2)
                assert await heard(sock, 1) == [1]

    with capture_logs() as logs:
        sides[1].run(main)
    assert logs == []
    assert len(having) > 1


@pytest.mark.parametrize("refuses", ["packets_coming", "to_this_host"])
def test_what_cannot_be_captured_or_replayed_is_logged_once(
    sides: tuple[Namespace, Namespace], sender: Senders, monkeypatch: pytest.MonkeyPatch, refuses: str
) -> None:
    send = sender(socket.SOCK_RAW, 50)

    def refused(*_: object) -> socket.socket:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(sockets, refuses, refused)

    async def main() -> None:
        with listening() as subject, receiver(socket.SOCK_RAW, 50) as sock:
            for spi in (SPI + 1, SPI + 2):
                expect(subject, spi)
                send(esp(1, spi + 2))
                assert await heard(sock, 1) == [1]
                subject.keys_installed(spi + 2)
                assert await heard_before(send, sock) == []

    with capture_logs() as logs:
        sides[1].run(main)
    assert [(line["event"], line["reason"]) for line in logs] == [("early_esp_lost", "Operation not permitted")]


@pytest.mark.kernel("esp")
@pytest.mark.parametrize("encap", ["", f"encap espinudp {NAT_T} {NAT_T} 0.0.0.0"], ids=["esp", "esp in udp"])
def test_the_kernel_decrypts_what_came_before_its_keys(sides: tuple[Namespace, Namespace], encap: str) -> None:
    """And refuses what it has had, by the replay window."""
    peer, host = sides
    state = (
        f"xfrm state add src {PEER} dst {HOST} proto esp spi {SPI:#x} mode transport replay-window 32 {KEYS} {encap}"
    )
    selector = f"src {PEER} dst {HOST} proto udp dport 7"
    template = f"tmpl src {PEER} dst {HOST} proto esp mode transport"
    peer.batch(state, f"xfrm policy add {selector} dir out {template}")

    async def main() -> None:
        with (
            listening() as subject,
            on_the_wire() as wire,
            receiver(socket.SOCK_DGRAM, 0) as charon,
            application(HOST) as app,
            peer.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sending,
        ):
            charon.setsockopt(socket.IPPROTO_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP)
            for number in (1, 2, 3):
                sending.sendto(datagram(number), (HOST, 7))
            await passed(wire, 3)
            host.batch(state)
            sending.sendto(datagram(4), (HOST, 7))
            assert await heard(app, 1) == [4]
            subject.keys_installed(SPI)
            assert await heard(app, 3) == [1, 2, 3]
            sending.sendto(datagram(5), (HOST, 7))
            assert await heard(app, 1) == [5]

    host.run(main)


@pytest.mark.kernel("esp", "nftables")
@pytest.mark.parametrize("guard", [True, False], ids=["guard on", "guard off"])
def test_what_is_replayed_is_held_to_the_selectors(sides: tuple[Namespace, Namespace], guard: bool) -> None:
    """By our table alone: for the loopback the kernel looks at no policy."""
    peer, host = sides
    state = f"xfrm state add src {PEER} dst {HOST} proto esp spi {SPI:#x} mode tunnel replay-window 32 {KEYS}"
    template = f"tmpl src {PEER} dst {HOST} proto esp mode tunnel"
    wide, narrow = (f"src {INSIDE[0]} dst {network}" for network in ("10.44.6.0/24", INSIDE[1]))
    peer.batch(
        f"address add {INSIDE[0]}/32 dev lo",
        f"route add 10.44.6.0/24 via {HOST} src {INSIDE[0]}",
        state,
        f"xfrm policy add {wide} dir out {template}",
    )
    host.batch(*(f"address add {address}/32 dev lo" for address in INSIDE[1:]))
    carrier = child(local_ts=IPv4Network(INSIDE[1]), remote_ts=IPv4Network(INSIDE[0]))
    table = rules.replacement(rules.table(config(carrier, guard=guard)))
    subprocess.run(["ip", "netns", "exec", host.name, "nft", "-f", "-"], input=table, text=True, check=True)

    async def main() -> None:
        with (
            listening() as subject,
            on_the_wire() as wire,
            application(INSIDE[1]) as within,
            application(INSIDE[2]) as beside,
            peer.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sending,
        ):
            for address in INSIDE[1:]:
                sending.sendto(datagram(1), (address, 7))
            await passed(wire, 2)
            host.batch(state, f"xfrm policy add {narrow} dir in {template}")
            sending.sendto(datagram(2), (INSIDE[2], 7))
            sending.sendto(datagram(2), (INSIDE[1], 7))
            assert await heard(within, 1) == [2]
            assert received(beside) == [], "the kernel's policy"
            subject.keys_installed(SPI)
            assert await heard(within, 1) == [1]
            sending.sendto(datagram(3), (INSIDE[1], 7))
            assert await heard(within, 1) == [3]
            assert received(beside) == ([] if guard else [1])

    host.run(main)


INSIDE = ("10.44.7.1", "10.44.6.1", "10.44.6.2")


@contextmanager
def application(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 7))
        sock.setblocking(False)
        yield sock


def on_the_wire() -> socket.socket:
    return sockets.packets_coming(bpf.accept_esp_between({IPv4Address(PEER)}, {IPv4Address(HOST)}, ()))


async def passed(wire: socket.socket, count: int) -> None:
    """So many packets of ESP have come in, by whatever keys."""
    seen: list[bytes] = []

    def enough() -> bool:
        with suppress(BlockingIOError):
            seen.append(wire.recv(2048))
        return len(seen) == count

    await until(enough, f"{count} packets of ESP")


def datagram(number: int) -> bytes:
    return bytes(4) + number.to_bytes(4)
