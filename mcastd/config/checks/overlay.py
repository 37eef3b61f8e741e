"""Rules for ``[overlay.NAME]`` beside those of ``[forward.NAME]``."""

from mcastd.config.downstream import Overlay
from mcastd.config.line_numbers import KeyPath
from mcastd.config.model import Config
from mcastd.config.report import Report, Table, dotted


def check(config: Config, report: Report) -> None:
    """Apply every rule to every overlay."""
    forwards = {one.name for one in config.forward}
    known: dict[tuple[int, int], KeyPath] = {}
    for overlay in config.overlay:
        at, path = report.table("overlay", overlay.name), ("overlay", overlay.name)
        if overlay.name in forwards:
            there = ("forward", overlay.name)
            at.refuse((), f"{dotted(there)} is the same interface; allowed: one of the two tables", there)
        other = known.setdefault((overlay.vni, overlay.port), path)
        if other != path:
            text = f"{dotted(other)} has VNI {overlay.vni} on port {overlay.port} already; allowed: another VNI or port"
            at.refuse("vni", text, other)
        _addresses(overlay, at)
        for tunnel in config.tunnels:
            if tunnel.name in overlay.from_ and tunnel.mtu and overlay.mtu and overlay.mtu < tunnel.mtu:
                text = (
                    f"packets of {tunnel.name} may have {tunnel.mtu} bytes, and do not fit if they may not be divided"
                )
                at.note("mtu", text, ("tunnels", tunnel.name, "mtu"))


def _addresses(overlay: Overlay, at: Table) -> None:
    network = overlay.address.network
    if overlay.local in network:
        text = f"{network} has local, {overlay.local}: VXLAN would be sent into itself; allowed: a network of its own"
        at.refuse("address", text, "local")
    for index, member in enumerate(overlay.members):
        if member.prefixlen == 0:
            at.note(("members", index), "every address may take part: each that can reach this host receives and sends")
        elif member.overlaps(network):
            text = f"{member} is in the network of address, {network}; allowed: addresses outside"
            at.refuse(("members", index), text, "address")
