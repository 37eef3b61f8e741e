"""The log lines about SAs that came up or went down, or could not be renewed."""

from mcastd.ipsec.renewals import Failure
from mcastd.ipsec.state import ChildState, PeerState
from mcastd.problems import Problem
from mcastd.system.log import Logger


def log_change(log: Logger, peer: PeerState, child: ChildState | None, gone: Problem | None, now: float) -> None:
    """Log the change of a CHILD_SA or, without one, of the IKE_SA; ``gone`` is why charon has ended, if it has."""
    log = log.bind(peer=peer.name)
    reason = gone.text if gone is not None else "deleted by the peer, by DPD or by an administrator"
    if child is not None:
        log = log.bind(child=child.desired.name)
        if child.sa is None:
            log.warning("child_sa_down", reason=reason)
        else:
            took = _took(child.trying_since, now)
            log.info("child_sa_up", proposal=child.sa.proposal, encap=child.sa.encap == "yes", **took)
    elif peer.sa is None:
        log.warning("ike_sa_down", reason=reason)
    else:
        began = min((one.trying_since for one in peer.children.values() if one.trying_since is not None), default=None)
        log.info("ike_sa_up", proposal=peer.sa.proposal, **_took(began, now))


def log_failure(log: Logger, failed: Failure) -> None:
    """Log a renewal that failed while the old SA stands."""
    child = {} if failed.child is None else {"child": failed.child}
    log.warning(
        "rekey_failed" if failed.code == "rekey_failed" else "reauth_failed",
        peer=failed.peer,
        **child,
        problem=failed.reason,
    )


def _took(began: float | None, now: float) -> dict[str, object]:
    """How long an attempt took; without one the SA existed before and is adopted."""
    return {"adopted": True} if began is None else {"took_ms": round((now - began) * 1000)}
