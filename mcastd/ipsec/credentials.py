"""The credentials of peers as VICI messages. They contain secrets, and go to charon only. Pure.

CA certificates are loaded with ``load-authority``: unlike those of ``load-cert`` they have a name by which to unload
them.
"""

from typing import Any

from mcastd.config.credentials import Certificates
from mcastd.ipsec.messages import PeerWithKey


def shared_id(peer_name: str) -> str:
    """The name under which charon keeps a peer's key."""
    return f"mcastd-{peer_name}"


def shared_key(desired: PeerWithKey) -> dict[str, Any]:
    """The ``load-shared`` message: the key, owned by both identities."""
    peer = desired.peer
    return {"id": shared_id(peer.name), "type": "IKE", "data": desired.psk, "owners": [peer.local_id, peer.remote_id]}


def private_key(certificates: Certificates) -> dict[str, Any]:
    """The ``load-key`` message; charon answers with the ``id`` that ``unload-key`` takes."""
    return {"type": "any", "data": certificates.key}


def authorities(desired: PeerWithKey) -> dict[str, dict[str, Any]]:
    """The ``load-authority`` messages, by the name that ``unload-authority`` takes."""
    found = desired.certificates.authorities if desired.certificates else ()
    names = {f"mcastd-{desired.peer.name}-{number}": authority for number, authority in enumerate(found, 1)}
    return {name: {name: {"cacert": authority}} for name, authority in names.items()}


def trusted(certificates: Certificates) -> dict[str, Any] | None:
    """The ``load-cert`` message for the peer's certificate where no CA is configured to verify it.

    No command unloads it, but only the connection that names it accepts it.
    """
    if certificates.remote is None or certificates.authorities:
        return None
    return {"type": "X509", "flag": "NONE", "data": certificates.remote}
