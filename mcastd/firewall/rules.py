"""Config -> the nftables table, in the language of nft(8). Pure: it depends on the file, not on what is up."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from typing import Final

from mcastd.config.model import Child, Config, Tunnel
from mcastd.config.mtu import PATH_MTU, TCP_HEADER, USERSPACE_LINK_MTU, largest_packet
from mcastd.config.proposals import esp_of_proposal
from mcastd.net import ipv4

NAME: Final = "mcastd"
"""The name of the table, in the family ``ip``."""

LEAK_OUT, LEAK_IN, IGMP, SNAT, MSS, LOOPBACK = "leak-out-", "leak-in-", "igmp-", "snat-", "mss-", "loopback"
"""Prefixes of the counters' names; a remote endpoint or the name of a tunnel or a CHILD_SA follows."""

_USERSPACE_ESP: Final = "ipsec0"
_COUNTER: Final = re.compile(r"counter name (\S+)")
# srcnat is 100: after all SNAT, also of other programs, which may bring a packet under an IPsec policy or out of it.
_LAST: Final = "srcnat + 200"


@dataclass(frozen=True, slots=True)
class FirewallDesired:
    """What the table is made from. ``leaving`` is the configuration before a reload, whose tunnels are guarded too."""

    config: Config
    leaving: Config | None = None


@dataclass(frozen=True, slots=True)
class _Guard:
    """GRE to and from ``remote`` must be encrypted, by a policy or by one of ``links``.

    Local endpoints in ``open`` are exempt: their tunnels are configured without IPsec.
    """

    remote: IPv4Address
    links: tuple[str, ...]
    open: tuple[IPv4Address, ...]


@dataclass(frozen=True, slots=True)
class _Carried:
    """A CHILD_SA with the XFRM interface that it is bound to, if any, and the TCP MSS to clamp to in bytes, if any.

    ``inside`` are the local selectors of all CHILD_SAs towards the same addresses.
    """

    child: Child
    link: str | None
    mss: int | None
    inside: tuple[IPv4Network, ...]


def table(config: Config, leaving: Config | None = None, counts: Mapping[str, tuple[int, int]] | None = None) -> str:
    """The table, or an empty text if the configuration needs no rule.

    ``leaving`` is the configuration before a reload, whose tunnels may still be up: they are guarded as well.
    ``counts`` are the initial packets and bytes of the counters, by name.
    """
    configs = (config,) if leaving is None else (leaving, config)
    guards = _guards(configs)
    without_igmp = _without_igmp(configs)
    carried = _carried(config)
    natted = [one for one in carried if one.child.snat is not None]
    clamped = [one for one in carried if one.mss is not None]
    guarding = [child for one in configs if one.firewall.guard for child in _children(one).values()]
    decrypted = [child for child in guarding if child.mode != "interface"]
    chains = {
        "replayed": ("filter hook prerouting priority raw", _replayed(decrypted)),
        "nat": ("nat hook postrouting priority srcnat", [_snat(one) for one in natted]),
        "arriving": ("filter hook prerouting priority mangle", [_clamp(one, arriving=True) for one in clamped]),
        "input": (
            "filter hook input priority filter",
            [rule for one in guards for rule in _guard(one, outgoing=False)],
        ),
        "leaving": (
            f"filter hook postrouting priority {_LAST}",
            [
                *(_snat_counted(one) for one in natted),
                *(_clamp(one, arriving=False) for one in clamped),
                *(_igmp(one) for one in without_igmp),
                *(rule for one in guards for rule in _guard(one, outgoing=True)),
            ],
        ),
    }
    counters = _COUNTER.findall("\n".join(rule for _, rules in chains.values() for rule in rules))
    if not counters:
        return ""
    lines = [f"table ip {NAME} {{"]
    for name in dict.fromkeys(counters):
        packets, size = (counts or {}).get(name, (0, 0))
        lines.append(f"\tcounter {name} {{ packets {packets} bytes {size} }}")
    for name, (kind, rules) in chains.items():
        if rules:
            lines += ["", f"\tchain {name} {{", f"\t\ttype {kind}; policy accept;"]
            lines += [*(f"\t\t{rule}" for rule in rules), "\t}"]
    return "\n".join([*lines, "}", ""])


def replacement(text: str) -> str:
    """The transaction that replaces the table, if it exists, by ``text``; an empty ``text`` removes it."""
    return f"add table ip {NAME}\ndelete table ip {NAME}\n{text}"


def guarded(config: Config) -> frozenset[str]:
    """The names of the tunnels that need the guard."""
    children = _children(config)
    return frozenset(
        tunnel.name
        for tunnel in config.tunnels
        if config.firewall.guard and tunnel.encapsulation == "gre" and tunnel.child in children
    )


def _guards(configs: Iterable[Config]) -> list[_Guard]:
    links: dict[IPv4Address, set[str]] = {}
    inside: set[tuple[IPv4Address, IPv4Address]] = set()
    outside: set[tuple[IPv4Address, IPv4Address]] = set()
    for config in configs:
        children, names = _children(config), guarded(config)
        for tunnel in (tunnel for tunnel in config.tunnels if tunnel.encapsulation == "gre"):
            ends = (tunnel.local, tunnel.remote)
            if tunnel.name not in names:
                outside.add(ends)
                continue
            inside.add(ends)
            child = children[str(tunnel.child)]
            link = _USERSPACE_ESP if child.mode == "tunnel" else child.interface
            links.setdefault(tunnel.remote, set()).update({link} if link is not None else ())
    return [
        _Guard(remote, tuple(sorted(through)), tuple(sorted(local for local, far in outside - inside if far == remote)))
        for remote, through in sorted(links.items())
    ]


