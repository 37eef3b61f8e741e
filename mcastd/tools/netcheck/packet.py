"""An IKE_SA_INIT request and what its response says (RFC 7296), by scapy. Pure.

HDR(SPIi, 0), [N(COOKIE),] SAi1, KEi, Ni, N(NAT_DETECTION_SOURCE_IP), N(NAT_DETECTION_DESTINATION_IP) [, V]  ->
<-  HDR(SPIi, SPIr), SAr1, KEr, Nr, N(NAT_DETECTION_SOURCE_IP), N(NAT_DETECTION_DESTINATION_IP), ...
<-  HDR(SPIi, 0), N(COOKIE) or N(INVALID_KE_PAYLOAD) or a refusal
"""

import hashlib
import random
from ipaddress import IPv4Address
from typing import Final

from msgspec import Struct
from scapy.contrib import ikev2
from scapy.packet import Packet

from mcastd.errors import DecodeError

NON_ESP_MARKER: Final = bytes(4)
"""Before each IKE message on port 4500 (RFC 3948, section 2.2)."""

_SA_INIT, _INITIATOR, _RESPONSE = 34, 0x08, 0x20
_IKE = 1  # the protocol of a proposal
_COOKIE, _INVALID_KE, _NAT_SOURCE, _NAT_DESTINATION = 16390, 17, 16388, 16389
_FIRST_STATUS = 16384  # notifications below are errors (section 3.10.1)

_ENCRYPTION, _PRF, _INTEGRITY, _GROUP = 1, 2, 3, 4
_AES_CBC, _DES = 12, 2
_KEY_LENGTH = 0x800E << 16  # the attribute's type (section 3.3.5)
# PRF and integrity by SHA2-256, -384, -512 and SHA1; then the groups.
_PRFS, _INTEGRITIES = (5, 6, 7, 2), (12, 13, 14, 2)
# The length of a public value for each group, in bytes (RFC 3526, RFC 5903, RFC 8031).
_MODP: Final = {14: 256, 15: 384, 16: 512, 5: 192, 2: 128}
_CURVE25519: Final = 31
# Any point of the curve is a public value: its base point, as nothing is ever encrypted with the result.
_BASE_POINTS: Final = {
    19: "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
    20: "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7"
    "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
    21: "00c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3d"
    "baa14b5e77efe75928fe1dc127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66"
    "011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e66"
    "2c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650",
}
FIRST_GROUP: Final = 14
_GROUPS: Final = (FIRST_GROUP, 19, 20, 21, _CURVE25519, 15, 16, 5, 2)


class Ends(Struct, frozen=True):
    """The addresses and UDP ports of a request, as the sender knows them."""

    local: IPv4Address
    local_port: int
    remote: IPv4Address
    remote_port: int


class Answer(Struct, frozen=True):
    """A response: the notifications by name, and what the hashes of NAT detection are made of."""

    spi_i: bytes
    spi_r: bytes
    accepted: bool
    """It has chosen a proposal."""
    errors: tuple[str, ...] = ()
    """Its error notifications, as the RFC names them."""
    group: int | None = None
    """The group that it asks for"""
    cookie: bytes | None = None
    source_hashes: tuple[bytes, ...] = ()
    destination_hashes: tuple[bytes, ...] = ()


def nat_hash(spi_i: bytes, spi_r: bytes, address: IPv4Address, port: int) -> bytes:
    """What a NAT detection notification has of an address and port (RFC 7296, section 2.23)."""
    return hashlib.sha1(spi_i + spi_r + address.packed + port.to_bytes(2)).digest()


