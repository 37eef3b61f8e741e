"""From what charon logged of an attempt to a reason in words. Pure."""

from collections.abc import Sequence

from mcastd.config.model import Child, Peer


def explain(lines: Sequence[str], peer: Peer, child: Child, refusal: str) -> str:
    """Say in words why an attempt failed."""
    return refusal


def so_far(lines: Sequence[str], peer: Peer) -> str | None:
    """What to say of an attempt that has been going on for some seconds; None if there is nothing wrong yet."""
    if not any("received packet" in line for line in lines):
        return f"no answer from {peer.remote} on UDP 500/4500"
    return None
