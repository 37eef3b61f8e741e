"""What a packet means, in a line for people. Pure: bytes in, words out; a broken packet has words too."""

from collections.abc import Callable
from dataclasses import dataclass

from mcastd.errors import DecodeError
from mcastd.net import gre, ipv4
from mcastd.net.ipv4 import Ipv4Packet
from mcastd.tools.trace import igmp, ike, pim
from mcastd.tools.trace.scope import Kind

_IKE_PORT, _NAT_T_PORT = 500, 4500
_NON_ESP_MARKER = bytes(4)
_CARRIED: dict[int, tuple[Kind, Callable[[bytes], str]]] = {
    ipv4.IGMP: ("igmp", igmp.words),
    ipv4.PIM: ("pim", pim.words),
}


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a packet is about, and in words what it says; ``broken`` if it cannot be read."""

    kind: Kind
    text: str
    broken: bool = False


def describe(packet: bytes, *, outgoing: bool, on_tunnel: bool) -> Meaning | None:
    """The meaning of an IPv4 packet, or None where it is none of the four.

    ``on_tunnel`` says that it passed on a tunnel's own interface, inside of GRE.
    """
    try:
        return _payload(ipv4.parse(packet), outgoing, on_tunnel)
    except DecodeError as error:
        if error.reason in ("ip_short", "ip_version"):
            return None
        start = Ipv4Packet(memoryview(packet)[: ipv4.HEADER_LENGTH], memoryview(b""))
        return _broken(_kind_of(start.protocol), _head(start), error, packet)


def _payload(packet: Ipv4Packet, outgoing: bool, on_tunnel: bool) -> Meaning | None:
    payload = bytes(packet.payload)
    if packet.protocol == ipv4.UDP:
        return _udp(packet, payload)
    if packet.protocol == ipv4.GRE:
        return _gre(packet, payload, outgoing, on_tunnel)
    if packet.protocol not in _CARRIED:
        return None
    kind, words = _CARRIED[packet.protocol]
    try:
        return Meaning(kind, f"{_head(packet)}: {words(payload)}")
    except DecodeError as error:
        return _broken(kind, _head(packet), error, payload)


def _udp(packet: Ipv4Packet, payload: bytes) -> Meaning | None:
    ports = [int.from_bytes(payload[at : at + 2]) for at in (0, 2)]
    message = payload[8:]
    if _IKE_PORT not in ports:
        if _NAT_T_PORT not in ports or message[:4] != _NON_ESP_MARKER:
            return None
        message = message[4:]
    head = _head(packet, f"{packet.source}.{ports[0]} > {packet.destination}.{ports[1]}")
    try:
        return Meaning("ike", f"{head}: {ike.words(message)}")
    except DecodeError as error:
        return _broken("ike", head, error, message)


def _gre(packet: Ipv4Packet, payload: bytes, outgoing: bool, on_tunnel: bool) -> Meaning | None:
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
            within = describe(bytes(inner), outgoing=outgoing, on_tunnel=False)
            return within and Meaning(within.kind, f"{head}: GREv0{options}: {within.text}", within.broken)
        asked = gre.decode(carried.payload)
        if asked.protocol != gre.PROTOCOL_KEEPALIVE or len(carried.payload) != asked.length:
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
    named = (("key", header.key), ("seq", header.sequence))
    shown = [
        f"{name} 0x{value:x}" if name == "key" else f"{name} {value}" for name, value in named if value is not None
    ]
    return "".join(f", {option}" for option in [*shown, *(["checksum"] if header.checksum else [])])


def _head(packet: Ipv4Packet, ends: str | None = None) -> str:
    ends = ends or f"{packet.source} > {packet.destination}"
    return f"IP (tos 0x{packet.tos:x}, ttl {packet.ttl}, length {packet.length}) {ends}"


def _kind_of(protocol: int) -> Kind:
    return _CARRIED[protocol][0] if protocol in _CARRIED else "ike" if protocol == ipv4.UDP else "keepalive"


def _broken(kind: Kind, head: str, error: DecodeError, what: bytes) -> Meaning:
    return Meaning(kind, f"{head}: broken {kind} packet ({error.reason}): {what[:32].hex()}", broken=True)
