from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP
from scapy.layers.l2 import GRE

from mcastd.config.model import Keepalive, Tunnel
from mcastd.errors import DecodeError
from mcastd.keepalive.packet import Endpoints, carried, endpoints, request
from mcastd.keepalive.reflect import Answer, reflect
from mcastd.net.gre import GreOptions
from tests import pcap
from tests.ipsec.charons import article, gre

OURS, THEIRS, PUBLIC = (IPv4Address(text) for text in ("10.44.6.1", "10.44.7.1", "222.45.67.1"))
TUNNEL = Endpoints(OURS, THEIRS)
KEYED = Endpoints(OURS, THEIRS, GreOptions(0x28))
CMD = bytes.fromhex("0800010100010000")
INNER = bytes.fromhex("45c0001800000000ff2f999d0a2c06010a2c070100000000")


def outer(payload: bytes, source: IPv4Address = THEIRS, destination: IPv4Address = OURS) -> bytes:
    return bytes(IP(src=str(source), dst=str(destination), proto=47, ttl=255, tos=0xC0, id=0) / payload)


def test_our_request_is_the_article_s_the_other_way_round() -> None:
    assert request(TUNNEL).hex() == "00000800" + "45c0001800000000ff2f999d0a2c07010a2c060100000000"


@pytest.mark.parametrize("key", [None, 0, 0x28])
@pytest.mark.parametrize("checksum", [False, True])
def test_key_and_checksum_are_in_both_headers(key: int | None, checksum: bool) -> None:
    def header(protocol: int) -> GRE:
        return GRE(proto=protocol, key_present=int(key is not None), key=key, chksum_present=int(checksum))

    answer = IP(src=str(THEIRS), dst=str(OURS), proto=47, ttl=255, tos=0xC0, id=0) / header(0)
    assert request(Endpoints(OURS, THEIRS, GreOptions(key, checksum))) == bytes(header(0x0800) / answer)


def test_the_answer_is_sent_to_where_the_far_end_knows_us() -> None:
    inner = IP(request(Endpoints(OURS, THEIRS, also=(PUBLIC,)))[4:])
    assert (inner.src, inner.dst) == (str(THEIRS), str(PUBLIC))


ENDS = st.builds(
    Endpoints,
    local=st.just(OURS),
    remote=st.just(THEIRS),
    gre=st.builds(GreOptions, st.none() | st.integers(0, 0xFFFFFFFF), st.booleans()),
    also=st.sampled_from(((), (PUBLIC,))),
)


@settings(deadline=None)
@given(ENDS)
def test_what_we_ask_the_other_side_answers_and_we_know_the_answer(ours: Endpoints) -> None:
    theirs = Endpoints(THEIRS, ours.also[0] if ours.also else OURS, ours.gre)
    inner = carried(outer(request(ours), OURS, THEIRS), theirs)
    assert inner is not None
    answer = reflect(inner, theirs)
    assert (answer.tos, answer.ttl) == (0xC0, 255)
    assert carried(outer(answer.gre), ours) is None


@settings(deadline=None)
@given(ENDS)
def test_our_own_request_coming_back_is_not_answered(ours: Endpoints) -> None:
    inner = carried(outer(request(ours)), ours)
    assert inner is not None
    with pytest.raises(DecodeError, match="inner_source"):
        reflect(inner, ours)


