"""What the kernel has in files below ``/proc``: texts in, frozen values out. Pure.

A fact from another file is added by its path in ``FILES``, a field of ``Proc`` and a function that parses it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from mcastd.net import memberships

FILES: Final = (
    *("net/dev", "net/igmp", "net/ip_mr_vif", "net/mcfilter", "net/netstat", "net/snmp", "net/udp", "net/xfrm_stat"),
    "sys/net/ipv4/conf/*/rp_filter",
    *(f"sys/net/netfilter/nf_conntrack_{name}" for name in ("count", "max")),
)


class UdpSocket(NamedTuple):
    """A UDP socket: its address and port, bytes waiting in it, its inode, and packets dropped because it was full.

    ``remote`` is what it is connected to: it gets packets from there alone.
    """

    address: IPv4Address
    port: int
    waiting: int
    inode: int
    drops: int
    remote: IPv4Address | None = None


@dataclass(frozen=True, slots=True)
class Proc:
    """The state at the end of the observation; ``counters`` and ``drops`` of sockets rose by that much during it.

    ``memberships`` are the groups joined on this host, by interface, ``alone`` those that one socket has joined;
    ``source_filters``, by interface and group, the
    sources that sockets have joined; ``multicast_routers`` the interfaces of a multicast routing daemon; ``received``
    and ``total`` the packets that each interface received, during the observation and since it was created;
    ``rp_filter`` the effective value of each interface; ``conntrack`` how many connections are tracked, and the limit.
    """

    memberships: dict[str, frozenset[IPv4Address]] = field(default_factory=dict)
    alone: dict[str, frozenset[IPv4Address]] = field(default_factory=dict)
    source_filters: dict[tuple[str, IPv4Address], frozenset[IPv4Address]] = field(default_factory=dict)
    multicast_routers: frozenset[str] = frozenset()
    sockets: tuple[UdpSocket, ...] = ()
    counters: dict[str, int] = field(default_factory=dict)
    received: dict[str, int] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)
    rp_filter: dict[str, int] = field(default_factory=dict)
    conntrack: tuple[int, int] | None = None


def parse(before: Mapping[str, str], after: Mapping[str, str]) -> Proc:
    """Parse the texts of ``FILES`` by path, at the beginning and the end; a file that this kernel lacks is missing."""
    total = received(after.get("net/dev", ""))
    drops = {one.inode: one.drops for one in udp_sockets(before.get("net/udp", ""))}
    sockets = udp_sockets(after.get("net/udp", ""))
    return Proc(
        memberships=memberships.parse(after.get("net/igmp", "")),
        alone=alone(after.get("net/igmp", "")),
        source_filters=source_filters(after.get("net/mcfilter", ""), memberships.names(after.get("net/igmp", ""))),
        multicast_routers=multicast_routers(after.get("net/ip_mr_vif", "")),
        sockets=tuple(one._replace(drops=one.drops - drops.get(one.inode, one.drops)) for one in sockets),
        counters=_risen(_all_counters(before), _all_counters(after)),
        received=_risen(received(before.get("net/dev", "")), total),
        total=total,
        rp_filter=rp_filters(after),
        conntrack=conntrack(after),
    )


def rp_filters(texts: Mapping[str, str]) -> dict[str, int]:
    """``/proc/sys/net/ipv4/conf/*/rp_filter``, of which the larger one of ``all`` and the interface applies."""
    found = {path.split("/")[4]: int(text) for path, text in texts.items() if path.endswith("/rp_filter")}
    return {name: max(value, found.get("all", 0)) for name, value in found.items()}


def conntrack(texts: Mapping[str, str]) -> tuple[int, int] | None:
    """``/proc/sys/net/netfilter``; None where the kernel tracks no connections."""
    count, most = (texts.get(f"sys/net/netfilter/nf_conntrack_{name}") for name in ("count", "max"))
    return None if count is None or most is None else (int(count), int(most))


def alone(text: str) -> dict[str, frozenset[IPv4Address]]:
    """The groups in ``/proc/net/igmp`` of which one socket is the only member, by interface."""
    names, found = memberships.names(text), dict[str, set[IPv4Address]]()
    for (index, group), users in memberships.Users(names).parse(text.splitlines()):
        if users == 1:
            found.setdefault(names[index], set()).add(group)
    return {name: frozenset(groups) for name, groups in found.items()}


def source_filters(text: str, names: Mapping[int, str]) -> dict[tuple[str, IPv4Address], frozenset[IPv4Address]]:
    """``/proc/net/mcfilter``, with the ``names`` of interfaces, since it shows but six characters of them."""
    found: dict[tuple[str, IPv4Address], set[IPv4Address]] = {}
    for line in memberships.sources(text.splitlines(), names):
        if line.included:
            found.setdefault((names[line.ifindex], line.group), set()).add(line.source)
    return {key: frozenset(sources) for key, sources in found.items()}


def multicast_routers(text: str) -> frozenset[str]:
    """``/proc/net/ip_mr_vif``."""
    return frozenset(line.split()[1] for line in text.splitlines()[1:])


def udp_sockets(text: str) -> tuple[UdpSocket, ...]:
    """``/proc/net/udp``."""
    return tuple(_udp_socket(line.split()) for line in text.splitlines()[1:])


def _udp_socket(fields: list[str]) -> UdpSocket:
    address, _, port = fields[1].partition(":")
    remote = memberships.address(fields[2].partition(":")[0])
    connected = remote if int(remote) else None
    waiting = int(fields[4].partition(":")[2], 16)
    inode, drops = int(fields[9]), int(fields[-1])
    return UdpSocket(memberships.address(address), int(port, 16), waiting, inode, drops, connected)


def received(text: str) -> dict[str, int]:
    """``/proc/net/dev``: the packets that each interface received."""
    lines = (line.partition(":") for line in text.splitlines()[2:])
    return {name.strip(): int(numbers.split()[1]) for name, _, numbers in lines}


def counters(*texts: str) -> dict[str, int]:
    """``/proc/net/snmp`` and ``/proc/net/netstat``, with names such as ``Udp.RcvbufErrors``."""
    return {name: value for text in texts for name, value in _pairs(text)}


def xfrm_counters(text: str) -> dict[str, int]:
    """``/proc/net/xfrm_stat``, with names such as ``Xfrm.InNoStates``."""
    pairs = (line.split() for line in text.splitlines())
    return {f"Xfrm.{name.removeprefix('Xfrm')}": int(value) for name, value in pairs}


def _all_counters(texts: Mapping[str, str]) -> dict[str, int]:
    snmp, netstat, xfrm = (texts.get(f"net/{name}", "") for name in ("snmp", "netstat", "xfrm_stat"))
    return counters(snmp, netstat) | xfrm_counters(xfrm)


def _risen(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    return {name: value - before.get(name, 0) for name, value in now.items()}


def _pairs(text: str) -> Iterator[tuple[str, int]]:
    lines = iter(text.splitlines())
    for names, values in zip(lines, lines, strict=False):
        protocol, _, rest = names.partition(":")
        for name, value in zip(rest.split(), values.partition(":")[2].split(), strict=False):
            yield f"{protocol}.{name}", int(value)
