"""Packets to lines of text. Pure; a packet that cannot be decoded has a line too."""

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import NamedTuple

from mcastd.errors import DecodeError
from mcastd.net import gre, ipv4
from mcastd.net.ipv4 import Ipv4Packet
from mcastd.tools.trace import igmp, ike, pim
from mcastd.tools.trace.scope import Kind

_IKE_PORT, _NAT_T_PORT = 500, 4500
_NON_ESP_MARKER = bytes(4)
_CARRIED: dict[int, tuple[Kind, Callable[[bytes, IPv4Address | None], str | None]]] = {
    ipv4.IGMP: ("igmp", igmp.words),
    ipv4.PIM: ("pim", pim.words),
}


class Meaning(NamedTuple):
    """The kind of a packet, and a line about it; ``broken`` if it cannot be decoded."""

    kind: Kind
    text: str
    broken: bool = False


def describe(packet: bytes, *, outgoing: bool, on_tunnel: bool, group: IPv4Address | None = None) -> Meaning | None:
    """Decode an IPv4 packet; None if it is of no kind that is shown, or says nothing of the only ``group`` asked for.

    ``on_tunnel`` says that it passed on a tunnel's own interface, inside GRE.
    """
    try:
        return _payload(ipv4.parse(packet), outgoing, on_tunnel, group)
    except DecodeError as error:
        if error.reason in ("ip_short", "ip_version"):
            return None
        start = Ipv4Packet(memoryview(packet)[: ipv4.HEADER_LENGTH], memoryview(b""))
        return _broken(_kind_of(start.protocol), _head(start), error, packet)


def _payload(packet: Ipv4Packet, outgoing: bool, on_tunnel: bool, group: IPv4Address | None) -> Meaning | None:
    payload = bytes(packet.payload)
    if packet.is_fragment:
        return _fragment(packet, payload)
    if packet.protocol == ipv4.UDP:
        return _udp(packet, payload)
    if packet.protocol == ipv4.GRE:
        return _gre(packet, payload, outgoing, on_tunnel, group)
    if packet.protocol not in _CARRIED:
        return None
    kind, words = _CARRIED[packet.protocol]
    return _decoded(kind, _head(packet), lambda: words(payload, group), payload)


def _decoded(kind: Kind, head: str, words: Callable[[], str | None], message: bytes) -> Meaning | None:
    try:
        text = words()
    except DecodeError as error:
        return _broken(kind, head, error, message)
    return None if text is None else Meaning(kind, f"{head}: {text}")


def _fragment(packet: Ipv4Packet, payload: bytes) -> Meaning | None:
    """Of a first fragment of IKE the header is decoded; a later one has no ports."""
    at = 8 * packet.fragment_offset
    part = f"fragment of IP packet {packet.identification}, bytes {at} to {at + len(payload) - 1}"
    if packet.protocol == ipv4.UDP and at == 0:
        first = _udp(packet, payload, whole=False)
        return first and first._replace(text=f"{first.text}: first {part}")
    return Meaning(_kind_of(packet.protocol), f"{_head(packet)}: {'' if packet.more_fragments else 'last '}{part}")


def _udp(packet: Ipv4Packet, payload: bytes, *, whole: bool = True) -> Meaning | None:
    ports = [int.from_bytes(payload[at : at + 2]) for at in (0, 2)]
    message = payload[ipv4.UDP_HEADER_LENGTH :]
    if _IKE_PORT not in ports:
        if _NAT_T_PORT not in ports or not message.startswith(_NON_ESP_MARKER):
            return None
        message = message.removeprefix(_NON_ESP_MARKER)
    ends = f"{packet.source}.{ports[0]} > {packet.destination}.{ports[1]}"
    return _decoded("ike", _head(packet, ends), lambda: ike.words(message, whole=whole), message)


def _gre(
    packet: Ipv4Packet, payload: bytes, outgoing: bool, on_tunnel: bool, group: IPv4Address | None
) -> Meaning | None:
    head = _head(packet)
    try:
        header = gre.decode(payload)
        inner = memoryview(payload)[header.length :]
        options = _options(header)
        if header.protocol == gre.PROTOCOL_KEEPALIVE:
            if inner:
                raise DecodeError("nested")
            return Meaning("keepalive", f"{head}: GREv0{options}, {_answer(packet, outgoing, on_tunnel)}")
        if header.protocol == gre.PROTOCOL_CMD:
            inner = gre.behind_cmd(inner)
            options += ", CMD header"
        elif header.protocol != gre.PROTOCOL_IPV4:
            return None
        carried = ipv4.parse(inner)
        if carried.protocol != ipv4.GRE:
            within = describe(bytes(inner), outgoing=outgoing, on_tunnel=False, group=group)
            return within and Meaning(within.kind, f"{head}: GREv0{options}: {within.text}", within.broken)
        asked = gre.decode(carried.payload)
        if asked.protocol != gre.PROTOCOL_KEEPALIVE or {*carried.ends}.isdisjoint(packet.ends):
            return None  # data: another tunnel through this one, or its keepalives
        if len(carried.payload) != asked.length:
            raise DecodeError("nested")
    except DecodeError as error:
        return _broken("keepalive", head, error, payload)
    answer = f"{carried.source} > {carried.destination} (tos 0x{carried.tos:x}, ttl {carried.ttl}){_options(asked)}"
    request = f"keepalive request from {packet.source}, asks for an answer {answer}"
    return Meaning("keepalive", f"{head}: GREv0{options}, {request}")


def _answer(packet: Ipv4Packet, outgoing: bool, on_tunnel: bool) -> str:
    if on_tunnel:
        return f"inside a keepalive: the answer that {packet.destination} asks for"
    return f"keepalive of {packet.destination} answered" + ("" if outgoing else f" by {packet.source}")


def _options(header: gre.GreHeader) -> str:
    key = f", key 0x{header.key:x}" if header.key is not None else ""
    number = f", seq {header.sequence}" if header.sequence is not None else ""
    return f"{key}{number}{', checksum' if header.checksum else ''}"


def _head(packet: Ipv4Packet, ends: str | None = None) -> str:
    ends = ends or f"{packet.source} > {packet.destination}"
    return f"IP (tos 0x{packet.tos:x}, ttl {packet.ttl}, length {packet.length}) {ends}"


def _kind_of(protocol: int) -> Kind:
    return _CARRIED[protocol][0] if protocol in _CARRIED else "ike" if protocol == ipv4.UDP else "keepalive"


def _broken(kind: Kind, head: str, error: DecodeError, what: bytes) -> Meaning:
    return Meaning(kind, f"{head}: broken {kind} packet ({error.reason}): {what[:32].hex()}", broken=True)
