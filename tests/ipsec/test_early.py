from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from mcastd.ipsec.early import KEEP, MOST, EarlyEsp
from tests import pcap

PEER, HOST = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
SPI, OTHER = 0xC0FFEE01, 0x00001000


def esp(spi: int = SPI, number: int = 1) -> bytes:
    return pcap.ipv4(spi.to_bytes(4) + number.to_bytes(4) + b"ciphertext", PEER, HOST, protocol=50)


def in_udp(spi: int = SPI, number: int = 1, checksum: int = 0) -> bytes:
    inside = spi.to_bytes(4) + number.to_bytes(4) + b"ciphertext"
    header = (4500).to_bytes(2) * 2 + (8 + len(inside)).to_bytes(2) + checksum.to_bytes(2)
    return pcap.ipv4(header + inside, PEER, HOST, protocol=17)


def with_options(packet: bytes) -> bytes:
    return bytes([0x46]) + packet[1:20] + b"\x01\x01\x01\x01" + packet[20:]


def test_what_came_before_its_keys_is_given_back_once_and_in_its_order() -> None:
    early = EarlyEsp()
    came = [esp(number=1), in_udp(number=2), esp(OTHER), with_options(esp(number=3)), with_options(in_udp(number=4))]
    assert all(early.arrived(packet, 1.0) for packet in came)
    assert early.keyed(SPI, 1.5) == [came[0], came[1], came[3], came[4]]
    assert early.keyed(SPI, 1.5) == []
    assert early.keyed(OTHER, 1.5) == [came[2]]


def test_a_udp_checksum_that_was_left_to_the_hardware_is_none() -> None:
    early = EarlyEsp()
    early.arrived(in_udp(checksum=0xBEEF), 1.0)
    early.arrived(with_options(in_udp(checksum=0xBEEF)), 1.0)
    assert early.keyed(SPI, 1.0) == [in_udp(), with_options(in_udp())]


def test_it_is_kept_for_a_while() -> None:
    early = EarlyEsp()
    early.arrived(esp(number=1), 1.0)
    early.arrived(esp(number=2), 1.5)
    assert early.keyed(SPI, 1.0 + KEEP) == [esp(number=2)]


def test_too_many_are_not_early() -> None:
    early = EarlyEsp()
    assert all(early.arrived(esp(number=number), 1.0) for number in range(MOST))
    assert not early.arrived(esp(number=MOST), 1.0)
    assert early.keyed(SPI, 1.0) == []
    assert early.arrived(esp(), 1.0)


def test_many_one_after_the_other_are() -> None:
    early = EarlyEsp()
    assert all(early.arrived(esp(), 2 * number * KEEP / MOST) for number in range(3 * MOST))


@given(
    st.lists(
        st.tuples(st.sampled_from((SPI, OTHER)), st.booleans(), st.floats(0, 0.4)).map(
            lambda drawn: (drawn[0], (in_udp if drawn[1] else esp)(drawn[0]), drawn[2])
        ),
        max_size=30,
    )
)
def test_each_packet_of_the_last_second_comes_back_by_its_spi(came: list[tuple[int, bytes, float]]) -> None:
    early, now = EarlyEsp(), 1.0
    kept = []
    for spi, packet, pause in came:
        now += pause
        assert early.arrived(packet, now)
        kept.append((now, spi, packet))
    for wanted in (SPI, OTHER):
        assert early.keyed(wanted, now) == [packet for when, spi, packet in kept if spi == wanted and when > now - KEEP]
