"""Classic BPF programs (``linux/filter.h``): what the kernel lets through to a socket.

Every program but ``accept_changes_of`` reads a packet from its IP header on. ``snap`` is how many bytes of an accepted
packet the socket gets.
"""

import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network

from mcastd.net.gre import PROTOCOL_CMD, PROTOCOL_IPV4, PROTOCOL_KEEPALIVE, Flag
from mcastd.net.ipv4 import ESP, GRE, IGMP, PIM, UDP

_LD_B_ABS, _LD_H_ABS, _LD_W_ABS = 0x30, 0x28, 0x20
_LD_B_IND, _LD_H_IND, _LD_W_IND, _LDX_MSH = 0x50, 0x48, 0x40, 0xB1
_LD_MEM, _ST = 0x60, 0x02
_LD_IMM, _LDX_IMM, _LDX_MEM = 0x00, 0x01, 0x61
_ADD, _AND, _LSH, _TAX, _TXA = 0x04, 0x54, 0x64, 0x07, 0x87
_ADD_X, _SUB_X, _AND_X, _LSH_X, _XOR = 0x0C, 0x1C, 0x5C, 0x6C, 0xA4
_JA, _JEQ, _JSET, _RET = 0x05, 0x15, 0x45, 0x06
_PACKET_HOST, _PACKET_OUTGOING = 0, 4  # linux/if_packet.h
_IKE, _NAT_T = 500, 4500
_NEWROUTE, _DELROUTE, _RTA_DST = 24, 25, 1  # linux/rtnetlink.h
_WHOLE = 0xFFFF


# struct sock_filter: code, how many instructions to skip if true and if false, operand.
INSTRUCTION = struct.Struct("HBBI")
Program = bytes
ACCEPT_NOTHING: Program = INSTRUCTION.pack(_RET, 0, 0, 0)

# Where a jump goes: a label, or how many instructions are skipped.
_Target = str | int
# A line of a program: an instruction with its operand and, for a jump, its targets if true and if false; or a label.
_Line = tuple[int, int] | tuple[int, int, _Target, _Target] | str
_Lines = tuple[_Line, ...]

# How a field is loaded. Those behind the IP header take its length into X first.
_PACKET_TYPE: _Lines = ((_LD_W_ABS, 0xFFFFF004),)  # SKF_AD_OFF + SKF_AD_PKTTYPE
_RANDOM: _Lines = ((_LD_W_ABS, 0xFFFFF038),)  # SKF_AD_OFF + SKF_AD_RANDOM
_VERSION: _Lines = ((_LD_B_ABS, 0), (_AND, 0xF0))
_FRAGMENT_OFFSET: _Lines = ((_LD_H_ABS, 6), (_AND, 0x1FFF))
_FRAGMENT: _Lines = ((_LD_H_ABS, 6), (_AND, 0x3FFF))  # the offset and the flag for more fragments
_PROTOCOL: _Lines = ((_LD_B_ABS, 9),)
_SOURCE: _Lines = ((_LD_W_ABS, 12),)
_DESTINATION: _Lines = ((_LD_W_ABS, 16),)
_DESTINATION_CLASS: _Lines = ((_LD_B_ABS, 16), (_AND, 0xF0))  # 0xE0 is multicast
_SOURCE_PORT: _Lines = ((_LDX_MSH, 0), (_LD_H_IND, 0))
_DESTINATION_PORT: _Lines = ((_LDX_MSH, 0), (_LD_H_IND, 2))
_SPI: _Lines = ((_LDX_MSH, 0), (_LD_W_IND, 0))
_SPI_IN_UDP: _Lines = ((_LDX_MSH, 0), (_LD_W_IND, 8))  # 0 is the non-ESP marker of IKE (RFC 3948, section 2.2)


def accept_protocol(protocol: int) -> Program:
    """Accept IPv4 packets of one protocol, also on a socket for all protocols."""
    return _assembled(*_ipv4_of(protocol), *_end())


def accept_outgoing(protocol: int) -> Program:
    """Accept IPv4 packets of one protocol that leave, also on a socket for all protocols."""
    return _assembled(*_require(_PACKET_TYPE, (_PACKET_OUTGOING,)), *_ipv4_of(protocol), *_end())


def accept_igmp(sampled: Collection[IPv4Address] = ()) -> Program:
    """Accept IGMP and PIM, fragments aside; of what comes from a ``sampled`` address one packet in 64, by chance."""
    return _assembled(
        *_require(_PROTOCOL, (IGMP, PIM)),
        *_require(_FRAGMENT, (0,)),
        *_switch(_SOURCE, dict.fromkeys(map(int, sampled), "sampled")),
        (_JA, 0, "accept", 0),
        "sampled",
        *_require((*_RANDOM, (_AND, 0x3F)), (0,)),
        *_end(),
    )


