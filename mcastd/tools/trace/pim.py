"""PIM to text (RFC 7761, section 4.9; RFC 5059, section 4), with the daemon's own decoders. Pure.

Scapy knows two of the types, and stops decoding a Hello at the first option that it does not know.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

from mcastd.listed import listed
from mcastd.pim import messages, packet
from mcastd.tools.trace.igmp import SHOWN


def words(message: bytes, only: IPv4Address | None = None) -> str | None:
    """A PIM message as text; what it says of one group alone, None if that is nothing.

    Raises DecodeError with the decoder's reason.
    """
    kind, body = packet.unseal(message)
    if kind in _ENTRIES:
        text = _join_prune(body, only)
        return text and f"PIMv2 {_ENTRIES[kind]}{text}"
    if (of_group := _OF_ONE_GROUP.get(kind)) is not None:
        group, text = of_group(body)
        return f"PIMv2 {text}" if only in (None, group) else None
    if only is not None:
        return None
    if (said := _TEXTS.get(kind)) is not None:
        return f"PIMv2 {said(body)}"
    known = kind in packet.MessageType.__members__.values()
    return f"PIMv2 {packet.MessageType(kind).name.replace('_', ' ').title()}" if known else f"PIMv2 of type {kind}"


def _hello(body: bytes) -> str:
    hello = packet.decode_hello(body)
    parts = ["Hello"]
    if hello.holdtime is not None:
        special = {0: "goodbye", packet.INFINITE_HOLDTIME: "holdtime unlimited"}
        parts.append(special.get(hello.holdtime, f"holdtime {hello.holdtime}"))
    parts += [f"generation 0x{hello.generation_id:08x}"] if hello.generation_id is not None else []
    parts += [f"DR priority {hello.dr_priority}"] if hello.dr_priority is not None else []
    parts += [f"also {listed(hello.addresses, SHOWN)}"] if hello.addresses else []
    return ", ".join(parts)


def _join_prune(body: bytes, only: IPv4Address | None) -> str | None:
    message = packet.decode_join_prune(body)
    groups = [entry for entry in message.groups if only is None or only in _range(entry)]
    if only is not None and not groups:
        return None
    joins = [_entry(entry, source) for entry in groups for source in entry.joined]
    prunes = [_entry(entry, source) for entry in groups for source in entry.pruned]
    said = [f"{word} {listed(entries, SHOWN)}" for word, entries in (("Join", joins), ("Prune", prunes)) if entries]
    return f"{' and '.join(said) or 'Join/Prune of nothing'} to {message.upstream}, holdtime {message.holdtime}"


def _range(entry: packet.GroupSet) -> IPv4Network:
    return IPv4Network((entry.group, entry.mask_len), strict=False)


def _entry(entry: packet.GroupSet, source: packet.SourceEntry) -> str:
    group = f"{entry.group}" if entry.mask_len == 32 else f"{entry.group}/{entry.mask_len}"
    if source.flags & packet.WILDCARD:
        return f"(*,{group}) RP {source.address}"
    return f"({source.address},{group}{',rpt' if source.flags & packet.RPT else ''})"


def _register(body: bytes) -> tuple[IPv4Address, str]:
    message = messages.decode_register(body)
    return message.group, f"{'Null-' if message.null else ''}Register ({message.source},{message.group})"


def _register_stop(body: bytes) -> tuple[IPv4Address, str]:
    message = messages.decode_register_stop(body)
    return message.group, f"Register-Stop ({message.source},{message.group})"


def _assert(body: bytes) -> tuple[IPv4Address, str]:
    message = messages.decode_assert(body)
    source = "*" if message.rpt else message.source
    text = f"Assert ({source},{message.group}), preference {message.preference}, metric {message.metric}"
    return message.group, text


def _bootstrap(body: bytes) -> str:
    message = messages.decode_bootstrap(body)
    rps = [f"{rp.address} for {entry.groups}" for entry in message.ranges for rp in entry.rps]
    return f"Bootstrap of {message.address}, priority {message.priority}, RP {listed(rps, SHOWN) or 'none'}"


def _candidate_rp(body: bytes) -> str:
    message = messages.decode_candidate_rp(body)
    ranges = listed(message.ranges, SHOWN) or "224.0.0.0/4"
    return f"Candidate-RP-Advertisement of {message.address} for {ranges}, holdtime {message.holdtime}"


# What precedes the entries of a message that has the layout of a Join/Prune (RFC 7761, section 4.9.5; RFC 3973).
_ENTRIES: dict[int, str] = {
    packet.MessageType.JOIN_PRUNE: "",
    packet.MessageType.GRAFT: "Graft: ",
    packet.MessageType.GRAFT_ACK: "Graft-Ack: ",
}
_OF_ONE_GROUP: dict[int, Callable[[bytes], tuple[IPv4Address, str]]] = {
    packet.MessageType.REGISTER: _register,
    packet.MessageType.REGISTER_STOP: _register_stop,
    packet.MessageType.ASSERT: _assert,
}
_TEXTS: dict[int, Callable[[bytes], str]] = {
    packet.MessageType.HELLO: _hello,
    packet.MessageType.BOOTSTRAP: _bootstrap,
    packet.MessageType.CANDIDATE_RP_ADVERTISEMENT: _candidate_rp,
}