@pytest.mark.parametrize("key", [None, 0x28])
@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("sequence", [None, 7])
@pytest.mark.parametrize("cmd", [False, True])
def test_every_kind_of_request(key: int | None, checksum: bool, sequence: int | None, cmd: bool) -> None:
    fields: dict[str, Any] = {"chksum_present": int(checksum), "key_present": int(key is not None), "key": key}
    fields |= {"seqnum_present": int(sequence is not None), "sequence_number": sequence}
    inside = bytes(GRE(proto=0, **fields))
    inner = bytes(IP(src=str(OURS), dst=str(THEIRS), proto=47, ttl=255, tos=0xC0) / inside)
    whole = bytes(GRE(proto=0x8909 if cmd else 0x0800, **fields) / (CMD * cmd + inner))
    tunnel = Endpoints(OURS, THEIRS, GreOptions(key))
    found = carried(outer(whole), tunnel)
    assert found is not None
    assert bytes(found) == inner
    assert reflect(inner, tunnel) == Answer(inside, 0xC0, 255)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "gre_short"),
        (b"\x20\0\x08\0\0\0\0", "gre_short"),
        (b"\xb0\0\x89\x09" + bytes(11), "gre_short"),
        (b"\x40\0\x08\0" + bytes(8), "gre_routing"),
        (b"\0\x01\x08\0", "gre_version"),
        (b"\x80\0\x08\0\x12\x34\0\0" + INNER, "gre_checksum"),
        (b"\x20\0\x08\0\0\0\0\x28" + INNER, "gre_key"),
        (b"\x20\0\0\0\0\0\0\x28", "gre_key"),
        (b"\0\0\x86\xdd" + INNER, "gre_protocol"),
        (bytes(5), "nested"),
        (bytes(4) + INNER, "nested"),
        (b"\0\0\x89\x09" + CMD[:7], "cmd_short"),
        (b"\0\0\x89\x09", "cmd_short"),
        (b"\0\0\x89\x09\x86\xdd" + CMD[2:] + INNER, "cmd_header"),
        (b"\0\0\x89\x09\x08\0\2\1\0\1\0\0" + INNER, "cmd_header"),
        (b"\0\0\x89\x09\x08\0\1\2\0\1\0\0" + bytes(4) + INNER, "cmd_header"),
    ],
)
def test_what_is_no_keepalive_of_this_tunnel(payload: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        carried(outer(payload), TUNNEL)
    assert caught.value.reason == reason


@pytest.mark.parametrize("packet", [b"", outer(b"")[:19], b"\x4f" + outer(b"")[1:], outer(bytes(8))[:-5]])
def test_broken_outer_headers(packet: bytes) -> None:
    with pytest.raises(DecodeError, match="ip_"):
        carried(packet, TUNNEL)


@settings(deadline=None)
@given(st.binary(max_size=80), st.sampled_from((TUNNEL, KEYED)))
def test_arbitrary_bytes_are_read_or_refused_with_a_reason(payload: bytes, tunnel: Endpoints) -> None:
    reason, inner = "none", None
    try:
        inner = carried(outer(payload), tunnel)
    except DecodeError as error:
        reason = error.reason
    assert reason
    assert inner is None or len(inner) < len(payload)


def test_the_keepalives_of_two_real_ciscos_get_the_answers_that_they_got() -> None:
    """various_gre.pcap: each request, on a VLAN and behind a CMD header, is followed by its answer."""
    frames = [frame[18:] for frame in pcap.read(pcap.CAPTURES / "various_gre.pcap") if frame[16:18] == b"\x08\0"]
    requests = [at for at, packet in enumerate(frames) if packet[9] == 47 and packet[22:24] == b"\x89\x09"]
    found = 0
    for at in requests:
        source, destination = IPv4Address(frames[at][12:16]), IPv4Address(frames[at][16:20])
        tunnel = Endpoints(destination, source, GreOptions(0x28))
        inner = carried(frames[at], tunnel)
        assert inner is not None
        if inner[9] != 47:
            continue  # a ping
        answer, after = reflect(inner, tunnel), frames[at + 1]
        # Sent on, and so with a TTL one less.
        assert (answer.gre, answer.tos, answer.ttl - 1) == (after[20:28], after[1], after[8])
        assert carried(after[:28], Endpoints(source, destination, GreOptions(0x28))) is None
        found += 1
    assert found == 8


def test_in_transport_mode_behind_a_nat_our_identity_is_where_their_tunnel_ends() -> None:
    inner = Keepalive(inner_addresses=(IPv4Address("203.0.113.9"),))
    wanted = Tunnel(name="gre1", local=OURS, remote=THEIRS, address=IPv4Interface("10.44.4.6/30"), keepalive=inner)
    assert endpoints(wanted).also == inner.inner_addresses
    assert endpoints(wanted, article(local_id=str(PUBLIC)), gre()).also == inner.inner_addresses
    transport = gre(mode="transport")
    assert endpoints(wanted, article(local_id=str(PUBLIC)), transport).also == (PUBLIC, *inner.inner_addresses)
    assert endpoints(wanted, article(local_id="vm.example.org"), transport).also == inner.inner_addresses
    assert endpoints(wanted, article(local_id=str(OURS)), transport).also == inner.inner_addresses
