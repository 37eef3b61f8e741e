"""Every event that is logged: its key, its level, its text, and the MESSAGE_ID of its entry in the journal's catalog.

Keys (``journalctl MCASTD_EVENT=tunnel_up``) and MESSAGE_IDs are stable: scripts match on them. The texts may change.
``packaging/catalog/mcastd.catalog`` has what ``journalctl -x`` shows. A test compares code, table and catalog.
"""

from typing import Final, NamedTuple


class Event(NamedTuple):
    """How an event is logged; one without a MESSAGE_ID needs no explanation in the catalog."""

    level: str
    text: str
    message_id: str | None = None


EVENTS: Final = {
    "ready": Event("info", "mcastd is ready", "f534680e801248b895c571ed6f6c427f"),
    "handing_over": Event("info", "mcastd ends and leaves everything standing", "b1544a730a2e40f19161b999f1564e79"),
    "stopping": Event("info", "mcastd stops", "43496e2f58334274868df395bf49a153"),
    "reloaded": Event("info", "configuration reloaded", "21ddbe77ebfd44d384ac00079cfc7c39"),
    "reload_refused": Event("error", "configuration refused", "7b2a1f723c9c47868d9c69726f72d587"),
    "reload_incomplete": Event("error", "configuration not applied everywhere yet", "6093e0c3773a4487840cb6a49d2e898a"),
    "configuration_note": Event("warning", "configuration note", "19768ae7db654e6087740ebf961df619"),
    "capability_missing": Event("error", "a capability is missing", "ebbb87f9449540d289f331907bcafc0e"),
    "agent_failed": Event("error", "an agent failed and is restarted", "c30ae352f6ae4760b8339adf0f74d7c5"),
    "command_failed": Event("error", "a command on the control socket failed", "2bfd8a53ce62480da9a5bdf1df95d435"),
    "repaired": Event("warning", "repaired what another program had changed", "c09eb05f1029447fb2322e3a52b30888"),
    "changed_by_another_program": Event(
        "warning", "another program keeps changing this", "1c5b6d9a5ae04a3e99ba3d00894bb3d9"
    ),
    "loop_hangs": Event("error", "the loop of an agent hangs", "0fd9192af2414e76a5e543ca5b79d060"),
    "fdstore_unavailable": Event(
        "warning", "descriptors are not kept for a restart", "f55ee462d1ec4191900a29825573e6e6"
    ),
    "state_not_saved": Event("error", "state for a restart could not be saved", "56a51c9c726c48028b7579d1fe8691e0"),
    "ledger_damaged": Event("warning", "the ledger is damaged", "b2d049d40eaf40efb0422d47947e0679"),
    "handover_damaged": Event("warning", "a handover file is damaged", "8c459733fc154e5e8c880eeab8ebc163"),
    "inherited_by_mark": Event(
        "warning", "taken over by its mark, the ledger does not have it", "332e7a3ac7f74aafbf72ff46f0a002ab"
    ),
    "link_not_ours": Event("warning", "another program's interface stays", "9b2537f38b9045ba85fd6fbac95cb409"),
    "runtime_directory_made": Event(
        "warning", "the runtime directory is made again", "16247f1fbbbd41c2ba83db55dbf72d88"
    ),
    "start_failed": Event("error", "the start failed and is tried again", "fb5cc311cbd44a55a272129268d1694a"),
    "control_socket_failed": Event(
        "error", "the control socket could not be bound", "6c26bcdfcb5e42a4be3e4090502a46fe"
    ),
    "join_not_inherited": Event("warning", "a join was not inherited", "3bafdf44bc9c494eb1ab8b023443411a"),
    "teardown_timeout": Event("error", "teardown did not end in time", "a8015fff9a8442c093d221e2136b03db"),
    "teardown_failed": Event("error", "teardown failed", "491bd3a8060a4f22b6ef6c8a603a2fa2"),
    "charon_gone": Event("warning", "charon is gone", "e9f12c18115b431e95b2b5d745399d88"),
    "charon_unclear": Event("warning", "charon gives no usable answer", "1e2486b2ef624afabe4305e1377bf4de"),
    "charon_connected": Event("info", "connected to charon", "ba51afb257f54a4895f318757cc9b943"),
    "charon_teardown_failed": Event("warning", "charon could not be cleaned up", "d500cd91b7a9421eb8f7a784037c8248"),
    "peer_not_loaded": Event("warning", "peer could not be loaded into charon", "84d8b5437e9848079f49d81e68af67b6"),
    "ike_sa_up": Event("info", "IKE_SA up", "7c93a0df69c74d369788c1f17411d98f"),
    "ike_sa_down": Event("warning", "IKE_SA down", "a3d4ccb41e0242b6a29e3691de00d7e7"),
    "child_sa_up": Event("info", "CHILD_SA up", "bdd8318ac5e74f61a18dd78a1c8100f4"),
    "child_sa_down": Event("warning", "CHILD_SA down", "68bee64791c443d5946e3595297c5530"),
    "child_sa_restarted": Event("warning", "CHILD_SA is established again", "e93759b1c210425bb448a79cd050479a"),
    "attempt_pending": Event("warning", "no success yet", "aa214ae4e9864255b170cfd29d467a8f"),
    "attempt_failed": Event("warning", "attempt to establish a CHILD_SA failed", "c5335029222749979f6edf8d36c70b8e"),
    "reauth_failed": Event("warning", "reauthentication failed", "1cfd75774ff849e4baa888fd5f71eb82"),
    "rekey_failed": Event("warning", "rekeying failed", "6d1b2d8317a14132ae00b1a50b08fb6b"),
    "duplicate_sa_removed": Event("warning", "a duplicate SA was removed", "01031c642e99416cb474e11df3027255"),
    "early_esp_lost": Event("warning", "early ESP packets are lost", "6f0c1b52d2e94bd0a6d57a1c3f9be84e"),
    "tunnel_up": Event("info", "tunnel up", "70b0df0395bb474b979dec1310d6bea7"),
    "tunnel_failed": Event("error", "tunnel could not be set up", "ecbcef3f38d9432884d41e314656ef41"),
    "tunnel_not_removed": Event("error", "tunnel could not be removed", "5a7e8c8726ea4c5baf70d12d59333e55"),
    "endpoint_not_removed": Event("error", "address could not be removed from lo", "fc8e6aa1b488406c9f08251096d7d431"),
    "address_not_added": Event("error", "address could not be added to lo", "e25930b8f4ba4ba7852c67ee649b7a25"),
    "reconcile_failed": Event("error", "the host refused a change", "44e1755b5b534dd5bbb0e9fdea6578f1"),
    "route_taken": Event("warning", "not routed, another route leads elsewhere", "a6308ebcbdbd4b93b39421593cca00fa"),
    "firewall_failed": Event("error", "nftables table could not be put in place", "ddc224a779bb4a80af4630c751985134"),
    "flows_not_forgotten": Event("warning", "connections keep an old translation", "a09e022ff5834e6fb6761d6c1ef05dec"),
    "firewall_events_missing": Event("warning", "no events for the nftables table", "8819aa2a26a44b50a6158b8c206c6e0d"),
    "streams_not_counted": Event("info", "what arrives cannot be counted", "791daefdbc354e6abf2e5f1f6bd20313"),
    "meter_unavailable": Event("info", "not everything is measured of streams"),
    "meter_attached": Event("info", "streams are measured"),
    "arrival_stopped": Event("warning", "what should arrive does not", "fcff7ad544694d7b861534184fe02d3d"),
    "arrival_log_limited": Event(
        "warning", "too many changes of what arrives to log", "5d1e3f6b8a0c4b72a96d4c1f27e0b935"
    ),
    "metrics_listening": Event("info", "metrics can be read"),
    "metrics_failed": Event("error", "metrics cannot be read", "a3c0b1fd52c84d6fa0f7b29d7a4ee163"),
    "page_failed": Event("error", "a page of metrics failed", "d7e2ab90c1f34b0d8f3b6a1f95c8274e"),
    "follow_incomplete": Event("warning", "not all applications are followed", "9c1b5a0d2e4f4c0fb1d6f3a7e85c2d14"),
    "keepalives_answered": Event("info", "GRE keepalives are answered", "2d72394e91294f539054c347f534bb10"),
    "keepalives_stopped": Event("warning", "GRE keepalives have stopped", "e2c074aef6794c7f9f66156b49f970eb"),
    "keepalive_socket_failed": Event("error", "no socket for GRE keepalives", "04827bc72f3f499d95d25b6684e03075"),
    "path_changed": Event("warning", "groups move to another tunnel", "5f0d7c6b3a9e4c1f8d2e7a94b6c05d13"),
    "path_dead": Event("warning", "the path is dead", "6ae3f39c942d48309f78d420c683ef2e"),
    "path_alive": Event("info", "the path is alive", "10891650f286463f9c6f35db39cc2b7b"),
    "pim_neighbor_up": Event("info", "PIM neighbor up", "a21f7730ad8d433a82e1371b0846d831"),
    "pim_neighbor_restarted": Event("warning", "PIM neighbor restarted", "b03f3bceb2704b1b9c6ce9fd2bf418e4"),
    "pim_neighbor_down": Event("warning", "PIM neighbor down", "1f9b38e3641548b596574efb847d0c86"),
    "pim_neighbor_missing": Event("warning", "no Hello of the PIM neighbor", "5fafdb2cb33544a9b9ff6c5a9d7bd43c"),
    "pim_hello_overdue": Event("warning", "a PIM neighbor's Hello is overdue", "cd55b6e343be49e6b9cf87e1a0ff2f89"),
    "pim_send_failed": Event("warning", "PIM messages cannot be sent", "115d5dd6bd47480aadbfb402fe6dbdd0"),
    "pim_send_recovered": Event("info", "PIM messages can be sent again", "fa8d882bdac84d9c97777d9f6bf7ebec"),
    "forward_failed": Event("error", "not everything is forwarded", "f48146e6b2d345c58ecfd264a3152e03"),
    "forwarding_inherited": Event("info", "the previous process's forwarding goes on"),
    "pim_log_limited": Event("warning", "too many PIM events to log", "1d8deaa2d1154924aa71994b0809115e"),
    "igmp_join_failed": Event("warning", "groups could not be joined by IGMP", "7ca16561d5014044bbd5e19f86ee665d"),
    "older_querier": Event("warning", "a router queries with an older IGMP", "81ad1d6c0b8b4c5d8d0dfb41b3a6b0f2"),
    "igmp_limit": Event("warning", "reports of a host are not followed", "5f0a4a53d28b4e1d9b8e9a77f1d2c364"),
    "igmp_flood": Event("warning", "a host floods IGMP", "c3c7f0de2d0c4c8c8df1b7a9e4b6a512"),
    "overlay_failed": Event("error", "overlay could not be set up", "4fca8039a2e44fa1b14b9624804d4f1e"),
    "overlay_not_removed": Event("error", "overlay could not be removed", "8d80ceeace3948eaba5da659d6752ebc"),
    "igmp_failed": Event("warning", "IGMP cannot be received or sent", "7d7f4f0f6a7a4a3c9f36c1d2b80e5a49"),
    "members_file_wrong": Event("warning", "a members file is refused", "d8730d44e51849439081167467ea301c"),
    "pim_router_heard": Event("warning", "a PIM router on a downstream segment", "2b9e1c6ad08f4f6c8ce0d3a9f7514b8e"),
    "starting": Event("info", "mcastd starts"),
    "igmp_querier": Event("info", "IGMP querier"),
    "igmp_recovered": Event("info", "IGMP can be received and sent again"),
    "stopped": Event("info", "mcastd has stopped"),
    "child_sa_probed": Event("info", "CHILD_SA is rekeyed, to see whether the peer answers"),
    "gateway_changed": Event("warning", "another gateway is used", "6d1f0c7be2b64d3f9a7d0f1c55e83b0a"),
    "peers_removed": Event("info", "peers removed"),
    "tunnel_created": Event("info", "tunnel created"),
    "overlay_up": Event("info", "overlay up"),
    "overlay_removed": Event("info", "overlay removed"),
    "tunnel_removed": Event("info", "tunnel removed"),
    "gre_in_user_space": Event("info", "the kernel has no GRE; it is done in user space"),
    "pim_hello_resumed": Event("info", "a PIM neighbor's Hello has come again"),
    "joined": Event("info", "joined"),
    "pruned": Event("info", "pruned"),
    "igmp_joined": Event("info", "joined by IGMP"),
    "igmp_left": Event("info", "left by IGMP"),
    "bootstrap_router": Event("info", "bootstrap router"),
    "rp_set_changed": Event("info", "rendezvous points"),
    "auto_rp_changed": Event("info", "Auto-RP mappings"),
    "firewall_in_place": Event("info", "nftables table in place"),
    "follow_by_reports": Event(
        "info", "applications are followed by IGMP reports; the kernel does not notify of joins"
    ),
    "arrival_resumed": Event("info", "what should arrive does again"),
    "flows_forgotten": Event("info", "connections that began before SNAT are translated"),
    "firewall_removed": Event("info", "nftables table removed"),
}
