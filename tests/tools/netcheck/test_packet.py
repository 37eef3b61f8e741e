import random
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.contrib import ikev2
from scapy.packet import Packet

from mcastd.errors import DecodeError
from mcastd.tools.netcheck import packet
from mcastd.tools.netcheck.packet import Answer, Ends, answer, nat_hash, request

ENDS = Ends(IPv4Address("10.1.1.246"), 500, IPv4Address("177.54.214.20"), 500)
SPI_I, SPI_R = b"\1" * 8, b"\2" * 8
# y^2 = x^3 - 3x + b modulo p (RFC 5903, section 3): the prime and b of each curve.
CURVES = {
    19: (2**256 - 2**224 + 2**192 + 2**96 - 1, 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B),
    20: (
        2**384 - 2**128 - 2**96 + 2**32 - 1,
        0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
    ),
    21: (
        2**521 - 1,
        0x0051953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF109E156193951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B503F00,
    ),
}


@pytest.mark.parametrize("group", CURVES)
def test_public_values_of_curves_are_points_of_them(group: int) -> None:
    value = layers(request(ENDS, random.Random(1), group=group))["Key Exchange"].ke
    prime, b = CURVES[group]
    x, y = (int.from_bytes(half) for half in (value[: len(value) // 2], value[len(value) // 2 :]))
    assert (y * y - x**3 + 3 * x - b) % prime == 0


def layers(message: bytes) -> dict[str, Packet]:
    found: dict[str, Packet] = {}
    layer: Packet = ikev2.IKEv2(message).payload
    while layer:
        found[str(layer.name).removeprefix("IKEv2 ")] = layer
        layer = layer.payload
    return found


def test_a_request_has_what_a_responder_needs() -> None:
    message = request(ENDS, random.Random(1), cookie=b"chocolate")
    found = layers(message)
    assert list(found) == ["Notify", "SA", "Key Exchange", "Nonce"]
    assert message[:16] == message[:8] + bytes(8)
    assert int.from_bytes(message[24:28]) == len(message)
    assert message[28:].find(b"chocolate") == 8  # the cookie comes first (section 2.6)
    for address, port in ((ENDS.local, 500), (ENDS.remote, 500)):
        assert nat_hash(message[:8], bytes(8), address, port) in message


@pytest.mark.parametrize("size", [600, 1272, 1472])
def test_a_padded_request_has_its_size_and_no_algorithm_that_is_accepted(size: int) -> None:
    message = request(ENDS, random.Random(1), size=size)
    assert len(message) == size
    transform = layers(message)["SA"].prop.trans
    assert transform.sprintf("%IKEv2_Transform.transform_id%") == "DES"


def response(*notifications: tuple[int, bytes], accepted: bool = False) -> bytes:
    message = ikev2.IKEv2(init_SPI=SPI_I, resp_SPI=SPI_R if accepted else bytes(8), exch_type=34, flags=0x20)
    if accepted:
        message /= ikev2.IKEv2_SA(prop=ikev2.IKEv2_Proposal(trans_nb=1, trans=ikev2.IKEv2_Transform()))
    for kind, data in notifications:
        message /= ikev2.IKEv2_Notify(type=kind, notify=data)
    return bytes(message)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (response((14, b"")), Answer(SPI_I, bytes(8), accepted=False, errors=("NO_PROPOSAL_CHOSEN",))),
        (response((16390, b"c" * 20)), Answer(SPI_I, bytes(8), accepted=False, cookie=b"c" * 20)),
        (
            response((17, b"\0\x13")),
            Answer(SPI_I, bytes(8), accepted=False, errors=("INVALID_KE_PAYLOAD",), group=19),
        ),
        (
            response((16388, b"s" * 20), (16389, b"d" * 20), accepted=True),
            Answer(SPI_I, SPI_R, accepted=True, source_hashes=(b"s" * 20,), destination_hashes=(b"d" * 20,)),
        ),
    ],
)
def test_what_a_response_says(message: bytes, expected: Answer) -> None:
    assert answer(message) == expected


@pytest.mark.parametrize(
    ("message", "reason"),
    [(b"", "ike_short"), (request(ENDS, random.Random(1)), "ike_response"), (b"\x10" * 40, "ike_response")],
)
def test_what_is_no_response(message: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        answer(message)
    assert caught.value.reason == reason


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=120))
def test_no_response_is_a_crash(tail: bytes) -> None:
    message = response((14, b""), accepted=True)[:28] + tail
    try:
        assert answer(message).spi_i == SPI_I
    except DecodeError as error:
        assert error.reason == "ike_payloads"  # noqa: PT017  # both outcomes are right; this one has a name


def test_groups_that_a_peer_may_ask_for() -> None:
    for group in (14, 15, 16, 19, 20, 21, 31):
        assert packet.understands(group)
        assert len(request(ENDS, random.Random(1), group=group)) > 200
    assert not packet.understands(1)
