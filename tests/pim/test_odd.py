"""Messages that are odd but legal, by hand: tshark and our decoders agree on each, and the machine refuses none."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from mcastd.pim.packet import ALL_PIM_ROUTERS, MessageType
from tests import pcap
from tests.pim.encoders import seal
from tests.pim.machine import NOW, OTHER, dropped, hello, started
from tests.pim.oracle import assert_agreed
from tests.simulator.world import LEAF, NAME, UPSTREAM, with_pim

HELLO, REGISTER, STOP, JOIN, BSM, ASSERT, GRAFT, ACK, CANDIDATE = range(9)
ONE = "0100 0a2c0405 00 01 00d2"  # a Join/Prune to 10.44.4.5, of one group, for 210 s
GROUP = "0100 0020 ef010203"
TO_RP = "0100 0720 640f1efd"
BSR = "1234 1e 40 0100 0a000001"
SITE = "0100 0008 ef000000"
INNER = "00000000 ff67 0000 0a090001 ef010203"

ODD: dict[str, tuple[int, str]] = {
    "hello without options": (HELLO, ""),
    "hello without dr priority and generation id": (HELLO, "0001 0002 0069"),
    "hello with two holdtimes": (HELLO, "0001 0002 0000 0001 0002 0069"),
    "hello for ever": (HELLO, "0001 0002 ffff 0013 0004 ffffffff"),
    "hello with tracking": (HELLO, "0001 0002 0069 0002 0004 ffff ffff 0014 0004 00000000"),
    "hello with state refresh 21, bidir 22 and 65001": (
        HELLO,
        "0001 0002 0069 0016 0000 0015 0004 0100003c fde9 0006 0100 0a2c0405",
    ),
    "hello with interface id, join attribute and pop count": (
        HELLO,
        "0001 0002 0069 001f 0008 0000000500000001 001a 0000 001d 0008 0000000000000000",
    ),
    "hello with addresses of two families": (
        HELLO,
        "0001 0002 0069 0018 001e 0100 0a2c0409 0200 fe800000000000000000000000000001 0100 0a2c040b",
    ),
    "hello with an empty address list": (HELLO, "0001 0002 0069 0018 0000"),
    "hello with a byte of padding": (HELLO, "0001 0002 0069 00"),
    "hello with padding": (HELLO, "0001 0002 0069 0000 0000"),
    "join of a range with the B and Z bits": (JOIN, f"{ONE} 0100 8118 ef010200 0001 0000 {TO_RP}"),
    "join of (*,*,RP)": (JOIN, f"{ONE} 0100 0004 e0000000 0001 0000 {TO_RP}"),
    "join for 0 s": (JOIN, f"0100 0a2c0405 00 01 0000 {GROUP} 0001 0000 {TO_RP}"),
    "join for ever": (JOIN, f"0100 0a2c0405 00 01 ffff {GROUP} 0001 0001 {TO_RP} 0100 0520 0a090002"),
    "join of no group": (JOIN, "0100 0a2c0405 00 00 00d2"),
    "join of a group without sources": (JOIN, f"{ONE} {GROUP} 0000 0000"),
    "join to a secondary address": (JOIN, f"0100 0a2c0701 00 01 00d2 {GROUP} 0001 0000 {TO_RP}"),
    "join to nobody": (JOIN, f"0100 00000000 00 01 00d2 {GROUP} 0001 0000 {TO_RP}"),
    "join of a source range": (JOIN, f"{ONE} {GROUP} 0001 0000 0100 0418 0a090000"),
    "join with attributes": (JOIN, f"{ONE} {GROUP} 0001 0000 0101 0420 0a010203 4004 01020304"),
    "join and prune of a source, with and without the R bit": (
        JOIN,
        f"{ONE} {GROUP} 0001 0001 0100 0420 0a090001 0100 0520 0a090001",
    ),
    "join with bytes behind": (JOIN, f"{ONE} {GROUP} 0001 0000 {TO_RP} 0000 01"),
    "join of 200 groups, over 1,500 bytes": (
        JOIN,
        "0100 0a2c0405 00 c8 00d2" + f"{GROUP} 0001 0000 {TO_RP}" * 200,
    ),
    "prune alone": (JOIN, f"{ONE} {GROUP} 0000 0001 {TO_RP}"),
    "assert for ever": (ASSERT, f"{GROUP} 0100 0a090001 ffffffff ffffffff"),
    "assert of (*,G)": (ASSERT, f"{GROUP} 0100 00000000 80000064 0000000a"),
    "graft": (GRAFT, f"{ONE} {GROUP} 0001 0000 0100 0020 0a090001"),
    "graft-ack": (ACK, f"{ONE} {GROUP} 0001 0000 0100 0020 0a090001"),
    "bootstrap without ranges": (BSM, BSR),
    "bootstrap of a scope zone": (BSM, f"{BSR} 0100 0108 ef000000 01 01 0000 0100 640f1e01 0096 00 00"),
    "bootstrap of a range without rps": (BSM, f"{BSR} {SITE} 00 00 0000"),
    "bootstrap with padding": (BSM, f"{BSR} {SITE} 00 00 0000 0000"),
    "bootstrap that withdraws": (BSM, f"{BSR} {SITE} 01 01 0000 0100 640f1e01 0000 ff 00"),
    "bootstrap, a fragment": (BSM, f"{BSR} {SITE} 05 01 0000 0100 640f1e01 ffff 00 00"),
    "candidate of everything": (CANDIDATE, "00 00 0096 0100 640f1e01"),
    "candidate of two ranges": (CANDIDATE, f"02 c0 0096 0100 640f1e01 {SITE} 0100 0008 ee000000"),
    "register": (REGISTER, "00000000 4500001c 00000000 ff11 0000 0a090001 ef010203 0bb80bb8 0008 0000"),
    "register from a border": (REGISTER, "80000000 4500001c 00000000 ff11 0000 0a090001 ef010203 0bb80bb8 0008 0000"),
    "register-stop of every source": (STOP, f"{GROUP} 0100 00000000"),
}
# What a leaf does not live on is counted, though nothing is wrong with it.
COUNTED = {
    "register-stop of every source": "register_stop_unasked",
    "candidate of everything": "not_a_bootstrap_router",
    "candidate of two ranges": "not_a_bootstrap_router",
    "graft": "dense_mode",
    "graft-ack": "dense_mode",
    "assert for ever": "assert_not_followed",
    "assert of (*,G)": "assert_not_followed",
}


def message(name: str) -> bytes:
    kind, body = ODD[name]
    return seal(kind, bytes.fromhex(body), covered=8 if kind == MessageType.REGISTER else None)


def test_tshark_and_we_agree(tmp_path: Path) -> None:
    path = tmp_path / "odd.pcap"
    pcap.write(path, [pcap.ipv4(message(name), OTHER, ALL_PIM_ROUTERS) for name in ODD])
    packets = pcap.tshark(path)
    assert len(packets) == len(ODD)
    for name, layers in zip(ODD, packets, strict=True):
        assert_agreed(message(name), layers)


@pytest.mark.parametrize("name", ODD)
def test_the_machine_takes_it(name: str) -> None:
    router = started(with_pim(bootstrap=True, neighbor=None))
    hello(router, OTHER)
    is_register = ODD[name][0] == MessageType.REGISTER
    router.received(NAME, OTHER, LEAF if is_register else ALL_PIM_ROUTERS, message(name), NOW + 1)
    expected = {COUNTED[name]: 1} if name in COUNTED else {}
    assert dropped(router) == expected
    assert router.interfaces[NAME].neighbors.get(OTHER) is not None


@pytest.mark.parametrize("null_of", ["45000014", "4500001c"])
def test_a_null_register_may_sum_everything(null_of: str) -> None:
    data = seal(MessageType.REGISTER, bytes.fromhex(f"40000000 {null_of} {INNER}"))
    router = started()
    effects = router.received(NAME, UPSTREAM, LEAF, data, NOW)
    assert [effect for effect in effects if getattr(effect, "kind", None) is MessageType.REGISTER_STOP]
    assert dropped(router) == {}
    assert IPv4Address("10.9.0.1").packed in data
