"""The packets of a burst, the receive buffers that are measured, and how sizes are shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.net import gre, ipv4
from mcastd.net.checksum import internet_checksum
from mcastd.tools.bench.plan import LARGEST, SMALLEST, Burst, buffers, cpu_mask, memory


@given(size=st.integers(SMALLEST, LARGEST), number=st.integers(0, 2**32 - 1), port=st.integers(1, 65535))
def test_a_packet_is_gre_with_udp_to_the_group_whose_checksums_are_right(size: int, number: int, port: int) -> None:
    one = Burst(group="239.1.1.1", port=port, packets=1, size=size, within=1.0, bursts=1, pause=0.0)
    packet = one.packet(number)
    header = gre.decode(packet)
    assert header == gre.PLAIN.feed_header
    inner = ipv4.parse(packet[header.length :])
    assert (str(inner.destination), inner.protocol, internet_checksum(inner.header)) == ("239.1.1.1", ipv4.UDP, 0)
    udp = bytes(inner.payload)
    assert (int.from_bytes(udp[2:4]), int.from_bytes(udp[4:6])) == (port, len(udp)) == (port, 8 + size)
    pseudo = inner.source.packed + inner.destination.packed + bytes((0, ipv4.UDP)) + len(udp).to_bytes(2)
    assert internet_checksum(pseudo + udp) == 0
    assert int.from_bytes(udp[8:12]) == number


def test_the_buffers_are_in_the_order_of_what_the_kernel_gives() -> None:
    found = buffers(212992, 212992, None)
    assert [(one.asked, one.forced) for one in found] == [
        (None, False),
        (212992, False),
        (4 << 20, True),
        (16 << 20, True),
    ]


def test_a_chosen_size_is_measured_too_and_none_twice() -> None:
    found = buffers(212992, 4 << 20, 65536)
    assert [(one.asked, one.forced) for one in found] == [
        (65536, False),
        (None, False),
        (4 << 20, False),
        (16 << 20, True),
    ]


@pytest.mark.parametrize(
    ("cpu", "mask"),
    [(0, "00000001"), (7, "00000080"), (31, "80000000"), (32, "00000001,00000000"), (95, "80000000,00000000,00000000")],
)
def test_the_mask_of_a_cpu_has_groups_of_32_bits(cpu: int, mask: str) -> None:
    assert cpu_mask(cpu) == mask


@pytest.mark.parametrize(
    ("size", "text"), [(512, "512 bytes"), (212992, "208 KiB"), (4 << 20, "4 MiB"), (1930240, "1.8 MiB")]
)
def test_sizes_are_in_powers_of_2(size: int, text: str) -> None:
    assert memory(size) == text
