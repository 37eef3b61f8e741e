"""IKE to text (RFC 7296, section 3; RFC 2408 for version 1): the header, and with scapy unencrypted payloads."""

import struct
from collections.abc import Iterator
from itertools import groupby

from scapy.contrib import ikev2
from scapy.layers import isakmp
from scapy.packet import Packet

from mcastd.errors import DecodeError

_HEADER = struct.Struct("!8s8sBBBBII")
_INITIATOR, _RESPONSE, _ENCRYPTED_V1 = 0x08, 0x20, 0x01
_EXCHANGES = {34: "IKE_SA_INIT", 35: "IKE_AUTH", 36: "CREATE_CHILD_SA", 37: "INFORMATIONAL"}
_EXCHANGES_V1 = {2: "Main Mode", 4: "Aggressive Mode", 5: "Informational", 6: "Transaction", 32: "Quick Mode"}
_SK, _SKF = 46, 53
_SHOWN = 16


def words(message: bytes, *, whole: bool = True) -> str:
    """An IKE message as text; if it is not ``whole``, its header.

    Raises DecodeError ``ike_short``, ``ike_length``, ``ike_version`` or ``ike_payloads``.
    """
    if len(message) < _HEADER.size:
        raise DecodeError("ike_short")
    initiator, responder, first, version, exchange, flags, number, length = _HEADER.unpack_from(message)
    if length < _HEADER.size or (whole and length > len(message)):
        raise DecodeError("ike_length")
    spis = f"SPIs {initiator.hex()}_i {responder.hex()}_r, length {length}"
    if version >> 4 == 1:
        head = f"IKEv1 {_EXCHANGES_V1.get(exchange, f'exchange {exchange}')}, message {number:08x}, {spis}"
        encrypted = bool(flags & _ENCRYPTED_V1)
    elif version >> 4 == 2:
        direction = "response" if flags & _RESPONSE else "request"
        side = "initiator" if flags & _INITIATOR else "responder"
        head = f"IKEv2 {_EXCHANGES.get(exchange, f'exchange {exchange}')} {direction} {number} of the {side}, {spis}"
        encrypted = first in (_SK, _SKF)
    else:
        raise DecodeError("ike_version")
    if encrypted or not whole:
        return f"{head}, encrypted" if encrypted else head
    return f"{head}: {', '.join(_payloads(message[:length], version >> 4)) or 'no payload'}"


def _payloads(message: bytes, version: int) -> list[str]:
    try:
        found = ikev2.IKEv2(message).payload if version == 2 else isakmp.ISAKMP(message).payload
        names = list(_names(found))
    except Exception as error:  # a broken packet can make scapy's dissectors raise any exception
        raise DecodeError("ike_payloads") from error
    counted = ((name, len(list(same))) for name, same in groupby(names))
    return [f"{count} x {name}" if count > 1 else name for name, count in counted][:_SHOWN]


def _names(layer: Packet) -> Iterator[str]:
    for each in _chain(layer):
        match each:
            case ikev2.IKEv2_SA():
                yield f"SA ({', '.join(_proposal(each))})"
            case isakmp.ISAKMP_payload_SA():
                yield f"SA ({', '.join(_proposal_v1(each))})"
            case ikev2.IKEv2_Notify():
                yield f"{each.sprintf('%IKEv2_Notify.type%')}"
            case isakmp.ISAKMP_payload_Notify():
                yield each.sprintf("%ISAKMP_payload_Notify.notify_msg_type%").replace("-", "_")
            case _:
                yield str(each.name).removeprefix("IKEv2 ").removeprefix("ISAKMP ")


def _chain(layer: Packet) -> Iterator[Packet]:
    """A layer and those behind it."""
    while layer:
        yield layer
        layer = layer.payload


def _proposal_v1(layer: Packet) -> Iterator[str]:
    for proposal in _chain(layer.prop):
        for transform in _chain(proposal.trans):
            values = dict(transform.transforms)
            size = f"-{values['KeyLength']}" if "KeyLength" in values else ""
            life = (f"{values['LifeDuration']} {values.get('LifeType', '')}",) if "LifeDuration" in values else ()
            algorithms = (str(values[name]) for name in ("Hash", "GroupDesc", "Authentication") if name in values)
            yield "/".join((f"{values.get('Encryption', 'no encryption')}{size}", *algorithms, *life))


def _proposal(layer: Packet) -> Iterator[str]:
    for proposal in _chain(layer.prop):
        names = []
        for transform in _chain(proposal.trans):
            # An attribute (section 3.3.5): its type in the upper half, the length in bits in the lower.
            size = f"-{transform.key_length & 0xFFFF}" if transform.key_length else ""
            names.append(transform.sprintf("%IKEv2_Transform.transform_id%") + size)
        yield "/".join(names)
