"""IKE to text (RFC 7296, section 3; RFC 2408 for version 1): the header, and with scapy unencrypted payloads."""

import struct
from collections.abc import Iterator

from scapy.contrib import ikev2
from scapy.packet import Packet

from mcastd.errors import DecodeError

_HEADER = struct.Struct("!8s8sBBBBII")
_INITIATOR, _RESPONSE, _ENCRYPTED_V1 = 0x08, 0x20, 0x01
_EXCHANGES = {34: "IKE_SA_INIT", 35: "IKE_AUTH", 36: "CREATE_CHILD_SA", 37: "INFORMATIONAL"}
_EXCHANGES_V1 = {2: "Main Mode", 4: "Aggressive Mode", 5: "Informational", 6: "Transaction", 32: "Quick Mode"}
_SK, _SKF = 46, 53
_SHOWN = 16


def words(message: bytes) -> str:
    """An IKE message as text. Raises DecodeError ``ike_short``, ``ike_length``, ``ike_version`` or ``ike_payloads``."""
    if len(message) < _HEADER.size:
        raise DecodeError("ike_short")
    initiator, responder, first, version, exchange, flags, number, length = _HEADER.unpack_from(message)
    if not _HEADER.size <= length <= len(message):
        raise DecodeError("ike_length")
    spis = f"SPIs {initiator.hex()}_i {responder.hex()}_r, length {length}"
    if version >> 4 == 1:
        encrypted = ", encrypted" if flags & _ENCRYPTED_V1 else ""
        return f"IKEv1 {_EXCHANGES_V1.get(exchange, f'exchange {exchange}')}, message {number:08x}, {spis}{encrypted}"
    if version >> 4 != 2:
        raise DecodeError("ike_version")
    direction = "response" if flags & _RESPONSE else "request"
    side = "initiator" if flags & _INITIATOR else "responder"
    head = f"IKEv2 {_EXCHANGES.get(exchange, f'exchange {exchange}')} {direction} {number} of the {side}, {spis}"
    if first in (_SK, _SKF):
        return f"{head}, encrypted"
    return f"{head}: {', '.join(_payloads(message[:length])) or 'no payload'}"


def _payloads(message: bytes) -> list[str]:
    try:
        found = ikev2.IKEv2(message)
        return list(_names(found.payload))[:_SHOWN]
    except Exception as error:  # a broken packet can make scapy's dissectors raise any exception
        raise DecodeError("ike_payloads") from error


def _names(layer: Packet) -> Iterator[str]:
    while layer:
        if isinstance(layer, ikev2.IKEv2_SA):
            yield f"SA ({', '.join(_proposal(layer))})"
        elif isinstance(layer, ikev2.IKEv2_Notify):
            yield f"{layer.sprintf('%IKEv2_Notify.type%')}"
        else:
            yield str(layer.name).removeprefix("IKEv2 ")
        layer = layer.payload


def _proposal(layer: Packet) -> Iterator[str]:
    proposal = layer.prop
    while proposal:
        transform, names = proposal.trans, []
        while transform:
            # An attribute (section 3.3.5): its type in the upper half, the length in bits in the lower.
            size = f"-{transform.key_length & 0xFFFF}" if transform.key_length else ""
            names.append(transform.sprintf("%IKEv2_Transform.transform_id%") + size)
            transform = transform.payload
        yield "/".join(names)
        proposal = proposal.payload
