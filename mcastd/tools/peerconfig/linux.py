"""The other side for Linux: strongSwan's swanctl.conf, FRR's frr.conf, and a script for its interfaces. Pure text.

Like a Cisco it only responds: mcastd initiates. Its SAs have the agreed lifetimes, and it rekeys later than mcastd, so
that the two rekeyings do not collide.
"""

from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Final

from mcastd.config.model import SSM_RANGE, Child, Config, Peer, Tunnel
from mcastd.config.other_side import carrier, endpoint_seen, far_address, far_mtu, far_selectors, public_address
from mcastd.tools.peerconfig import INSIDE, OUTSIDE, PSK, PUBLIC, TUNNEL_ADDRESS

CERTIFICATE: Final = "<CERTIFICATE>"
WITHOUT_IPV6: Final = "addrgenmode none"
"""A setting that a kernel without IPv6 refuses and does not need."""
_REKEY_AT: Final = 0.95  # of a lifetime; mcastd begins at 0.9 at the latest

Section = dict[str, "str | Section"]
"""A section of swanctl.conf: settings and sections by name."""


def files(config: Config, *, outside: str | None = None, inside: str | None = None) -> dict[str, str]:
    """The three files by name."""
    return {
        "swanctl.conf": swanctl_conf(config),
        "frr.conf": frr_conf(config, inside=inside),
        "tunnels.sh": commands(config, outside=outside),
    }


def swanctl_conf(config: Config) -> str:
    """For /etc/swanctl/conf.d: connections and secrets, with ``<PSK>`` in place of each key."""
    lines = ["# For /etc/swanctl/conf.d, then: swanctl --load-all. mcastd does not write the pre-shared key:"]
    lines += [f"# replace {PSK} by it, and make the file readable for root only."]
    if any(peer.psk_file is None for peer in config.peers):
        lines += [f"# {CERTIFICATE} is the file of this side's certificate in /etc/swanctl/x509. Its private key is in"]
        lines += ["# /etc/swanctl/private, the CA certificate for mcastd's certificate in /etc/swanctl/x509ca."]
    shared = [peer for peer in config.peers if peer.psk_file is not None]
    conf: Section = {
        "connections": {_name(peer.name): _connection(peer) for peer in config.peers},
        "secrets": {_name(f"ike-{peer.name}"): _secret(peer) for peer in shared},
    }
    return "\n".join([*lines, *_rendered(conf)]) + "\n"


def _rendered(section: Section, indent: str = "") -> Iterator[str]:
    for name, value in section.items():
        if isinstance(value, str):
            yield f"{indent}{name} = {value}"
        else:
            yield from (f"{indent}{name} {{", *_rendered(value, f"{indent}    "), f"{indent}}}")


def _connection(peer: Peer) -> Section:
    soft, hard = _soft_and_hard(peer.lifetime)
    renewed, never = ("reauth_time", "rekey_time") if peer.version == 1 else ("rekey_time", "reauth_time")
    auth: Section = {"auth": "psk" if peer.psk_file is not None else "pubkey"}
    certificate: Section = {} if peer.psk_file is not None else {"certs": CERTIFICATE}
    encap: Section = {"encap": "yes"} if peer.encap else {}
    return {
        "version": str(peer.version),
        "mobike": "no",
        "unique": "replace",
        "local_addrs": str(peer.remote),
        "remote_addrs": str(public_address(peer) or PUBLIC),
        "proposals": ", ".join(peer.proposals),
        renewed: f"{soft}s",
        never: "0s",
        "over_time": f"{hard - soft}s",
        **encap,
        "local": {**auth, **certificate, "id": _quoted(peer.remote_id)},
        "remote": {**auth, "id": _quoted(peer.local_id)},
        "children": {_name(child.name): _child(peer, child) for child in peer.children},
    }


def _child(peer: Peer, child: Child) -> Section:
    ours, theirs = map(str, far_selectors(peer, child))
    if child.mode == "transport" and child.local_ts == IPv4Network(peer.local):
        ours = theirs = "dynamic"
    protocol = "[gre]" if child.protocol == "gre" else ""
    soft, hard = _soft_and_hard(child.lifetime)
    if_ids: Section = {"if_id_in": str(child.if_id), "if_id_out": str(child.if_id)}
    return {
        "mode": "transport" if child.mode == "transport" else "tunnel",
        "local_ts": f"{theirs}{protocol}",
        "remote_ts": f"{ours}{protocol}",
        "esp_proposals": ", ".join(child.proposals),
        "rekey_time": f"{soft}s",
        "life_time": f"{hard}s",
        **(if_ids if child.mode == "interface" else {}),
    }


def _secret(peer: Peer) -> Section:
    return {"id-1": _quoted(peer.remote_id), "id-2": _quoted(peer.local_id), "secret": f'"{PSK}"'}


def _name(name: str) -> str:
    """The name of a section, in which a dot would be a separator."""
    return name.replace(".", "-")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _soft_and_hard(lifetime: float) -> tuple[int, int]:
    """Seconds after which an SA is rekeyed, and after which it ends."""
    hard = max(2, round(lifetime))
    return max(1, int(hard * _REKEY_AT)), hard


