"""ESP that comes before its keys is received once they are there: on a real kernel, and by the kernel's own ESP."""

import asyncio
import itertools
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address

import pytest
from structlog.testing import capture_logs

from mcastd.ipsec import early, giving_back
from mcastd.ipsec.giving_back import GivingBack
from mcastd.system import sockets
from mcastd.system.log import get_logger
from tests.ipsec.test_early import SPI
from tests.namespaces import Namespace, join, until

pytestmark = pytest.mark.root

PEER, HOST, STRANGER = "192.0.2.1", "192.0.2.2", "192.0.2.3"
KEYS = f"enc cbc(aes) 0x{'11' * 32} auth-trunc hmac(sha256) 0x{'22' * 32} 128"
NAT_T = 4500
UDP_ENCAP, UDP_ENCAP_ESPINUDP = 100, 2


@pytest.fixture
def sides(namespace: Callable[[], Namespace]) -> tuple[Namespace, Namespace]:
    """The peer and this host."""
    peer, host = namespace(), namespace()
    join(peer, f"{PEER}/24", host, f"{HOST}/24")
    peer.batch(f"address add {STRANGER}/24 dev veth0")
    return peer, host


@contextmanager
def listening(known: frozenset[int] = frozenset()) -> Iterator[GivingBack]:
    subject = GivingBack(get_logger())
    subject.expect(frozenset({IPv4Address(PEER)}), known)
    try:
        yield subject
    finally:
        subject.close()


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
            subject.keyed(SPI)
            assert received(sock) == [1, 2, 3]
            subject.keyed(SPI)
            assert received(sock) == []
            subject.keyed(SPI + 1)
            assert received(sock) == [9]

    sides[1].run(main)


def test_only_what_the_peer_sends_by_an_spi_without_keys_is_kept(
    sides: tuple[Namespace, Namespace], sender: Senders
) -> None:
    esps = [sender(socket.SOCK_RAW, 50, source) for source in (PEER, STRANGER)]

    async def main() -> None:
        with listening(frozenset({SPI})) as subject, receiver(socket.SOCK_RAW, 50) as sock:
            esps[0](esp(1))
            esps[1](esp(2, SPI + 1))
            esps[0](esp(3, SPI + 1))
            assert await heard(sock, 3) == [1, 2, 3]
            for spi in (SPI, SPI + 1):
                subject.keyed(spi)
            assert received(sock) == [3]
            esps[0](esp(4, SPI + 1))
            assert await heard(sock, 1) == [4]
            subject.keyed(SPI + 1)
            assert received(sock) == []

    sides[1].run(main)


def test_of_a_flood_nothing_is_kept_and_after_a_pause_it_listens_again(
    sides: tuple[Namespace, Namespace], sender: Senders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(giving_back, "PAUSE", 0.2)
    monkeypatch.setattr(early, "MOST", 50)
    send = sender(socket.SOCK_RAW, 50)

    async def main() -> None:
        spis = itertools.count(SPI + 1)
        with listening() as subject, receiver(socket.SOCK_RAW, 50) as sock:
            for number in range(51):
                send(esp(number))
                assert await heard(sock, 1) == [number]
            turns = iter((False, True))
            await until(lambda: next(turns), "a turn of the loop")
            send(esp(7))
            assert await heard(sock, 1) == [7]
            subject.keyed(SPI)
            assert received(sock) == []

            def kept() -> bool:
                spi = next(spis)
                send(esp(8, spi))
                subject.keyed(spi)
                return received(sock) == [8, 8]

            await until(kept, "the end of the pause")

    sides[1].run(main)


def test_without_peers_nothing_is_listened_to(sides: tuple[Namespace, Namespace], sender: Senders) -> None:
    send = sender(socket.SOCK_RAW, 50)

    async def main() -> None:
        with listening() as subject, receiver(socket.SOCK_RAW, 50) as sock:
            subject.expect(frozenset(), frozenset())
            send(esp(1))
            assert await heard(sock, 1) == [1]
            subject.keyed(SPI)
            assert received(sock) == []

    sides[1].run(main)


def test_who_may_not_listen_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with listening() as subject:
            for spi in (1, 2):
                subject.expect(frozenset({IPv4Address(PEER)}), frozenset({spi}))
                subject.keyed(spi)

    def refused(*_: object) -> socket.socket:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(sockets, "to_this_host", refused)
    with capture_logs() as logs:
        asyncio.run(main())
    assert [(line["event"], line["reason"]) for line in logs] == [("early ESP is not kept", "Operation not permitted")]


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
    sending = peer.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    async def main() -> None:
        with (
            listening() as subject,
            receiver(socket.SOCK_DGRAM, 0) as charon,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as application,
        ):
            charon.setsockopt(socket.IPPROTO_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP)
            application.bind((HOST, 7))
            application.setblocking(False)
            for number in (1, 2, 3):
                sending.sendto(datagram(number), (HOST, 7))
            assert received(application) == []
            host.batch(state)
            sending.sendto(datagram(4), (HOST, 7))
            assert await heard(application, 1) == [4]
            subject.keyed(SPI)
            assert await heard(application, 3) == [1, 2, 3]
            sending.sendto(datagram(5), (HOST, 7))
            assert await heard(application, 1) == [5]

    host.run(main)
    sending.close()


def datagram(number: int) -> bytes:
    return bytes(4) + number.to_bytes(4)
