"""Which of several pre-shared keys charon takes for two ends, by their IKE identities. Pure. No message has a key.

As charon's credential manager does it: the key that fits the other side's identity best, of those the one that fits
ours best, of equal ones the last loaded. Addresses are asked for in IKEv1 alone, where no key fits the identities.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final, NamedTuple

from mcastd.config.strongswan_conf import Value

ANY_IDENTITY: Final = ("", "%any", "%any6", "0.0.0.0", "*", "::", "0::0")
"""Texts that are the same identity for charon: no particular one."""
_PREFIXES: Final = {
    "rfc822:": "mail",
    "email:": "mail",
    "userfqdn:": "mail",
    "fqdn:": "name",
    "dns:": "name",
    "asn1dn:": "dn",
    "keyid:": "key",
}
_PERFECT: Final = 20  # the ranks of charon's id_match_t
_ONE_WILDCARD: Final = 19
_MOST_WILDCARDS: Final = 2


@dataclass(frozen=True)
class Secret:
    """A pre-shared key, the identities that use it (none: all do), and where it is.

    ``wrong`` says why a key cannot be used; empty: it can.
    """

    ids: tuple[str, ...]
    key: bytes = field(repr=False)
    where: Value = field(default=Value("", Path(), 1))
    wrong: str = ""

    def __str__(self) -> str:
        return f"{self.where.file}:{self.where.line} ({' '.join(self.ids) or '%any'})"

    def rank(self, identity: str) -> int:
        """How well one of its identities fits; 0: none does."""
        return max(_rank(identity, owner) for owner in self.ids or ("%any",))


class Choice(NamedTuple):
    """The key that charon takes, None for none; ``candidates`` are those it may be, and ``why``, without a full stop.

    ``noteworthy``: there were several different ones.
    """

    taken: Secret | None
    candidates: tuple[Secret, ...]
    why: str
    noteworthy: bool = True


def choose(
    shared: Sequence[Secret],
    local: str | None,
    remote: str | None,
    *,
    addresses: tuple[str | None, str | None] | None = None,
    exact: bool = False,
) -> Choice:
    """The key of two ends with these identities, None for an unknown one. ``shared`` is in the order of loading.

    ``addresses`` are those of the ends with IKEv1, None with IKEv2. ``exact``: of several different keys only one that
    names both ends is taken, since it is not charon that decides.
    """
    if remote is not None and "*" in remote and addresses is None and _typed(remote)[0] != "key":
        remote = "%any"  # as charon asks for with IKEv2, where the configured identity is a pattern
    if exact and remote == "%any":
        remote = None  # libreswan asks for the one that it meets
    # The least rank for an identity that is not known: it fits what is for all.
    others, ours = ([secret.rank("%any" if end is None else end) for secret in shared] for end in (remote, local))
    ranks = list(zip(others, ours, range(len(shared)), strict=True))
    fitting = [rank for rank in ranks if rank[0] or rank[1] or None in (local, remote)]
    candidates = tuple(shared[at] for _, _, at in fitting)
    if not fitting and addresses not in (None, (local, remote)):
        return choose(shared, *addresses, exact=exact)
    if not fitting:
        return Choice(None, tuple(shared), f"none of them fits {local} and {remote}")
    best, second = sorted((*fitting, (0, 0, -1)), reverse=True)[:2]
    alone = len({secret.key for secret in candidates}) == 1
    if alone and (best[0] or best[1]):
        return Choice(shared[best[2]], candidates, "it is the only one", noteworthy=False)
    if remote is None or (local is None and best[0] == second[0]):
        unknown = "the other side's identity" if remote is None else "our identity"
        return Choice(None, candidates, f"{unknown} is not known")
    if exact and not (best[:2] == (_PERFECT, _PERFECT) > second[:2]):
        return Choice(None, candidates, "none alone names both ends")
    why = "it is the last of those that fit equally well"
    if best[0] > second[0]:
        why = f"it fits {remote}, the other side, best"
    elif best[1] > second[1]:
        why = f"it fits {local}, our side, best"
    return Choice(shared[best[2]], candidates, why)


def _rank(identity: str, owner: str) -> int:
    kind, name = _typed(owner)
    ours, whose = _typed(identity)
    if kind == "any":
        return 1
    if kind != ours:
        return 0
    if kind == "address":
        return _rank_of_addresses(whose, name)
    if kind == "dn":
        return _rank_of_names(whose, name)
    if name == whose:
        return _PERFECT
    return _ONE_WILDCARD if kind != "key" and name.startswith("*") and whose.endswith(name[1:]) else 0


def _typed(text: str) -> tuple[str, str]:
    """The type of an identity as charon guesses it from its text, and the text to compare."""
    for prefix, kind in _PREFIXES.items():
        if text.lower().startswith(prefix):
            return kind, _lower(kind, text[len(prefix) :])
    if "=" in text:
        return "dn", text
    if text in ANY_IDENTITY:
        return "any", ""
    if text.startswith("@#"):
        return "key", text[1:].lower()
    if text.startswith("@@"):
        return "mail", text[2:].lower()
    if text.startswith("@"):
        return "name", text[1:].lower()
    if "@" in text:
        return "mail", text.lower()
    if _range(text) is not None:
        return "address", text
    return ("key", text) if ":" in text else ("name", text.lower())


def _lower(kind: str, text: str) -> str:
    return text if kind in ("key", "dn") else text.lower()


def _range(text: str) -> tuple[int, int, int] | None:
    """Version, first and last address of an address, a network or a range."""
    first, _, last = text.partition("-")
    try:
        if last:
            low, high = ip_address(first), ip_address(last)
            return low.version, int(low), int(high)
        network = ip_network(text, strict=False)
    except ValueError:
        return None
    return network.version, int(network[0]), int(network[-1])


def _rank_of_addresses(ours: str, owner: str) -> int:
    one, other = _range(ours), _range(owner)
    assert one is not None
    assert other is not None
    if one[0] != other[0]:
        return 0
    if other[1:] == (0, 2 ** (32 if other[0] == 4 else 128) - 1):
        return _MOST_WILDCARDS
    if one == other:
        return _PERFECT
    return _ONE_WILDCARD if other[1] <= one[1] and one[2] <= other[2] else 0


def _rank_of_names(ours: str, owner: str) -> int:
    """Distinguished names: each part equal, or a * in the owner's."""
    one, other = (
        [tuple(half.strip().lower() for half in part.split("=", 1)) for part in text.strip("/").split(separator)]
        for text in (ours, owner)
        for separator in ("/" if text.startswith("/") else ",",)
    )
    wildcards = sum(part[-1] == "*" for part in other)
    alike = all(a[0] == b[0] and (b[-1] == "*" or a == b) for a, b in zip(one, other, strict=False))
    return max(_PERFECT - wildcards, _MOST_WILDCARDS) if alike and len(one) == len(other) else 0
