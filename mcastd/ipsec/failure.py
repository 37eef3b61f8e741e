"""The reason why an attempt failed, from what charon logged of it. Pure.

The lines are those of the ``control-log`` of ``initiate`` at level 1, as strongSwan 5.9.8 writes them. The notify names
in them are those of IKEv2 (RFC 7296, section 3.10.1) and IKEv1 (RFC 2408, section 3.14.1).
"""

from collections.abc import Sequence
from typing import Final

from mcastd.config.model import Child, Peer
from mcastd.problems import Problem, ProblemCode

# The words of charon by which a cause is recognised, in order: the first that is in the log counts.
_MARKS: Final[tuple[tuple[ProblemCode, tuple[str, ...]], ...]] = (
    ("certificate_key_mismatch", ("no private key found",)),
    ("certificate_not_pinned", ("not authenticated with peer cert",)),
    ("certificate_issuer_unknown", ("no issuer certificate found", "not authenticated by CA")),
    ("certificate_untrusted", ("no trusted ",)),
    ("certificate_or_identity", ("AUTHENTICATION_FAILED", "could not decrypt payloads")),
    ("psk_or_identity", ("AUTHENTICATION_FAILED", "could not decrypt payloads")),
    ("peer_psk", ("but MAC mismatched", "no shared key found")),
    ("peer_identity", ("does not match to", "constraint check failed")),
    ("traffic_selectors", ("TS_UNACCEPTABLE", "INVALID_ID_INFORMATION", "no acceptable traffic selectors")),
    ("ike_proposal", ("NO_PROPOSAL_CHOSEN", "no acceptable")),
    ("local_address_missing", ("installing route", "no local address found")),
    ("host_cannot", ("unable to install",)),
    ("ike_proposal", ("didn't accept DH group",)),
    ("ike_not_sent", ("unable to resolve",)),
)
MARKS: Final = tuple(mark for _, marks in _MARKS for mark in marks)
_THEIRS: Final = "AUTHENTICATION_FAILED: the certificate with which {peer.remote} proves to be {peer.remote_id}"
_REFUSED: Final = "an identity differs: {peer.remote} refused us as {peer.local_id}, asking for {peer.remote_id}"
_NO_PROPOSAL: Final = "NO_PROPOSAL_CHOSEN: {peer.remote} does not accept our"
_TEXTS: Final[dict[ProblemCode, str]] = {
    "certificate_key_mismatch": "AUTHENTICATION_FAILED: local_key is not the private key of local_cert",
    "certificate_not_pinned": f"{_THEIRS} is not remote_cert",
    "certificate_issuer_unknown": f"{_THEIRS} was issued by none of ca_certs: {{issuer}}",
    "certificate_untrusted": f"{_THEIRS} does not name that identity, is not valid now, or is not trusted here",
    "certificate_or_identity": f"AUTHENTICATION_FAILED: our certificate is not trusted by the peer, or {_REFUSED}",
    "psk_or_identity": f"AUTHENTICATION_FAILED: the PSK or {_REFUSED}",
    "peer_psk": "AUTHENTICATION_FAILED: {peer.remote} authenticates as {peer.remote_id} with a PSK that is not ours",
    "peer_identity": "AUTHENTICATION_FAILED: the identity of {peer.remote} is not {peer.remote_id}: {identity}",
    "traffic_selectors": "TS_UNACCEPTABLE: {peer.remote} has no child with our traffic selectors: "
    "{child.local_ts} (here) and {child.remote_ts} (there), {child.mode} mode",
    "ike_proposal": f"{_NO_PROPOSAL} IKE proposal: {{ike}} (IKEv{{peer.version}}), or has no entry for our address",
    "esp_proposal": f"{_NO_PROPOSAL} ESP proposal of {{child.name}}: {{esp}} (a group in it is the PFS group)",
    "local_address_missing": "no address of this host is inside local_ts {child.local_ts}: charon cannot route for it",
    "host_cannot": "this host cannot install the SA: {refused}",
    "udp_4500_blocked": "{peer.remote} answered on UDP 500, but not to {exchange}: UDP 4500 or fragments are blocked",
    "ike_sa_unanswered": "no answer any more from {peer.remote} on the IKE_SA that is up: it is down or blocked",
    "no_answer": "no answer from {peer.remote} on UDP 500/4500: a security group or the peer's access list blocks it, "
    "the peer is down, or {peer.local} is not an address of this host",
    "ike_not_sent": "no IKE can be sent to {peer.remote}: there is no route, or another program holds UDP 500 or 4500",
}
# The exchanges in which the CHILD_SA is negotiated; in all others it is the IKE_SA.
_CHILD_EXCHANGES: Final = ("IKE_AUTH", "CREATE_CHILD_SA", "QUICK_MODE")
_LONGEST: Final = 200  # characters of what the peer said, e.g. its identity
_TIMED_OUT: Final = ("not established after", "peer not responding", "giving up after")


