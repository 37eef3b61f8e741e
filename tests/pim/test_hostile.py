"""Input that has crashed other implementations, item by item: each is counted by its reason, and all goes on."""

from ipaddress import IPv4Address

import pytest

from mcastd.errors import DecodeError
from mcastd.net import ipv4
from mcastd.pim.effects import NeighborUp
from mcastd.pim.messages import SCOPED
from mcastd.pim.packet import ALL_PIM_ROUTERS, seal
from tests import pcap
from tests.pim.machine import GROUP, NOW, OTHER, dropped, hello, join_prunes, started
from tests.simulator.world import EVERY_ROUTER, LEAF, NAME, RP, UPSTREAM, WantedRouter, statuses, with_pim

HELLO, REGISTER, STOP, JOIN, BSM, ASSERT, GRAFT, ACK, CANDIDATE, REFRESH = range(10)
PACKET = pcap.ipv4(seal(HELLO, b""), OTHER, ALL_PIM_ROUTERS)
ONE = "0100 0a2c0405 00 01 00d2"
SET = "0100 0020 ef010203"
SOURCE = "0100 0420 0a090001"
BSR = "1234 1e 40 0100 0a000001"
INNER = "0000 0000 4011 0000 0a090001 ef010203"

PACKETS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "ip_short"),
    "an IP header of 19 bytes": (PACKET[:19], "ip_short"),
    "IP version 6": (b"\x65" + PACKET[1:], "ip_version"),
    "an IP header length beyond the datagram": (b"\x4f" + PACKET[1:], "ip_header_length"),
    "an IP header length of 16": (b"\x44" + PACKET[1:], "ip_header_length"),
    "a total length beyond the bytes held": (PACKET[:2] + b"\x00\xff" + PACKET[4:], "ip_total_length"),
    "a total length within the header": (PACKET[:2] + b"\x00\x13" + PACKET[4:], "ip_total_length"),
}