def accept_multicast(snap: int) -> Program:
    """Accept IPv4 packets to multicast groups, also on a socket for all protocols."""
    return _assembled(*_require(_VERSION, (0x40,)), *_require(_DESTINATION_CLASS, (0xE0,)), *_end(snap))


def accept_udp(port: int | None, destinations: Iterable[IPv4Address]) -> Program:
    """Accept UDP to one port, or (None) to any, of these addresses, later fragments aside."""
    return _assembled(
        *_first_fragment_of_ipv4(),
        *_require(_PROTOCOL, (UDP,)),
        *_require(_DESTINATION, tuple(map(int, destinations))),
        *(() if port is None else _require(_DESTINATION_PORT, (port,))),
        *_end(),
    )


def accept_gre_keepalives() -> Program:
    """Accept GRE keepalives, from the outer IP header on.

    Answers have GRE protocol 0; a request is IPv4 in GRE, also behind Cisco's CMD header, and in it GRE of protocol 0.
    """
    return _assembled(*_gre_carrying(GRE), *_end())


def accept_control() -> Program:
    """Accept IKE (also on the port of NAT traversal), PIM, IGMP and keepalives, also where GRE carries them.

    What is not IPv4 is not accepted. Of later fragments, those of unicast UDP are: IKE's have no ports.
    """
    return _assembled(
        *_require(_VERSION, (0x40,)),
        *_switch(_FRAGMENT_OFFSET, {0: "first"}),
        *_require(_PROTOCOL, (UDP,)),
        *_refuse(_DESTINATION_CLASS, (0xE0,)),
        (_JA, 0, "accept", 0),
        "first",
        *_switch(_PROTOCOL, {PIM: "accept", IGMP: "accept", GRE: "gre", UDP: "udp"}, "reject"),
        "udp",
        *_switch(_SOURCE_PORT, {_IKE: "accept", _NAT_T: "nat_t"}),
        *_switch(_DESTINATION_PORT, {_IKE: "accept", _NAT_T: "nat_t"}, "reject"),
        "nat_t",
        *_switch(_SPI_IN_UDP, {0: "accept"}, "reject"),
        "gre",
        *_gre_carrying(GRE, PIM, IGMP),
        *_end(),
    )


def accept_esp(*, outgoing: bool, snap: int = 1) -> Program:
    """Accept ESP, also in UDP, of one direction; what is not IPv4 is not accepted, nor is a later fragment."""
    direction = _require(_PACKET_TYPE, (_PACKET_OUTGOING,)) if outgoing else _refuse(_PACKET_TYPE, (_PACKET_OUTGOING,))
    return _assembled(
        *direction,
        *_first_fragment_of_ipv4(),
        *_switch(_PROTOCOL, {ESP: "accept", UDP: "udp"}, "reject"),
        "udp",
        *_switch(_SOURCE_PORT, {_NAT_T: "nat_t"}),
        *_require(_DESTINATION_PORT, (_NAT_T,)),
        "nat_t",
        *_refuse(_SPI_IN_UDP, (0,)),
        *_end(snap),
    )


def accept_esp_between(
    remotes: Collection[IPv4Address], locals_: Collection[IPv4Address], known: Collection[int]
) -> Program:
    """Accept whole ESP, also in UDP to the port of NAT traversal, from ``remotes`` to ``locals_``, but ``known`` SPIs.

    The kernel takes a program of some 800 addresses and SPIs by its usual limit (net.core.optmem_max); a longer one
    fails with ENOMEM, or with EINVAL past 4,096 instructions.
    """
    return _assembled(
        *_require(_PACKET_TYPE, (_PACKET_HOST,)),
        *_require(_VERSION, (0x40,)),
        *_require(_FRAGMENT, (0,)),
        *_require(_SOURCE, tuple(map(int, remotes))),
        *_require(_DESTINATION, tuple(map(int, locals_))),
        *_switch(_PROTOCOL, {ESP: "esp", UDP: "udp"}, "reject"),
        "udp",
        *_require(_DESTINATION_PORT, (_NAT_T,)),
        *_refuse(_SPI_IN_UDP, (0,)),
        (_JA, 0, "spi", 0),
        "esp",
        *_SPI,
        "spi",
        *_refuse((), known),
        *_end(),
    )


