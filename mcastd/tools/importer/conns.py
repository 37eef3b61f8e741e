"""Conns of an ``ipsec.conf`` to drafts of peers; those that differ only in their CHILD_SA become one peer. Pure."""

import re
from collections.abc import Container, Iterable, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final, Literal

from mcastd.config.strongswan_conf import Value
from mcastd.tools.importer.draft import Keys, Missing, Notes, PeerDraft, Scalar, Selector, same_peer, usable_name
from mcastd.tools.importer.ipsecconf import DEFAULT, IpsecConf
from mcastd.tools.importer.secrets import Secrets
from mcastd.tools.importer.settings import ANY, GRE, SEVERAL, YES, Ends, Settings, authenticate, is_address, path

Side = Literal["left", "right"]

_CERTS: Final = "/etc/ipsec.d/certs"
_KEYS: Final = "/etc/ipsec.d/private"
_CA_CERTS: Final = "/etc/ipsec.d/cacerts"
_SIDES: Final[tuple[Side, Side]] = ("left", "right")
_SELECTS: Final = re.compile(r"(?:left|right)(?:subnet|protoport)|mark(?:_in|_out)?")
_IGNORED: Final = Value("ignore", Path(), 1)
_WORDS: Final = {
    "auto": ("ignore", "add", "route", "start"),
    "keyexchange": ("ike", "ikev1", "ikev2"),
    "dpdaction": ("none", "clear", "hold", "restart"),
    "closeaction": ("none", "clear", "hold", "restart"),
    "authby": ("psk", "secret", "pubkey", "rsa", "rsasig", "ecdsa", "ecdsasig", "xauthpsk", "xauthrsasig", "never"),
    **dict.fromkeys(("compress", "rekey", "reauth", "mobike", "forceencaps", "aggressive"), ("yes", "no")),
}
"""The words of settings for which strongSwan's starter knows no others; it drops a conn that has another."""
_SAME: Final = {
    "auto": ("start",),
    "dpdaction": ("restart", "none"),
    "rekey": ("yes",),
    "keyingtries": ("%forever",),
    "mobike": ("no",),
    "fragmentation": ("yes",),
    "compress": ("no",),
    "aggressive": ("no",),
    "installpolicy": ("yes",),
    "closeaction": ("none", "restart"),
    "sendcert": ("always", "ifasked"),
}
"""Values that make no difference: mcastd behaves in this way."""
_WHY: Final = {
    "auto": "mcastd initiates its CHILD_SAs itself",
    "dpdaction": "mcastd re-establishes what was lost",
    "dpdtimeout": "charon's retransmission settings apply with IKEv2, and five times dpd_delay with IKEv1",
    **dict.fromkeys(("margintime", "rekeymargin", "rekeyfuzz"), "mcastd rekeys at 80 to 90 % of the lifetime"),
    "firewall": "mcastd has its own firewall rules: guard, snat, mss",
    "updown": "mcastd runs no script; routes and addresses are keys of [tunnels.NAME]",
    "sourceip": "mcastd requests no virtual address",
    "ca": "see ca_certs",
    "aggressive": "mcastd uses main mode",
    "authby": "strongSwan reads leftauth and rightauth instead",
}
"""Why a setting is not imported."""


def drafts(
    conf: IpsecConf,
    secrets: Secrets,
    notes: Notes,
    local: Side | None = None,
    taken: Iterable[str] = (),
    own: Container[IPv4Address] = (),
) -> list[PeerDraft]:
    """A peer for each group of conns that are loaded and agree in everything but the CHILD_SA.

    ``local`` says which side is ours; None: determined for each conn. ``taken`` are names that other peers have;
    ``own`` are addresses of this host.
    """
    found: list[PeerDraft] = []
    for name in _loaded(conf, notes):
        conn = _Conn(name, conf, notes, local, own)
        peer = conn.peer(secrets)
        if peer is None:
            continue
        same = same_peer(found, peer)
        if not conn.add_children(same, [child.name for one in found for child in one.children]):
            notes.add(conf.conns[name].where, name, "the conn is ignored: none of its networks can be imported")
            continue
        if same is peer:
            found.append(peer)
        elif same.base != peer.base:
            same.base = None
    names = list(taken)
    for peer in found:
        peer.rename(usable_name(peer.base or peer.name, names))
        names.append(peer.name)
    _note_other_sections(conf, notes)
    return found