MESSAGES: dict[str, tuple[bytes | tuple[int, str], str]] = {
    "a payload of 0 bytes": (b"", "short"),
    "a payload of 1 byte": (b"\x20", "short"),
    "a payload of 2 bytes": (b"\x20\x00", "short"),
    "a payload of 3 bytes": (b"\x20\x00\xdf", "short"),
    "a bad checksum": (b"\x20\x00\xde\xff", "checksum"),
    "a bad checksum of a Register": (b"\x21\x00\xff\xff" + bytes(24), "checksum"),
    "PIM version 1": (b"\x10\x00\xef\xff", "version"),
    "PIM version 0": (b"\x00\x00\xff\xff", "version"),
    "PIM version 15": (b"\xf0\x00\x0f\xff", "version"),
    "a Holdtime of 1 byte": ((HELLO, "0001 0001 69"), "option_length"),
    "a Holdtime of no bytes": ((HELLO, "0001 0000"), "option_length"),
    "a LAN Prune Delay of 2 bytes": ((HELLO, "0002 0002 01f4"), "option_length"),
    "a DR Priority of 3 bytes": ((HELLO, "0013 0003 000001"), "option_length"),
    "a Generation ID of 8 bytes": ((HELLO, "0014 0008 0000000000000001"), "option_length"),
    "an option past the end": ((HELLO, "0001 0002 0069 0014 0004 1234"), "truncated"),
    "an option of 65,535 bytes": ((HELLO, "0001 0002 0069 fde9 ffff 00"), "truncated"),
    "an option's head past the end": ((HELLO, "0001 0002 0069 0014"), "truncated"),
    "a listed address past the option's end": ((HELLO, "0018 0004 0100 0a2c"), "truncated"),
    "a listed IPv6 address past the option's end": ((HELLO, "0018 0006 0200 fe800000"), "truncated"),
    "a listed address of unknown encoding": ((HELLO, "0018 0006 0107 0a2c0405"), "address_encoding"),
    "an upstream neighbour past the end": ((JOIN, "0100 0a2c"), "truncated"),
    "an upstream neighbour of IPv6": ((JOIN, "0200 fe80000000000000000000000000000100 01 00d2"), "address_family"),
    "an upstream neighbour of unknown family": ((JOIN, "ff00 0a2c0405 00 00 00d2"), "address_family"),
    "an upstream neighbour of unknown encoding": ((JOIN, "0109 0a2c0405 00 00 00d2"), "address_encoding"),
    "a group of unknown family": ((JOIN, f"{ONE} 0900 0020 ef010203 0000 0000"), "address_family"),
    "a group of unknown encoding": ((JOIN, f"{ONE} 0101 0020 ef010203 0000 0000"), "address_encoding"),
    "a source of unknown encoding": ((JOIN, f"{ONE} {SET} 0001 0000 0102 0420 0a090001"), "address_encoding"),
    "a group's mask of 33": ((JOIN, f"{ONE} 0100 0021 ef010203 0000 0000"), "mask_length"),
    "a group's mask of 255": ((JOIN, f"{ONE} 0100 00ff ef010203 0000 0000"), "mask_length"),
    "a source's mask of 33": ((JOIN, f"{ONE} {SET} 0001 0000 0100 0421 0a090001"), "mask_length"),
    "a group that is none": ((JOIN, f"{ONE} 0100 0020 0a010203 0000 0000"), "group_address"),
    "a group past the end": ((JOIN, f"{ONE} 0100 0020 ef01"), "truncated"),
    "255 groups announced, 1 held": ((JOIN, f"0100 0a2c0405 00 ff 00d2 {SET} 0001 0000 {SOURCE}"), "truncated"),
    "65,535 joined sources announced, 1 held": ((JOIN, f"{ONE} {SET} ffff 0000 {SOURCE}"), "truncated"),
    "65,535 pruned sources announced, 1 held": ((JOIN, f"{ONE} {SET} 0001 ffff {SOURCE}"), "truncated"),
    "a join attribute past the end": ((JOIN, f"{ONE} {SET} 0001 0000 0101 0420 0a090001 40ff"), "truncated"),
    "join attributes without a last one": ((JOIN, f"{ONE} {SET} 0001 0000 0101 0420 0a090001 0000"), "truncated"),
    "a Register without an inner packet": ((REGISTER, "00000000"), "register_inner"),
    "a Register with 8 bytes inside": ((REGISTER, "00000000 45000008 00000000"), "register_inner"),
    "a Register of IPv6": ((REGISTER, f"00000000 6500001c {INNER} 00000000 00000000"), "register_inner"),
    "a Register with an inner header length of 60": ((REGISTER, f"00000000 4f00001c {INNER}"), "register_inner"),
    "a Register with an inner header length of 16": ((REGISTER, f"00000000 4400001c {INNER}"), "register_inner"),
    "a Register longer inside than outside": ((REGISTER, f"00000000 450005dc {INNER}"), "register_inner"),
    "a Register of a unicast packet": ((REGISTER, f"00000000 45000014 {INNER[:-8]}0a010203"), "register_inner"),
    "a Register-Stop past the end": ((STOP, "0100 0020 ef010203 0100 0a"), "truncated"),
    "a Register-Stop of what was not registered": ((STOP, f"{SET} 0100 0a090001"), "register_stop_unasked"),
    "an Assert past the end": ((ASSERT, f"{SET} 0100 0a090001 00000064"), "truncated"),
    "an Assert with a mask of 64": ((ASSERT, "0100 0040 ef010203 0100 0a090001 00000064 0000000a"), "mask_length"),
    "an Assert of what is not joined": (
        (ASSERT, "0100 0020 ef090909 0100 0a090001 00000064 0000000a"),
        "assert_not_followed",
    ),
    "a Graft": ((GRAFT, f"{ONE} {SET} 0001 0000 {SOURCE}"), "dense_mode"),
    "a Graft past the end": ((GRAFT, f"{ONE} {SET} 0002 0000 {SOURCE}"), "truncated"),
    "a Graft-Ack": ((ACK, f"{ONE} {SET} 0001 0000 {SOURCE}"), "dense_mode"),
    "a C-RP-Advertisement": ((CANDIDATE, "00 00 0096 0100 640f1e01"), "not_a_bootstrap_router"),
    "a C-RP-Advertisement past the end": ((CANDIDATE, "ff 00 0096 0100 640f1e01"), "truncated"),
    "a State Refresh": ((REFRESH, f"{SET} 0100 0a090001 0100 0a2c0405 80000064 0000000a 20 01 80 3c"), "dense_mode"),
    "a State Refresh of no bytes": ((REFRESH, ""), "dense_mode"),
    "type 10": ((10, "00000000"), "unexpected_type"),
    "type 15": ((15, "ffffffff"), "unexpected_type"),
    "a Bootstrap message of no bytes": ((BSM, ""), "truncated"),
    "a Bootstrap message shorter than its header": ((BSM, "1234 1e 40 0100 0a00"), "truncated"),
    "a hash mask of 33": ((BSM, "1234 21 40 0100 0a000001"), "hash_mask_length"),
    "a range's mask of 33": ((BSM, f"{BSR} 0100 0021 ef000000 00 00 0000"), "mask_length"),
    "a range past the end": ((BSM, f"{BSR} 0100 0008 ef000000 01"), "truncated"),
    "a fragment's RP count over the RP count": (
        (BSM, f"{BSR} 0100 0008 ef000000 01 02 0000" + "0100 640f1e01 0096 00 00" * 2),
        "rp_count",
    ),
    "255 RPs announced, 1 held": ((BSM, f"{BSR} 0100 0008 ef000000 ff ff 0000 0100 640f1e01 0096 00 00"), "truncated"),
    "an RP that is a group": ((BSM, f"{BSR} 0100 0008 ef000000 01 01 0000 0100 ef000001 0096 00 00"), "rp_address"),
}

