"""Every event that is logged: its level, and the MESSAGE_ID by which the journal's catalog explains it.

The identifiers are stable: scripts match on them (``journalctl MESSAGE_ID=...``). ``packaging/catalog/mcastd.catalog``
has their texts, which ``journalctl -x`` shows. A test holds the code, this table and the catalog together.
"""

from typing import Final, NamedTuple


class Event(NamedTuple):
    """How an event is logged; without a MESSAGE_ID it needs no explanation."""

    level: str
    message_id: str | None = None


EVENTS: Final = {
    "mcastd is ready": Event("info", "f534680e801248b895c571ed6f6c427f"),
    "mcastd hands over": Event("info", "b1544a730a2e40f19161b999f1564e79"),
    "mcastd stops": Event("info", "43496e2f58334274868df395bf49a153"),
    "reloaded": Event("info", "21ddbe77ebfd44d384ac00079cfc7c39"),
    "reload refused": Event("error", "7b2a1f723c9c47868d9c69726f72d587"),
    "configuration note": Event("warning", "19768ae7db654e6087740ebf961df619"),
    "capability missing": Event("error", "ebbb87f9449540d289f331907bcafc0e"),
    "loop hangs": Event("error", "0fd9192af2414e76a5e543ca5b79d060"),
    "state not kept": Event("error", "56a51c9c726c48028b7579d1fe8691e0"),
    "join not taken over": Event("warning", "3bafdf44bc9c494eb1ab8b023443411a"),
    "not taken down in time": Event("error", "a8015fff9a8442c093d221e2136b03db"),
    "not taken down": Event("error", "491bd3a8060a4f22b6ef6c8a603a2fa2"),
    "charon gone": Event("warning", "e9f12c18115b431e95b2b5d745399d88"),
    "charon not understood": Event("warning", "1e2486b2ef624afabe4305e1377bf4de"),
    "charon connected": Event("info", "ba51afb257f54a4895f318757cc9b943"),
    "charon not cleaned up": Event("warning", "d500cd91b7a9421eb8f7a784037c8248"),
    "peer not loaded": Event("warning", "84d8b5437e9848079f49d81e68af67b6"),
    "ike up": Event("info", "7c93a0df69c74d369788c1f17411d98f"),
    "ike down": Event("warning", "a3d4ccb41e0242b6a29e3691de00d7e7"),
    "child up": Event("info", "bdd8318ac5e74f61a18dd78a1c8100f4"),
    "child down": Event("warning", "68bee64791c443d5946e3595297c5530"),
    "child restarts": Event("warning", "e93759b1c210425bb448a79cd050479a"),
    "no success yet": Event("warning", "aa214ae4e9864255b170cfd29d467a8f"),
    "attempt failed": Event("warning", "c5335029222749979f6edf8d36c70b8e"),
    "duplicate SA pruned": Event("warning", "01031c642e99416cb474e11df3027255"),
    "early ESP is lost": Event("warning", "6f0c1b52d2e94bd0a6d57a1c3f9be84e"),
    "tunnel up": Event("info", "70b0df0395bb474b979dec1310d6bea7"),
    "tunnel failed": Event("error", "ecbcef3f38d9432884d41e314656ef41"),
    "tunnel not removed": Event("error", "5a7e8c8726ea4c5baf70d12d59333e55"),
    "endpoint not removed": Event("error", "fc8e6aa1b488406c9f08251096d7d431"),
    "address not added": Event("error", "e25930b8f4ba4ba7852c67ee649b7a25"),
    "not as it should be": Event("error", "44e1755b5b534dd5bbb0e9fdea6578f1"),
    "not routed, another route leads elsewhere": Event("warning", "a6308ebcbdbd4b93b39421593cca00fa"),
    "firewall failed": Event("error", "ddc224a779bb4a80af4630c751985134"),
    "firewall put in place again, somebody had changed it": Event("warning", "d37d6b5aa4d24f6b8b591356788530a6"),
    "changes of the firewall are found late": Event("warning", "8819aa2a26a44b50a6158b8c206c6e0d"),
    "keepalives are answered": Event("info", "2d72394e91294f539054c347f534bb10"),
    "keepalives have stopped": Event("warning", "e2c074aef6794c7f9f66156b49f970eb"),
    "no socket for keepalives": Event("error", "04827bc72f3f499d95d25b6684e03075"),
    "path is dead": Event("warning", "6ae3f39c942d48309f78d420c683ef2e"),
    "path is alive": Event("info", "10891650f286463f9c6f35db39cc2b7b"),
    "pim neighbor up": Event("info", "a21f7730ad8d433a82e1371b0846d831"),
    "pim neighbor restarted": Event("warning", "b03f3bceb2704b1b9c6ce9fd2bf418e4"),
    "pim neighbor down": Event("warning", "1f9b38e3641548b596574efb847d0c86"),
    "pim cannot send": Event("warning", "115d5dd6bd47480aadbfb402fe6dbdd0"),
    "pim can send again": Event("info", "fa8d882bdac84d9c97777d9f6bf7ebec"),
    "pim changed too often to tell": Event("warning", "1d8deaa2d1154924aa71994b0809115e"),
    "mcastd starts": Event("info"),
    "mcastd has stopped": Event("info"),
    "peers removed": Event("info"),
    "tunnel made": Event("info"),
    "tunnel removed": Event("info"),
    "the kernel has no GRE; it is done in user space": Event("info"),
    "joined": Event("info"),
    "pruned": Event("info"),
    "bootstrap router": Event("info"),
    "rendezvous points": Event("info"),
    "assert winner": Event("info"),
    "auto-rp heard, not used": Event("info"),
    "firewall in place": Event("info"),
    "firewall removed": Event("info"),
}


def message_id(event: str) -> str | None:
    """The MESSAGE_ID of an event, if it has one."""
    found = EVENTS.get(event)
    return found.message_id if found else None
