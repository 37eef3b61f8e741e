from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.ipsec.early_esp import KEEP, MAX_PER_SPI, MAX_RATE, MAX_REFUSED, EarlyEsp
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
    return bytes([0x46, packet[1]]) + (len(packet) + 4).to_bytes(2) + packet[4:20] + b"\x01\x01\x01\x01" + packet[20:]


def test_what_came_before_its_keys_is_taken_once_and_in_its_order() -> None:
    early = EarlyEsp()
    came = [esp(number=1), in_udp(number=2), esp(OTHER), with_options(esp(number=3)), with_options(in_udp(number=4))]
    assert all(early.add(packet, 1.0) for packet in came)
    assert early.take(SPI, 1.5) == [came[0], came[1], came[3], came[4]]
    assert early.take(SPI, 1.5) == []
    assert early.take(OTHER, 1.5) == [came[2]]


def test_a_udp_checksum_that_was_left_to_the_hardware_is_none() -> None:
    early = EarlyEsp()
    early.add(in_udp(checksum=0xBEEF), 1.0)
    early.add(with_options(in_udp(checksum=0xBEEF)), 1.0)
    assert early.take(SPI, 1.0) == [in_udp(), with_options(in_udp())]


def test_it_is_kept_for_a_while() -> None:
    early = EarlyEsp()
    early.add(esp(), 1.0)
    early.add(esp(OTHER), 1.5)
    assert early.take(SPI, 1.0 + KEEP) == []
    assert early.take(OTHER, 1.0 + KEEP) == [esp(OTHER)]


def test_what_goes_on_without_keys_is_refused_and_until_then_nothing_is() -> None:
    early = EarlyEsp()
    early.add(esp(), 1.0)
    early.add(esp(OTHER), 2.0)
    assert early.refused == frozenset()
    early.add(esp(), 1.0 + KEEP)
    assert early.refused == {SPI}
    assert early.take(OTHER, 1.0 + KEEP) == [esp(OTHER)]


def test_more_than_the_largest_window_is_refused_and_hinders_no_other() -> None:
    early = EarlyEsp()
    early.add(esp(OTHER), 1.0)
    for number in range(MAX_PER_SPI):
        early.add(esp(number=number), 1.0)
    assert early.refused == frozenset()
    early.add(esp(), 1.0)
    assert early.refused == {SPI}
    early.add(esp(), 1.0)
    assert early.take(OTHER, 1.0) == [esp(OTHER)]
    assert early.take(SPI, 1.0) == []


def test_the_keys_of_what_was_refused_may_come_after_all() -> None:
    early = EarlyEsp()
    for _ in range(MAX_PER_SPI + 1):
        early.add(esp(), 1.0)
    assert early.take(SPI, 1.0) == []
    assert early.refused == frozenset()


def test_only_the_newest_are_remembered_as_refused() -> None:
    early = EarlyEsp()
    for spi in range(2 * MAX_REFUSED):
        early.add(esp(spi + 1), 1.0)
    early.add(esp(), 1.0 + KEEP)
    assert early.refused == set(range(MAX_REFUSED + 1, 2 * MAX_REFUSED + 1))


def test_of_too_many_the_oldest_go() -> None:
    early = EarlyEsp()
    spis = [*range(1, 2 * MAX_PER_SPI + 1), SPI]
    for spi in spis:
        early.add(esp(spi), 1.0)
    assert early.refused == {spis[0]}
    assert [early.take(spi, 1.0) == [esp(spi)] for spi in (spis[0], spis[1], spis[-1])] == [False, True, True]


@pytest.mark.parametrize(("lost", "rate"), [(5, 1000), (20, 400), (40, 200)])
def test_several_lost_sas_at_once_are_all_refused(lost: int, rate: int) -> None:
    early, read = EarlyEsp(), 0
    for number in range(10 * rate):
        for spi in range(1, lost + 1):
            if spi not in early.refused:
                early.add(esp(spi), 1.0 + number / rate)
                read += 1
    assert early.refused == set(range(1, lost + 1))
    assert read < lost * rate * KEEP


def test_a_flood_is_reported() -> None:
    early = EarlyEsp()
    assert all(early.add(esp(), 1.0) for _ in range(MAX_RATE - 1))
    assert not early.add(esp(), 1.9)
    assert early.add(esp(), 2.0)


@given(
    st.lists(
        st.tuples(st.sampled_from((SPI, OTHER)), st.booleans(), st.floats(0, 0.9)).map(
            lambda drawn: (drawn[0], (in_udp if drawn[1] else esp)(drawn[0]), drawn[2])
        ),
        max_size=30,
    )
)
def test_what_is_younger_than_a_while_comes_back_by_its_spi(came: list[tuple[int, bytes, float]]) -> None:
    early, now = EarlyEsp(), 1.0
    kept: dict[int, tuple[float, list[bytes]]] = {}
    for spi, packet, pause in came:
        now += pause
        assert early.add(packet, now)
        kept.setdefault(spi, (now, []))[1].append(packet)
    for spi in (SPI, OTHER):
        since, packets = kept.get(spi, (now, []))
        assert early.take(spi, now) == (packets if now - since < KEEP else [])
