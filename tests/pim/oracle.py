"""tshark as an oracle: what it says of a message is what our decoders say of it."""

from typing import Any

from mcastd.pim.messages import (
    Assert,
    Bootstrap,
    CandidateRpAdvertisement,
    Register,
    RegisterStop,
    decode_assert,
    decode_bootstrap,
    decode_candidate_rp,
    decode_register,
    decode_register_stop,
)
from mcastd.pim.packet import Hello, JoinPrune, MessageType, decode_hello, decode_join_prune, unseal
from tests.pcap import values

DECODERS = {
    MessageType.HELLO: decode_hello,
    MessageType.REGISTER: decode_register,
    MessageType.REGISTER_STOP: decode_register_stop,
    MessageType.JOIN_PRUNE: decode_join_prune,
    MessageType.BOOTSTRAP: decode_bootstrap,
    MessageType.ASSERT: decode_assert,
    MessageType.GRAFT: decode_join_prune,
    MessageType.GRAFT_ACK: decode_join_prune,
    MessageType.CANDIDATE_RP_ADVERTISEMENT: decode_candidate_rp,
}


def assert_agreed(data: bytes, layers: dict[str, Any]) -> None:
    """Decode a message, and compare it with the layers of its packet as tshark decodes them."""
    kind, body = unseal(data)
    theirs = layers["pim"]
    assert str(kind) == theirs["pim.type"]
    decoded = DECODERS[MessageType(kind)](body)

    def said(name: str) -> list[str]:
        return list(values(theirs, name))

    match decoded:
        case Hello():
            # Of an option that comes twice the last counts.
            assert _text(decoded.holdtime) == said("pim.holdtime")[-1:]
            assert _text(decoded.generation_id) == said("pim.generation_id")[-1:]
            assert _text(decoded.dr_priority) == said("pim.dr_priority")[-1:]
            if (delay := decoded.lan_prune_delay) is not None:
                assert [str(round(delay.propagation_delay * 1000))] == said("pim.propagation_delay")
                assert [str(round(delay.override_interval * 1000))] == said("pim.override_interval")
                assert [str(int(delay.tracking))] == said("pim.t")
            else:
                assert said("pim.override_interval") == []
        case JoinPrune():
            assert [str(decoded.upstream)] == said("pim.upstream_neighbor")
            assert [str(decoded.holdtime)] == said("pim.holdtime")
            assert {str(entry.group) for entry in decoded.groups} == set(said("pim.group"))
            assert [f"0x{entry.flags:02x}" for entry in decoded.groups] == said("pim.group_addr.flags")
            joined = [source for entry in decoded.groups for source in entry.joined]
            pruned = [source for entry in decoded.groups for source in entry.pruned]
            assert [str(source.address) for source in joined] == said("pim.join_ip")
            assert [str(source.address) for source in pruned] == said("pim.prune_ip")
            assert [f"0x{source.flags:02x}" for source in (*joined, *pruned)] == said("pim.source_addr.flags")
            lengths = [entry.mask_len for entry in decoded.groups] + [source.mask_len for source in (*joined, *pruned)]
            assert sorted(map(str, lengths)) == sorted(said("pim.mask_len"))
        case RegisterStop():
            assert {str(decoded.group)} == set(said("pim.group"))
            assert {str(decoded.source)} == set(said("pim.source"))
        case Register():
            assert [str(int(decoded.border))] == said("pim.register_flag.border")
            assert [str(int(decoded.null))] == said("pim.register_flag.null_register")
            assert str(decoded.source) == list(values(layers, "ip.src"))[-1]
            assert str(decoded.group) == list(values(layers, "ip.dst"))[-1]
        case Assert():
            assert {str(decoded.group)} == set(said("pim.group"))
            assert {str(decoded.source)} == set(said("pim.source"))
            assert [str(int(decoded.rpt))] == said("pim.rpt")
            assert [str(decoded.preference), str(decoded.metric)] == said("pim.metric_pref") + said("pim.metric")
        case Bootstrap():
            assert [f"0x{decoded.tag:04x}"] == said("pim.fragment_tag")
            assert [str(decoded.hash_mask_len)] == said("pim.hash_mask_len")
            assert [str(decoded.priority)] == said("pim.bsr_priority")
            assert [str(decoded.address)] == said("pim.bsr")
            assert [str(entry.rp_count) for entry in decoded.ranges] == said("pim.rp_count")
            assert {str(entry.groups.network_address) for entry in decoded.ranges} == set(said("pim.group"))
            rps = [rp for entry in decoded.ranges for rp in entry.rps]
            assert [str(rp.address) for rp in rps] == said("pim.rp")
            assert [str(rp.holdtime) for rp in rps] == said("pim.holdtime")
            assert [str(rp.priority) for rp in rps] == said("pim.priority")
        case CandidateRpAdvertisement():
            assert [str(decoded.address)] == said("pim.rp")
            assert [str(decoded.holdtime)] == said("pim.holdtime")
            assert [str(decoded.priority)] == said("pim.priority")
            assert {str(net.network_address) for net in decoded.ranges} == set(said("pim.group"))


def _text(value: int | None) -> list[str]:
    return [] if value is None else [str(value)]
