"""What a packet means, in a line for people. Pure: bytes in, words out; a broken packet has words too."""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

from mcastd.errors import DecodeError
from mcastd.tools.trace import igmp, ike, pim
from mcastd.tools.trace.scope import Kind
from mcastd.tunnel import gre

_IGMP, _UDP, _GRE, _PIM = 2, 17, 47, 103
_IKE_PORT, _NAT_T_PORT = 500, 4500
_NON_ESP_MARKER = bytes(4)
_CARRIED: dict[int, tuple[Kind, Callable[[bytes], str]]] = {_IGMP: ("igmp", igmp.words), _PIM: ("pim", pim.words)}


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
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return None
    head = _head(packet)
    try:
        payload = bytes(gre.ipv4_payload(packet))
    except DecodeError as error:
        return _broken(_kind_of(packet[9]), head, error, packet)
    return _payload(packet, payload, head, outgoing, on_tunnel)


def _payload(packet: bytes, payload: bytes, head: str, outgoing: bool, on_tunnel: bool) -> Meaning | None:
    protocol = packet[9]
    if protocol == _UDP:
        return _udp(packet, payload)
    if protocol == _GRE:
        return _gre(packet, payload, head, outgoing, on_tunnel)
    if protocol not in _CARRIED:
        return None
    kind, words = _CARRIED[protocol]
    try:
        return Meaning(kind, f"{head}: {words(payload)}")
    except DecodeError as error:
        return _broken(kind, head, error, payload)


def _udp(packet: bytes, payload: bytes) -> Meaning | None:
    ports = [int.from_bytes(payload[at : at + 2]) for at in (0, 2)]
    message = payload[8:]
    if _IKE_PORT not in ports:
        if _NAT_T_PORT not in ports or message[:4] != _NON_ESP_MARKER:
            return None
        message = message[4:]
    source, destination = _ends(packet)
    head = _head(packet, f"{source}.{ports[0]} > {destination}.{ports[1]}")
    try:
        return Meaning("ike", f"{head}: {ike.words(message)}")
    except DecodeError as error:
        return _broken("ike", head, error, message)


def _gre(packet: bytes, payload: bytes, head: str, outgoing: bool, on_tunnel: bool) -> Meaning | None:
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
        carried = gre.ipv4_payload(inner)
        if inner[9] != _GRE:
            within = describe(bytes(inner), outgoing=outgoing, on_tunnel=False)
            return within and Meaning(within.kind, f"{head}: GREv0{options}: {within.text}", within.broken)
        asked = gre.decode(carried)
        if asked.protocol != gre.PROTOCOL_KEEPALIVE or len(carried) != asked.length:
            raise DecodeError("nested")
    except DecodeError as error:
        return _broken("keepalive", head, error, payload)
    answer = f"{IPv4Address(bytes(inner[12:16]))} > {IPv4Address(bytes(inner[16:20]))}"
    request = f"keepalive request from {_ends(packet)[0]}, asks for an answer {answer}"
    return Meaning(
        "keepalive", f"{head}: GREv0{options}, {request} (tos 0x{inner[1]:x}, ttl {inner[8]}){_options(asked)}"
    )


def _answer(packet: bytes, outgoing: bool, on_tunnel: bool) -> str:
    source, destination = _ends(packet)
    if on_tunnel:
        return f"inside a keepalive: the answer that {destination} asks for"
    return f"keepalive of {destination} answered" + ("" if outgoing else f" by {source}")


def _options(header: gre.GreHeader) -> str:
    named = (("key", header.key), ("seq", header.sequence))
    shown = [
        f"{name} 0x{value:x}" if name == "key" else f"{name} {value}" for name, value in named if value is not None
    ]
    return "".join(f", {option}" for option in [*shown, *(["checksum"] if header.checksum else [])])


def _head(packet: bytes, ends: str | None = None) -> str:
    source, destination = _ends(packet)
    length = int.from_bytes(packet[2:4])
    return f"IP (tos 0x{packet[1]:x}, ttl {packet[8]}, length {length}) {ends or f'{source} > {destination}'}"


def _ends(packet: bytes) -> tuple[IPv4Address, IPv4Address]:
    return IPv4Address(packet[12:16]), IPv4Address(packet[16:20])


def _kind_of(protocol: int) -> Kind:
    return _CARRIED[protocol][0] if protocol in _CARRIED else "ike" if protocol == _UDP else "keepalive"


def _broken(kind: Kind, head: str, error: DecodeError, what: bytes) -> Meaning:
    return Meaning(kind, f"{head}: broken {kind} packet ({error.reason}): {what[:32].hex()}", broken=True)
