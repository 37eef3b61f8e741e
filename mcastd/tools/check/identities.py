"""IKE identities as charon reads them, and whether a certificate has one (strongswan.org, Identity Parsing). Pure."""

import re
from ipaddress import ip_address
from typing import Final, Literal

import msgspec

Kind = Literal["address", "fqdn", "email", "dn"]
Rdn = tuple[str, str]
"""An attribute of a distinguished name and its value."""

_PREFIXES: Final[dict[str, Kind]] = {
    "ipv4": "address", "ipv6": "address", "fqdn": "fqdn", "dns": "fqdn", "email": "email", "rfc822": "email",
    "userfqdn": "email", "asn1dn": "dn", "dn": "dn",
}  # fmt: skip
_ALIASES: Final = {"E": "EMAILADDRESS", "EMAIL": "EMAILADDRESS", "S": "ST"}
_KNOWN: Final = frozenset(("C", "ST", "L", "O", "OU", "CN", "DC", "EMAILADDRESS", "SERIALNUMBER", "UID", "STREET"))


class Names(msgspec.Struct, frozen=True):
    """What a certificate is for: its subject and its subject alternative names."""

    subject: tuple[Rdn, ...]
    others: tuple[tuple[Kind, str], ...] = ()

    def listed(self) -> str:
        """Them, as identities for the configuration."""
        found = [value for _, value in self.others]
        return ", ".join(f'"{one}"' for one in [*found, *([spelled(self.subject)] if self.subject else [])])

    def has(self, identity: str) -> bool | None:
        """Whether an identity is among them; None if it is of a kind that cannot be judged here."""
        read = _read(identity)
        if read is None:
            return None
        kind, value = read
        if kind == "dn":
            return None if (wanted := _dn(value)) is None else _are_equal(wanted, self.subject)
        return any(kind == other and value.casefold() == name.casefold() for other, name in self.others)


def spelled(subject: tuple[Rdn, ...]) -> str:
    """A distinguished name in strongSwan's order and form: ``C=CH, O=Example, CN=gw``."""
    return ", ".join(f"{name}={value}" for name, value in subject)


def _read(identity: str) -> tuple[Kind, str] | None:
    """An identity's kind and value; None for wildcards, key IDs and binary ones."""
    prefix, colon, rest = identity.partition(":")
    if colon and prefix.lower() in _PREFIXES:
        return _PREFIXES[prefix.lower()], rest
    if "*" in identity or identity.startswith(("%", "@#")):
        return None
    if "=" in identity:
        return "dn", identity
    try:
        return "address", str(ip_address(identity))
    except ValueError:
        pass
    if identity.startswith("@"):
        return ("email", identity[2:]) if identity.startswith("@@") else ("fqdn", identity[1:])
    if ":" in identity:
        return None
    return ("email", identity) if "@" in identity else ("fqdn", identity)


def _dn(text: str) -> tuple[Rdn, ...] | None:
    separator = "/" if text.startswith("/") else ","
    found = []
    for part in text.strip(f" {separator}").split(separator):
        name, equals, value = part.strip().partition("=")
        name = _ALIASES.get(name.strip().upper(), name.strip().upper())
        if not equals or name not in _KNOWN:
            return None
        found.append((name, value.strip()))
    return tuple(found)


def _are_equal(wanted: tuple[Rdn, ...], subject: tuple[Rdn, ...]) -> bool:
    return len(wanted) == len(subject) and all(
        one == other and (value == "*" or _plain(value) == _plain(theirs))
        for (one, value), (other, theirs) in zip(wanted, subject, strict=True)
    )


def _plain(value: str) -> str:
    return re.sub(r"\s+", " ", value.strip().strip('"')).casefold()
