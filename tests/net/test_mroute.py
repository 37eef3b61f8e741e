"""The structs of multicast routing, as bytes."""

import struct
from contextlib import suppress
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.errors import DecodeError
from mcastd.net import mroute
from mcastd.net.mroute import ANY, Entry, Key, Upcall, UpcallKind

SOURCE, GROUP = IPv4Address("10.0.0.1"), IPv4Address("239.1.1.1")


def test_an_entry_has_the_layout_of_struct_mfcctl() -> None:
    encoded = mroute.encode_entry(Entry(SOURCE, GROUP, 3, ((0, 1), (31, 255))))
    assert len(encoded) == 60
    assert encoded[:10] == SOURCE.packed + GROUP.packed + struct.pack("=H", 3)
    assert encoded[10:42] == bytes([1, *[0] * 30, 255])
    assert encoded[42:] == bytes(18)


def test_a_vif_is_given_by_the_index_of_its_interface() -> None:
    assert mroute.encode_vif(5, 17) == struct.pack("=HBBIiI", 5, 8, 1, 0, 17, 0)


def test_entries_of_a_source_are_one_whatever_the_parent_and_those_of_any_are_one_for_each_parent() -> None:
    assert Entry(SOURCE, GROUP, 1).key == Entry(SOURCE, GROUP, 2).key == Key(SOURCE, GROUP, None)
    assert Entry(ANY, GROUP, 1).key != Entry(ANY, GROUP, 2).key


@pytest.mark.parametrize("kind", list(UpcallKind))
def test_an_upcall_says_what_came_from_where(kind: UpcallKind) -> None:
    packet = struct.pack("=8xBBBB4s4s", kind, 0, 2, 1, SOURCE.packed, GROUP.packed)
    assert mroute.decode_upcall(packet + b"more") == Upcall(kind, 258, SOURCE, GROUP)


@given(st.binary(max_size=40))
def test_any_bytes_are_an_upcall_or_refused(packet: bytes) -> None:
    with suppress(DecodeError):
        upcall = mroute.decode_upcall(packet)
        assert packet[9] == 0
        assert upcall.source.packed == packet[12:16]
