"""Which connections of charon are mcastd's, for a process whose ledger does not say so, or says what is not so.

The mark of a connection ``dc`` is a pre-shared key or a CA certificate that is loaded under the name ``mcastd-dc``
(``credentials``). A connection without one, which authenticates with a pinned certificate, is recognised by its ends.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from mcastd.config.model import Peer
from mcastd.ipsec import messages
from mcastd.ipsec.charon import Vici, list_conns, list_names
from mcastd.ipsec.contents import Connection
from mcastd.system.ledger import Ledger
from mcastd.system.ledger_file import Value

# The ledger's kinds of entries.
CONN: Final = "vici-conn"
CHILD: Final = "vici-child"
SHARED: Final = "vici-shared"
KEY: Final = "vici-key"
AUTHORITY: Final = "vici-authority"
_OTHER: Final = ""  # the fingerprint of a connection that is not as configured
_END: Final = re.compile(r"(?:^| )([\d.]+)=")  # of a fingerprint
_AUTHORITY: Final = re.compile(r"mcastd-(.+)-\d+")


async def adopt(control: Vici, ledger: Ledger, peers: Iterable[Peer]) -> list[str]:
    """Record connections that a previous process loaded and the ledger does not have; returns their names.

    Their SAs count as made with the present configuration, if the peer's address is the same. Where the ledger was read
    whole, only what it could not be given for want of room is missing in it: what else has our mark is another's.
    Raises ViciError.
    """
    marks, configured = await _marks(control), {peer.name: peer for peer in peers}
    is_whole = ledger.is_whole
    if is_whole:
        candidates = marks.keys() & configured.keys()
    else:
        candidates = marks.keys() | (configured.keys() if ledger.is_incomplete else set())
    names = sorted(name for name in candidates if not ledger.has(CONN, name))
    connections = await list_conns(control) if names else {}
    found = []
    for name in names:
        made_as = messages.ike_fingerprint(configured[name]) if name in configured else None
        has_ends = _has_ends(connections.get(name, {}), made_as)
        if has_ends or (name in marks and not is_whole):
            ledger.found(CONN, name, made_as if has_ends else _OTHER)
            for kind, key in marks.get(name, ()):
                ledger.found(kind, key)
            found.append(name)
    return found


async def confirmed(control: Vici, ledger: Ledger, names: Collection[str]) -> list[str]:
    """Those of the ledger's connections that are not another program's. Raises ViciError."""
    connections, marks, recorded = await list_conns(control), await _marks(control), ledger.entries(CONN)
    return [
        name
        for name in names
        if name not in connections or name in marks or _has_ends(connections[name], recorded.get(name))
    ]


async def _marks(control: Vici) -> Mapping[str, list[tuple[str, str]]]:
    """By the connection's name what carries it in its own name, as the ledger's kinds and keys."""
    found: dict[str, list[tuple[str, str]]] = {}
    for key in sorted(await list_names(control, "get-shared", "keys") or ()):
        if key.startswith("mcastd-"):
            found.setdefault(key.removeprefix("mcastd-"), []).append((SHARED, key))
    for authority in sorted(await list_names(control, "get-authorities", "authorities") or ()):
        if (match := _AUTHORITY.fullmatch(authority)) is not None:
            found.setdefault(match[1], []).append((AUTHORITY, f"{match[1]}/{authority}"))
    return found


def _has_ends(connection: Connection, fingerprint: Value) -> bool:
    """Whether a connection is between the addresses of a fingerprint."""
    shown = {end for key in ("local_addrs", "remote_addrs") for end in connection.get(key, ())}
    return len(shown) == 2 and shown == set(_END.findall(str(fingerprint)))
