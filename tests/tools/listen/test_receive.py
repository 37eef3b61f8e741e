"""The sockets, over the loopback interface of a namespace: the packets, their order, and what is refused."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from msgspec.structs import replace

from mcastd.errors import HostError
from mcastd.tools.listen.listener import Packet, Side
from mcastd.tools.listen.receive import Receiver
from tests.namespaces import Namespace

pytestmark = pytest.mark.root

A = Side("239.1.1.1", 5000)
B = Side("239.2.1.1", 5001, "lo")


@pytest.fixture
def host(namespace: Callable[[], Namespace]) -> Namespace:
    made = namespace()
    made.ip("addr", "add", "10.9.9.9/32", "dev", "lo")
    made.ip("route", "add", "239.0.0.0/8", "dev", "lo", "src", "127.0.0.1")
    return made


@contextmanager
def sender(address: str = "127.0.0.1") -> Iterator[Callable[[Side, bytes], object]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        yield lambda side, payload: sock.sendto(payload, (side.group, side.port))


def received(receiver: Receiver, count: int) -> list[tuple[int, Packet]]:
    """So many packets, and no more that are there already."""
    found, end = list[tuple[int, Packet]](), time.monotonic() + 20.0
    while len(found) < count and time.monotonic() < end:
        found += receiver.packets(time.monotonic() + 0.01)
    return found + list(receiver.packets(time.monotonic() + 0.001))


def test_packets_of_both_sockets_come_in_the_order_of_their_timestamps(host: Namespace) -> None:
    def listen() -> tuple[list[tuple[int, Packet]], int, int]:
        with closing(Receiver([A, B])) as receiver, sender() as send:
            before = time.time_ns()
            for number in range(200):
                send(B if number % 3 else A, bytes([number]))
            send(replace(A, port=5002), b"another port")
            send(replace(A, group="239.1.1.2"), b"another group")
            time.sleep(0.002)
            after = time.time_ns()
            return received(receiver, 200), before, after

    found, before, after = host.call(listen)
    assert [(side, packet.payload) for side, packet in found] == [
        (1 if number % 3 else 0, bytes([number])) for number in range(200)
    ]
    times = [packet.at for _, packet in found]
    assert times == sorted(times)
    assert before <= times[0]
    assert times[-1] <= after - 1_000_000  # when they came, not when they were read
    assert {(packet.source, packet.port) for _, packet in found} == {("127.0.0.1", found[0][1].port)}


def test_of_one_source_and_beside_other_programs(host: Namespace) -> None:
    def listen() -> list[bytes]:
        one = replace(A, interface="lo", source="10.9.9.9")
        with (
            closing(Receiver([A])),
            closing(Receiver([one])) as receiver,
            sender() as wrong,
            sender("10.9.9.9") as right,
        ):
            wrong(A, b"wrong")
            right(A, b"right")
            return [packet.payload for _, packet in received(receiver, 1)]

    assert host.call(listen) == [b"right"]


def test_what_the_buffer_has_no_room_for_is_counted(host: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcastd.tools.listen.receive._BUFFER", 1)

    def listen() -> tuple[int, int]:
        with closing(Receiver([A])) as receiver, sender() as send:
            for _ in range(100):
                send(A, bytes(100))
            (buffer,) = receiver.buffers()
            assert buffer.size > 0
            return len(received(receiver, 100 - buffer.dropped)), buffer.dropped

    packets, dropped = host.call(listen)
    assert packets + dropped == 100
    assert dropped > 0


def test_what_cannot_be_listened_to_is_an_error_with_its_reason(host: Namespace) -> None:
    def refused(side: Side) -> str:
        with pytest.raises(HostError) as error:
            Receiver([B, side])
        return str(error.value)

    def listen() -> list[str]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("0.0.0.0", A.port))
            return [refused(A), refused(replace(B, interface="none0")), refused(Side("225.1.1.1", 5000 + 7))]

    taken, absent, nowhere = host.call(listen)
    assert "does not share it" in taken
    assert "none0" in absent
    assert "--interface" in nowhere