def accept_changes_of(networks: Iterable[IPv4Network]) -> Program:
    """Accept rtnetlink messages, but of those of routes only the ones whose prefix overlaps with one of the networks.

    It reads a message from its header (struct nlmsghdr) on; the type there has the byte order of the host.
    """
    prefix, mask = 0, 1  # places in the filter's memory
    types = (int.from_bytes(struct.pack("=H", kind), "big") for kind in (_NEWROUTE, _DELROUTE))
    compared: list[_Line] = []
    for network in networks:
        compared += [(_LD_MEM, prefix), (_XOR, int(network.network_address)), (_AND, int(network.netmask))]
        compared += [(_LDX_MEM, mask), (_AND_X, 0), (_JEQ, 0, 0, 1), (_JA, 0, "accept", 0)]
    return _assembled(
        *_switch(((_LD_H_ABS, 4),), dict.fromkeys(types, "route"), "accept"),
        "route",
        *_switch(((_LD_B_ABS, 17),), {0: "accept"}),  # rtm_dst_len
        *((_ST, mask), (_LD_IMM, 32), (_LDX_MEM, mask), (_SUB_X, 0), (_TAX, 0), (_LD_IMM, 0xFFFFFFFF), (_LSH_X, 0)),
        *((_ST, mask), (_LDX_IMM, _RTA_DST), (_LD_IMM, 28), (_LD_W_ABS, 0xFFFFF00C)),  # SKF_AD_OFF + SKF_AD_NLATTR
        *((_JEQ, 0, 0, 1), (_JA, 0, "accept", 0), (_TAX, 0), (_LD_W_IND, 4), (_ST, prefix)),
        *compared,
        (_JA, 0, "reject", 0),
        *_end(),
    )


def _ipv4_of(protocol: int) -> Iterator[_Line]:
    # In ARP, the byte of the protocol is one of the sender's MAC address.
    yield from (*_require(_VERSION, (0x40,)), *_require(_PROTOCOL, (protocol,)))


def _first_fragment_of_ipv4() -> Iterator[_Line]:
    yield from (*_require(_VERSION, (0x40,)), *_require(_FRAGMENT_OFFSET, (0,)))


def _gre_carrying(*protocols: int) -> Iterator[_Line]:
    """Go on with GRE that carries IPv4 of these protocols, of GRE itself that of protocol 0; and accept protocol 0.

    GRE in it of other protocols is data: another tunnel through this one.
    """
    yield from ((_LDX_MSH, 0), (_LD_B_IND, 0), (_ST, 0))
    kinds = {PROTOCOL_KEEPALIVE: "accept", PROTOCOL_IPV4: "options", PROTOCOL_CMD: "cmd"}
    yield from _switch(((_LD_H_IND, 2),), kinds, "reject")
    yield from ("cmd", (_TXA, 0), (_ADD, 8), (_TAX, 0), "options")
    # Checksum, key and sequence number, where their flags are set, are 4 bytes each before the payload.
    for flag in (Flag.CHECKSUM, Flag.KEY, Flag.SEQUENCE):
        yield from ((_LD_MEM, 0), (_JSET, flag >> 8, 0, 3), (_TXA, 0), (_ADD, 4), (_TAX, 0))
    yield from _require(((_LD_B_IND, 4 + 9),), protocols)
    yield from ((_JEQ, GRE, 1, 0), (_JA, 0, "accept", 0))
    yield from ((_LD_B_IND, 4), (_AND, 0x0F), (_LSH, 2), (_ADD_X, 0), (_TAX, 0))
    yield from _require(((_LD_H_IND, 4 + 2),), (PROTOCOL_KEEPALIVE,))


def _require(field: _Lines, values: Collection[int]) -> Iterator[_Line]:
    """Go on if the field has one of the values, else refuse the packet."""
    yield from field
    for left, value in zip(reversed(range(len(values))), values, strict=True):
        yield from ((_JEQ, value, 0, 1), (_JA, 0, 2 * left + 1, 0))
    yield (_JA, 0, "reject", 0)


def _refuse(field: _Lines, values: Iterable[int]) -> Iterator[_Line]:
    """Refuse the packet if the field has one of the values, else go on."""
    return _switch(field, dict.fromkeys(values, "reject"))


def _switch(field: _Lines, cases: Mapping[int, str], otherwise: _Target = 0) -> Iterator[_Line]:
    """Go on at the label of the field's value. A conditional jump spans 255 instructions, so that JA has to take it."""
    yield from field
    for value, label in cases.items():
        yield from ((_JEQ, value, 0, 1), (_JA, 0, label, 0))
    yield (_JA, 0, otherwise, 0)


def _end(snap: int = _WHOLE) -> _Lines:
    return ("accept", (_RET, snap), "reject", (_RET, 0))


def _assembled(*lines: _Line) -> Program:
    """The program, with distances in place of its labels."""
    steps: list[tuple[int, int, _Target, _Target]] = []
    labels: dict[str, int] = {}
    for line in lines:
        if isinstance(line, str):
            labels[line] = len(steps)
        else:
            steps.append(line if len(line) == 4 else (*line, 0, 0))

    def distance(target: _Target, at: int) -> int:
        return labels[target] - at - 1 if isinstance(target, str) else target

    program = b""
    for at, (code, operand, if_true, if_false) in enumerate(steps):
        true, false = distance(if_true, at), distance(if_false, at)
        program += INSTRUCTION.pack(code, 0, 0, true) if code == _JA else INSTRUCTION.pack(code, true, false, operand)
    return program
