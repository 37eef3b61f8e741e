"""IKE and IPsec of the other side for Cisco IOS XE: proposals, keys, transform sets, the crypto map. Pure text.

The traffic selectors of a CHILD_SA are an access list of the crypto map; a CHILD_SA of mode ``interface`` is an IPsec
profile for a virtual tunnel interface instead.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from mcastd.config.model import Child, Config, Peer
from mcastd.config.other_side import as_address, far_selectors, public_address
from mcastd.errors import PeerConfigError
from mcastd.tools.peerconfig import PSK, PUBLIC
from mcastd.tools.peerconfig.algorithms import Esp, Isakmp, UnknownAlgorithmError, esp, ike, isakmp
from mcastd.tools.peerconfig.ios_syntax import NEXT_HOP, TRUSTPOINT, Names, gateway, identity, limited, network

T = TypeVar("T")

_MAP: Final = "mcastd"
_STEP: Final = 10
_FIRST_POLICY: Final = 100  # the low numbers are often taken
_TRANSFORM_SETS: Final = 6  # at most, in one crypto map entry
_DPD_RETRY: Final = 5  # seconds
_DPD: Final = (10, 3600)
_IKEV2_LIFETIME: Final = (120, 86400)
_ISAKMP_LIFETIME: Final = (60, 86400)
_ESP_LIFETIME: Final = (120, 2592000)
_REPLAY_WINDOWS: Final = (64, 128, 256, 512, 1024)
_WEAK: Final = re.compile(
    r"^ encryption .*\b3?des\b|^ (integrity|hash) .*\bmd5\b|^ group (.* )?(1|2|5|24)\b"
    r"|^crypto ipsec transform-set .* esp-(3?des|null|md5-hmac)\b|^ set pfs group(1|2|5|24)$"
)


class Crypto:
    """Everything about encryption, for all peers of a configuration."""

    def __init__(self, config: Config, names: Names, outside: str) -> None:
        self._peers = config.peers
        self._names = names
        self._outside = outside
        self._policies = iter(range(_FIRST_POLICY, 10001, _STEP))  # numbers of ISAKMP policies

    def lines(self) -> Iterator[str]:
        """Peers with their CHILD_SAs, and the crypto map. Raises PeerConfigError if no proposal can be used."""
        yield from _weak(self._all())

    def _all(self) -> Iterator[str]:
        for peer in self._peers:
            yield from ("!", f"! IKE with {peer.name}")
            yield from self._ikev2(peer) if peer.version == 2 else self._ikev1(peer)
            for child in peer.children:
                yield from ("!", f"! {child.name}")
                yield from self._child(peer, child)
        yield from self._crypto_map()

    def profile(self, child: Child) -> str:
        """The name of the IPsec profile of a CHILD_SA of mode ``interface``."""
        return self._names("child", child.name)

    def _ikev2(self, peer: Peer) -> Iterator[str]:
        name, by_key = self._names("peer", peer.name), peer.psk_file is not None
        translated, missing = _translated(peer.proposals, ike, f"peers.{peer.name}.proposals")
        yield from missing
        proposals = list(_numbered(name, translated))
        for proposal, words in proposals:
            yield f"crypto ikev2 proposal {proposal}"
            yield f" encryption {' '.join(words.encryption)}"
            if words.integrity:
                yield f" integrity {' '.join(words.integrity)}"
            yield f" prf {' '.join(words.prf)}"
            yield f" group {' '.join(map(str, words.groups))}"
        yield f"crypto ikev2 policy {name}"
        yield f" match address local {peer.remote}"
        yield from (f" proposal {proposal}" for proposal, _ in proposals)
        if by_key:
            yield f"crypto ikev2 keyring {name}"
            yield from (f" peer {name}", f"  address {gateway(peer)}", f"  pre-shared-key {PSK}")
        yield f"crypto ikev2 profile {name}"
        for who, remote in ((peer.local_id, True), (peer.remote_id, False)):
            yield (identity(who, remote=remote) or f" ! the identity {who} needs a crypto pki certificate map")
        how = "pre-share" if by_key else "rsa-sig"
        yield from (f" authentication remote {how}", f" authentication local {how}")
        yield f" keyring local {name}" if by_key else f" pki trustpoint {TRUSTPOINT}"
        yield from limited(" lifetime {}", peer.lifetime, _IKEV2_LIFETIME)
        if peer.dpd_delay:
            yield from limited(f" dpd {{}} {_DPD_RETRY} on-demand", peer.dpd_delay, _DPD)
        if peer.reauthentication:
            yield " ! mcastd reauthenticates before that; this side needs no setting for it"

    def _ikev1(self, peer: Peer) -> Iterator[str]:
        by_key = peer.psk_file is not None
        translated, missing = _translated(peer.proposals, isakmp, f"peers.{peer.name}.proposals")
        yield from missing
        for words in (one for several in translated for one in several):
            yield from self._isakmp_policy(peer, words)
        if by_key:
            yield f"crypto isakmp key {PSK} address {gateway(peer)}"
        else:
            yield f"! certificates: {TRUSTPOINT}"
        by_name = not by_key and "=" in peer.remote_id
        for who, address, whose in (
            (peer.local_id, public_address(peer), "mcastd"),
            (peer.remote_id, None if by_name else peer.remote, "this side"),
        ):
            if address is not None and as_address(who) != address:
                yield f"! {whose} is identified by its address here; agreed was the identity {who}"
        yield f"crypto isakmp identity {'dn' if by_name else 'address'}"
        if peer.dpd_delay:
            yield from limited(f"crypto isakmp keepalive {{}} {_DPD_RETRY} on-demand", peer.dpd_delay, _DPD)

    def _isakmp_policy(self, peer: Peer, words: Isakmp) -> Iterator[str]:
        yield f"crypto isakmp policy {next(self._policies)}"
        yield from (f" encryption {words.encryption}", f" hash {words.hash}")
        yield f" authentication {'pre-share' if peer.psk_file is not None else 'rsa-sig'}"
        yield f" group {words.group}"
        yield from limited(" lifetime {}", peer.lifetime, _ISAKMP_LIFETIME)

    def _child(self, peer: Peer, child: Child) -> Iterator[str]:
        name = self._names("child", child.name)
        translated, missing = _translated(child.proposals, esp, f"peers.{peer.name}.children.{child.name}.proposals")
        yield from missing
        for transform_set, words in self._transform_sets(child, translated):
            yield f"crypto ipsec transform-set {transform_set} {words}"
            yield f" mode {'transport' if child.mode == 'transport' else 'tunnel'}"
        if child.mode == "interface":
            yield f"crypto ipsec profile {name}"
            yield from self._negotiated(peer, child)
            if not selects(child):
                return
            yield "! A virtual tunnel interface has traffic selectors since IOS XE 16.12; before, they are any and any"
        ours, theirs = far_selectors(peer, child)
        hidden = child.mode == "transport" and public_address(peer) is None and ours.network_address == peer.local
        yield f"ip access-list extended {name}"
        protocol, destination = (
            "gre" if child.protocol == "gre" else "ip",
            f"host {PUBLIC}" if hidden else network(ours),
        )
        yield f" permit {protocol} {network(theirs)} {destination}"

    def _transform_sets(self, child: Child, translated: list[Esp]) -> list[tuple[str, str]]:
        words = dict.fromkeys(transform for proposal in translated for transform in proposal.transforms)
        return list(_numbered(self._names("child", child.name), list(words)))

    def _negotiated(self, peer: Peer, child: Child) -> Iterator[str]:
        """The settings that a crypto map entry and an IPsec profile have in common."""
        translated, _ = _translated(child.proposals, esp, "")
        names = [name for name, _ in self._transform_sets(child, translated)]
        yield f" set transform-set {' '.join(names[:_TRANSFORM_SETS])}"
        if left_out := names[_TRANSFORM_SETS:]:
            yield f" ! IOS XE accepts {_TRANSFORM_SETS} of them; left out: {' '.join(left_out)}"
        groups = list(dict.fromkeys(group for proposal in translated for group in proposal.groups))
        if groups:
            yield f" set pfs group{groups[0]}"
        if groups[1:]:
            yield f" ! IOS XE accepts one group for PFS; also agreed: {', '.join(map(str, groups[1:]))}"
        yield from limited(" set security-association lifetime seconds {}", child.lifetime, _ESP_LIFETIME)
        yield " set security-association lifetime kilobytes disable"
        yield f" set security-association replay {_replay(child.replay_window)}"
        if peer.version == 2:
            yield f" set ikev2-profile {self._names('peer', peer.name)}"

    def _crypto_map(self) -> Iterator[str]:
        mapped = [(peer, child) for peer in self._peers for child in peer.children if child.mode != "interface"]
        if not mapped:
            return
        yield from (
            "!",
            "! One entry for each pair of traffic selectors. Cisco phases out crypto maps: for a release without",
        )
        yield '! them set mode = "interface" for the CHILD_SAs of mcastd, which are virtual tunnel interfaces here'
        for number, (peer, child) in enumerate(mapped, 1):
            yield f"crypto map {_MAP} {number * _STEP} ipsec-isakmp"
            yield f" set peer {gateway(peer)}"
            yield from self._negotiated(peer, child)
            yield f" match address {self._names('child', child.name)}"
        yield from (f"interface {self._outside}", f" crypto map {_MAP}", "!")
        yield "! Packets to be encrypted have to leave by that interface; a default route through it is enough"
        for peer, child in mapped:
            ours, _ = far_selectors(peer, child)
            if ours.network_address not in (public_address(peer), peer.local) and ours.prefixlen > 0:
                yield f"ip route {ours.network_address} {ours.netmask} {self._outside} {NEXT_HOP}"


def selects(child: Child) -> bool:
    """Whether a CHILD_SA is for some traffic only, not for all of a virtual tunnel interface."""
    return child.protocol == "gre" or bool(child.local_ts.prefixlen or child.remote_ts.prefixlen)


def _replay(packets: int) -> str:
    """The smallest window that is as large as ours, or the largest; the default of IOS XE is 64 packets."""
    if not packets:
        return "disable"
    return f"window-size {next((size for size in _REPLAY_WINDOWS if size >= packets), _REPLAY_WINDOWS[-1])}"


def _weak(lines: Iterator[str]) -> Iterator[str]:
    """The lines, with a comment above the first with a weak algorithm."""
    said = False
    for line in lines:
        if not said and _WEAK.search(line):
            said = True
            yield "! Weak algorithms: from IOS XE 17.11 on they need `crypto engine compliance shield disable`,"
            yield "! and a restart (Cisco's field notice 72510). Agree on others if you can"
        yield line


def _translated(proposals: tuple[str, ...], into: Callable[[str], T], where: str) -> tuple[list[T], list[str]]:
    """The proposals that IOS XE has, and a comment for each other one. Raises PeerConfigError if it has none."""
    found, missing = [], []
    for proposal in proposals:
        try:
            found.append(into(proposal))
        except UnknownAlgorithmError as error:
            missing.append(f"! not in IOS XE: {error}, so the proposal {proposal} is left out")
    if not found:
        raise PeerConfigError(f"{where}: Cisco IOS XE has none of {', '.join(proposals)}; allowed: one that it has")
    return found, missing


def _numbered(name: str, items: list[T]) -> Iterator[tuple[str, T]]:
    """Names for the items; the first has the plain name."""
    for number, item in enumerate(items, 1):
        yield name if number == 1 else f"{name}-{number}", item
