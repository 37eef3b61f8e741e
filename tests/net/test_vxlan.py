"""Whom a VXLAN device sends to: what the kernel is asked, what it answers, and arbitrary bytes."""

import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.errors import DecodeError
from mcastd.net import netlink, vxlan
from mcastd.net.vxlan import Forwarding, Replica

GROUP, SOURCE, ENDPOINT = IPv4Address("239.1.1.1"), IPv4Address("10.9.9.9"), IPv4Address("10.0.0.3")
addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
groups = st.integers(0xE0000000, 0xEFFFFFFF).map(IPv4Address)
replicas = st.builds(Replica, groups, st.none() | addresses, addresses)
entries = st.builds(Forwarding, st.binary(min_size=6, max_size=6), addresses, st.booleans())


def body(request: bytes) -> bytes:
    ((_, _, found),) = netlink.messages(request)
    return found


def listed(index: int, *those: Replica) -> bytes:
    """A message of a listing, as the kernel makes it."""
    infos = b""
    for group, source, endpoint in those:
        info = struct.pack("=IBBH4s12x2s2x", index, 1, 0, 0, group.packed, b"\x08\x00")
        info += netlink.attribute(1, bytes(4)) + netlink.attribute(3, bytes((source is not None,)))
        info += netlink.attribute(4, source.packed) if source is not None else b""
        info += netlink.attribute(5, bytes((103,))) + netlink.attribute(6, endpoint.packed)
        infos += netlink.attribute(1, info)
    return struct.pack("=B3xI", 7, index) + netlink.attribute(1, netlink.attribute(1, infos))


def test_an_entry_is_what_iproute2_sends_for_it() -> None:
    """``bridge mdb add dev vx0 port vx0 grp 239.1.1.1 src 10.9.9.9 permanent proto 103 dst 10.0.0.3``."""
    request = vxlan.add_replica(5, Replica(GROUP, SOURCE, ENDPOINT))
    length, kind, flags, *_ = struct.unpack_from("=IHHII", request)
    assert (length, kind, flags) == (len(request), 84, 0x405)
    assert body(request).hex(" ", 4) == (
        "07000000 05000000"  # AF_BRIDGE, the device
        " 20000100 05000000 01000000 ef010101 00000000 00000000 00000000 08000000"  # permanent, the group, IPv4
        " 1c000280 08000100 0a090909 05000400 67000000 08000500 0a000003"  # nested: source, protocol, endpoint
    )
    _, kind, flags, *_ = struct.unpack_from("=IHHII", vxlan.remove_replica(5, Replica(GROUP, None, ENDPOINT)))
    assert (kind, flags) == (85, 0x5)


@given(st.integers(1, 2**31 - 1), st.lists(replicas, max_size=5))
def test_a_listing_has_what_was_put_in(index: int, those: list[Replica]) -> None:
    assert list(vxlan.replicas(listed(index, *those), index)) == those
    assert list(vxlan.replicas(listed(index, *those), index + 1)) == []


def test_entries_of_bridges_and_of_ipv6_are_left_out() -> None:
    bridge = struct.pack("=IBBH4s12x2s2x", 5, 1, 0, 0, GROUP.packed, b"\x08\x00")  # no endpoint
    ipv6 = struct.pack("=IBBH16s2s2x", 5, 1, 0, 0, bytes(16), b"\x86\xdd") + netlink.attribute(6, ENDPOINT.packed)
    for info in (bridge, ipv6):
        entry = netlink.attribute(1, netlink.attribute(1, netlink.attribute(1, info)))
        assert list(vxlan.replicas(struct.pack("=B3xI", 7, 5) + entry, 5)) == []


@given(st.integers(1, 2**31 - 1), entries)
def test_a_forwarding_entry_has_what_was_put_in(index: int, entry: Forwarding) -> None:
    """The kernel lists an entry with the attributes by which it is made."""
    request = body(vxlan.append_forwarding(index, entry))
    assert vxlan.forwarding(request, index) == entry._replace(learned=False)
    assert vxlan.forwarding(request, index + 1) is None
    reachable = request[:8] + struct.pack("=H", 2) + request[10:]
    assert vxlan.forwarding(reachable, index) == entry._replace(learned=True)
    assert body(vxlan.delete_forwarding(index, entry)) == request


@given(st.binary(max_size=200) | st.just(listed(5, Replica(GROUP, SOURCE, ENDPOINT))), st.integers(0, 99), st.binary())
def test_arbitrary_bytes_are_entries_or_a_decode_error(data: bytes, at: int, more: bytes) -> None:
    mangled = data[:at] + more + data[at:]
    try:
        assert all(isinstance(one, Replica) for one in vxlan.replicas(mangled, 5))
        assert isinstance(vxlan.forwarding(mangled, 5), Forwarding | None)
    except DecodeError:
        return


@pytest.mark.parametrize(
    ("group", "mac"),
    [("224.0.0.22", "01:00:5e:00:00:16"), ("239.129.2.3", "01:00:5e:01:02:03"), ("239.1.2.3", "01:00:5e:01:02:03")],
)
def test_the_ethernet_address_of_a_group(group: str, mac: str) -> None:
    assert vxlan.mac_of(IPv4Address(group)).hex(":") == mac
