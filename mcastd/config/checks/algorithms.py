"""Rules for ``proposals``, of peers and of children: what is weak, and what IKEv1 does not have."""

from mcastd.config.model import Config
from mcastd.config.proposal_words import not_in_the_kernel, weaknesses
from mcastd.config.proposals import by_kind
from mcastd.config.report import Report, Table


def check(config: Config, report: Report) -> None:
    """Apply every rule to every proposal."""
    for peer in config.peers:
        at = report.table("peers", peer.name)
        tables = [(at, peer.proposals)]
        tables += [(report.table(*at.path, "children", one.name), one.proposals) for one in peer.children]
        for table, proposals in tables:
            _weak(proposals, table)
            _without_effect(proposals, table, is_esp=table is not at)
            if table is not at and config.daemon.datapath != "userspace":
                _in_the_kernel(proposals, table)
            if peer.version == 1:
                _of_ikev1(proposals, table, at, is_esp=table is not at)


def _weak(proposals: tuple[str, ...], at: Table) -> None:
    for number, proposal in enumerate(proposals):
        for weakness in weaknesses(proposal):
            at.note(("proposals", number), weakness)


def _without_effect(proposals: tuple[str, ...], at: Table, *, is_esp: bool) -> None:
    for number, proposal in enumerate(proposals):
        found = by_kind(proposal)
        if is_esp and "aead" in found and "integrity" in found:
            text = f"{found['integrity'][0]} has no effect beside {found['aead'][0]}, which protects integrity itself"
            at.note(("proposals", number), text)
        if proposal in proposals[:number]:
            at.note(("proposals", number), f"{proposal} is there already")


def _in_the_kernel(proposals: tuple[str, ...], at: Table) -> None:
    for number, proposal in enumerate(proposals):
        if word := not_in_the_kernel(proposal):
            text = f"{word}: the kernel's ESP does not have it; allowed: aes256, aes256gcm16, sha256 and others, or "
            at.refuse(("proposals", number), f'{text}datapath = "userspace"', ("daemon", "datapath"))


def _of_ikev1(proposals: tuple[str, ...], at: Table, peer: Table, *, is_esp: bool) -> None:
    for number, proposal in enumerate(proposals):
        found = by_kind(proposal)
        where, version = ("proposals", number), peer["version"]
        if "aead" in found and not is_esp:
            text = f"{proposal}: IKEv1 has no combined-mode ciphers for itself; allowed: another one, or version = 2"
            at.refuse(where, text, version)
        later = [*found.get("additional", ()), *(one for one in found.get("group", ()) if one.startswith("mlkem"))]
        if later:
            text = f"{later[0]}: IKEv1 has Diffie-Hellman groups only; allowed: modp2048, or version = 2"
            at.refuse(where, text, version)
