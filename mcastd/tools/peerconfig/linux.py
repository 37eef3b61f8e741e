"""The other side for Linux: strongSwan's swanctl.conf, FRR's frr.conf, and the commands for its interfaces. Pure text.

It waits, as a Cisco does: who initiates is mcastd. Its SAs live as long as agreed and are rekeyed later than mcastd
does it, so that the two do not meet.
"""

from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Final

from mcastd.config.agreement import carrier, far_address, far_mtu, far_selectors, public_address, seen
from mcastd.config.model import SSM_RANGE, Child, Config, Peer, Tunnel
from mcastd.tools.peerconfig import PSK

PUBLIC: Final = "<PUBLIC-ADDRESS>"
CERTIFICATE: Final = "<CERTIFICATE>"
WITHOUT_IPV6: Final = "addrgenmode none"
"""What is refused where the kernel has no IPv6, and not needed there."""
TUNNEL_ADDRESS: Final = "<TUNNEL-ADDRESS>/<LENGTH>"
OUTSIDE: Final = "<OUTSIDE-INTERFACE>"
INSIDE: Final = "<INSIDE-INTERFACE>"
_REKEY_AT: Final = 0.95  # of a lifetime; mcastd begins at 0.9


def files(config: Config, *, outside: str | None = None, inside: str | None = None) -> dict[str, str]:
    """The three files by name."""
    return {
        "swanctl.conf": swanctl_conf(config),
        "frr.conf": frr_conf(config, inside=inside),
        "tunnels.sh": commands(config, outside=outside),
    }


def swanctl_conf(config: Config) -> str:
    """For /etc/swanctl/conf.d: connections and secrets, ``<PSK>`` in place of each key."""
    lines = ["# For /etc/swanctl/conf.d, then: swanctl --load-all. mcastd does not write the pre-shared key:"]
    lines += [f"# put it in place of {PSK}, and let nobody else read the file."]
    if any(peer.psk_file is None for peer in config.peers):
        lines += [f"# {CERTIFICATE} is a file in /etc/swanctl/x509, this side's. Its key belongs into private there,"]
        lines += ["# the certificate of who issued mcastd's into x509ca."]
    lines += ["connections {"]
    for peer in config.peers:
        lines += _indented(_connection(peer))
    lines += ["}", "secrets {"]
    for peer in config.peers:
        if peer.psk_file is not None:
            lines += _indented(_secret(peer))
    return "\n".join([*lines, "}"]) + "\n"


