"""The other side for Cisco IOS XE: a whole configuration, to be completed where it says so, and pasted. Pure text.

GRE keepalives do not work with ``tunnel protection`` (Cisco's tech note 64565), so a crypto map on the outside
interface encrypts what the CHILD_SAs select; only a CHILD_SA of mode ``interface`` is a virtual tunnel interface.
Comments name what IOS XE cannot do.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from mcastd.config.model import SSM_RANGE, Child, Config, Peer, Pim, Tunnel
from mcastd.config.other_side import carrier, endpoint_seen, far_address, far_mtu
from mcastd.config.value_types import MULTICAST
from mcastd.tools.peerconfig import CISCO_PERIOD, CISCO_RETRIES, INSIDE, OUTSIDE, PUBLIC, TUNNEL_ADDRESS
from mcastd.tools.peerconfig.ios_crypto import Crypto, selects
from mcastd.tools.peerconfig.ios_syntax import PLACEHOLDERS, Names, gateway, host_route, standard_list

_FIRST_INTERFACE: Final = 100  # of Loopback and Tunnel; the low numbers are often taken
_IP_AND_TCP: Final = 40  # bytes of headers without options
_MSS: Final = (500, 1460)
_PROTECTED: Final = " ! no keepalive: it does not work with tunnel protection (Cisco's tech note 64565)"

Carrier = tuple[Peer, Child] | None


def configuration(config: Config, *, outside: str | None = None, inside: str | None = None) -> str:
    """The whole configuration, with the names of its interfaces or what stands for them.

    Raises PeerConfigError for a peer or CHILD_SA of whose proposals IOS XE has none.
    """
    writer = _Writer(config, outside or OUTSIDE, inside or INSIDE)
    body = "\n".join([*writer.lines(), "!", "end"])
    head = ["! The other side of mcastd for Cisco IOS XE, made from mcastd's own configuration."]
    head += ["! The numbers of interfaces and policies may be changed. To be replaced:"]
    head += [f"!   {name:<20} {meaning}" for name, meaning in PLACEHOLDERS.items() if name in body]
    return "\n".join([*head, "!", body]) + "\n"


class _Writer:
    def __init__(self, config: Config, outside: str, inside: str) -> None:
        self._config = config
        self._outside, self._inside = outside, inside
        self._crypto = Crypto(config, Names(), outside)
        self._tunnels = iter(range(_FIRST_INTERFACE, 1000))  # numbers of tunnel interfaces
        self._loopbacks: dict[IPv4Address, str] = {}  # the interface of a GRE endpoint
        self._route_based: dict[str, str] = {}  # the interface of a CHILD_SA of mode "interface" that carries GRE

    def lines(self) -> Iterator[str]:
        """All of it, in an order that IOS XE accepts."""
        yield "ip multicast-routing distributed"
        yield from self._crypto.lines()
        for tunnel in self._config.tunnels:
            yield from ("!", f"! {tunnel.name}")
            yield from self._tunnel(tunnel, carrier(self._config, tunnel))
        yield from self._multicast()

    def _tunnel(self, tunnel: Tunnel, carried: Carrier) -> Iterator[str]:
        protected = carried is not None and carried[1].mode == "interface"
        source = self._outside
        if tunnel.encapsulation == "gre":
            if carried is not None and protected:
                yield from self._under_gre(*carried)
                yield host_route(tunnel.local, self._route_based[carried[1].name])
            if carried is None or tunnel.remote != carried[0].remote:
                yield from self._loopback(tunnel.remote)
                source = self._loopbacks[tunnel.remote]
        name, mtu, theirs = f"Tunnel{next(self._tunnels)}", far_mtu(self._config, tunnel), far_address(tunnel)
        yield from (f"interface {name}", f" description {tunnel.name} of mcastd")
        yield f" ip address {TUNNEL_ADDRESS if theirs is None else f'{theirs.ip} {theirs.netmask}'}"
        yield f" ip mtu {mtu}"
        if _MSS[0] <= mtu - _IP_AND_TCP <= _MSS[1]:
            yield f" ip tcp adjust-mss {mtu - _IP_AND_TCP}"
        if self._has_multicast(tunnel):
            yield " ip pim sparse-mode"
        if tunnel.pim is None:
            yield from self._without_pim(tunnel)
        if tunnel.encapsulation == "none":
            if carried is not None:
                yield from self._protection(*carried)
        else:
            known_as = endpoint_seen(carried, tunnel.local)
            yield from _gre(tunnel, source, str(known_as or PUBLIC))
            yield _PROTECTED if protected else _keepalive(tunnel)
            if known_as is None and tunnel.keepalive.reply and not tunnel.keepalive.inner_addresses:
                yield f" ! mcastd answers these if keepalive.inner_addresses of its {tunnel.name} has {PUBLIC}"
        yield " no shutdown"
        if theirs is not None and theirs.network.prefixlen == 32:
            yield host_route(tunnel.address.ip, name)

    def _has_multicast(self, tunnel: Tunnel) -> bool:
        return tunnel.pim is not None or tunnel.upstream == "igmp" or any(self._groups(tunnel))

    def _groups(self, tunnel: Tunnel) -> Iterator[str]:
        """The groups of the file on a tunnel, as IOS XE's static groups."""
        for group in self._config.groups:
            if tunnel.name in group.tunnels:
                yield from (f"{group.group} source {source}" for source in group.sources)
                yield from () if group.sources else (f"{group.group}",)

    def _without_pim(self, tunnel: Tunnel) -> Iterator[str]:
        """mcastd joins by IGMP, or the groups are forwarded without being joined."""
        if tunnel.upstream == "igmp":
            yield " ! where a release has ip pim passive, that is enough: mcastd sends no PIM here"
            yield " ip igmp version 3"
        else:
            yield from (f" ip igmp static-group {group}" for group in self._groups(tunnel))

    def _under_gre(self, peer: Peer, child: Child) -> Iterator[str]:
        if child.name not in self._route_based:
            name = self._route_based[child.name] = f"Tunnel{next(self._tunnels)}"
            yield from (f"interface {name}", f" description {child.name} of mcastd, which carries GRE")
            yield f" ip unnumbered {self._outside}"
            yield from self._protection(peer, child)
            yield " no shutdown"

    def _protection(self, peer: Peer, child: Child) -> Iterator[str]:
        yield from (f" tunnel source {self._outside}", " tunnel mode ipsec ipv4")
        yield f" tunnel destination {gateway(peer)}"
        if selects(child):
            yield f" tunnel protection ipsec policy ipv4 {self._crypto.profile(child)}"
        yield f" tunnel protection ipsec profile {self._crypto.profile(child)}"
        yield _PROTECTED

    def _loopback(self, endpoint: IPv4Address) -> Iterator[str]:
        if endpoint not in self._loopbacks:
            name = self._loopbacks[endpoint] = f"Loopback{_FIRST_INTERFACE + len(self._loopbacks)}"
            yield from (f"interface {name}", " description GRE endpoint for mcastd")
            yield f" ip address {endpoint} 255.255.255.255"

    def _multicast(self) -> Iterator[str]:
        pims = [tunnel.pim for tunnel in self._config.tunnels if tunnel.pim is not None]
        if not any(map(self._has_multicast, self._config.tunnels)):
            return
        yield from ("!", "! PIM", f"interface {self._inside}", " ip pim sparse-mode")
        ranges: dict[IPv4Address, tuple[IPv4Network, ...]] = {}
        for rp in (rp for pim in pims for rp in pim.rp):
            ranges[rp.address] = tuple(dict.fromkeys((*ranges.get(rp.address, ()), *rp.groups)))
        for number, (address, groups) in enumerate(ranges.items(), 1):
            yield from _static_rp(address, groups, f"mcastd-rp-{number}", pims)
        if any(pim.bootstrap for pim in pims):
            yield "! mcastd uses Bootstrap messages, for which the domain needs a candidate RP"
            yield "! (ip pim rp-candidate) and a candidate BSR (ip pim bsr-candidate), here or on another router"
        if any(pim.auto_rp for pim in pims):
            yield "! mcastd uses Auto-RP, for which the domain needs a candidate RP (ip pim send-rp-announce) and a"
            yield "! mapping agent (ip pim send-rp-discovery), and this router ip pim autorp listener"
        yield from _ssm(tuple(dict.fromkeys(prefix for pim in pims for prefix in pim.ssm_ranges)))


