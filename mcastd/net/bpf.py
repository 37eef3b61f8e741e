"""Classic BPF programs (``linux/filter.h``): what a socket's filter lets through, before Python sees it.

Every program reads a packet from its IP header on. ``snap`` is how many bytes of an accepted packet are kept.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from mcastd.net.gre import PROTOCOL_CMD, PROTOCOL_IPV4, PROTOCOL_KEEPALIVE, Flag
from mcastd.net.ipv4 import ESP, GRE, IGMP, PIM, UDP

_LD_B_ABS, _LD_H_ABS, _LD_W_ABS = 0x30, 0x28, 0x20
_LD_B_IND, _LD_H_IND, _LD_W_IND, _LDX_MSH = 0x50, 0x48, 0x40, 0xB1
_LD_MEM, _ST = 0x60, 0x02
_ADD, _AND, _TAX, _TXA = 0x04, 0x54, 0x07, 0x87
_JA, _JEQ, _JSET, _RET = 0x05, 0x15, 0x45, 0x06
_PACKET_TYPE = 0xFFFFF004  # SKF_AD_OFF + SKF_AD_PKTTYPE
_PACKET_HOST, _PACKET_OUTGOING = 0, 4  # linux/if_packet.h
_FRAGMENT_OFFSET, _MORE_FRAGMENTS = 0x1FFF, 0x2000
_IKE, _NAT_T = 500, 4500
_WHOLE = 0xFFFF


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction (``struct sock_filter``)."""

    code: int
    jump_true: int
    jump_false: int
    operand: int


Program = tuple[Instruction, ...]

# A line of a program: an instruction with its operand, a jump with the labels to go to if true and if false ("": the
# next line), or a label.
_Line = tuple[int, int] | tuple[int, int, str, str] | str

ACCEPT_NOTHING: Program = (Instruction(_RET, 0, 0, 0),)

# Goes on with a packet of IPv4 that is no later fragment; what it leaves loaded are flags and fragment offset.
_IPV4: tuple[_Line, ...] = (
    (_LD_B_ABS, 0),
    (_AND, 0xF0),
    (_JEQ, 0x40, "", "reject"),
    (_LD_H_ABS, 6),
    (_JSET, _FRAGMENT_OFFSET, "reject", ""),
)


def accept_protocol(protocol: int) -> Program:
    """Accept IPv4 packets of one protocol."""
    return _assembled((_LD_B_ABS, 9), (_JEQ, protocol, "accept", "reject"), *_end())


def accept_multicast(snap: int) -> Program:
    """Accept IPv4 packets to multicast groups."""
    return _assembled((_LD_B_ABS, 16), (_AND, 0xF0), (_JEQ, 0xE0, "accept", "reject"), *_end(snap))


def accept_udp(port: int, destinations: Iterable[IPv4Address]) -> Program:
    """Accept UDP to one port of these addresses, later fragments aside."""
    return _assembled(
        *_IPV4,
        (_LD_B_ABS, 9),
        (_JEQ, UDP, "", "reject"),
        (_LDX_MSH, 0),
        (_LD_H_IND, 2),
        (_JEQ, port, "", "reject"),
        (_LD_W_ABS, 16),
        *((_JEQ, int(address), "accept", "") for address in destinations),
        *_end(),
    )


def accept_gre_keepalives() -> Program:
    """Accept GRE keepalives, from the outer IP header on.

    Answers have GRE protocol 0; a request is IPv4 in GRE whose own protocol is GRE, also behind Cisco's CMD header.
    """
    return _assembled(*_gre_carrying(GRE), *_end())


def accept_control() -> Program:
    """Accept IKE (also on the port of NAT traversal), PIM, IGMP and keepalives, also where GRE carries them.

    What is not IPv4 is not accepted, nor is any but the first fragment.
    """
    return _assembled(
        *_IPV4,
        (_LD_B_ABS, 9),
        (_JEQ, PIM, "accept", ""),
        (_JEQ, IGMP, "accept", ""),
        (_JEQ, GRE, "gre", ""),
        (_JEQ, UDP, "", "reject"),
        (_LDX_MSH, 0),
        (_LD_H_IND, 0),
        (_JEQ, _IKE, "accept", ""),
        (_JEQ, _NAT_T, "nat_t", ""),
        (_LD_H_IND, 2),
        (_JEQ, _IKE, "accept", ""),
        (_JEQ, _NAT_T, "", "reject"),
        "nat_t",
        (_LD_W_IND, 8),  # the non-ESP marker (RFC 3948, section 2.2)
        (_JEQ, 0, "accept", "reject"),
        "gre",
        *_gre_carrying(GRE, PIM, IGMP),
        *_end(),
    )


