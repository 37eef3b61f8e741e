"""Elements of IOS XE's configuration that several parts use: names, networks, identities, limited numbers. Pure."""

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from itertools import chain, count
from typing import Final

from mcastd.config.model import Peer
from mcastd.config.other_side import as_address, public_address
from mcastd.tools.peerconfig import INSIDE, OUTSIDE, PSK, PUBLIC, TUNNEL_ADDRESS

NEXT_HOP: Final = "<NEXT-HOP>"
TRUSTPOINT: Final = "<TRUSTPOINT>"
PLACEHOLDERS: Final[Mapping[str, str]] = {
    PSK: "the pre-shared key; mcastd does not write it",
    OUTSIDE: "the interface that has the public address, for instance GigabitEthernet0/0/0",
    INSIDE: "the interface towards the sources; repeated for each of them",
    NEXT_HOP: "the gateway on the outside interface",
    PUBLIC: "the address that the NAT gives mcastd",
    TUNNEL_ADDRESS: "this side's address on the tunnel, and its mask",
    TRUSTPOINT: "the PKI trustpoint with this side's certificate and the issuer of mcastd's",
}
"""What stands for values that our configuration does not have, and what they are."""

_LONGEST_NAME: Final = 40
_HOST_MASK: Final = "255.255.255.255"


class Names:
    """Chooses names: the same one for the same object, different ones for different objects."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], str] = {}  # by kind and our name

    def __call__(self, kind: str, name: str) -> str:
        """A name that IOS XE accepts everywhere: a letter, then letters, digits, ``-`` and ``_``."""
        if (kind, name) not in self._given:
            plain = re.sub(r"[^A-Za-z0-9_-]", "-", name)[:_LONGEST_NAME]
            plain = plain if plain[:1].isalpha() else f"M{plain}"
            others = (f"{plain}-{number}" for number in count(2))
            self._given[kind, name] = next(one for one in chain((plain,), others) if one not in self._given.values())
        return self._given[kind, name]


def gateway(peer: Peer) -> str:
    """Our address as the other side sees it, or what stands for it."""
    return str(public_address(peer) or PUBLIC)


def network(prefix: IPv4Network) -> str:
    """A prefix in an extended access list: ``any``, ``host A``, or address and wildcard bits."""
    if prefix.prefixlen == 0:
        return "any"
    if prefix.prefixlen == 32:
        return f"host {prefix.network_address}"
    return f"{prefix.network_address} {prefix.hostmask}"


def standard_list(name: str, prefixes: tuple[IPv4Network, ...]) -> Iterator[str]:
    """A standard access list that permits the prefixes."""
    yield f"ip access-list standard {name}"
    for prefix in prefixes:
        yield f" permit {prefix.network_address}" + ("" if prefix.prefixlen == 32 else f" {prefix.hostmask}")


def host_route(address: IPv4Address, to: str) -> str:
    """A static route to one address."""
    return f"ip route {address} {_HOST_MASK} {to}"


def identity(identity: str, *, remote: bool) -> str | None:
    """The line of an IKEv2 profile for a strongSwan identity; None for one that takes a certificate map."""
    command = " match identity remote" if remote else " identity local"
    if identity == "%any":
        return f"{command} any" if remote else None
    if as_address(identity) is not None:
        return f"{command} address {identity}" + (f" {_HOST_MASK}" if remote else "")
    kind, _, value = identity.partition(":")
    words = {"fqdn": "fqdn", "email": "email", "rfc822": "email", "keyid": "key-id"}
    if kind in words and value:
        return f"{command} {words[kind]} {value}"
    if identity.startswith("@#"):
        key_id = _text(identity[2:])
        return None if key_id is None else f"{command} key-id {key_id}"
    if "=" in identity or (":" in identity):
        return None
    name = identity.lstrip("@")
    return f"{command} {'email' if '@' in name else 'fqdn'} {name}"


def _text(hexadecimal: str) -> str | None:
    """Bytes as IOS XE accepts them: those of a word."""
    try:
        word = bytes.fromhex(hexadecimal).decode("ascii")
    except ValueError:
        return None
    return word if word.isprintable() and " " not in word else None


def limited(line: str, seconds: float, bounds: tuple[int, int]) -> Iterator[str]:
    """A line with a number of seconds in place of ``{}``; beyond the limits of IOS XE the nearest, and a comment."""
    agreed = round(seconds)
    accepted = min(max(agreed, bounds[0]), bounds[1])
    yield line.format(accepted)
    if accepted != agreed:
        yield f" ! agreed: {agreed}; IOS XE accepts {bounds[0]} to {bounds[1]}"
