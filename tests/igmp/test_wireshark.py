"""Wireshark, tcpdump and scapy as oracles: they take what we send without a complaint, and we read as they do."""

import json
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from scapy.layers.igmp import IGMP, IGMPv3_MQ, IGMPv3_MR, IGMPv3_MR_Group
from scapy.packet import Packet

from mcastd.igmp.effects import SendQuery
from mcastd.igmp.querier import Querier
from mcastd.igmp.settings import IgmpInterface, Timing
from mcastd.net.igmp import ALL_SYSTEMS, Leave, Message, Query, Record, RecordType, Report, V3Report, decode
from tests import pcap
from tests.igmp.encoders import encode
from tests.net.test_igmp import MESSAGES

IGMP_PROTOCOL = 2
US, HOST, GROUP = IPv4Address("10.1.1.1"), IPv4Address("10.1.1.20"), IPv4Address("239.1.2.3")
SOURCES = tuple(IPv4Address("100.15.30.10") + n for n in range(3))


def everything_sent() -> list[SendQuery]:
    """Queries of each version and kind."""
    effects = []
    for version in (1, 2, 3):
        timing = Timing(2, 200.0, 30.0, 1.5)
        querier = Querier(IgmpInterface("eth1", US, version=version, timing=timing), 1000.0)
        querier.receive(HOST, V3Report((Record(RecordType.TO_IN, GROUP + 1, SOURCES),)), 1000.0)
        join = V3Report((Record(RecordType.TO_EX, GROUP),)) if version == 3 else Report(version, GROUP)
        querier.receive(HOST, join, 1000.0)
        effects += querier.receive(HOST, Leave(GROUP), 1001.0)
        effects += querier.receive(HOST, V3Report((Record(RecordType.TO_IN, GROUP + 1),)), 1001.0)
        for second in range(300):
            effects += querier.advance(1001.0 + second)
    return [effect for effect in effects if isinstance(effect, SendQuery)]


def test_tshark_and_tcpdump_do_not_complain(tmp_path: Path) -> None:
    path = tmp_path / "sent.pcap"
    sent = everything_sent()
    found = [decode(one.payload) for one in sent]
    assert {(one.version, one.group is None, bool(one.sources)) for one in found if isinstance(one, Query)} == {
        (1, True, False), (2, True, False), (2, False, False), (3, True, False), (3, False, False), (3, False, True),
    }  # fmt: skip
    pcap.write(path, [pcap.ipv4(one.payload, US, one.destination, protocol=IGMP_PROTOCOL) for one in sent])
    decoded = pcap.tshark(path)
    assert len(decoded) == len(sent)
    for layers in decoded:
        text = json.dumps(layers)
        assert "_ws.malformed" not in text
        assert "_ws.expert" not in text
        assert layers["igmp"]["igmp.checksum.status"] == "1"
    printed = pcap.tcpdump(path)
    assert printed.count(" igmp ") == len(sent)
    for complaint in ("[|", "invalid", "bad", "unknown"):
        assert complaint not in printed


def assert_agreed(data: bytes, layers: dict[str, object]) -> None:
    """We read a message as tshark does."""
    message, theirs = decode(data), layers["igmp"]
    assert isinstance(theirs, dict)
    kind = {Query: 0x11, V3Report: 0x22, Leave: 0x17}.get(type(message))
    assert int(theirs["igmp.type"], 16) == (kind or {1: 0x12, 2: 0x16}[message.version])  # type: ignore[union-attr]
    if isinstance(message, Query):
        assert int(theirs["igmp.version"]) == message.version
        assert theirs["igmp.maddr"] == str(message.group or "0.0.0.0")
        if message.version == 3:
            assert list(pcap.values(theirs, "igmp.saddr")) == [str(source) for source in message.sources]
            assert float(theirs["igmp.max_resp"]) == pytest.approx(message.max_response * 10)
            assert int(theirs["igmp.qrv"]) == message.robustness
            assert float(theirs["igmp.qqic"]) == message.interval


def test_the_capture_decodes_as_tshark_says() -> None:
    path = pcap.CAPTURES / "igmpv3-queries.pcap"
    packets = pcap.tshark(path, "-Y", "igmp")
    frames = [frame[14:] for frame in pcap.read(path) if frame[12:14] == b"\x08\x00" and frame[23] == IGMP_PROTOCOL]
    assert len(frames) == len(packets) > 0
    for packet, layers in zip(frames, packets, strict=True):
        assert_agreed(packet[(packet[0] & 15) * 4 : int.from_bytes(packet[2:4])], layers)


@given(MESSAGES)
def test_scapy_reads_what_we_encode(message: Message) -> None:
    data = encode(message)
    theirs: Packet
    match message:
        case V3Report(records):
            theirs = IGMPv3_MR(data)
            assert [
                (one.rtype, one.maddr, tuple(one.srcaddrs)) for one in theirs.records
            ] == [(one.kind, str(one.group), tuple(map(str, one.sources))) for one in records]  # fmt: skip
        case Query() if message.version == 3:
            theirs = IGMPv3_MQ(data)
            group, sources = str(message.group or "0.0.0.0"), [str(source) for source in message.sources]
            assert (theirs.gaddr, list(theirs.srcaddrs), theirs.qrv) == (group, sources, message.robustness)
            assert bool(theirs.s) is message.suppress
        case _:
            theirs = IGMP(data)
            assert theirs.gaddr == str(getattr(message, "group", None) or "0.0.0.0")


def test_we_read_what_scapy_builds() -> None:
    record = IGMPv3_MR_Group(rtype=4, maddr=str(GROUP), srcaddrs=[str(source) for source in SOURCES])
    built = bytes(IGMPv3_MR(records=[record]))
    assert decode(built) == V3Report((Record(RecordType.TO_EX, GROUP, SOURCES),))
    assert decode(bytes(IGMP(type=0x16, gaddr=str(GROUP)))) == Report(2, GROUP)
    assert decode(bytes(IGMP(type=0x17, gaddr=str(GROUP)))) == Leave(GROUP)


def test_a_general_query_goes_to_all_systems() -> None:
    assert everything_sent()[-1].destination == ALL_SYSTEMS
