"""Config -> the nftables table that counts what arrives, in the language of nft(8); and the keys of its set. Pure."""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from mcastd.config.model import Child, Config
from mcastd.errors import DecodeError
from mcastd.net.nfnetlink import Element, Table
from mcastd.streams import fragments

NAME: Final = "mcastd_streams"
"""The name of the table, in the family ``ip``."""
SET: Final = "streams"
ACCEPTED, FORWARDED = "accepted", "forwarded"
"""The sets of what this host passes on: to its sockets, and with the outgoing interface to other machines."""
SINCE: Final = "since"
"""A set with one element, whose age is for how long the streams have been counted: the kernel keeps it with them."""
TUNNEL, DELIVERED, CHILD = "tunnel-", "delivered-", "child-"
"""Prefixes of the counters' names; the name of a tunnel or of a CHILD_SA follows."""
TIMEOUT: Final = 2 * 86400.0
"""Seconds without a packet after which a stream leaves the set."""
SINCE_TIMEOUT: Final = 3650 * 86400.0
"""Seconds after which the element of ``SINCE`` would expire."""

SIZE: Final = 65536
"""Elements of each set; where one is full the kernel counts no further stream, only the tunnel's packets."""
FULL: Final = SIZE - SIZE // 100
"""Elements that are seen of a set that may be full: those that have just expired take room for a while."""
_CHAIN: Final = "arriving"
_BEHIND: Final = "delivered"  # the chain behind the filters of this host
_PASSED: Final = "passed"  # likewise, for what is forwarded
_HOOKS: Final = {
    # Before the kernel reassembles fragments, which keep their port in the first one alone: a datagram is counted once.
    _CHAIN: ("prerouting", 0, -500),  # NF_INET_PRE_ROUTING, and NF_IP_PRI_RAW - 200
    _BEHIND: ("input", 1, 1000),
    _PASSED: ("forward", 2, 1000),
}
"""Where each chain is: the hook's name and number, and the priority."""
_STREAMS: Final = "ip daddr 224.0.0.0/4 ip daddr != 224.0.0.0/24"
_TYPE: Final = "ifname . ipv4_addr . ipv4_addr . inet_service"
_KEY: Final = "iifname . ip saddr . ip daddr . udp dport"
_IFNAME: Final = 16  # bytes of an interface's name in a key (IFNAMSIZ); the other fields take 4 each
_USERSPACE_ESP: Final = "ipsec0"
_NONE: Final[Mapping[str, int]] = {}


class Key(NamedTuple):
    """What a stream is known by."""

    tunnel: str
    source: IPv4Address
    group: IPv4Address
    port: int


def table(config: Config, mtus: Mapping[str, int] = _NONE) -> str:
    """The table, or an empty text without a tunnel: then nothing can arrive. ``mtus`` are those of interfaces."""
    if not config.tunnels:
        return ""
    children = [child for peer in config.peers for child in peer.children]
    alone = {tunnel.child: tunnel.name for tunnel in config.tunnels if tunnel.encapsulation == "none"}
    names = [
        *(kind + tunnel.name for tunnel in config.tunnels for kind in (TUNNEL, DELIVERED)),
        *(CHILD + child.name for child in children),
        *fragments.counters(config),
    ]
    rules = [
        # The counter comes first: a packet without a port, and a full set, end the rule.
        *(
            f'iifname "{tunnel.name}" {_STREAMS} counter name {TUNNEL}{tunnel.name} update @{SET} {{ {_KEY} counter }}'
            for tunnel in config.tunnels
        ),
        *(rule for child in children for rule in _decrypted(child, alone.get(child.name))),
    ]
    return "\n".join(
        (
            f"table ip {NAME} {{",
            *(
                f"\tset {name} {{ type {_TYPE}{more}; size {SIZE}; flags dynamic, timeout; timeout {TIMEOUT:.0f}s; }}"
                for name, more in ((SET, ""), (ACCEPTED, ""), (FORWARDED, " . ifname"))
            ),
            f"\tset {SINCE} {{ type mark; counter; flags timeout; timeout {SINCE_TIMEOUT / 86400:.0f}d; "
            "elements = { 1 }; }",
            *(f"\tcounter {name} {{ packets 0 bytes 0 }}" for name in names),
            *_begin(_CHAIN),
            *(f"\t\t{rule}" for rule in rules),
            "\t}",
            *_begin(_BEHIND),
            *(
                f'\t\tiifname "{tunnel.name}" {_STREAMS} counter name {DELIVERED}{tunnel.name} '
                f"update @{ACCEPTED} {{ {_KEY} counter }}"
                for tunnel in config.tunnels
            ),
            "\t}",
            *_begin(_PASSED),
            *(
                f'\t\tiifname "{tunnel.name}" {_STREAMS} update @{FORWARDED} {{ {_KEY} . oifname counter }}'
                for tunnel in config.tunnels
            ),
            *(f"\t\t{rule}" for rule in fragments.rules(config, _STREAMS, mtus)),
            "\t}",
            "}",
            "",
        )
    )


