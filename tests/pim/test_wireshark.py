"""Wireshark and tcpdump as oracles: they take what we send without a complaint, and we read captures as they do."""

import json
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace
from scapy.contrib import pim as scapy_pim

from mcastd.config.model import Group
from mcastd.errors import DecodeError
from mcastd.pim.effects import Send
from mcastd.pim.messages import (
    Assert,
    Bootstrap,
    CandidateRpAdvertisement,
    RegisterStop,
    RpEntry,
    RpRangeEntry,
    decode_register_stop,
    encode_register_stop,
)
from mcastd.pim.packet import ALL_PIM_ROUTERS, MessageType, SourceEntry, decode_hello, decode_join_prune, unseal
from tests import pcap
from tests.pim.encoders import encode_assert, encode_bootstrap, encode_candidate_rp, encode_join_prune, seal
from tests.pim.oracle import DECODERS, assert_agreed
from tests.simulator.world import LEAF, NAME, UPSTREAM, WantedRouter, settings

GROUP, SOURCE = IPv4Address("239.1.2.3"), IPv4Address("10.9.0.1")
SENT_TYPES = {MessageType.HELLO, MessageType.JOIN_PRUNE, MessageType.REGISTER_STOP}
# Of tcpdump's test suite (BSD-3-Clause): PIM-SM_join_prune.pcap, frames 1 and 3; PIM_register_register-stop.pcap, 2.
CISCO_HELLO = bytes.fromhex("200041fe00010002006900140004d76fc4dc00130004000000010015000401000000")
CISCO_JOIN = bytes.fromhex("23005ae501000a00000d000100d201000020ef7b7b7b000100000100072001010101")
REGISTER_STOP = bytes.fromhex("2200162801000020ef0102030100c0a8140a")


def everything_sent() -> list[Send]:
    """What the machine sends in a life with joins, exclusions, leaves, a refresh, a Register and a goodbye."""
    router = WantedRouter(Random(1))
    own = replace(settings(), secondary=(IPv4Address("10.1.1.246"),))
    groups = tuple(Group(group=IPv4Address("239.2.0.0") + n, tunnel=NAME) for n in range(300))
    effects = router.want((own,), groups, 0.0)
    effects += router.join(GROUP, None, NAME, "test", 1.0, frozenset({SOURCE, SOURCE + 1}))
    effects += router.join(GROUP, None, NAME, "test", 2.0, frozenset({SOURCE + 1}))
    effects += router.join(IPv4Address("232.1.2.3"), SOURCE, NAME, "test", 3.0)
    inner = b"\x45\0\0\x14" + bytes(8) + SOURCE.packed + GROUP.packed
    effects += router.received(NAME, UPSTREAM, LEAF, seal(MessageType.REGISTER, bytes(4) + inner, 8), 4.0)
    for second in range(100):
        effects += router.advance(5.0 + second)
    effects += router.leave(GROUP, None, NAME, "test", 110.0)
    effects += router.close(120.0)
    return [effect for effect in effects if isinstance(effect, Send)]


def others() -> list[bytes]:
    """Messages that a leaf reads and never sends."""
    entry = RpRangeEntry(IPv4Network("239.0.0.0/8"), 1, (RpEntry(UPSTREAM, 150, 0),), scoped=True)
    graft = decode_join_prune(unseal(CISCO_JOIN)[1])
    return [
        encode_bootstrap(Bootstrap(7, 30, 64, UPSTREAM, (entry,))),
        encode_bootstrap(Bootstrap(7, 30, 64, UPSTREAM, (entry,)), no_forward=True),
        encode_candidate_rp(CandidateRpAdvertisement(0, 150, UPSTREAM, (IPv4Network("239.0.0.0/8"),))),
        encode_assert(Assert(GROUP, SOURCE, True, 100, 20)),
        encode_join_prune(graft, MessageType.GRAFT),
    ]


def test_every_type_that_we_send_is_sent_here() -> None:
    assert {send.kind for send in everything_sent()} == SENT_TYPES