def _indented(lines: Iterator[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _connection(peer: Peer) -> Iterator[str]:
    yield f"{_section(peer.name)} {{"
    yield from (f"    version = {peer.version}", "    mobike = no", "    unique = replace")
    yield f"    local_addrs = {peer.remote}"
    yield f"    remote_addrs = {public_address(peer) or PUBLIC}"
    yield f"    proposals = {', '.join(peer.proposals)}"
    soft, hard = _soft_and_hard(peer.lifetime)
    renewed, never = ("reauth_time", "rekey_time") if peer.version == 1 else ("rekey_time", "reauth_time")
    yield from (f"    {renewed} = {soft}s", f"    {never} = 0s", f"    over_time = {hard - soft}s")
    if peer.encap:
        yield "    encap = yes"
    yield from _end(peer, "local", peer.remote_id)
    yield from _end(peer, "remote", peer.local_id)
    yield "    children {"
    for child in peer.children:
        yield from (f"        {line}" for line in _child(peer, child))
    yield from ("    }", "}")


def _end(peer: Peer, end: str, identity: str) -> Iterator[str]:
    yield f"    {end} {{"
    yield f"        auth = {'psk' if peer.psk_file is not None else 'pubkey'}"
    if peer.psk_file is None and end == "local":
        yield f"        certs = {CERTIFICATE}"
    yield f"        id = {_quoted(identity)}"
    yield "    }"


def _child(peer: Peer, child: Child) -> Iterator[str]:
    ours, theirs = _selectors(peer, child)
    soft, hard = _soft_and_hard(child.lifetime)
    yield f"{_section(child.name)} {{"
    yield f"    mode = {'transport' if child.mode == 'transport' else 'tunnel'}"
    yield from (f"    local_ts = {theirs}", f"    remote_ts = {ours}")
    yield f"    esp_proposals = {', '.join(child.proposals)}"
    yield from (f"    rekey_time = {soft}s", f"    life_time = {hard}s")
    if child.mode == "interface":
        yield from (f"    if_id_in = {child.if_id}", f"    if_id_out = {child.if_id}")
    yield "}"


def _selectors(peer: Peer, child: Child) -> tuple[str, str]:
    protocol = "[gre]" if child.protocol == "gre" else ""
    ours, theirs = far_selectors(peer, child)
    if child.mode == "transport" and child.local_ts == IPv4Network(peer.local):
        return f"dynamic{protocol}", f"dynamic{protocol}"
    return f"{ours}{protocol}", f"{theirs}{protocol}"


def _secret(peer: Peer) -> Iterator[str]:
    yield f"{_section(f'ike-{peer.name}')} {{"
    yield from (f"    id-1 = {_quoted(peer.remote_id)}", f"    id-2 = {_quoted(peer.local_id)}")
    yield from (f'    secret = "{PSK}"', "}")


def _section(name: str) -> str:
    """A name of a section, in which a dot would be a separator."""
    return name.replace(".", "-")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _soft_and_hard(lifetime: float) -> tuple[int, int]:
    hard = max(2, round(lifetime))
    return max(1, int(hard * _REKEY_AT)), hard


def frr_conf(config: Config, *, inside: str | None = None) -> str:
    """For FRR's pimd: rendezvous points, SSM, PIM on the tunnels and towards the sources."""
    spoken = [(tunnel.name, tunnel.pim) for tunnel in config.tunnels if tunnel.pim is not None]
    lines = ["! For FRR's pimd"]
    lines += dict.fromkeys(
        f"ip pim rp {rp.address} {groups}" for _, pim in spoken for rp in pim.rp for groups in rp.groups
    )
    ranges = list(dict.fromkeys(groups for _, pim in spoken for groups in pim.ssm_ranges))
    if ranges and ranges != [SSM_RANGE]:
        lines += [f"ip prefix-list mcastd-ssm permit {groups} le 32" for groups in ranges]
        lines += ["ip pim ssm prefix-list mcastd-ssm"]
    if any(pim.bootstrap for _, pim in spoken):
        lines += ["! mcastd listens to Bootstrap messages; FRR 8 passes them on, and is no candidate BSR itself"]
    for name in (*(name for name, _ in spoken), inside or INSIDE):
        lines += [f"interface {name}", " ip pim"]
    return "\n".join(lines) + "\n"


def commands(config: Config, *, outside: str | None = None) -> str:
    """A shell script that makes the interfaces."""
    lines = [
        "#!/bin/sh",
        "# The other side's interfaces; as root, and again after each start of the machine.",
        "set -e",
    ]
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
        yield "# So that Linux answers mcastd's keepalives; it lets spoofed packets in as well"
        yield f"sysctl -w net.ipv4.conf.{tunnel.name}.accept_local=1 net.ipv4.conf.{tunnel.name}.rp_filter=0"


def xfrm_link(config: Config, tunnel: Tunnel, outside: str) -> list[str]:
    """The lines for ``ip`` that make the XFRM interface of a tunnel, and bring GRE into it; none where it has none."""
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
    """The XFRM interface under GRE: as it is called here."""
    return child.interface or f"xfrm{child.if_id}"


def gre_link(config: Config, tunnel: Tunnel) -> str:
    """The line for ``ip`` that makes a GRE interface."""
    options = ["" if tunnel.gre.key is None else f" key {tunnel.gre.key}"]
    options += [" csum"] * tunnel.gre.checksum + [" seq"] * tunnel.gre.sequence
    ends = f"local {tunnel.remote} remote {seen(carrier(config, tunnel), tunnel.local) or PUBLIC}"
    return f"link add {tunnel.name} type gre {ends} ttl {tunnel.gre.ttl}{''.join(options)}"


def link_settings(config: Config, tunnel: Tunnel) -> list[str]:
    """The lines for ``ip`` that give a tunnel's interface MTU and address, and bring it up."""
    theirs = far_address(tunnel)
    address = TUNNEL_ADDRESS if theirs is None else str(theirs)
    if theirs is not None and theirs.network.prefixlen == 32:
        address = f"{theirs.ip} peer {tunnel.address.ip}"
    return [
        f"link set {tunnel.name} mtu {far_mtu(config, tunnel)} multicast on",
        f"link set {tunnel.name} {WITHOUT_IPV6}",
        f"address add {address} dev {tunnel.name}",
        f"link set {tunnel.name} up",
    ]