def _begin(chain: str) -> tuple[str, str]:
    hook, _, priority = _HOOKS[chain]
    return f"\tchain {chain} {{", f"\t\ttype filter hook {hook} priority {priority}; policy accept;"


def transaction(text: str, found: Table | None) -> str:
    """The commands that make ``text`` of the table that was found, and keep what its set and its counters have counted.

    Counters that ``text`` does not have are removed. Chains that are where they must be stay: a packet that comes when
    a chain is replaced may go through both, and would be counted twice.
    """
    found = found or Table("", {}, {})
    surplus = [name for name in found.counts if f"counter {name} {{" not in text]
    return "\n".join(
        (
            f"add table ip {NAME}",
            *(
                f"{verb} chain ip {NAME} {chain}"
                for chain, (_, *hook) in _HOOKS.items()
                for verb in (("flush",) if found.hooks.get(chain) == tuple(hook) else ("add", "flush", "delete"))
            ),
            *(f"delete counter ip {NAME} {name}" for name in surplus),
            text,
        )
    )


def reset() -> str:
    """The commands that empty the set of streams, and let it count from now on."""
    emptied = (f"flush set ip {NAME} {name}" for name in (SET, ACCEPTED, FORWARDED, SINCE))
    return "\n".join((*emptied, f"add element ip {NAME} {SINCE} {{ 1 }}", ""))


def element_key(tunnel: str, source: bytes, group: bytes, port: int) -> bytes:
    """The key of a stream's element."""
    return tunnel.encode().ljust(_IFNAME, b"\0") + source + group + port.to_bytes(2, "big") + bytes(2)


def key(element: Element) -> Key:
    """What the kernel knows a stream by. Raises DecodeError."""
    raw = element.key
    if len(raw) != _IFNAME + 12:
        raise DecodeError("key")
    name = raw[:_IFNAME].rstrip(b"\0").decode(errors="replace")
    source, group = IPv4Address(raw[_IFNAME : _IFNAME + 4]), IPv4Address(raw[_IFNAME + 4 : _IFNAME + 8])
    return Key(name, source, group, int.from_bytes(raw[_IFNAME + 8 : _IFNAME + 10], "big"))


def split(element: bytes) -> tuple[bytes, str]:
    """The key of a stream, and the outgoing interface, out of the key of an element of ``FORWARDED``."""
    end = _IFNAME + 12
    return element[:end], element[end:].rstrip(b"\0").decode(errors="replace")


def place(tunnel: str, source: IPv4Address | None, group: IPv4Address) -> bytes:
    """A tunnel, a source (None: any) and a group as ``places`` has them."""
    return tunnel.encode().ljust(_IFNAME, b"\0") + (source.packed if source is not None else b"") + group.packed


def places(element: bytes) -> tuple[bytes, bytes]:
    """Where a stream is, out of the key of its element: by its source, and by any."""
    return element[: _IFNAME + 8], element[:_IFNAME] + element[_IFNAME + 4 : _IFNAME + 8]


def is_of(element: bytes, group: IPv4Address) -> bool:
    """Whether the key of an element is of a group."""
    return element[_IFNAME + 4 : _IFNAME + 8] == group.packed


def parts(place: bytes) -> tuple[str, IPv4Address | None, IPv4Address]:
    """The tunnel, the source (None: any) and the group of a place."""
    source = place[_IFNAME:-4]
    name = place[:_IFNAME].rstrip(b"\0").decode(errors="replace")
    return name, IPv4Address(source) if source else None, IPv4Address(place[-4:])


def _decrypted(child: Child, alone: str | None) -> Iterator[str]:
    """Count what a CHILD_SA has decrypted: by the kernel, by charon in user space, or from its XFRM interface."""
    ends = _field("saddr", child.remote_ts.with_prefixlen) + _field("daddr", child.local_ts.with_prefixlen)
    found = f"{ends}{'ip protocol 47 ' if child.protocol == 'gre' else ''}counter name {CHILD}{child.name}"
    if child.mode == "interface":
        yield f'iifname "{child.interface or alone}" {found}'
        return
    yield f"meta ipsec exists {found}"
    if child.mode == "tunnel":
        yield f'iifname "{_USERSPACE_ESP}" {found}'


def _field(name: str, network: str) -> str:
    return f"ip {name} {network} " if not network.endswith("/0") else ""
