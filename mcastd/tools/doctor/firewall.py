"""The firewalls of this host as nft(8) and iptables-legacy-save(8) list them: what drops or translates packets. Pure.

What a rule or a policy has dropped during the observation is the difference of its counter in two listings. Rules of
nft without a ``counter``, and policies, which nft does not count, have none. Our own tables are left out.
"""

import re
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatch
from ipaddress import IPv4Address, IPv4Network
from itertools import chain
from typing import Final, NamedTuple

_OURS: Final = re.compile(r"mcastd(_|$)")
_TABLE: Final = re.compile(r"table (\S+) (\S+) {")
_CHAIN: Final = re.compile(r"\tchain (\S+) {")
_BASE: Final = re.compile(r"\t\ttype \S+ hook (\S+) .*?(?:policy (\w+);)?$")
_HANDLE: Final = re.compile(r" # handle \d+$")
_COUNTER: Final = re.compile(r"counter packets (\d+) bytes \d+ ?")
_LEGACY_CHAIN: Final = re.compile(r":(\S+) (\S+) \[(\d+):\d+\]")
_LEGACY_RULE: Final = re.compile(r"\[(\d+):\d+\] -A (\S+) (.*)")
_LEGACY_TARGET: Final = re.compile(r"(?:^| )-[jg] (\S+)")
_TARGET: Final = re.compile(r'xt target "(\w+)"')
_TRACED: Final = re.compile(r"trace id \w+ (\S+) (\S+) (\S+) (?:rule (.*) \(verdict drop\)|policy drop ?$)")
_QUOTED: Final = re.compile(r'"[^"]*"')
_COMMENT: Final = re.compile(r'comment (?:"[^"]*"|\S+)')
_VERDICT: Final = re.compile(r"(?:^| )(drop|reject|masquerade|snat|jump|goto|DROP|REJECT|MASQUERADE|SNAT)\b ?(\S*)")
_SOURCE: Final = re.compile(r"(?:ip saddr |(?<!! )-s )(\d+\.\d+\.\d+\.\d+(?:/\d+)?)")
_WORD: Final = re.compile(r"[\w-]+")
_ADDRESS: Final = re.compile(r"\d+\.\d+\.\d+\.\d+(?:/\d+)?")
_INTERFACE: Final = re.compile(r"(?:[io]if(?:name)? |(?:^| )-[io] )\"?([\w.*+@-]+)")
_EVERY: Final = IPv4Network("0.0.0.0/0")
_DROPS: Final = ("drop", "reject")
_TRANSLATES: Final = ("masquerade", "snat")
_JUMPS: Final = ("jump", "goto")
_HOOKS: Final[Mapping[str, str]] = {
    name.upper(): name for name in ("prerouting", "input", "forward", "output", "postrouting")
}
_XTABLES: Final = ("filter", "nat", "mangle", "raw", "security")
_OWNERS: Final = (("ufw", "ufw"), ("DOCKER", "Docker"), ("f2b-", "fail2ban"), ("KUBE-", "Kubernetes"))


class Rule(NamedTuple):
    """A rule that drops or translates, or (``text`` empty) a policy that drops.

    ``owner`` is the program whose table it is, as far as that shows; ``place`` the table and chain, ``hooks`` from
    where packets come there. ``packets`` were counted during the observation, ``total`` ever; None: it does not count.
    ``traced`` are packets of ours that were seen to end there.
    """

    owner: str
    place: str
    hooks: frozenset[str]
    text: str = ""
    packets: int | None = None
    translates: bool = False
    total: int | None = None
    traced: int = 0


def rules(nft: str, legacy: str = "") -> tuple[Rule, ...]:
    """What ``nft --handle list ruleset`` and ``iptables-legacy-save --counters`` list of other programs."""
    return (*_read(_of_nft(nft)), *_read(_of_legacy(legacy)))


