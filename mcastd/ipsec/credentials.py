"""What peers authenticate with, as messages for charon. They hold secrets: for charon only. Pure.

Certificates of authorities are loaded by ``load-authority``, which, other than ``load-cert``, has a name to unload them
by.
"""

from typing import Any

from mcastd.config.certificates import Certificates
from mcastd.ipsec.messages import PeerWithKey


def shared_id(peer_name: str) -> str:
    """The name under which charon keeps a peer's key."""
    return f"mcastd-{peer_name}"


def shared_key(wanted: PeerWithKey) -> dict[str, Any]:
    """The ``load-shared`` message: the key, owned by both identities."""
    peer = wanted.peer
    return {"id": shared_id(peer.name), "type": "IKE", "data": wanted.psk, "owners": [peer.local_id, peer.remote_id]}


def private_key(certificates: Certificates) -> dict[str, Any]:
    """The ``load-key`` message; charon answers with the ``id`` that ``unload-key`` takes."""
    return {"type": "any", "data": certificates.key}


def authorities(wanted: PeerWithKey) -> dict[str, dict[str, Any]]:
    """The ``load-authority`` messages, by the name that ``unload-authority`` takes."""
    found = wanted.certificates.authorities if wanted.certificates else ()
    names = {f"mcastd-{wanted.peer.name}-{number}": authority for number, authority in enumerate(found, 1)}
    return {name: {name: {"cacert": authority}} for name, authority in names.items()}


def trusted(certificates: Certificates) -> dict[str, Any] | None:
    """The ``load-cert`` message for the other side's certificate where no authority vouches for it.

    There is no command to unload it by itself, but it counts for the connection that pins it alone.
    """
    if certificates.remote is None or certificates.authorities:
        return None
    return {"type": "X509", "flag": "NONE", "data": certificates.remote}