def test_tshark_and_tcpdump_do_not_complain(tmp_path: Path) -> None:
    path = tmp_path / "sent.pcap"
    sent = [pcap.ipv4(send.payload, LEAF, send.destination) for send in everything_sent()]
    sent += [pcap.ipv4(data, LEAF, ALL_PIM_ROUTERS) for data in others()]
    pcap.write(path, sent)
    decoded = pcap.tshark(path)
    assert len(decoded) == len(sent)
    for layers in decoded:
        text = json.dumps(layers)
        assert "_ws.malformed" not in text
        assert "_ws.expert" not in text
        assert layers["pim"]["pim.cksum.status"] == "1"
    printed = pcap.tcpdump(path)
    assert printed.count(" PIMv2, length ") == len(sent)
    for complaint in ("[|", "incorrect", "invalid", "bad", "unknown", "Unknown"):
        assert complaint not in printed


def test_a_complaint_would_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "bad.pcap"
    pcap.write(path, [pcap.ipv4(CISCO_JOIN[:2] + b"\x12\x34" + CISCO_JOIN[4:-4], LEAF, ALL_PIM_ROUTERS)])
    assert "_ws.malformed" in json.dumps(pcap.tshark(path))
    assert "incorrect" in pcap.tcpdump(path)


def test_scapy_reads_our_joins() -> None:
    joins = [send.payload for send in everything_sent() if send.kind is MessageType.JOIN_PRUNE]
    for data in joins:
        ours = decode_join_prune(unseal(data)[1])
        theirs = scapy_pim.PIMv2Hdr(data)[scapy_pim.PIMv2JoinPrune]
        assert theirs.up_neighbor_ip == str(ours.upstream)
        assert [group.gaddr for group in theirs.jp_ips] == [str(entry.group) for entry in ours.groups]
        assert [[s.src_ip for s in group.join_ips] for group in theirs.jp_ips] == [
            [str(source.address) for source in entry.joined] for entry in ours.groups
        ]


def test_published_vectors() -> None:
    hello = decode_hello(unseal(CISCO_HELLO)[1])
    assert (hello.holdtime, hello.generation_id, hello.dr_priority) == (105, 3614426332, 1)
    join = decode_join_prune(unseal(CISCO_JOIN)[1])
    assert (join.upstream, join.holdtime) == (IPv4Address("10.0.0.13"), 210)
    assert join.groups[0].joined == (SourceEntry(IPv4Address("1.1.1.1"), 7),)
    assert encode_join_prune(join) == CISCO_JOIN
    stop = decode_register_stop(unseal(REGISTER_STOP)[1])
    assert stop == RegisterStop(IPv4Address("239.1.2.3"), IPv4Address("192.168.20.10"))
    assert encode_register_stop(stop) == REGISTER_STOP


def payloads(path: Path) -> list[bytes]:
    """What the PIMv2 packets in a capture of Ethernet frames carry."""
    found = []
    for frame in pcap.read(path):
        packet = frame[14:]
        if frame[12:14] == b"\x08\x00" and packet[9] == pcap.PIM:
            found.append(packet[(packet[0] & 15) * 4 : int.from_bytes(packet[2:4])])
    return found


@pytest.mark.parametrize("name", ["PIM-SM_join_prune.pcap", "PIM_register_register-stop.pcap"])
def test_captures_decode_as_tshark_says(name: str) -> None:
    path = pcap.CAPTURES / name
    packets = pcap.tshark(path, "-Y", "pim.version == 2")
    ours = payloads(path)
    assert len(ours) == len(packets) > 0
    for data, packet in zip(ours, packets, strict=True):
        assert_agreed(data, packet)


@pytest.mark.parametrize(
    "name", ["pim_header_asan.pcap", "pim_header_asan-2.pcap", "pimv2-oobr-1.pcap", "pimv2-oobr-2.pcap"]
)
def test_malformed_captures_are_refused_even_with_the_checksum_repaired(name: str) -> None:
    frame = pcap.read(pcap.CAPTURES / name)[0]
    data = frame[34:] if frame[12:14] == b"\x08\x00" else frame[54:]  # two are IPv6
    with pytest.raises(DecodeError):
        unseal(data)
    if len(data) > 4:
        kind = MessageType(data[0] & 15)
        with pytest.raises(DecodeError):
            DECODERS[kind](data[4:])
