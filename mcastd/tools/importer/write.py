"""Drafts to the text of a ``mcastd.toml``, with comments for missing keys and for what was not imported. Pure."""

import json
import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network
from typing import Final

import msgspec

from mcastd.config.model import Child, Peer
from mcastd.errors import ConfigProblem
from mcastd.tools.importer.draft import ChildDraft, Keys, Missing, PeerDraft, Scalar

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")

_HEAD: Final = """\
# mcastd: a data centre's multicast, in a cloud VM. Made by `mcastd import`; etc/mcastd.toml has every key explained.
# Complete the lines that begin with "#?": replace the example value and remove the "#? ".
"""
_TUNNEL: Final = """\

# --- Not in the source: GRE, PIM and groups. The values are examples; replace them and remove the "#? ". ---

#? [tunnels.gre1]
#? child = {child}
#? local = {local}                     # GRE endpoints, inside the child's selectors
#? remote = {remote}
#? address = "10.44.4.6/30"               # our address on the tunnel,
#? peer_address = "10.44.4.5"             # and theirs
#?
#? [tunnels.gre1.pim]
#? neighbor = "10.44.4.5"
#?
#? [[tunnels.gre1.pim.rp]]
#? address = "100.15.30.253"
#? groups = ["239.0.0.0/8"]
#?
#? [[groups]]
#? group = "239.1.1.1"
"""


def toml(peers: Sequence[PeerDraft], not_imported: Sequence[ConfigProblem]) -> str:
    """The whole file, without any secret."""
    lines = [_HEAD.rstrip()]
    if not_imported:
        lines += ["#", "# Not imported, or chosen:", *(f"#   {_comment(str(problem))}" for problem in not_imported)]
    for peer in peers:
        lines += _table(("peers", peer.name), peer.keys, Peer)
        for child in peer.children:
            lines += _table(("peers", peer.name, "children", child.name), child.keys, Child)
    return "\n".join(lines) + "\n" + _tunnel(peers)


def _table(path: tuple[str, ...], keys: Keys, struct: type[Peer] | type[Child]) -> Iterator[str]:
    yield from ("", f"[{'.'.join(map(_key, path))}]")
    for key in (field.name for field in msgspec.structs.fields(struct) if field.name in keys):
        value = keys[key]
        if isinstance(value, Missing):
            yield f"#? {key} = {_value(value.example)}  # {_comment(value.why)}"
        else:
            yield f"{key} = {_value(value)}"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _string(name)


def _value(value: Scalar) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_string, value))}]"
    return _string(value) if isinstance(value, str) else json.dumps(value)


def _string(text: str) -> str:
    """A basic string; JSON escapes as TOML does, except for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(text: str) -> str:
    """A text on one line, without the characters that a TOML comment must not have."""
    return "".join(character if character.isprintable() else " " for character in text)


def _tunnel(peers: Sequence[PeerDraft]) -> str:
    child, *ends = map(_string, _carrier(peers))
    return _TUNNEL.format(child=child, local=ends[0], remote=ends[1])


def _carrier(peers: Sequence[PeerDraft]) -> tuple[str, str, str]:
    """The CHILD_SA that carries GRE, as far as the selectors say, and its endpoints."""
    found = [(_unlikely(peer, child), child.name, _hosts(peer, child)) for peer in peers for child in peer.children]
    _, name, hosts = min(found, default=(0, "dc-tun-gre", ()), key=lambda one: one[0])
    local, remote = hosts if len(hosts) == 2 else ("10.44.6.1", "10.44.7.1")
    return name, local, remote


def _hosts(peer: PeerDraft, child: ChildDraft) -> list[str]:
    """The ends of its selectors that are single hosts."""
    transport = child.keys.get("mode") == "transport"
    ends = [child.keys.get(f"{end}_ts", peer.keys[end] if transport else None) for end in ("local", "remote")]
    return [end.removesuffix("/32") for end in ends if isinstance(end, str) and IPv4Network(end).prefixlen == 32]


def _unlikely(peer: PeerDraft, child: ChildDraft) -> int:
    """How little speaks for GRE in it: limited to GRE, between two hosts that are not the peers, on an interface."""
    keys, hosts = child.keys, _hosts(peer, child)
    gre = keys.get("protocol", "gre" if keys.get("mode") == "transport" else "any") == "gre"
    signs = (
        gre,
        len(hosts) == 2 and peer.keys["remote"] not in hosts,
        keys.get("mode") == "interface",
        len(hosts) == 2,
    )
    return signs.index(True) if True in signs else len(signs)
