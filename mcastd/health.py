"""Whether all is well, and what is not, out of snapshots. Pure."""

from collections.abc import Iterable, Iterator, Sequence

from mcastd.status import FirewallStatus, GroupStatus, PeerStatus, TunnelStatus


def problems(
    charon: str | None,
    peers: Sequence[PeerStatus],
    tunnels: Sequence[TunnelStatus],
    groups: Sequence[GroupStatus],
    firewall: FirewallStatus,
    missing: Iterable[tuple[str, str]],
) -> Iterator[str]:
    """What keeps the feed from being as it is configured, each in a few words; nothing if all is well.

    ``charon`` is what is wrong with charon, ``missing`` are capabilities with what cannot be done without each.
    """
    yield from (f"no {capability}: mcastd cannot {what}" for capability, what in missing)
    if charon is not None and peers:
        yield charon
    for peer in peers:
        if peer.state != "up":
            yield f"peer {peer.name} is {peer.state}"
        else:
            yield from (f"child {child.name} is {child.state}" for child in peer.children if child.state != "up")
    yield from (f"tunnel {tunnel.name} is {tunnel.state}" for tunnel in tunnels if tunnel.state != "up")
    if firewall.problem:
        yield f"firewall: {firewall.problem}"
    for tunnel in tunnels:
        if tunnel.keepalive is not None and tunnel.keepalive.path == "dead":
            yield f"the path of tunnel {tunnel.name} is dead"
    for tunnel in tunnels:
        if tunnel.pim is not None and tunnel.pim.problem is not None and tunnel.state == "up":
            yield f"PIM cannot send on {tunnel.name}: {tunnel.pim.problem}"
    if unjoined := sum(group.state != "joined" for group in groups):
        yield f"{unjoined} of {len(groups)} joins not joined"


def summary(
    down: Sequence[str], peers: Sequence[PeerStatus], tunnels: Sequence[TunnelStatus], groups: Sequence[GroupStatus]
) -> str:
    """One line of how things are: the ``problems``, or what there is of which all is up."""
    return "; ".join(down) or f"up: {len(peers)} peer(s), {len(tunnels)} tunnel(s), {len(groups)} join(s)"
