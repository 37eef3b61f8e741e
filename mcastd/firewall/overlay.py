"""Rules for overlays: who may send to one, before the kernel takes VXLAN off; and no conntrack for it. Pure.

VXLAN has no authentication, and the kernel takes it on any address of this host. A packet is recognised by its port and
its VNI, so that other programs' VXLAN on the same port is left alone. It is dropped in the hook ``input``, behind the
reassembly of fragments, of which the kernel would otherwise show one after the other. Members are in the network that
carries VXLAN: what has come out of a tunnel or an overlay has only an address of theirs.
"""

from collections.abc import Iterable, Iterator
from ipaddress import collapse_addresses
from typing import Final

from mcastd.config.downstream import Overlay
from mcastd.config.model import Config
from mcastd.firewall.match import one_of

REFUSED: Final = "overlay-"
"""Prefix of the names of counters; that of the overlay follows."""
_VNI_AT: Final = 96  # bits: behind the header of UDP, and flags


def refused(configs: Iterable[Config]) -> Iterator[str]:
    """Drop what comes from no member, or to another address of ours; before and after a reload alike, if both agree."""
    configs = list(configs)
    overlays = [one for config in configs for one in config.overlay]
    names = {tunnel.name for config in configs for tunnel in config.tunnels} | {one.name for one in overlays}
    inside = one_of(f'"{name}"' for name in sorted(names))
    for name in dict.fromkeys(one.name for one in overlays):
        same = [one for one in overlays if one.name == name]
        for vxlan in dict.fromkeys(map(_vxlan, same)):
            these = [one for one in same if _vxlan(one) == vxlan]
            counter = f"counter name {REFUSED}{name} drop"
            members = list(collapse_addresses(prefix for one in these for prefix in one.members))
            if members[0].prefixlen:  # nft refuses the comparison with all addresses
                yield f"{vxlan} ip saddr != {one_of(members)} {counter}"
            yield f"{vxlan} ip daddr != {one_of(sorted({one.local for one in these}))} {counter}"
            yield f"{vxlan} iifname {inside} {counter}"


def unguarded(config: Config, standing: str) -> frozenset[str]:
    """The names of the overlays for which the table ``standing``, which is in place, does not drop all of that."""
    lines = {line.strip() for line in standing.splitlines()}
    missing = [rule for rule in refused((config,)) if rule not in lines]
    return frozenset(one.name for one in config.overlay if any(f" {REFUSED}{one.name} " in rule for rule in missing))


def untracked(configs: Iterable[Config], *, arriving: bool) -> Iterator[str]:
    """Let conntrack take no notice of VXLAN, which would cost it an entry for each flow of the feed."""
    end = "daddr" if arriving else "saddr"
    found = (f"ip {end} {one.local} {_vxlan(one)} notrack" for config in configs for one in config.overlay)
    yield from dict.fromkeys(found)


def _vxlan(overlay: Overlay) -> str:
    return f"udp dport {overlay.port} @th,{_VNI_AT},24 {overlay.vni:#x}"