def _guard(guard: _Guard, *, outgoing: bool) -> Iterator[str]:
    """Drop GRE that will not be encrypted, or was not."""
    if outgoing:
        here, there, link, policy, counter = "saddr", "daddr", "oifname", "rt ipsec", LEAK_OUT
    else:
        here, there, link, policy, counter = "daddr", "saddr", "iifname", "meta ipsec", LEAK_IN
    gre = f"ip {there} {guard.remote} ip protocol 47"
    if guard.open:
        yield f"ip {here} {_set(guard.open)} {gre} accept"
    names = _set(f'"{name}"' for name in guard.links)
    elsewhere = f"{link} != {names} " if guard.links else ""
    yield f"{gre} {policy} missing {elsewhere}counter name {counter}{guard.remote} drop"


def _replayed(children: list[Child]) -> list[str]:
    """Drop what is decrypted from replayed ESP unless it is within the selectors of a CHILD_SA.

    Replayed ESP (``mcastd.ipsec.esp_replay``) arrives on the loopback, where the kernel checks no policy
    (``net.ipv4.conf.lo.disable_policy``).
    """
    found = 'iifname "lo" meta ipsec exists '
    within = [
        _field("saddr", child.remote_ts)
        + _field("daddr", child.local_ts)
        + ("ip protocol 47 " if child.protocol == "gre" else "")
        for child in children
    ]
    accepted = [f"{found}{ends}accept" for ends in dict.fromkeys(within)]
    return [*accepted, f"{found}counter name {LOOPBACK} drop"] if accepted else []


def _without_igmp(configs: Iterable[Config]) -> list[Tunnel]:
    """The tunnels with PIM, which reports joined groups to the other side; IGMP of this host must not reach it."""
    guarding = [config for config in configs if config.firewall.guard]
    return list({one.name: one for config in guarding for one in config.tunnels if one.pim is not None}.values())


def _igmp(tunnel: Tunnel) -> str:
    """Drop IGMP. With GRE it is matched inside GRE, after the tunnel's interface, so that a capture there shows it."""
    if tunnel.encapsulation == "none":
        found = f'oifname "{tunnel.name}" ip protocol 2'
    else:
        header = tunnel.gre.feed_header
        start = header.encode(b"")[:4].hex()
        protocol = (header.length + 9) * 8
        found = f"ip saddr {tunnel.local} ip daddr {tunnel.remote} ip protocol 47 @th,0,32 0x{start} @th,{protocol},8 2"
    return f"{found} counter name {IGMP}{tunnel.name} drop"


def _children(config: Config) -> dict[str, Child]:
    return {child.name: child for peer in config.peers for child in peer.children}


def _carried(config: Config) -> list[_Carried]:
    alone = {tunnel.child: tunnel.name for tunnel in config.tunnels if tunnel.encapsulation == "none"}
    found = []
    children = _children(config).values()
    for child in children:
        link = (child.interface or alone.get(child.name)) if child.mode == "interface" else None
        mss = _mss(child, userspace=config.daemon.datapath == "userspace")
        inside = (other.local_ts for other in children if other.remote_ts.overlaps(child.remote_ts))
        found.append(_Carried(child, link, mss, tuple(collapse_addresses(inside))))
    return found


def _mss(child: Child, *, userspace: bool) -> int | None:
    """The MSS that fits the largest ESP that may be negotiated (RFC 9293, section 3.7.1): the rules outlive an SA."""
    if child.mss == 0 or child.protocol == "gre":
        return None
    if child.mss is not None:
        return child.mss
    esps = [esp for proposal in child.proposals for esp in esp_of_proposal(proposal)]
    packets = [largest_packet(PATH_MTU, esp, mode=child.mode) for esp in esps]
    packets += [USERSPACE_LINK_MTU] if userspace else []
    return min(packets) - ipv4.HEADER_LENGTH - TCP_HEADER


def _snat(carried: _Carried) -> str:
    child = carried.child
    # nft refuses a set with overlapping members.
    whose = _set(collapse_addresses(child.snat_from)) if child.snat_from else f"!= {_set(carried.inside)}"
    gre = "ip protocol 47 " if child.protocol == "gre" else ""
    return f"{_leaving_by(carried)}{_field('daddr', child.remote_ts)}ip saddr {whose} {gre}snat to {child.snat}"


def _snat_counted(carried: _Carried) -> str:
    """Count every packet: a chain of type nat sees only the first one of a connection."""
    child = carried.child
    return (
        f"{_leaving_by(carried)}ip saddr {child.snat} {_field('daddr', child.remote_ts)}ct status snat "
        f"counter name {SNAT}{child.name}"
    )


def _clamp(carried: _Carried, *, arriving: bool) -> str:
    child = carried.child
    if arriving:
        link = f'iifname "{carried.link}" ' if carried.link else ""
        ends = _field("saddr", child.remote_ts) + _field("daddr", child.local_ts)
    else:
        link = _leaving_by(carried)
        ends = _field("saddr", child.local_ts) + _field("daddr", child.remote_ts)
    option = "tcp option maxseg size"
    return (
        f"{link}{ends}tcp flags & syn == syn {option} > {carried.mss} "
        f"counter name {MSS}{child.name} {option} set {carried.mss}"
    )


def _leaving_by(carried: _Carried) -> str:
    return f'oifname "{carried.link}" ' if carried.link else ""


def _field(name: str, network: IPv4Network) -> str:
    """A match of addresses, followed by a blank; empty if all addresses match."""
    return f"ip {name} {network} " if network.prefixlen else ""


def _set(members: Iterable[object]) -> str:
    texts = list(map(str, members))
    return texts[0] if len(texts) == 1 else f"{{ {', '.join(texts)} }}"
