from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcastd.errors import DecodeError
from mcastd.pim.messages import Assert, Bootstrap, RegisterStop, RpEntry, RpRangeEntry, encode_register_stop
from mcastd.pim.packet import RPT, SPARSE, WILDCARD, GroupSet, Hello, JoinPrune, MessageType, SourceEntry, encode_hello
from mcastd.tools.trace.pim import words
from tests import pcap
from tests.pim.encoders import encode_assert, encode_bootstrap, encode_join_prune, seal

GROUP, RP, SOURCE, UPSTREAM, OTHER = (
    IPv4Address(text) for text in ("239.1.1.1", "100.15.30.253", "100.15.30.10", "10.44.4.5", "10.44.4.9")
)
STAR = SourceEntry(RP, SPARSE | WILDCARD | RPT)


def join_prune(*groups: GroupSet) -> JoinPrune:
    return JoinPrune(UPSTREAM, 210, groups)


NULL_REGISTER = bytes([0x40, 0, 0, 0, 0x45]) + bytes(11) + SOURCE.packed + GROUP.packed


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (encode_hello(Hello()), "PIMv2 Hello"),
        (
            encode_hello(Hello(105, None, 1, 0xABCD, (OTHER,))),
            "PIMv2 Hello, holdtime 105, generation 0x0000abcd, DR priority 1, also 10.44.4.9",
        ),
        (encode_hello(Hello(holdtime=0)), "PIMv2 Hello, goodbye"),
        (encode_hello(Hello(holdtime=0xFFFF)), "PIMv2 Hello, holdtime unlimited"),
        (
            encode_join_prune(join_prune(GroupSet(GROUP, (STAR,)))),
            "PIMv2 Join (*,239.1.1.1) RP 100.15.30.253 to 10.44.4.5, holdtime 210",
        ),
        (
            encode_join_prune(join_prune(GroupSet(GROUP, (STAR,), (SourceEntry(SOURCE, SPARSE | RPT),)))),
            "PIMv2 Join (*,239.1.1.1) RP 100.15.30.253 and Prune (100.15.30.10,239.1.1.1,rpt) to 10.44.4.5, "
            "holdtime 210",
        ),
        (
            encode_join_prune(join_prune(*[GroupSet(GROUP + n, (), (SourceEntry(SOURCE),)) for n in range(6)])),
            "PIMv2 Prune (100.15.30.10,239.1.1.1), (100.15.30.10,239.1.1.2), (100.15.30.10,239.1.1.3), "
            "(100.15.30.10,239.1.1.4) and 2 more to 10.44.4.5, holdtime 210",
        ),
        (encode_join_prune(join_prune()), "PIMv2 Join/Prune of nothing to 10.44.4.5, holdtime 210"),
        (
            encode_join_prune(join_prune(GroupSet(GROUP, (SourceEntry(SOURCE),))), MessageType.GRAFT),
            "PIMv2 Graft: Join (100.15.30.10,239.1.1.1) to 10.44.4.5, holdtime 210",
        ),
        (seal(MessageType.REGISTER, NULL_REGISTER, covered=8), "PIMv2 Null-Register (100.15.30.10,239.1.1.1)"),
        (encode_register_stop(RegisterStop(GROUP, SOURCE)), "PIMv2 Register-Stop (100.15.30.10,239.1.1.1)"),
        (
            encode_assert(Assert(GROUP, SOURCE, False, 110, 7)),
            "PIMv2 Assert (100.15.30.10,239.1.1.1), preference 110, metric 7",
        ),
        (
            encode_bootstrap(
                Bootstrap(1, 30, 9, UPSTREAM, (RpRangeEntry(IPv4Network("239.0.0.0/8"), 1, (RpEntry(RP, 150, 0),)),))
            ),
            "PIMv2 Bootstrap of 10.44.4.5, priority 9, RP 100.15.30.253 for 239.0.0.0/8",
        ),
        (seal(MessageType.STATE_REFRESH, b"x"), "PIMv2 State Refresh"),
        (seal(15, b""), "PIMv2 of type 15"),
    ],
)
def test_what_is_said(message: bytes, said: str) -> None:
    assert words(message) == said


@settings(deadline=None)
@given(st.integers(0, 15), st.binary(max_size=80))
def test_arbitrary_bodies_have_words_or_a_reason(kind: int, body: bytes) -> None:
    try:
        assert (words(seal(kind, body)) or "").startswith("PIMv2 ")
    except DecodeError as error:
        assert error.reason  # noqa: PT017  # both outcomes are right; this one has a name


def test_a_message_whose_checksum_is_wrong_is_refused() -> None:
    with pytest.raises(DecodeError, match="checksum"):
        words(encode_hello(Hello())[:-1] + b"\0")


def test_the_joins_of_a_real_cisco() -> None:
    frames = [frame[14:] for frame in pcap.read(pcap.CAPTURES / "PIM-SM_join_prune.pcap")]
    payloads = [frame[4 * (frame[0] & 15) : int.from_bytes(frame[2:4])] for frame in frames if frame[9] == pcap.PIM]
    told = [words(payload) or "" for payload in payloads if payload[0] >> 4 == 2]
    assert sum(text.startswith("PIMv2 Hello, holdtime 105") for text in told) >= 2
    assert sum(" to " in text for text in told) == 9


def test_of_one_group_only_what_is_said_of_it() -> None:
    second = IPv4Address("239.1.1.2")
    join = encode_join_prune(join_prune(GroupSet(GROUP, (STAR,)), GroupSet(second, (STAR,))))
    assert words(join, second) == "PIMv2 Join (*,239.1.1.2) RP 100.15.30.253 to 10.44.4.5, holdtime 210"
    assert words(join, OTHER) is None
    whole_range = encode_join_prune(join_prune(GroupSet(IPv4Address("239.1.0.0"), (STAR,), mask_len=16)))
    assert words(whole_range, GROUP) == words(whole_range)
    assert words(seal(MessageType.REGISTER, NULL_REGISTER), GROUP) == "PIMv2 Null-Register (100.15.30.10,239.1.1.1)"
    assert words(seal(MessageType.REGISTER, NULL_REGISTER), second) is None
    assert words(encode_hello(Hello()), GROUP) is None
