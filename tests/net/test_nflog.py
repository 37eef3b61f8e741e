"""Netfilter's log: what is asked for, and the packets that come, against what the kernel's header says."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from mcastd.net import nflog

PACKET = b"\x45\x00" + bytes(30)


def message(kind: int, *attributes: tuple[int, bytes]) -> bytes:
    body = struct.pack(">BBH", 2, 0, 7)
    for attribute, value in attributes:
        body += struct.pack("=HH", 4 + len(value), attribute) + value + bytes(-len(value) % 4)
    return struct.pack("=IHHII", 16 + len(body), 4 << 8 | kind, 0, 0, 0) + body


def test_every_packet_of_a_datagram_is_found() -> None:
    datagram = message(0, (5, bytes(4)), (9, PACKET)) + message(1, (9, b"no packet")) + message(0, (9, PACKET[:21]))
    assert list(nflog.packets(datagram)) == [PACKET, PACKET[:21]]


@given(st.binary(max_size=200), st.integers(0, 80))
def test_what_is_cut_off_or_broken_ends(data: bytes, cut: int) -> None:
    list(nflog.packets(data))
    list(nflog.packets(message(0, (9, PACKET))[:cut]))


def test_the_request_is_for_whole_packets_at_once_and_one_group_for_each_tunnel() -> None:
    request = nflog.bind(nflog.group_of("gre1"))
    assert struct.unpack_from("=IH", request) == (len(request), 4 << 8 | 1)
    assert struct.unpack_from(">H", request, 18) == (nflog.group_of("gre1"),)
    assert len({nflog.group_of(f"gre{number}") for number in range(50)}) == 50
