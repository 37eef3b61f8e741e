"""Lines for whole packets; scapy makes them."""

from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import GRE
from scapy.packet import Packet, Raw

from mcastd.net.checksum import internet_checksum
from mcastd.pim.packet import Hello, encode_hello
from mcastd.tools.trace.decode import Meaning, describe
from mcastd.tools.trace.scope import KINDS
from tests import pcap

OURS, THEIRS = "10.44.6.1", "10.44.7.1"
CMD = bytes.fromhex("0800010100010000")
ANSWER = IP(src=OURS, dst=THEIRS, tos=0xC0, ttl=255, proto=47)
KEEPALIVE = "keepalive request from 10.44.7.1, asks for an answer 10.44.6.1 > 10.44.7.1 (tos 0xc0, ttl 255)"


def gre(payload: Packet | bytes, proto: int = 0x0800, **fields: Any) -> bytes:
    outer = IP(src=THEIRS, dst=OURS, tos=0xC0, ttl=255, proto=47)
    return bytes(outer / GRE(proto=proto, **fields) / payload)


def told(packet: bytes, *, outgoing: bool = False, on_tunnel: bool = False) -> Meaning:
    found = describe(packet, outgoing=outgoing, on_tunnel=on_tunnel)
    assert found is not None
    return found


def test_a_keepalive_request_is_told_in_the_article_s_style() -> None:
    assert told(gre(ANSWER / GRE(proto=0))) == Meaning(
        "keepalive", f"IP (tos 0xc0, ttl 255, length 48) 10.44.7.1 > 10.44.6.1: GREv0, {KEEPALIVE}"
    )


def test_key_checksum_sequence_number_and_cmd_header_are_told() -> None:
    fields: dict[str, Any] = {"key_present": 1, "key": 0x28, "seqnum_present": 1, "sequence_number": 7}
    inner = bytes(ANSWER / GRE(proto=0, **fields))
    found = told(gre(CMD + inner, 0x8909, chksum_present=1, **fields))
    assert found.text.endswith(f"GREv0, key 0x28, seq 7, checksum, CMD header, {KEEPALIVE}, key 0x28, seq 7")


def test_what_was_inside_and_the_answer() -> None:
    answer = bytes(ANSWER / GRE(proto=0))
    assert told(answer, on_tunnel=True).text.endswith("inside a keepalive: the answer that 10.44.7.1 asks for")
    assert told(answer, outgoing=True).text.endswith("keepalive of 10.44.7.1 answered")
    assert told(gre(b"", 0)).text.endswith("keepalive of 10.44.6.1 answered by 10.44.7.1")


def test_what_gre_carries_is_told_in_one_line() -> None:
    hello = IP(src="10.44.4.5", dst="224.0.0.13", tos=0xC0, ttl=1, proto=103) / encode_hello(Hello(105))
    found = told(gre(hello))
    assert found.kind == "pim"
    assert found.text.endswith(
        "GREv0: IP (tos 0xc0, ttl 1, length 30) 10.44.4.5 > 224.0.0.13: PIMv2 Hello, holdtime 105"
    )


@pytest.mark.parametrize(("port", "marker"), [(500, b""), (4500, bytes(4))])
def test_ike_on_either_port(port: int, marker: bytes) -> None:
    message = bytes(16) + bytes([46, 0x20, 35, 8]) + bytes(7) + bytes([28])
    found = told(bytes(IP(src="10.1.1.246", dst="177.54.214.20") / UDP(sport=port, dport=port) / (marker + message)))
    assert found.kind == "ike"
    assert f"10.1.1.246.{port} > 177.54.214.20.{port}: IKEv2 IKE_AUTH request 0" in found.text


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        bytes(20),
        b"\x60" + bytes(39),
        bytes(IP(proto=6) / b"tcp"),
        bytes(IP(proto=50) / bytes(40)),
        bytes(IP() / UDP(sport=4500, dport=4500) / b"\xff"),
        bytes(IP() / UDP(sport=4500, dport=4500) / (b"\1" * 40)),
        bytes(IP() / UDP(sport=53, dport=5353) / b"x"),
        gre(IP(dst="239.1.1.1") / UDP(sport=1, dport=5001) / b"feed"),
        gre(Raw(b"cdp"), 0x2000),
        # Another tunnel through this one is data, and so are its keepalives.
        gre(ANSWER / GRE(proto=0x0800) / ANSWER),
        gre(IP(src="192.0.2.1", dst="192.0.2.2", proto=47) / GRE(proto=0x0800) / IP(proto=6)),
        gre(IP(src="192.0.2.1", dst="192.0.2.2", proto=47) / GRE(proto=0)),
    ],
)
def test_what_is_none_of_the_four_has_no_line(packet: bytes) -> None:
    assert describe(packet, outgoing=False, on_tunnel=False) is None


