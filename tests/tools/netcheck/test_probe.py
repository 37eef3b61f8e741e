"""Probes of a peer that is not IKE, over the loopback interface."""

import socket
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address
from threading import Thread

import pytest

from mcastd.tools.netcheck import probe
from mcastd.tools.netcheck.report import PathMtu

HERE = IPv4Address("127.0.0.1")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_TIMEOUTS", (0.05,))


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind((str(HERE), 0))
        yield sock


def answer_once(peer: socket.socket, answer: bytes | None) -> Thread:
    """Answers the first datagram, with itself for None."""

    def serve() -> None:
        message, sender = peer.recvfrom(65535)
        peer.sendto(message if answer is None else answer, sender)

    thread = Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", bytes(1400), None])
def test_an_answer_that_is_not_ike(peer: socket.socket, answer: bytes | None) -> None:
    thread = answer_once(peer, answer)
    check = probe.check_port(HERE, HERE, peer.getsockname()[1])
    thread.join()
    assert (check.answer, check.error, check.foreign) == (None, None, True)


def test_no_answer(peer: socket.socket) -> None:
    check = probe.check_port(HERE, HERE, peer.getsockname()[1])
    assert (check.answer, check.error, check.foreign) == (None, None, False)


def test_a_peer_that_ends_while_sizes_are_tried(peer: socket.socket) -> None:
    port = peer.getsockname()[1]
    peer.close()
    assert probe.path_mtu(IPv4Address("127.0.0.2"), HERE, port) == PathMtu(None, 1500, error="ECONNREFUSED")
