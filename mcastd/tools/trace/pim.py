"""PIM to text (RFC 7761, section 4.9; RFC 5059, section 4), with the daemon's own decoders. Pure.

Scapy knows two of the types, and stops decoding a Hello at the first option that it does not know.
"""

from collections.abc import Callable

from mcastd.listed import listed
from mcastd.pim import messages, packet
from mcastd.tools.trace.igmp import SHOWN


def words(message: bytes) -> str:
    """A PIM message as text. Raises DecodeError with the decoder's reason."""
    kind, body = packet.unseal(message)
    if (text := _TEXTS.get(kind)) is not None:
        return f"PIMv2 {text(body)}"
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


def _join_prune(body: bytes) -> str:
    message = packet.decode_join_prune(body)
    joins = [_entry(entry, source) for entry in message.groups for source in entry.joined]
    prunes = [_entry(entry, source) for entry in message.groups for source in entry.pruned]
    said = [f"{word} {listed(entries, SHOWN)}" for word, entries in (("Join", joins), ("Prune", prunes)) if entries]
    return f"{' and '.join(said) or 'Join/Prune of nothing'} to {message.upstream}, holdtime {message.holdtime}"


def _entry(entry: packet.GroupSet, source: packet.SourceEntry) -> str:
    group = f"{entry.group}" if entry.mask_len == 32 else f"{entry.group}/{entry.mask_len}"
    if source.flags & packet.WILDCARD:
        return f"(*,{group}) RP {source.address}"
    return f"({source.address},{group}{',rpt' if source.flags & packet.RPT else ''})"


def _register(body: bytes) -> str:
    message = messages.decode_register(body)
    return f"{'Null-' if message.null else ''}Register ({message.source},{message.group})"


def _register_stop(body: bytes) -> str:
    message = messages.decode_register_stop(body)
    return f"Register-Stop ({message.source},{message.group})"


def _assert(body: bytes) -> str:
    message = messages.decode_assert(body)
    source = "*" if message.rpt else message.source
    return f"Assert ({source},{message.group}), preference {message.preference}, metric {message.metric}"


def _bootstrap(body: bytes) -> str:
    message = messages.decode_bootstrap(body)
    rps = [f"{rp.address} for {entry.groups}" for entry in message.ranges for rp in entry.rps]
    return f"Bootstrap of {message.address}, priority {message.priority}, RP {listed(rps, SHOWN) or 'none'}"


def _candidate_rp(body: bytes) -> str:
    message = messages.decode_candidate_rp(body)
    ranges = listed(message.ranges, SHOWN) or "224.0.0.0/4"
    return f"Candidate-RP-Advertisement of {message.address} for {ranges}, holdtime {message.holdtime}"


_TEXTS: dict[int, Callable[[bytes], str]] = {
    packet.MessageType.HELLO: _hello,
    packet.MessageType.REGISTER: _register,
    packet.MessageType.REGISTER_STOP: _register_stop,
    packet.MessageType.JOIN_PRUNE: _join_prune,
    packet.MessageType.BOOTSTRAP: _bootstrap,
    packet.MessageType.ASSERT: _assert,
    packet.MessageType.GRAFT: lambda body: f"Graft: {_join_prune(body)}",
    packet.MessageType.GRAFT_ACK: lambda body: f"Graft-Ack: {_join_prune(body)}",
    packet.MessageType.CANDIDATE_RP_ADVERTISEMENT: _candidate_rp,
}