def explain(lines: Sequence[str], peer: Peer, child: Child, refusal: str) -> Problem:
    """Return why an attempt failed; ``refusal`` is charon's own reason, used where the log names no known cause."""
    if "not found" in refusal:
        return Problem("connection_missing", child.name, refusal)
    text, by_certificate = "\n".join(lines), peer.psk_file is None
    found = (code for code, marks in _MARKS if any(mark in text for mark in marks))
    code = next((code for code in found if by_certificate or not code.startswith("certificate_")), None)
    if code is not None:
        of_child = code == "ike_proposal" and any(name in _exchange(lines) for name in _CHILD_EXCHANGES)
        return _problem("esp_proposal" if of_child else code, lines, peer, child)
    if not any(mark in line for mark in _TIMED_OUT for line in (*lines, refusal)):
        return Problem("attempt_refused", child.name, refusal)
    late = f"{peer.remote} answers, but the attempt did not end in time: {refusal}"
    return so_far(lines, peer, child) or Problem("attempt_timeout", child.name, late)


def so_far(lines: Sequence[str], peer: Peer, child: Child) -> Problem | None:
    """Return why an attempt that runs for seconds has not succeeded; None unless the last request has no answer."""
    sent = max((i for i, line in enumerate(lines) if "sending packet" in line), default=None)
    heard = [i for i, line in enumerate(lines) if "received packet" in line]
    if sent is None or (heard and heard[-1] > sent):
        return None
    if heard:
        return _problem("udp_4500_blocked", lines, peer, child)
    if any(name in _exchange(lines) for name in ("CREATE_CHILD_SA", "QUICK_MODE")):
        return ike_sa_unanswered(peer, child)
    return _problem("no_answer", lines, peer, child)


def ike_sa_unanswered(peer: Peer, child: Child) -> Problem:
    """The problem of an attempt on an IKE_SA that is up, if the peer does not answer on it."""
    return _problem("ike_sa_unanswered", (), peer, child)


def _problem(code: ProblemCode, lines: Sequence[str], peer: Peer, child: Child) -> Problem:
    details = {
        "ike": ", ".join(peer.proposals),
        "esp": ", ".join(child.proposals),
        "exchange": _exchange(lines),
        "issuer": _after(lines, "issuer is ") or "another authority",
        "identity": _after(lines, "IDir ") or "it gave another identity",
        "refused": _after(lines, "unable to install") or "the kernel refused it",
    }
    return Problem(code, child.name, _TEXTS[code].format(peer=peer, child=child, **details))


def _exchange(lines: Sequence[str]) -> str:
    """The name of the last exchange that this side began, deletes aside."""
    requests = [line.split()[1] for line in lines if line.startswith("generating ") and " request " in line]
    return next((name for name in reversed(requests) if not name.startswith("INFORMATIONAL")), "")


def _after(lines: Sequence[str], mark: str) -> str | None:
    found = next((line[line.index(mark) + len(mark) :].strip() for line in lines if mark in line), None)
    return found if found is None or len(found) <= _LONGEST else f"{found[:_LONGEST]}..."
