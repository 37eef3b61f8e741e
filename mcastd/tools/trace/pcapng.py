"""pcapng files (draft-ietf-opsawg-pcapng): IPv4 packets by interface, with direction and a comment."""

import struct
from typing import BinaryIO

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_BYTE_ORDER = 0x1A2B3C4D
_LINKTYPE_RAW = 101
_END, _COMMENT = 0, 1
_IF_NAME, _IF_TSRESOL = 2, 9
_EPB_FLAGS, _INBOUND, _OUTBOUND = 2, 1, 2
_NANOSECONDS = 9


class Writer:
    """Writes a file; each packet is complete in it when ``packet`` returns."""

    def __init__(self, file: BinaryIO, application: str) -> None:
        self._file = file
        self._interfaces: dict[str, int] = {}  # their numbers in the file
        options = _options((4, application.encode()))
        self._block(_SECTION, struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1) + options)

    def packet(self, interface: str, time_ns: int, outgoing: bool, packet: bytes, comment: str) -> None:
        """Add a packet that passed at ``time_ns``, in nanoseconds since 1970."""
        number = self._interfaces.get(interface)
        if number is None:
            number = self._interfaces[interface] = len(self._interfaces)
            options = _options((_IF_NAME, interface.encode()), (_IF_TSRESOL, bytes([_NANOSECONDS])))
            self._block(_INTERFACE, struct.pack("<HHI", _LINKTYPE_RAW, 0, 0) + options)
        length = len(packet)
        head = struct.pack("<IIIII", number, time_ns >> 32, time_ns & 0xFFFFFFFF, length, length)
        flags = struct.pack("<I", _OUTBOUND if outgoing else _INBOUND)
        self._block(_PACKET, head + _padded(packet) + _options((_COMMENT, comment.encode()), (_EPB_FLAGS, flags)))

    def _block(self, kind: int, body: bytes) -> None:
        total = 12 + len(body)
        self._file.write(struct.pack("<II", kind, total) + body + struct.pack("<I", total))
        self._file.flush()


def _options(*options: tuple[int, bytes]) -> bytes:
    listed = [struct.pack("<HH", code, len(value)) + _padded(value) for code, value in options]
    return b"".join(listed) + struct.pack("<HH", _END, 0)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