def frr_conf(config: Config, *, inside: str | None = None) -> str:
    """For FRR's pimd: rendezvous points, SSM ranges, PIM on the tunnels and towards the sources."""
    pims = [(tunnel.name, tunnel.pim) for tunnel in config.tunnels if tunnel.pim is not None]
    lines = ["! For FRR's pimd"]
    points = [(rp.address, groups) for _, pim in pims for rp in pim.rp for groups in rp.groups]
    lines += dict.fromkeys(f"ip pim rp {address} {groups}" for address, groups in points)
    ranges = list(dict.fromkeys(groups for _, pim in pims for groups in pim.ssm_ranges))
    if ranges and ranges != [SSM_RANGE]:
        lines += [f"ip prefix-list mcastd-ssm permit {groups} le 32" for groups in ranges]
        lines += ["ip pim ssm prefix-list mcastd-ssm"]
    if any(pim.bootstrap for _, pim in pims):
        lines += ["! mcastd uses Bootstrap messages; FRR 8 forwards them, but cannot be a candidate BSR"]
    for name in (*(name for name, _ in pims), inside or INSIDE):
        lines += [f"interface {name}", " ip pim"]
    for tunnel in config.tunnels:
        if tunnel.upstream == "igmp":
            lines += [f"interface {tunnel.name}", " ip pim", " ip igmp"]
        elif tunnel.pim is None and any(tunnel.name in group.tunnels for group in config.groups):
            lines += [f"! nothing is joined on {tunnel.name}: forward its groups to it by static routes (ip mroute)"]
    return "\n".join(lines) + "\n"


def commands(config: Config, *, outside: str | None = None) -> str:
    """A shell script that creates the interfaces."""
    lines = ["#!/bin/sh", "# The other side's interfaces. To be run as root after each start of the machine.", "set -e"]
    lines += ["sysctl -w net.ipv4.ip_forward=1"]
    for tunnel in config.tunnels:
        lines += _tunnel_commands(config, tunnel, outside or OUTSIDE)
    return "\n".join(lines) + "\n"


def _tunnel_commands(config: Config, tunnel: Tunnel, outside: str) -> Iterator[str]:
    carried = carrier(config, tunnel)
    yield from (f"ip {line}" for line in xfrm_link(config, tunnel, outside))
    if tunnel.encapsulation == "gre":
        if carried is None or tunnel.remote != carried[0].remote:
            yield f"ip address add {tunnel.remote}/32 dev lo"
        yield f"ip {gre_link(config, tunnel)}"
    for line in link_settings(config, tunnel):
        yield f"{'[ ! -e /proc/sys/net/ipv6 ] || ' if WITHOUT_IPV6 in line else ''}ip {line}"
    if tunnel.keepalive.period:
        yield "# For Linux to answer the keepalives of mcastd; it accepts spoofed packets as well then"
        yield f"sysctl -w net.ipv4.conf.{tunnel.name}.accept_local=1 net.ipv4.conf.{tunnel.name}.rp_filter=0"


def xfrm_link(config: Config, tunnel: Tunnel, outside: str) -> list[str]:
    """The arguments of ``ip`` that create the XFRM interface of a tunnel, if it has one, and route GRE into it."""
    carried = carrier(config, tunnel)
    if carried is None or carried[1].mode != "interface":
        return []
    _, child = carried
    name = tunnel.name if tunnel.encapsulation == "none" else xfrm_name(child)
    lines = [f"link add {name} type xfrm dev {outside} if_id {child.if_id}"]
    if tunnel.encapsulation == "gre":
        lines += [f"link set {name} up", f"route add {tunnel.local}/32 dev {name}"]
    return lines


def xfrm_name(child: Child) -> str:
    """The name of the XFRM interface under GRE: that of mcastd's side."""
    return child.interface or f"xfrm{child.if_id}"


def gre_link(config: Config, tunnel: Tunnel) -> str:
    """The arguments of ``ip`` that create a GRE interface."""
    options = ["" if tunnel.gre.key is None else f" key {tunnel.gre.key}"]
    options += [" csum"] * tunnel.gre.checksum + [" seq"] * tunnel.gre.sequence
    ends = f"local {tunnel.remote} remote {endpoint_seen(carrier(config, tunnel), tunnel.local) or PUBLIC}"
    return f"link add {tunnel.name} type gre {ends} ttl {tunnel.gre.ttl}{''.join(options)}"


def link_settings(config: Config, tunnel: Tunnel) -> list[str]:
    """The arguments of ``ip`` that set MTU and address of a tunnel's interface, and bring it up."""
    theirs = far_address(tunnel)
    address = f"{TUNNEL_ADDRESS}/<LENGTH>" if theirs is None else str(theirs)
    if theirs is not None and theirs.network.prefixlen == 32:
        address = f"{theirs.ip} peer {tunnel.address.ip}"
    return [
        f"link set {tunnel.name} mtu {far_mtu(config, tunnel)} multicast on",
        f"link set {tunnel.name} {WITHOUT_IPV6}",
        f"address add {address} dev {tunnel.name}",
        f"link set {tunnel.name} up",
    ]