def _loaded(conf: IpsecConf, notes: Notes) -> list[str]:
    """The conns that charon would load, without mere bases of others; if there is none, those no conn inherits from."""
    settings = {name: conf.effective(name) for name in conf.conns if name != DEFAULT}
    loaded = [name for name, found in settings.items() if found.get("auto", _IGNORED).text != "ignore"]
    inherited = {also.text for name in loaded or settings for also in conf.conns[name].also}
    if not loaded:
        return [name for name in settings if name not in inherited]
    bases = [
        name
        for name in loaded
        if name in inherited
        and not any(map(_SELECTS.fullmatch, settings[name]))
        and settings[name].get("type", _IGNORED).text != "transport"
    ]
    for name in bases:
        text = "the conn is imported as a part of those that inherit from it, not as a CHILD_SA between the peers alone"
        notes.add(conf.conns[name].where, name, text)
    return [name for name in loaded if name not in bases]


def _note_other_sections(conf: IpsecConf, notes: Notes) -> None:
    for sections, text in (
        (conf.setup, "not imported: a setting of charon, which belongs in strongswan.conf"),
        (conf.authorities, "not imported: certification authorities are files, see ca_certs of the peer"),
    ):
        for key, setting in (item for section in sections.values() for item in section.settings.items()):
            if (key, setting.text) not in (("uniqueids", "no"), ("uniqueids", "never")):
                notes.add(setting, key, text)


def _local_side(settings: Mapping[str, Value], notes: Notes, own: Container[IPv4Address]) -> Side:
    """Our side: the right one if this host has its address, as for charon; else the left one if the host has that.

    On another host: the one with a private address if the other has a public one or none is known; else the left one.
    """
    left, right = (settings[side].text if side in settings else "%any" for side in _SIDES)
    unknown = {word for word in (left, right) if not is_address(word) and word.startswith("%")}
    if is_address(right) and IPv4Address(right) in own:
        swapped = True
    elif is_address(left) and IPv4Address(left) in own:
        swapped = False
    elif right in unknown and left not in unknown:
        swapped = right == "%defaultroute"
    else:
        swapped = all(map(is_address, (left, right))) and IPv4Address(left).is_global and IPv4Address(right).is_private
    if swapped:
        notes.add(settings["right"], "right", "taken as our side; use --local left if it is the other side")
    return "right" if swapped else "left"


