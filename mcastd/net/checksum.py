"""The Internet checksum (RFC 1071)."""


def internet_checksum(data: bytes | memoryview) -> int:
    """The one's complement of the one's complement sum of the 16-bit words of ``data``, padded to an even length.

    The result is 0 over data that holds its own correct checksum.
    """
    # 2**16 is 1 modulo 0xffff, so the sum of the words, carries added back, is the whole number modulo 0xffff.
    number = int.from_bytes(data) << 8 * (len(data) % 2)
    return -number % 0xFFFF if number else 0xFFFF
