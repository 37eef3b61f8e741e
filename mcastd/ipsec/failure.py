"""From what charon logged of an attempt to a reason in words. Pure.

The lines are those of the ``control-log`` of ``initiate`` at level 1; what they look like is strongSwan 5.9.8's,
and the notify names in them are IKEv2's (RFC 7296, section 3.10.1) and IKEv1's (RFC 2408, section 3.14.1).
"""

from collections.abc import Sequence
from typing import Final

from mcastd.config.model import Child, Peer

# The exchanges in which the child is negotiated; in the others it is the IKE_SA.
_CHILD_EXCHANGES: Final = ("IKE_AUTH", "CREATE_CHILD_SA", "QUICK_MODE")
_IN_THE_END: Final = ("not established after", "peer not responding", "giving up after")


def explain(lines: Sequence[str], peer: Peer, child: Child, refusal: str) -> str:
    """Say in words why an attempt failed; ``refusal`` is charon's own answer, for what nobody has foreseen."""
    text = "\n".join(lines)
    if (reason := _certificate(text, lines, peer)) is not None:
        return reason
    if "AUTHENTICATION_FAILED" in text or "could not decrypt payloads" in text:
        return (
            f"AUTHENTICATION_FAILED: {_secret(peer)} or an identity differs: "
            f"{peer.remote} refused us as {peer.local_id}, asking for {peer.remote_id}"
        )
    if "but MAC mismatched" in text or "no shared key found" in text:
        return f"AUTHENTICATION_FAILED: the PSK with which {peer.remote} proves to be {peer.remote_id} is not ours"
    if "does not match to" in text or "constraint check failed" in text:
        found = _after(lines, "IDir ") or "it gave another identity"
        return f"AUTHENTICATION_FAILED: the identity of {peer.remote} is not {peer.remote_id}: {found}"
    if "NO_PROPOSAL_CHOSEN" in text or "no acceptable" in text:
        return _proposal(lines, peer, child)
    if "TS_UNACCEPTABLE" in text or "INVALID_ID_INFORMATION" in text or "no acceptable traffic selectors" in text:
        return (
            f"TS_UNACCEPTABLE: {peer.remote} has no child with our traffic selectors: "
            f"{child.local_ts} (here) and {child.remote_ts} (there), {child.mode} mode"
        )
    if "installing route" in text or "no local address found" in text:
        return f"no address of this host is inside local_ts {child.local_ts}: charon cannot route for it"
    if "unable to install" in text:
        return f"this host cannot install the SA: {_after(lines, 'unable to install') or 'the kernel refused it'}"
    if "didn't accept DH group" in text:
        return _proposal(lines, peer, child)
    if "unable to resolve" in text:
        return f"no IKE can be sent to {peer.remote}: there is no route, or another program holds UDP 500 or 4500"
    if any(mark in text or mark in refusal for mark in _IN_THE_END):
        return so_far(lines, peer) or f"{peer.remote} answers, but the attempt did not end in time: {refusal}"
    return refusal


def _secret(peer: Peer) -> str:
    return "the PSK" if peer.psk_file else "our certificate, whom they trust"


def _certificate(text: str, lines: Sequence[str], peer: Peer) -> str | None:
    theirs = f"AUTHENTICATION_FAILED: the certificate with which {peer.remote} proves to be {peer.remote_id}"
    if peer.psk_file is not None:
        return None
    if "no private key found" in text:
        return "AUTHENTICATION_FAILED: local_key is not the private key of local_cert"
    if "not authenticated with peer cert" in text:
        return f"{theirs} is not remote_cert"
    if "no issuer certificate found" in text or "not authenticated by CA" in text:
        return f"{theirs} was issued by none of ca_certs: {_after(lines, 'issuer is ') or 'another authority'}"
    if "no trusted " in text:
        return f"{theirs} does not name that identity, is not valid now, or is not trusted here"
    return None


def so_far(lines: Sequence[str], peer: Peer) -> str | None:
    """What to say of an attempt that has been going on for seconds; None unless the last request has no answer."""
    sent = max((i for i, line in enumerate(lines) if "sending packet" in line), default=None)
    heard = [i for i, line in enumerate(lines) if "received packet" in line]
    if sent is None or (heard and heard[-1] > sent):
        return None
    if not heard and "CREATE_CHILD_SA" not in _exchange(lines) and "QUICK_MODE" not in _exchange(lines):
        return (
            f"no answer from {peer.remote} on UDP 500/4500: a security group or the peer's access list blocks it, "
            f"the peer is down, or {peer.local} is not an address of this host"
        )
    if not heard:
        return (
            f"no answer any more from {peer.remote} on the IKE_SA that is up: UDP 4500 is blocked or the peer is down"
        )
    return f"{peer.remote} answered on UDP 500, but not to {_exchange(lines)}: UDP 4500 is blocked, or IP fragments are"


def _proposal(lines: Sequence[str], peer: Peer, child: Child) -> str:
    exchange = _exchange(lines)
    if any(name in exchange for name in _CHILD_EXCHANGES):
        offer, what = ", ".join(child.proposals), f"ESP proposal of {child.name}"
        return f"NO_PROPOSAL_CHOSEN: {peer.remote} does not accept our {what}: {offer} (a group in it is the PFS group)"
    offer = ", ".join(peer.proposals)
    return (
        f"NO_PROPOSAL_CHOSEN: {peer.remote} does not accept our IKE proposal: {offer} (IKEv{peer.version}), "
        f"or expects nobody at our address"
    )


def _exchange(lines: Sequence[str]) -> str:
    """The name of the last exchange that we began, deletes aside."""
    requests = [line.split()[1] for line in lines if line.startswith("generating ") and " request " in line]
    return next((name for name in reversed(requests) if not name.startswith("INFORMATIONAL")), "")


def _after(lines: Sequence[str], mark: str) -> str | None:
    return next((line[line.index(mark) + len(mark) :].strip() for line in lines if mark in line), None)
