"""Config -> the nftables table, in the language of nft(8). Pure: it depends on the file, not on what is up."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as attribute
from ipaddress import IPv4Address
from typing import Final

import msgspec

from mcastd.config.model import Child, Config, Tunnel
from mcastd.config.mtu import PATH_MTU, TCP_HEADER, USERSPACE_LINK_MTU, largest_packet
from mcastd.config.proposals import esp_of_proposal
from mcastd.firewall import overlay, snat
from mcastd.firewall.child_guard import child_guards
from mcastd.firewall.match import USERSPACE_ESP, children, field, link, one_of, protocol
from mcastd.net import ipv4, nflog

NAME: Final = "mcastd"
"""The name of the table, in the family ``ip``."""

LEAK_OUT, LEAK_IN, IGMP, MSS, LOOPBACK = "leak-out-", "leak-in-", "igmp-", "mss-", "loopback"
"""Prefixes of the counters' names; a remote endpoint or the name of a tunnel or a CHILD_SA follows."""

LOG: Final = "log group"
"""The statement by which a packet reaches a program before it is dropped."""

_COUNTER: Final = re.compile(r"counter name (\S+)")
# srcnat is 100: after all SNAT, also of other programs, which may bring a packet under an IPsec policy or out of it.
_LAST: Final = "srcnat + 200"


@dataclass(frozen=True, slots=True)
class FirewallDesired:
    """What the table is made from. ``leaving`` is the configuration before a reload, whose tunnels are guarded too.

    ``up``, from which it is not made, are the CHILD_SAs that are up: during their life the guard should drop nothing.
    """

    config: Config
    leaving: Config | None = None
    up: frozenset[str] = attribute(default=frozenset(), compare=False)


class _Guard(msgspec.Struct, frozen=True):
    """GRE to and from ``remote`` must be encrypted, by a policy or by one of ``links``.

    Local endpoints in ``open`` are exempt: their tunnels are configured without IPsec.
    """

    remote: IPv4Address
    links: tuple[str, ...]
    open: tuple[IPv4Address, ...]


