"""The question for the replay state of an SA, and what the kernel answers; and arbitrary bytes."""

import socket
import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.errors import DecodeError
from mcastd.net import xfrm
from mcastd.net.xfrm import Replay, Sa

SA = Sa(IPv4Address("10.1.1.246"), 0xC0FFEE01)
ID = bytes((10, 1, 1, 246)) + bytes(12) + bytes.fromhex("c0ffee01 0200 32 00") + bytes(24)


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value


def lifetime(packets: int) -> bytes:
    return attribute(9, struct.pack("=QQQQ", 1000, packets, 0, 0))


def answer(*attributes: bytes) -> bytes:
    body = ID + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), 0x1E, 0, 1, 0) + body


def plain(highest: int, bitmap: int) -> bytes:
    return attribute(10, struct.pack("=III", 0, highest, bitmap))


def esn(highest: int, window: int = 160) -> bytes:
    return attribute(23, struct.pack("=6I5I", 5, 0, highest & 0xFFFFFFFF, 0, highest >> 32, window, *range(5)))


def test_the_question_is_for_the_sa_by_its_destination_and_spi() -> None:
    assert xfrm.ask(SA) == struct.pack("=IHHII", 64, 0x1F, 1, 1, 0) + ID


def test_what_is_not_received_is_missing() -> None:
    found = xfrm.answer(answer(lifetime(1000), plain(1007, 0xFFFFFFF7)))
    assert found == Replay(1007, 1000)
    assert found.missing == 7


@given(st.integers(1, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_extended_numbers_and_wide_windows(highest: int, packets: int) -> None:
    assert xfrm.answer(answer(esn(highest), lifetime(packets))) == Replay(highest, packets)


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("=IHHIIi", 36, 2, 0, 1, 0, -3) + bytes(16),  # no such SA
        answer(lifetime(7), plain(0, 0)),  # the kernel numbers nothing
        answer(lifetime(7), esn(0)),
    ],
)
def test_without_an_sa_or_a_replay_window_nothing_is_known(data: bytes) -> None:
    assert xfrm.answer(data) is None


@pytest.mark.parametrize(
    "data",
    [
        answer(lifetime(7)),
        answer(plain(7, 1)),
        answer(lifetime(7), attribute(10, bytes(8))),
        answer(lifetime(7), attribute(23, struct.pack("=5I", 9, 0, 7, 0, 0))),
        struct.pack("=IHHII", 20, 3, 0, 1, 0) + bytes(4),
    ],
)
def test_what_is_incomplete_is_not_read(data: bytes) -> None:
    with pytest.raises(DecodeError):
        xfrm.answer(data)


@given(
    st.binary(max_size=300) | st.just(answer(lifetime(7), plain(9, 1), esn(9))),
    st.integers(0, 300),
    st.binary(max_size=4),
)
def test_arbitrary_bytes_are_an_answer_or_a_decode_error(data: bytes, at: int, more: bytes) -> None:
    try:
        assert isinstance(xfrm.answer(data[:at] + more + data[at:]), Replay | None)
    except DecodeError:
        return


@pytest.mark.root
def test_this_kernel_has_no_such_sa() -> None:
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 6)
    except OSError:
        pytest.skip("a kernel without XFRM")
    with sock:
        sock.send(xfrm.ask(SA))
        assert xfrm.answer(sock.recv(65536)) is None