# Nothing is wrong with these, and nothing comes of them.
HARMLESS = {
    "a range without RPs": (BSM, f"{BSR} 0100 0008 ef000000 00 00 0000"),
    "a scope zone without RPs": (BSM, f"{BSR} 0100 {SCOPED:02x}08 e9000000 00 00 0000"),
    "RPs announced, none held": (BSM, f"{BSR} 0100 0008 ef000000 05 00 0000"),
    "an RP withdrawn that was never installed": (
        BSM,
        f"{BSR} 0100 0008 ef000000 01 01 0000 0100 640f1e09 0000 00 00",
    ),
}

# To UDP port 496 of 224.0.1.39 or 224.0.1.40.
LOOKALIKES: dict[str, tuple[str, str]] = {
    "no UDP header": ("01f001f0", "udp_length"),
    "a UDP length beyond the packet": ("01f0 01f0 00ff 0000 11 00 00b5 00000000", "udp_length"),
    "a UDP length within the header": ("01f0 01f0 0007 0000", "udp_length"),
    "another port": ("01f0 01f1 0010 0000 11 00 00b5 00000000", "udp_port"),
    "no message": ("01f0 01f0 0008 0000", "truncated"),
    "a header cut short": ("01f0 01f0 000c 0000 11 01 00b5", "truncated"),
    "version 2": ("01f0 01f0 0010 0000 21 00 00b5 00000000", "auto_rp_version"),
    "type 3": ("01f0 01f0 0010 0000 13 00 00b5 00000000", "auto_rp_type"),
    "255 RPs announced, none held": ("01f0 01f0 0010 0000 11 ff 00b5 00000000", "truncated"),
    "255 ranges announced, none held": ("01f0 01f0 0016 0000 11 01 00b5 00000000 640f1efd 02 ff", "truncated"),
    "a range's mask of 33": ("01f0 01f0 001c 0000 11 01 00b5 00000000 640f1efd 02 01 0021 ef000000", "mask_length"),
    "a range of unicast": ("01f0 01f0 001c 0000 11 01 00b5 00000000 640f1efd 02 01 0008 0a000000", "group_address"),
    "an RP that is a group": ("01f0 01f0 001c 0000 11 01 00b5 00000000 ef000001 02 01 0008 ef000000", "rp_address"),
}


def living() -> WantedRouter:
    """A router that has joined a group at a neighbour, and hears another one."""
    router = started(with_pim(bootstrap=True, join_repeats=0, accept_neighbors=EVERY_ROUTER), GROUP)
    hello(router)
    hello(router, OTHER)
    router.advance(NOW + 1)
    return router


def assert_unmoved(router: WantedRouter) -> None:
    """Everything is as it was, and goes on."""
    interface = router.interfaces[NAME]
    assert [neighbor.address for neighbor in interface.neighbors.all()] == [UPSTREAM, OTHER]
    assert interface.rps.rp(GROUP) == RP
    assert [status.state for status in statuses(router, NOW + 2)] == ["joined"]
    assert NeighborUp(NAME, IPv4Address("10.44.4.9"), 1) in hello(router, IPv4Address("10.44.4.9"), NOW + 2)
    assert len(join_prunes(router.join(GROUP + 1, None, NAME, "test", NOW + 3))) == 1


@pytest.mark.parametrize("item", PACKETS)
def test_packets(item: str) -> None:
    packet, reason = PACKETS[item]
    with pytest.raises(DecodeError, match=f"^{reason}$"):
        ipv4.parse(packet)


def made(message: bytes | tuple[int, str]) -> bytes:
    return message if isinstance(message, bytes) else seal(message[0], bytes.fromhex(message[1]))


@pytest.mark.parametrize("item", MESSAGES)
def test_messages(item: str) -> None:
    message, reason = MESSAGES[item]
    router = living()
    destination = LEAF if isinstance(message, tuple) and message[0] == REGISTER else ALL_PIM_ROUTERS
    assert router.received(NAME, UPSTREAM, destination, made(message), NOW + 1) == []
    assert dropped(router) == {reason: 1}
    assert_unmoved(router)


@pytest.mark.parametrize("item", HARMLESS)
def test_nothing_comes_of(item: str) -> None:
    router = living()
    router.received(NAME, UPSTREAM, ALL_PIM_ROUTERS, made(HARMLESS[item]), NOW + 1)
    assert dropped(router) == {}
    assert_unmoved(router)


def test_a_register_for_an_unknown_rp_is_told_to_stop() -> None:
    router = living()
    effects = router.received(NAME, UPSTREAM, LEAF, made((REGISTER, f"00000000 45000014 {INNER}")), NOW + 1)
    assert [getattr(effect, "destination", None) for effect in effects] == [UPSTREAM]
    assert dropped(router) == {}
    assert_unmoved(router)


@pytest.mark.parametrize("item", LOOKALIKES)
def test_auto_rp_lookalikes(item: str) -> None:
    datagram, reason = LOOKALIKES[item]
    router = living()
    assert router.auto_rp_received(NAME, UPSTREAM, bytes.fromhex(datagram), NOW + 1) == []
    assert dropped(router) == {reason: 1}
    assert router.interfaces[NAME].rps.auto_rp.mappings() == []
    assert_unmoved(router)