def request(
    ends: Ends,
    entropy: random.Random,
    *,
    group: int = FIRST_GROUP,
    cookie: bytes | None = None,
    size: int | None = None,
) -> bytes:
    """An IKE_SA_INIT request; with ``size`` so many bytes long, and with a proposal that no peer accepts."""
    spi = entropy.randbytes(8)
    message: Packet = ikev2.IKEv2(init_SPI=spi, exch_type=_SA_INIT, flags=_INITIATOR)
    if cookie is not None:
        message /= ikev2.IKEv2_Notify(type=_COOKIE, notify=cookie)
    message /= ikev2.IKEv2_SA(prop=_proposal(usable=size is None))
    message /= ikev2.IKEv2_KE(group=group, ke=_public_value(group, entropy))
    message /= ikev2.IKEv2_Nonce(nonce=entropy.randbytes(32))
    hashes = (_NAT_SOURCE, ends.local, ends.local_port), (_NAT_DESTINATION, ends.remote, ends.remote_port)
    for kind, address, port in hashes:
        message /= ikev2.IKEv2_Notify(type=kind, notify=nat_hash(spi, bytes(8), address, port))
    if size is not None:
        vendor = ikev2.IKEv2_VendorID(vendorID=b"")
        message /= ikev2.IKEv2_VendorID(vendorID=bytes(max(0, size - len(bytes(message / vendor)))))
    return bytes(message)


def understands(group: int) -> bool:
    """Whether a request can have a public value of the group."""
    return group in _GROUPS


def answer(message: bytes) -> Answer:
    """Decode a response. Raises DecodeError ``ike_short``, ``ike_response`` (it is none) or ``ike_payloads``."""
    if len(message) < 28:
        raise DecodeError("ike_short")
    if message[17] >> 4 != 2 or not message[19] & _RESPONSE or message[18] != _SA_INIT:
        raise DecodeError("ike_response")
    try:
        return _answer(ikev2.IKEv2(message))
    except Exception as error:  # a broken packet can make scapy's dissectors raise any exception
        raise DecodeError("ike_payloads") from error


def _answer(message: Packet) -> Answer:
    notified: dict[int, list[bytes]] = {}
    errors = []
    layer = message.payload
    while layer:
        if isinstance(layer, ikev2.IKEv2_Notify):
            notified.setdefault(layer.type, []).append(_data(layer))
            if layer.type < _FIRST_STATUS:
                errors.append(layer.sprintf("%IKEv2_Notify.type%"))
        layer = layer.payload
    group = notified.get(_INVALID_KE)
    return Answer(
        bytes(message.init_SPI),
        bytes(message.resp_SPI),
        accepted=message.haslayer(ikev2.IKEv2_SA) == 1,
        errors=tuple(errors),
        group=int.from_bytes(group[0]) if group else None,
        cookie=next(iter(notified.get(_COOKIE, [])), None),
        source_hashes=tuple(notified.get(_NAT_SOURCE, [])),
        destination_hashes=tuple(notified.get(_NAT_DESTINATION, [])),
    )


def _data(notify: Packet) -> bytes:
    """What follows the SPI in a notification (section 3.10)."""
    return bytes(notify.original[8 + notify.SPIsize : notify.length])


def _proposal(*, usable: bool) -> Packet:
    if usable:
        kinds = [(_ENCRYPTION, _AES_CBC, 256), (_ENCRYPTION, _AES_CBC, 128)]
        kinds += [(_PRF, one, 0) for one in _PRFS] + [(_INTEGRITY, one, 0) for one in _INTEGRITIES]
        kinds += [(_GROUP, one, 0) for one in _GROUPS]
    else:
        # DES with a PRF and an integrity algorithm of MD5, and a group of 768 bits.
        kinds = [(_ENCRYPTION, _DES, 0), (_PRF, 1, 0), (_INTEGRITY, 1, 0), (_GROUP, 1, 0)]
    transforms = [_transform(*kind) for kind in kinds]
    chain = transforms[0]
    for one in transforms[1:]:
        chain /= one
    return ikev2.IKEv2_Proposal(proposal=1, proto=_IKE, trans_nb=len(transforms), trans=chain)


def _transform(kind: int, number: int, key_length: int) -> Packet:
    if key_length:
        return ikev2.IKEv2_Transform(
            transform_type=kind, transform_id=number, length=12, key_length=_KEY_LENGTH | key_length
        )
    return ikev2.IKEv2_Transform(transform_type=kind, transform_id=number)


def _public_value(group: int, entropy: random.Random) -> bytes:
    if group in _MODP:
        return b"\x7f" + entropy.randbytes(_MODP[group] - 1)  # below the prime, whose first 64 bits are ones
    return entropy.randbytes(32) if group == _CURVE25519 else bytes.fromhex(_BASE_POINTS[group])