def test_ip_fragments_are_shown_as_such() -> None:
    message = bytes(16) + bytes([46, 0x20, 35, 8]) + bytes(6) + (1800).to_bytes(2, "big") + bytes(1772)
    whole = IP(src="10.1.1.246", dst="177.54.214.20", id=7) / UDP(sport=4500, dport=4500) / (bytes(4) + message)
    first, last = (told(bytes(part)) for part in whole.fragment(1480))  # type: ignore[no-untyped-call]
    assert first.text.endswith("length 1800, encrypted: first fragment of IP packet 7, bytes 0 to 1479")
    assert "10.1.1.246.4500 > 177.54.214.20.4500: IKEv2 IKE_AUTH request 0" in first.text
    assert last.text.endswith("10.1.1.246 > 177.54.214.20: last fragment of IP packet 7, bytes 1480 to 1811")
    assert {first.kind, last.kind} == {"ike"}
    assert not first.broken
    hello = told(bytes(IP(src=THEIRS, dst=OURS, proto=103, flags="MF", id=9) / encode_hello(Hello(105))))
    assert (hello.kind, hello.broken) == ("pim", False)
    assert hello.text.endswith("fragment of IP packet 9, bytes 0 to 9")


def test_a_group_is_asked_for_inside_gre_too() -> None:
    joined = bytes.fromhex("1600") + bytes(2) + IPv4Address("239.1.1.1").packed
    report = joined[:2] + internet_checksum(joined).to_bytes(2, "big") + joined[4:]
    packet = gre(IP(src="10.44.4.5", dst="239.1.1.1", ttl=1, proto=2) / report)
    for group, shown in (("239.1.1.1", True), ("239.1.1.2", False)):
        found = describe(packet, outgoing=False, on_tunnel=False, group=IPv4Address(group))
        assert (found is not None) == shown


BROKEN = [
    (gre(ANSWER / GRE(proto=0))[:-1], "keepalive", "ip_total_length"),
    (bytes(IP(proto=47) / b"\0\0\x08"), "keepalive", "gre_short"),
    (bytes(IP(proto=47) / b"\x40\0\x08\0"), "keepalive", "gre_routing"),
    (gre(b"", 0x8909), "keepalive", "cmd_short"),
    (gre(b"\x45"), "keepalive", "ip_short"),
    (gre(b"x", 0), "keepalive", "nested"),
    (gre(ANSWER / GRE(proto=0) / b"x"), "keepalive", "nested"),
    (bytes(IP(proto=103) / b"\x20\0"), "pim", "short"),
    (bytes(IP(proto=103) / b"\x20\0\0\0"), "pim", "checksum"),
    (bytes(IP(proto=2) / b"\x22\0"), "igmp", "igmp_short"),
    (bytes(IP() / UDP(sport=500, dport=500) / b"x"), "ike", "ike_short"),
    (gre(IP(proto=103) / b"\x20\0"), "pim", "short"),
]


@pytest.mark.parametrize(("packet", "kind", "reason"), BROKEN)
def test_a_broken_packet_is_shown_as_such(packet: bytes, kind: str, reason: str) -> None:
    found = told(packet)
    assert (found.kind, found.broken) == (kind, True)
    assert f"broken {kind} packet ({reason})" in found.text


PROTOCOLS = st.sampled_from((2, 17, 47, 103))


@settings(deadline=None)
@given(PROTOCOLS, st.binary(max_size=60), st.booleans(), st.booleans())
def test_no_packet_is_a_crash(protocol: int, payload: bytes, outgoing: bool, on_tunnel: bool) -> None:
    packet = bytes((0x45, 0)) + (20 + len(payload)).to_bytes(2, "big") + bytes((0, 0, 0, 0, 1, protocol)) + bytes(10)
    found = describe(packet + payload, outgoing=outgoing, on_tunnel=on_tunnel)
    assert found is None or (found.kind in KINDS and "\n" not in found.text)
    assert describe(payload, outgoing=outgoing, on_tunnel=on_tunnel) is None or payload[0] >> 4 == 4


def test_published_captures_malformed_ones_included() -> None:
    kinds = set()
    for path in sorted(pcap.CAPTURES.glob("*.pcap")):
        for frame in pcap.read(path):
            # On Ethernet, a VLAN on it, or raw.
            start = next((at for at in (14, 18, 0, 4) if frame[at : at + 1] == b"\x45"), 0)
            found = describe(frame[start:], outgoing=False, on_tunnel=False)
            if found is not None:
                kinds.add((found.kind, found.broken))
    assert kinds >= {("keepalive", False), ("pim", False), ("pim", True), ("igmp", False)}