def table(
    config: Config,
    leaving: Config | None = None,
    counts: Mapping[str, tuple[int, int]] | None = None,
    *,
    logs: bool = True,
) -> str:
    """The table, or an empty text if the configuration needs no rule. ``logs`` is that the kernel has ``log group``.

    ``leaving`` is the configuration before a reload, whose tunnels may still be up: they are guarded as well.
    ``counts`` are the initial packets and bytes of the counters, by name.
    """
    configs = (config,) if leaving is None else (leaving, config)
    guards = _guards(configs)
    without_igmp = _without_igmp(configs)
    guarding = [child for one in configs if one.firewall.guard for child in children(one).values()]
    decrypted = [child for child in guarding if child.mode != "interface"]
    chains = {
        "replayed": ("filter hook prerouting priority raw", _replayed(decrypted)),
        "overlay_arriving": ("filter hook prerouting priority raw", list(overlay.untracked(configs, arriving=True))),
        "overlay_leaving": ("filter hook output priority raw", list(overlay.untracked(configs, arriving=False))),
        "nat": (f"nat hook postrouting priority {snat.PRIORITY}", list(snat.snat(config))),
        "arriving": ("filter hook prerouting priority mangle", list(_clamps(config, arriving=True))),
        "input": (
            "filter hook input priority filter",
            [*overlay.refused(configs), *(rule for one in guards for rule in _guard(one, outgoing=False))],
        ),
        "leaving": (
            f"filter hook postrouting priority {_LAST}",
            [
                *snat.counted(config),
                *_clamps(config, arriving=False),
                *(_igmp(one, logs=logs) for one in without_igmp),
                *(rule for one in guards for rule in _guard(one, outgoing=True)),
                *child_guards(configs),
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
    found = children(config)
    return frozenset(
        tunnel.name
        for tunnel in config.tunnels
        if config.firewall.guard and tunnel.encapsulation == "gre" and tunnel.child in found
    )


def unguarded(config: Config, standing: str) -> frozenset[str]:
    """The names of the tunnels whose guard the table ``standing``, which is in place, does not have."""
    found, lines = guarded(config), {line.strip() for line in standing.splitlines()}
    missing = {
        guard.remote
        for guard in _guards((config,))
        if not lines.issuperset((*_guard(guard, outgoing=True), *_guard(guard, outgoing=False)))
    }
    return frozenset(tunnel.name for tunnel in config.tunnels if tunnel.name in found and tunnel.remote in missing)


def _guards(configs: Iterable[Config]) -> list[_Guard]:
    links: dict[IPv4Address, set[str]] = {}
    inside: set[tuple[IPv4Address, IPv4Address]] = set()
    outside: set[tuple[IPv4Address, IPv4Address]] = set()
    for config in configs:
        found, names = children(config), guarded(config)
        for tunnel in (tunnel for tunnel in config.tunnels if tunnel.encapsulation == "gre"):
            ends = (tunnel.local, tunnel.remote)
            if tunnel.name not in names:
                outside.add(ends)
                continue
            inside.add(ends)
            child = found[str(tunnel.child)]
            way = USERSPACE_ESP if child.mode == "tunnel" else child.interface
            links.setdefault(tunnel.remote, set()).update({way} if way is not None else ())
    return [
        _Guard(remote, tuple(sorted(through)), tuple(sorted(local for local, far in outside - inside if far == remote)))
        for remote, through in sorted(links.items())
    ]


def _guard(guard: _Guard, *, outgoing: bool) -> Iterator[str]:
    """Drop GRE that will not be encrypted, or was not."""
    if outgoing:
        here, there, way, policy, counter = "saddr", "daddr", "oifname", "rt ipsec", LEAK_OUT
    else:
        here, there, way, policy, counter = "daddr", "saddr", "iifname", "meta ipsec", LEAK_IN
    gre = f"ip {there} {guard.remote} ip protocol 47"
    if guard.open:
        yield f"ip {here} {one_of(guard.open)} {gre} accept"
    names = one_of(f'"{name}"' for name in guard.links)
    elsewhere = f"{way} != {names} " if guard.links else ""
    yield f"{gre} {policy} missing {elsewhere}counter name {counter}{guard.remote} drop"


def _replayed(found: list[Child]) -> list[str]:
    """Drop what is decrypted from replayed ESP unless it is within the selectors of a CHILD_SA.

    Replayed ESP (``mcastd.ipsec.esp_replay``) arrives on the loopback, where the kernel checks no policy
    (``net.ipv4.conf.lo.disable_policy``).
    """
    by_loopback = 'iifname "lo" meta ipsec exists '
    within = [field("saddr", child.remote_ts) + field("daddr", child.local_ts) + protocol(child) for child in found]
    accepted = [f"{by_loopback}{ends}accept" for ends in dict.fromkeys(within)]
    return [*accepted, f"{by_loopback}counter name {LOOPBACK} drop"] if accepted else []


def _without_igmp(configs: Iterable[Config]) -> list[Tunnel]:
    """The tunnels by which IGMP of this host must not reach the other side.

    With PIM it is PIM that reports joined groups there, and with ``upstream = "none"`` nothing does. Where a reload
    ends or begins with IGMP upstream, its reports of what is left or joined leave.
    """
    by_igmp = {one.name for config in configs for one in config.tunnels if one.upstream_protocol == "igmp"}
    guarding = [config for config in configs if config.firewall.guard]
    silent = {one.name: one for config in guarding for one in config.tunnels if one.pim or one.upstream == "none"}
    return [one for name, one in silent.items() if name not in by_igmp]


def drops_igmp_at_once(tunnel: Tunnel) -> bool:
    """Whether IGMP of this host is dropped before it reaches the tunnel's interface, so that no capture shows it."""
    return tunnel.encapsulation == "none" and (tunnel.pim is not None or tunnel.upstream == "none")


def _igmp(tunnel: Tunnel, *, logs: bool) -> str:
    """Drop IGMP. With GRE it is matched inside GRE, after the tunnel's interface, so that a capture there shows it.

    Without GRE it is logged for who follows applications. A query with TTL 0 is looped back only, and lets the kernel
    report what its sockets have joined.
    """
    if tunnel.encapsulation == "none":
        found = f'oifname "{tunnel.name}" ip protocol 2 ip ttl != 0'
        if logs:
            return f"{found} counter name {IGMP}{tunnel.name} {LOG} {nflog.group_of(tunnel.name)} drop"
    else:
        header = tunnel.gre.feed_header
        start = header.encode(b"")[:4].hex()
        protocol = (header.length + 9) * 8
        found = f"ip saddr {tunnel.local} ip daddr {tunnel.remote} ip protocol 47 @th,0,32 0x{start} @th,{protocol},8 2"
    return f"{found} counter name {IGMP}{tunnel.name} drop"


def _clamps(config: Config, *, arriving: bool) -> Iterator[str]:
    """Clamp TCP's MSS in what a CHILD_SA carries."""
    for child in children(config).values():
        mss = _mss(child, userspace=config.daemon.datapath == "userspace")
        if mss is not None:
            source, destination = child.local_ts, child.remote_ts
            way = "oifname"
            if arriving:
                source, destination, way = destination, source, "iifname"
            name = link(config, child)
            bound = f'{way} "{name}" ' if name else ""
            option = "tcp option maxseg size"
            yield (
                f"{bound}{field('saddr', source)}{field('daddr', destination)}tcp flags & syn == syn {option} > {mss} "
                f"counter name {MSS}{child.name} {option} set {mss}"
            )


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