def risen(before: Iterable[Rule], after: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules, with what each has counted in between; one that was not there before counted all of it."""
    was = defaultdict[Rule, deque[int]](deque)  # of equal rules in a chain, each in its place
    for one in before:
        was[one._replace(packets=None, total=None)].append(one.packets or 0)
    found = []
    for one in after:
        counts = was[one._replace(packets=None, total=None)]
        then = counts.popleft() if counts else 0
        found.append(one if one.packets is None else one._replace(packets=max(0, one.packets - then)))
    return tuple(found)


def traced(found: Iterable[Rule], monitor: str) -> tuple[Rule, ...]:
    """The rules, with what ``nft monitor trace`` has seen each of them drop."""
    ends = Counter(_end(match) for match in map(_TRACED.match, monitor.splitlines()) if match)
    return tuple(one._replace(traced=ends[one.place, one.text]) for one in found)


def _end(match: re.Match[str]) -> tuple[str, str]:
    """Where a traced packet was dropped: the table with the chain, and the rule, or "" for the policy."""
    return f"{match[1]} {match[2]} {match[3]}", _COUNTER.sub("", match[4] or "").strip()


class _Line(NamedTuple):
    """A rule, or with ``hook`` the head of a chain that packets come to from there."""

    table: str
    chain: str
    text: str
    verdict: str
    target: str = ""
    packets: int | None = None
    hook: str = ""


def _of_nft(listing: str) -> Iterator[_Line]:
    table = at = ""
    for line in listing.splitlines():
        if match := _TABLE.match(line):
            table = f"{match[1]} {match[2]}"
        elif match := _CHAIN.match(line):
            at = match[1]
        elif _OURS.match(table.partition(" ")[2]):
            continue
        elif match := _BASE.match(line):
            yield _Line(table, at, "", match[2] or "accept", hook=match[1])
        elif _HANDLE.search(line):
            text = _HANDLE.sub("", line).strip()
            counter = _COUNTER.search(text)
            yield from _line(table, at, _COUNTER.sub("", text), int(counter[1]) if counter else None)


def _of_legacy(listing: str) -> Iterator[_Line]:
    table = ""
    for line in listing.splitlines():
        if line.startswith("*"):
            table = f"legacy {line[1:]}"
        elif (match := _LEGACY_CHAIN.match(line)) and match[1] in _HOOKS:
            yield _Line(table, match[1], "", match[2].lower(), packets=int(match[3]), hook=_HOOKS[match[1]])
        elif match := _LEGACY_RULE.match(line):
            yield from _legacy(table, match[2], match[3], int(match[1]))


def _line(table: str, at: str, text: str, packets: int | None) -> Iterator[_Line]:
    """A rule of nft by its verdict; a quoted text may have the same words."""
    for match in _VERDICT.finditer(_QUOTED.sub("", _TARGET.sub(r"\1", text))):
        yield _Line(table, at, text, match[1].lower(), match[2], packets)
        return


def _legacy(table: str, at: str, text: str, packets: int) -> Iterator[_Line]:
    if match := _LEGACY_TARGET.search(_QUOTED.sub("", text)):
        verdict = match[1].lower()
        known = verdict in (*_DROPS, *_TRANSLATES)
        yield _Line(table, at, text, verdict if known else "jump", match[1], packets)


def _read(lines: Iterable[_Line]) -> Iterator[Rule]:
    found = list(lines)
    hooks = _hooks(found)
    chains: dict[str, list[str]] = {}
    for one in found:
        chains.setdefault(one.table, []).extend((one.chain, one.target))
    for one in found:
        drops, translates = one.verdict in _DROPS, one.verdict in _TRANSLATES
        if (drops or translates) and (reached := hooks.get((one.table, one.chain))):
            owner = _owner(one.table, one.chain if one.text else "", chains[one.table])
            yield Rule(
                owner, f"{one.table} {one.chain}", frozenset(reached), one.text, one.packets, translates, one.packets
            )


def _hooks(lines: Collection[_Line]) -> dict[tuple[str, str], set[str]]:
    """From which hooks packets come to each chain, also by jumps."""
    found = {(one.table, one.chain): {one.hook} for one in lines if one.hook}
    jumps = [one for one in lines if one.verdict in _JUMPS]
    while True:
        added = False
        for one in jumps:
            reached = found.setdefault((one.table, one.target), set())
            if new := found.get((one.table, one.chain), set()) - reached:
                reached |= new
                added = True
        if not added:
            return found


def _owner(table: str, at: str, chains: Iterable[str]) -> str:
    """The program that a rule is of; with ``at`` empty, that a policy is of, by the chains of its table."""
    family, _, name = table.partition(" ")
    for prefix, program in _OWNERS:
        if any(one.startswith(prefix) for one in ((at,) if at else chains)):
            return program
    if name == "firewalld":
        return "firewalld"
    if family == "legacy":
        return "iptables-legacy"
    return "iptables" if family in ("ip", "ip6") and name in _XTABLES and _has_builtin(chain((at,), chains)) else "nft"


def _has_builtin(chains: Iterable[str]) -> bool:
    return any(one in _HOOKS for one in chains)


_LOOK: Final[Mapping[str, str]] = {
    "ufw": "ufw status verbose",
    "firewalld": "firewall-cmd --list-all-zones",
    "Docker": "iptables -L DOCKER-USER -v",
    "fail2ban": "fail2ban-client status",
    "Kubernetes": "kubectl get networkpolicy -A",
    "iptables-legacy": "iptables-legacy-save -c",
    "iptables": "iptables-save -c",
}


def described(rule: Rule) -> str:
    """A rule or a policy in words, with the command that shows it."""
    look = _LOOK.get(rule.owner, f"nft -a list chain {rule.place}")
    what = f"the rule `{rule.text}`" if rule.text else "the policy"
    return f"{what} of {rule.place.removeprefix('legacy ')} ({rule.owner}: `{look}`)"


def translating(found: Iterable[Rule], sources: Collection[IPv4Network]) -> Rule | None:
    """A rule that gives packets of one of these sources another one; it may have counted but their first packet."""
    for one in found:
        if one.translates and "postrouting" in one.hooks and one.total != 0:
            network = next(_networks(_SOURCE.findall(_COMMENT.sub("", one.text))), _EVERY)
            if network.prefixlen == 0 or any(network.overlaps(source) for source in sources):
                return one
    return None


def naming(
    found: Iterable[Rule], hooks: Collection[str], words: Collection[str], address: IPv4Address, interface: str | None
) -> Rule | None:
    """A rule that drops what one of the words names, and has dropped something, if it counts.

    One that is for other addresses or another interface is none; ``interface`` None: it is not known. One with a
    negation is none either: the addresses in it do not say what it is for.
    """
    for one in found:
        text = _COMMENT.sub("", one.text)
        drops = not one.translates and not one.hooks.isdisjoint(hooks) and one.total != 0 and "!" not in text
        if drops and not set(_WORD.findall(text)).isdisjoint(words):
            named = list(_networks(_ADDRESS.findall(text)))
            links = _INTERFACE.findall(text)
            if (not named or any(address in network for network in named)) and (
                not links or interface is None or any(fnmatch(interface, link.replace("+", "*")) for link in links)
            ):
                return one
    return None


def _networks(found: Iterable[str]) -> Iterator[IPv4Network]:
    """What of it is an address or a prefix."""
    for text in found:
        with suppress(ValueError):
            yield IPv4Network(text, strict=False)


def suspected(found: Iterable[Rule], hooks: Collection[str], lost: int) -> str:
    """Which rules may have dropped ``lost`` packets that came by one of the hooks, to end a sentence; "" if none may.

    Those that were seen to do it, by a trace; else those whose counters rose by half of that or more; if there are
    none, those that are not counted.
    """
    dropping = [one for one in found if not one.translates and not one.hooks.isdisjoint(hooks)]
    if seen := [one for one in dropping if one.traced]:
        most = max(seen, key=lambda one: one.traced)
        return f"; {described(most)} dropped {most.traced} of the packets that were traced"
    counted = [one for one in dropping if one.packets is not None and one.packets >= max(1, lost // 2)]
    if counted:
        most = max(counted, key=lambda one: one.packets or 0)
        return f"; {described(most)} dropped {most.packets} meanwhile"
    unknown = [one for one in dropping if one.packets is None]
    if not unknown:
        return ""
    likely = next((one for one in unknown if not one.text), unknown[0])
    return f"; {described(likely)} may drop them, which is not counted"
