"""The Internet checksum against RFC 1071 and its own definition."""

from hypothesis import given
from hypothesis import strategies as st

from mcastd.net.checksum import internet_checksum


def by_words(data: bytes) -> int:
    """RFC 1071, section 4.1, word by word."""
    data += b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def test_the_example_of_rfc_1071() -> None:
    """Section 3: the sum is ddf2."""
    assert internet_checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2 ^ 0xFFFF
    assert internet_checksum(bytes.fromhex("0001f203f4f5f6f7220d")) == 0


@given(st.binary(max_size=100) | st.sampled_from((b"", b"\0\0", b"\xff\xff", b"\xff" * 65535)))
def test_it_is_the_sum_of_the_words(data: bytes) -> None:
    assert internet_checksum(data) == internet_checksum(memoryview(data)) == by_words(data)


@given(st.binary(min_size=2, max_size=100).filter(lambda data: len(data) % 2 == 0))
def test_it_is_0_over_data_that_holds_it(data: bytes) -> None:
    cleared = bytes(2) + data[2:]
    held = internet_checksum(cleared).to_bytes(2) + data[2:]
    assert internet_checksum(held) == 0