class _Conn(Settings):
    """One conn, seen from our side."""

    def __init__(
        self, name: str, conf: IpsecConf, notes: Notes, local: Side | None, own: Container[IPv4Address]
    ) -> None:
        values = conf.effective(name)
        super().__init__(values, notes, conf.conns[name].where)
        self._name = name
        self._base = next((also.text for also in conf.conns[name].also), None)  # the conn that it inherits from
        self._ours: Side = local or _local_side(values, notes, own)
        self._theirs: Side = "right" if self._ours == "left" else "left"

    def peer(self, secrets: Secrets) -> PeerDraft | None:
        """The keys of the IKE_SA; None for a conn without IPsec."""
        if self.unknown(_WORDS) is not None:
            return None
        if self.text("type", "tunnel") not in ("tunnel", "transport"):
            self.note("type", f"the conn {self._name} is ignored: mcastd has tunnel and transport mode")
            return None
        keys: Keys = {}
        for end, side, address, identity in (
            ("local", self._ours, "10.1.1.246", "222.45.67.1"),
            ("remote", self._theirs, "177.54.214.20", "177.54.214.20"),
        ):
            keys[end] = self.address(side, address)
            keys[f"{end}_id"] = self._identity(side, keys[end], identity)
        peer = PeerDraft(self._name, keys, base=self._base)
        keys |= self._ike()
        authenticate(peer, self._ends(keys), secrets, lambda: self._certificates(secrets), self)
        keys["proposals"] = self._proposals("ike")
        return peer

    def _identity(self, side: Side, default: Scalar | Missing, example: str) -> Scalar | Missing:
        found = self.identity(f"{side}id", default, example, f"{side}cert")
        if not isinstance(found, str) or not found.startswith("%") or found == "%any":
            return found
        if side == self._theirs:
            self.note(f"{side}id", "the % is not imported: mcastd sends this identity, and requires it")
        return found[1:]

    def _ends(self, keys: Keys) -> Ends:
        auths = [f"{side}auth" for side in (self._ours, self._theirs)]
        if not any(map(self.find, auths)):  # else authby counts for neither
            auths = ["authby", "authby"]
        ours, theirs = (self.method(auth) for auth in auths)
        if second := [key for side in _SIDES if self.find(key := f"{side}auth2")]:
            ours = f"{ours} and {self.text(second[0])}"
        local, remote = (value if isinstance(value := keys[f"{end}_id"], str) else None for end in ("local", "remote"))
        loose = self.text(f"{self._theirs}id").startswith("%") and "version" not in keys
        key = auths[0] if ours not in ("psk", "pubkey") else auths[1]
        return Ends(key, (ours, theirs), (local, "%any" if loose else remote), 1 if "version" in keys else 2)

    def _certificates(self, secrets: Secrets) -> Keys:
        their = f"{self._theirs}cert"
        keys: Keys = {
            "local_cert": self.file(_CERTS, f"{self._ours}cert"),
            "local_key": Missing(f"{_KEYS}/vm.pem", "ipsec.secrets does not name exactly one private key"),
        }
        if len(secrets.key_files) == 1:
            keys["local_key"] = path(_KEYS, secrets.key_files[0])
        if self.find(their) is not None:
            return keys | {"remote_cert": self.file(_CERTS, their)}
        why = "charon trusts every certificate in that folder, mcastd those named"
        return keys | {"ca_certs": Missing((f"{_CA_CERTS}/ca.pem",), why)}

    def _ike(self) -> Keys:
        keys: Keys = {}
        exchange = self.text("keyexchange", "ikev2")
        if exchange == "ikev1":
            keys["version"] = 1
        elif exchange != "ikev2":
            self.note("keyexchange", f"{exchange}: mcastd uses IKEv2 only")
        keys |= self.lifetime("ikelifetime", self.seconds("ikelifetime"))
        if self.find("reauth") and exchange != "ikev1":
            keys["reauthentication"] = self.text("reauth") in YES
        elif self.find("ikelifetime") and exchange != "ikev1":
            why = "charon reauthenticates by default; mcastd rekeys unless reauthentication = true"
            self.note("reauth", why, at="ikelifetime")
        if self.text("forceencaps") in YES:
            keys["encap"] = True
        delay = self.seconds("dpddelay")
        delay = 0 if self.text("dpdaction") == "none" else delay
        return keys if delay is None else keys | {"dpd_delay": f"{delay}s"}

    def add_children(self, peer: PeerDraft, taken: list[str]) -> int:
        """Add a CHILD_SA for each pair of traffic selectors, and return how many."""
        keys: Keys = {"proposals": self._proposals("esp")}
        lifetime = "lifetime" if self.find("lifetime") else "keylife"
        keys |= self.lifetime(lifetime, self.seconds(lifetime))
        if self.text("type") == "transport":
            keys["mode"] = "transport"
        keys |= self.replay_window()
        ours, theirs = self._selectors(self._ours), self._selectors(self._theirs)
        if "mode" not in keys:
            keys |= self.interface(("mark", "mark_in", "mark_out"), ours, theirs, f"{self._ours}subnet")
        added = peer.add_children(self._name, keys, (ours, theirs), taken)
        if added > 1:
            self.note(f"{self._ours if len(ours) > 1 else self._theirs}subnet", SEVERAL)
        self.note_others(_SAME, _WHY, _SIDES)
        return added

    def _selectors(self, side: Side) -> tuple[Selector, ...]:
        found = self.selectors(f"{side}subnet")
        said = self.text(f"{side}protoport")
        protocol, _, port = said.partition("/")
        if protocol in GRE:
            return tuple(Selector(one.prefix, True) for one in found)
        if protocol not in ANY or port not in ANY:
            self.note(f"{side}protoport", f"{said} is ignored; allowed: GRE, or any")
        return found

    def _proposals(self, key: Literal["ike", "esp"]) -> Scalar | Missing:
        if self.find(key) and not self.text(key).rstrip().endswith("!"):
            self.note(key, "without a ! charon accepts its default proposals too; mcastd accepts only those listed")
        return self.proposals(key, key)
