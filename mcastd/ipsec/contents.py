"""What charon has loaded, and what of ours is no longer there. Pure.

charon does not record which client loaded a thing: ``swanctl --load-creds`` unloads each key that is not in its own
files, ``swanctl --load-all`` (``systemctl reload strongswan``) each connection and authority as well.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mcastd.ipsec import credentials
from mcastd.ipsec.messages import PeerWithKey

_WHO: Final = "by another program"

Connection = Mapping[str, Any]
"""A connection as charon lists it, all values as text. Its proposals are not listed."""


class Contents(msgspec.Struct, frozen=True):
    """What charon has loaded, also that of other programs; None where it is not known."""

    connections: Mapping[str, Connection] = msgspec.field(default_factory=dict)
    shared: frozenset[str] | None = None  # the ids of the pre-shared keys
    keys: frozenset[str] | None = None  # the ids of the private keys
    authorities: frozenset[str] | None = None  # the names of CAs
    certificates: frozenset[bytes] | None = None  # in DER


class Loaded(msgspec.Struct):
    """What was loaded of a peer."""

    desired: PeerWithKey
    key: str | None  # the id of the private key
    connection: Connection | None = None  # as charon listed it right afterwards


def lost(loaded: Loaded, contents: Contents, *, is_replaced: bool) -> str:
    """What another program has removed or replaced of it, as text; empty if all is there.

    ``is_replaced``: charon's log says that another program has loaded a connection or a key of this name.
    """
    name = loaded.desired.peer.name
    gone = [what for what, is_there in _parts(loaded, contents) if not is_there]
    found = []
    if gone:
        found.append(
            f"the {' and the '.join(gone)} of {name} {'were' if gone[1:] else 'was'} removed from charon {_WHO}"
        )
    if is_replaced or contents.connections.get(name, loaded.connection) != loaded.connection:
        found.append(f"the connection or key of {name} was replaced in charon {_WHO}")
    return "; ".join(found)


def _parts(loaded: Loaded, contents: Contents) -> list[tuple[str, bool]]:
    """Each thing that was loaded, and whether charon has it; a connection that was replaced is there."""
    desired, found = loaded.desired, loaded.desired.certificates
    name = desired.peer.name
    parts = [("connection", name in contents.connections)]
    if desired.psk is not None:
        parts.append(("pre-shared key", _has(contents.shared, credentials.shared_id(name))))
    if found is not None:
        pinned = [found.remote] if found.remote is not None and not found.authorities else []
        parts.append(("private key", _has(contents.keys, loaded.key)))
        parts.append(("certificate", _has(contents.certificates, found.local, *pinned)))
        parts.append(("CA certificate", _has(contents.authorities, *credentials.authorities(desired))))
    return parts


def _has(listed: frozenset[object] | None, *expected: object) -> bool:
    return listed is None or listed.issuperset(expected)
