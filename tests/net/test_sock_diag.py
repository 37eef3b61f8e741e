"""The question for UDP sockets, and what the kernel answers; and arbitrary bytes."""

import socket
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.errors import DecodeError
from mcastd.net import sock_diag
from mcastd.net.sock_diag import UdpSocket

# One IPv4 socket of uid 1000 on port 5000 with 91 drops, and the end.
SOCKET = (
    b"\x02\x07\x00\x00" b"\x13\x88\x00\x00" + bytes(32) + bytes(12)
    + b"".join(number.to_bytes(4, "little") for number in (0, 7488, 0, 1000, 4711))
    + b"\x28\x00\x07\x00" + b"".join(number.to_bytes(4, "little") for number in (7488, 8192, 0, 212992, 0, 0, 0, 0, 91))
    + b"\x0c\x00\x15\x00" + (77).to_bytes(8, "little")
)  # fmt: skip
ANSWER = (len(SOCKET) + 16).to_bytes(4, "little") + b"\x14\x00\x02\x00" + bytes(8) + SOCKET
END = b"\x14\x00\x00\x00\x03\x00\x02\x00" + bytes(8) + bytes(4)


def test_a_socket_has_its_owner_its_buffer_and_its_drops() -> None:
    found, is_done = sock_diag.part(ANSWER + END)
    assert is_done
    assert found == [UdpSocket(5000, IPv4Address(0), 1000, 4711, 7488, 8192, 91, 77)]
    assert sock_diag.part(ANSWER)[1] is False


@pytest.mark.parametrize("kind", [b"\x02", b"\x03"])
def test_a_refusal_is_not_an_answer_without_sockets(kind: bytes) -> None:
    number = (-1).to_bytes(4, "little", signed=True)
    with pytest.raises(DecodeError, match=r"error 1$"):
        sock_diag.part(b"\x14\x00\x00\x00" + kind + b"\x00\x00\x00" + bytes(8) + number)


@given(st.binary(max_size=300) | st.just(ANSWER + END), st.integers(0, 300), st.binary(max_size=4))
def test_arbitrary_bytes_are_an_answer_or_a_decode_error(data: bytes, at: int, more: bytes) -> None:
    try:
        found, _ = sock_diag.part(data[:at] + more + data[at:])
        assert all(isinstance(one, UdpSocket) for one in found)
    except DecodeError:
        return


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_kernel_answers_for_one_port_what_its_socket_has_dropped(family: int) -> None:
    with (
        socket.socket(family, socket.SOCK_DGRAM) as one,
        socket.socket(family, socket.SOCK_DGRAM) as other,
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as asking,
    ):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        address = "127.0.0.1" if family == socket.AF_INET else "::1"
        one.bind((address, 0))
        for _ in range(50):
            other.sendto(bytes(200), one.getsockname())
        asking.send(sock_diag.ask(family, one.getsockname()[1]))
        found, _ = sock_diag.part(asking.recv(1 << 16))
        one.setblocking(False)
        kept = 0
        try:
            while one.recv(300):
                kept += 1
        except BlockingIOError:
            pass
    assert [(str(sock.address), sock.dropped) for sock in found] == [(address, 50 - kept)]
    assert 0 < kept < 50