def _gre(tunnel: Tunnel, source: str, destination: str) -> Iterator[str]:
    yield from (f" tunnel source {source}", f" tunnel destination {destination}")
    if tunnel.gre.key is not None:
        yield f" tunnel key {tunnel.gre.key}"
    if tunnel.gre.checksum:
        yield " tunnel checksum"
    if tunnel.gre.sequence:
        yield " tunnel sequence-datagrams"


def _keepalive(tunnel: Tunnel) -> str:
    if tunnel.keepalive.reply:
        return f" keepalive {CISCO_PERIOD} {CISCO_RETRIES}"
    return " ! no keepalive: mcastd does not answer it (keepalive.reply = false)"


def _static_rp(address: IPv4Address, groups: tuple[IPv4Network, ...], name: str, pims: list[Pim]) -> Iterator[str]:
    learns = [pim for pim in pims if pim.bootstrap or pim.auto_rp]
    wins = " override" if any(pim.rp_preference[0] == "static" for pim in learns) else ""
    if MULTICAST in groups:
        yield f"ip pim rp-address {address}{wins}"
        return
    yield from standard_list(name, groups)
    yield f"ip pim rp-address {address} {name}{wins}"


def _ssm(ranges: tuple[IPv4Network, ...]) -> Iterator[str]:
    if ranges == (SSM_RANGE,):
        yield "ip pim ssm default"
    elif ranges:
        yield from standard_list("mcastd-ssm", ranges)
        yield "ip pim ssm range mcastd-ssm"
