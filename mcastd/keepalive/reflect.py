"""The answer to a keepalive request. Pure."""

import msgspec

from mcastd.errors import DecodeError
from mcastd.keepalive.packet import Endpoints
from mcastd.net import gre, ipv4


class Answer(msgspec.Struct, frozen=True):
    """The inner packet of a keepalive, to be sent on: its GRE, and ``tos`` and ``ttl`` of its IP header."""

    gre: bytes
    tos: int
    ttl: int


def reflect(inner: bytes | memoryview, tunnel: Endpoints) -> Answer:
    """The answer to the keepalive whose inner IPv4 packet this is.

    Raises DecodeError with the reason why it is not answered: what GRE and IP headers can have wrong, ``not_gre``,
    ``inner_source``, ``inner_destination``, ``inner_ttl`` (0), ``not_keepalive`` (GRE protocol other than 0),
    ``inner_key``, ``nested`` (anything behind the inner GRE header).
    """
    packet = ipv4.parse(inner)
    if packet.protocol != ipv4.GRE:
        raise DecodeError("not_gre")
    if packet.source not in (tunnel.local, *tunnel.also):
        raise DecodeError("inner_source")
    if packet.destination != tunnel.remote:
        raise DecodeError("inner_destination")
    if packet.ttl == 0:
        raise DecodeError("inner_ttl")
    header = gre.decode(packet.payload)
    if header.protocol != gre.PROTOCOL_KEEPALIVE:
        raise DecodeError("not_keepalive")
    if not tunnel.gre.sends(header):
        raise DecodeError("inner_key")
    if len(packet.payload) != header.length:
        raise DecodeError("nested")
    return Answer(bytes(packet.payload), tos=packet.tos, ttl=packet.ttl)