def accept_esp(*, outgoing: bool, snap: int = 1) -> Program:
    """Accept ESP, also in UDP, of one direction; what is not IPv4 is not accepted."""
    return _assembled(
        (_LD_W_ABS, _PACKET_TYPE),
        (_JEQ, _PACKET_OUTGOING, *(("", "reject") if outgoing else ("reject", ""))),
        *_IPV4,
        (_LD_B_ABS, 9),
        (_JEQ, ESP, "accept", ""),
        (_JEQ, UDP, "", "reject"),
        (_LDX_MSH, 0),
        (_LD_H_IND, 0),
        (_JEQ, _NAT_T, "nat_t", ""),
        (_LD_H_IND, 2),
        (_JEQ, _NAT_T, "", "reject"),
        "nat_t",
        (_LD_W_IND, 8),
        (_JEQ, 0, "reject", "accept"),
        *_end(snap),
    )


def accept_esp_between(remotes: Iterable[IPv4Address], locals_: Iterable[IPv4Address], known: Iterable[int]) -> Program:
    """Accept whole ESP, also in UDP to the port of NAT traversal, from ``remotes`` to ``locals_``, but ``known`` SPIs.

    The kernel takes a program of some 800 addresses and SPIs by its usual limit (net.core.optmem_max); a longer one
    fails with ENOMEM, or with EINVAL past 4,096 instructions.
    """
    return _assembled(
        (_LD_W_ABS, _PACKET_TYPE),
        (_JEQ, _PACKET_HOST, "", "reject"),
        *_IPV4,
        (_JSET, _MORE_FRAGMENTS, "", "source"),
        "reject",
        (_RET, 0),
        "source",
        (_LD_W_ABS, 12),
        *_any_of(map(int, remotes), "local"),
        (_RET, 0),
        "local",
        (_LD_W_ABS, 16),
        *_any_of(map(int, locals_), "protocol"),
        (_RET, 0),
        "protocol",
        (_LDX_MSH, 0),
        (_LD_B_ABS, 9),
        (_JEQ, ESP, "esp", ""),
        (_JEQ, UDP, "", "refuse"),
        (_LD_H_IND, 2),
        (_JEQ, _NAT_T, "", "refuse"),
        (_LD_W_IND, 8),
        (_JEQ, 0, "refuse", "spi"),
        "refuse",
        (_RET, 0),
        "esp",
        (_LD_W_IND, 0),
        "spi",
        *_any_of(known, "known"),
        (_RET, _WHOLE),
        "known",
        (_RET, 0),
    )


def _any_of(values: Iterable[int], label: str) -> Iterator[_Line]:
    """Go on at a label, however far that is, if what is loaded is one of these; a conditional jump has 8 bits."""
    for n, value in enumerate(values):
        yield from ((_JEQ, value, "", f"not {label} {n}"), (_JA, 0, label, ""), f"not {label} {n}")


def _end(snap: int = _WHOLE) -> tuple[_Line, ...]:
    return ("reject", (_RET, 0), "accept", (_RET, snap))


def _gre_carrying(*protocols: int) -> tuple[_Line, ...]:
    """GRE of protocol 0, or that carries IPv4 of these protocols; ``_end`` comes next."""
    # Checksum, key and sequence number, where their flags are set, are 4 bytes each before the payload.
    options: list[_Line] = []
    for flag in (Flag.CHECKSUM, Flag.KEY, Flag.SEQUENCE):
        absent = f"no {flag.name}"
        options += [(_LD_MEM, 0), (_JSET, flag >> 8, "", absent), (_TXA, 0), (_ADD, 4), (_TAX, 0), absent]
    return (
        (_LDX_MSH, 0),
        (_LD_B_IND, 0),
        (_ST, 0),
        (_LD_H_IND, 2),
        (_JEQ, PROTOCOL_KEEPALIVE, "accept", ""),
        (_JEQ, PROTOCOL_IPV4, "options", ""),
        (_JEQ, PROTOCOL_CMD, "", "reject"),
        (_TXA, 0),
        (_ADD, 8),
        (_TAX, 0),
        "options",
        *options,
        (_LD_B_IND, 4 + 9),
        *((_JEQ, protocol, "accept", "") for protocol in protocols),
    )


def _assembled(*lines: _Line) -> Program:
    """The program, with distances for its labels."""
    steps: list[tuple[int, int, str, str]] = []
    labels: dict[str, int] = {}
    for line in lines:
        if isinstance(line, str):
            labels[line] = len(steps)
        else:
            steps.append(line if len(line) == 4 else (*line, "", ""))

    def distance(label: str, at: int) -> int:
        return labels[label] - at - 1 if label else 0

    return tuple(
        Instruction(code, 0, 0, distance(true, at))
        if code == _JA
        else Instruction(code, distance(true, at), distance(false, at), operand)
        for at, (code, operand, true, false) in enumerate(steps)
    )
