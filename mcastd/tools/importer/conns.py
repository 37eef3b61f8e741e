"""Conns of an ``ipsec.conf`` to drafts of peers: those that differ in nothing but children are one peer. Pure."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from itertools import product
from typing import Final, Literal

from mcastd.config.strongswan import Value
from mcastd.tools.importer.draft import ChildDraft, Keys, Missing, Notes, PeerDraft, Scalar, same_peer
from mcastd.tools.importer.ipsecconf import DEFAULT, IpsecConf
from mcastd.tools.importer.secrets import Secrets
from mcastd.tools.importer.values import (
    Selector,
    address,
    is_address,
    is_strict,
    lifetime,
    proposals,
    replay_window,
    seconds,
    selectors,
    text,
    usable_name,
)

Side = Literal["left", "right"]
Settings = Mapping[str, Value]

_CERTS: Final = "/etc/ipsec.d/certs"
_KEYS: Final = "/etc/ipsec.d/private"
_CA_CERTS: Final = "/etc/ipsec.d/cacerts"
_YES: Final = ("yes", "true", "1")
_AUTHENTICATION: Final = {"secret": "psk", "psk": "psk", "pubkey": "pubkey", "rsasig": "pubkey", "ecdsasig": "pubkey"}

_READ: Final = (
    *("keyexchange", "type", "authby", "auto", "ike", "esp", "ikelifetime", "lifetime", "keylife", "reauth"),
    *("dpddelay", "dpdaction", "forceencaps", "replay_window"),
)
_READ_OF_A_SIDE: Final = frozenset(("", "id", "subnet", "protoport", "cert", "auth"))
_WHY_NOT: Final = {
    "dpdtimeout": "with IKEv2 charon's retransmission settings decide, with IKEv1 mcastd takes five times dpd_delay",
    "margintime": "mcastd rekeys at 80 to 90 % of the lifetime",
    "rekeymargin": "mcastd rekeys at 80 to 90 % of the lifetime",
    "rekeyfuzz": "mcastd rekeys at 80 to 90 % of the lifetime",
    "firewall": "mcastd has a firewall of its own: guard, snat, mss",
    "updown": "no script is run; routes and addresses are keys of [tunnels.NAME]",
    "sourceip": "mcastd asks for no virtual address",
    "mark": 'see route_table and rule_from, or mode = "interface"',
    "ca": "see ca_certs",
    "aggressive": "mcastd uses main mode",
}
"""Why a setting is not carried over, where there is more to say than that."""
_SILENT: Final = {
    "rekey": ("yes",),
    "keyingtries": ("%forever",),
    "mobike": ("no",),
    "fragmentation": ("yes",),
    "compress": ("no",),
    "closeaction": ("none", "restart"),
    "sendcert": ("always", "ifasked"),
}
"""What mcastd does anyway."""


def drafts(
    conf: IpsecConf, secrets: Secrets, notes: Notes, local: Side | None = None, taken: Iterable[str] = ()
) -> list[PeerDraft]:
    """A peer for each group of conns that are loaded and agree in everything but the child.

    ``local`` says which side is ours; None is found out conn by conn. ``taken`` are names that other peers have.
    """
    found: list[PeerDraft] = []
    bases: dict[int, str | None] = {}
    for name in _loaded(conf):
        settings = conf.effective(name)
        conn = _Conn(name, settings, local or _local_side(settings, notes), notes)
        peer = conn.peer(secrets)
        if peer is None:
            continue
        children = conn.children([child.name for one in found for child in one.children])
        if not children:
            section = conf.conns[name]
            notes.add(
                Value("", section.file, section.line), name, "the conn is left out: nothing of its networks is left"
            )
            continue
        base = next((also.text for also in conf.conns[name].also), None)
        same = same_peer(found, peer)
        if same is peer:
            found.append(peer)
            bases[id(peer)] = base
        elif bases[id(same)] != base:
            bases[id(same)] = None
        same.children += children
    _name(found, bases, list(taken))
    _setup(conf, notes)
    return found


def _loaded(conf: IpsecConf) -> list[str]:
    """The conns that charon would load; where none is, those that are more than what others inherit."""
    names = [name for name in conf.conns if name != DEFAULT]
    loaded = [name for name in names if _said(conf.effective(name), "auto", "ignore") != "ignore"]
    inherited = {also.text for section in conf.conns.values() for also in section.also}
    return loaded or [name for name in names if name not in inherited]


def _name(found: list[PeerDraft], bases: Mapping[int, str | None], taken: list[str]) -> None:
    for peer in found:
        peer.name = usable_name(bases[id(peer)] or peer.name, taken)
        taken.append(peer.name)
        if "psk_file" in peer.keys:
            peer.keys["psk_file"] = f"{peer.name}.psk"


def _setup(conf: IpsecConf, notes: Notes) -> None:
    for section in conf.setup.values():
        for key, setting in section.settings.items():
            if (key, setting.text) not in (("uniqueids", "no"), ("uniqueids", "never")):
                notes.add(setting, key, "it is charon's own, and belongs in strongswan.conf")
    for section in conf.authorities.values():
        for key, setting in section.settings.items():
            notes.add(setting, key, "certification authorities are files: see ca_certs of the peer")


def _said(settings: Settings, key: str, default: str = "") -> str:
    return settings[key].text if key in settings else default


def _local_side(settings: Settings, notes: Notes) -> Side:
    """Ours is the side with a private address, where the other has a public one, or without any; else the left one."""
    sides = {side: _said(settings, side, "%any") for side in ("left", "right")}
    right, left = sides["right"], sides["left"]
    unknown = {word for word in (left, right) if not is_address(word) and word.startswith("%")}
    if right in unknown and left not in unknown:
        swapped = right == "%defaultroute"
    else:
        swapped = all(map(is_address, (left, right))) and IPv4Address(left).is_global and IPv4Address(right).is_private
    if swapped:
        notes.add(settings["right"], "right", "taken for our own side; --local left has it the other way round")
    return "right" if swapped else "left"


class _Conn:
    """One conn, from one side."""

    def __init__(self, name: str, settings: Settings, ours: Side, notes: Notes) -> None:
        self._name = name
        self._settings = settings
        self._ours = ours
        self._theirs: Side = "right" if ours == "left" else "left"
        self._notes = notes

    def peer(self, secrets: Secrets) -> PeerDraft | None:
        """What of it is of the IKE_SA; None for a conn without IPsec."""
        kind = self._settings.get("type")
        if kind is not None and kind.text not in ("tunnel", "transport"):
            self._notes.add(kind, "type", f"the conn {self._name} is left out: mcastd has tunnel and transport mode")
            return None
        keys: Keys = {
            "local": address(self._of(self._ours, ""), self._ours, "10.1.1.246", self._notes),
            "remote": address(self._of(self._theirs, ""), self._theirs, "177.54.214.20", self._notes),
        }
        keys["local_id"] = self._identity(self._ours, keys["local"])
        keys["remote_id"] = self._identity(self._theirs, keys["remote"])
        peer = PeerDraft(self._name, keys)
        self._authenticate(peer, secrets)
        keys["proposals"] = proposals(self._settings.get("ike"), "ike", "ike", self._notes)
        self._strict("ike")
        keys |= self._ike()
        self._left_out()
        return peer

    def _of(self, side: Side, what: str) -> Value | None:
        return self._settings.get(f"{side}{what}")

    def _identity(self, side: Side, at: Scalar | Missing) -> Scalar | Missing:
        setting = self._of(side, "id")
        return at if setting is None else text(setting, "222.45.67.1" if side == self._ours else "177.54.214.20")

    def _authenticate(self, peer: PeerDraft, secrets: Secrets) -> None:
        for end in (self._ours, self._theirs):
            setting = self._of(end, "auth") or self._settings.get("authby")
            method = "pubkey" if setting is None else _AUTHENTICATION.get(setting.text.split("-")[0], "")
            if setting is not None and not method:
                self._notes.add(
                    setting,
                    f"{end}auth" if self._of(end, "auth") else "authby",
                    f"{setting.text} is left out: mcastd has pre-shared keys and certificates",
                )
            if method == "pubkey":
                self._certificates(peer, secrets)
                return
        ids = [str(value) for key in ("local_id", "local") if isinstance(value := peer.keys[key], str)]
        others = [str(value) for key in ("remote_id", "remote") if isinstance(value := peer.keys[key], str)]
        peer.psk = secrets.key_for(ids, others)
        peer.keys["psk_file"] = ""  # named once the peer has its name

    def _certificates(self, peer: PeerDraft, secrets: Secrets) -> None:
        own, their = self._of(self._ours, "cert"), self._of(self._theirs, "cert")
        missing = Missing(f"{_CERTS}/vm.pem", "the source names no certificate of ours")
        peer.keys["local_cert"] = missing if own is None else _file(_CERTS, own)
        if len(secrets.key_files) == 1:
            peer.keys["local_key"] = _file(_KEYS, secrets.key_files[0])
        else:
            peer.keys["local_key"] = Missing(f"{_KEYS}/vm.pem", "one private key is needed, and ipsec.secrets names it")
        if their is not None:
            peer.keys["remote_cert"] = _file(_CERTS, their)
        else:
            peer.keys["ca_certs"] = Missing(
                (f"{_CA_CERTS}/ca.pem",), "charon takes all in that folder, mcastd those named"
            )

    def _ike(self) -> Keys:
        keys: Keys = {}
        exchange = _said(self._settings, "keyexchange", "ikev2")
        if exchange == "ikev1":
            keys["version"] = 1
        elif exchange != "ikev2":
            self._notes.add(self._settings["keyexchange"], "keyexchange", f"{exchange}: mcastd takes IKEv2 alone")
        keys |= self._lifetime("ikelifetime")
        if "reauth" in self._settings and exchange != "ikev1":
            keys["reauthentication"] = _said(self._settings, "reauth") in _YES
        elif exchange != "ikev1" and "ikelifetime" in self._settings:
            why = "charon reauthenticates then, unless told otherwise; mcastd rekeys, unless reauthentication = true"
            self._notes.add(self._settings["ikelifetime"], "reauth", why)
        if _said(self._settings, "forceencaps") in _YES:
            keys["encap"] = True
        delay = seconds(self._settings.get("dpddelay"), "dpddelay", self._notes)
        if _said(self._settings, "dpdaction") == "none":
            keys["dpd_delay"] = "0s"
        elif delay is not None:
            keys["dpd_delay"] = f"{delay}s"
        return keys

    def children(self, taken: list[str]) -> list[ChildDraft]:
        """A child for each pair of traffic selectors."""
        keys: Keys = {"proposals": proposals(self._settings.get("esp"), "esp", "esp", self._notes)}
        self._strict("esp")
        keys |= self._lifetime("lifetime" if "lifetime" in self._settings else "keylife")
        transport = _said(self._settings, "type") == "transport"
        if transport:
            keys["mode"] = "transport"
        keys |= replay_window(self._settings.get("replay_window"), "replay_window", self._notes)
        ours, theirs = (self._selectors(side) for side in (self._ours, self._theirs))
        if len(ours) * len(theirs) > 1:
            subnets = self._of(self._ours, "subnet") if len(ours) > 1 else self._of(self._theirs, "subnet")
            assert subnets is not None, "several selectors come of a setting"
            why = "several networks: a child for each pair, as a Cisco's crypto map has it; charon had one for all"
            self._notes.add(subnets, "subnet", why)
        made: list[ChildDraft] = []
        for pair in product(ours, theirs):
            name = usable_name(self._name, [*taken, *(child.name for child in made)])
            made.append(ChildDraft(name, self._ends(*pair, transport=transport) | keys))
        return made

    def _lifetime(self, key: str) -> Keys:
        setting = self._settings.get(key)
        return {**lifetime(seconds(setting, key, self._notes), setting, key, self._notes)}

    def _selectors(self, side: Side) -> tuple[Selector, ...]:
        found = selectors(self._of(side, "subnet"), f"{side}subnet", self._notes)
        port = self._of(side, "protoport")
        if port is None:
            return found
        protocol, _, number = port.text.partition("/")
        if protocol in ("gre", "47"):
            return tuple(Selector(one.prefix, True) for one in found)
        if protocol not in ("0", "any", "%any") or number not in ("", "0", "any", "%any"):
            self._notes.add(port, f"{side}protoport", f"{port.text} is left out: allowed are GRE, or any")
        return found

    def _ends(self, ours: Selector, theirs: Selector, *, transport: bool) -> Keys:
        keys: Keys = {}
        for key, selector, end in (("local_ts", ours, self._ours), ("remote_ts", theirs, self._theirs)):
            if selector.prefix is not None:
                keys[key] = str(selector.prefix)
            elif not transport:
                example = "10.1.1.246" if key == "local_ts" else "177.54.214.20"
                own = address(self._of(end, ""), end, example, self._notes)
                keys[key] = f"{own}/32" if isinstance(own, str) else own
        gre = ours.gre or theirs.gre
        if gre != transport:
            keys["protocol"] = "gre" if gre else "any"
        return keys

    def _strict(self, key: str) -> None:
        setting = self._settings.get(key)
        if setting is not None and not is_strict(setting):
            why = "without a ! charon accepts its default proposals as well; mcastd accepts none but these"
            self._notes.add(setting, key, why)

    def _left_out(self) -> None:
        for key, setting in self._settings.items():
            side = next((side for side in ("left", "right") if key.startswith(side)), "")
            what = key.removeprefix(side)
            if what in _SILENT:
                if setting.text not in _SILENT[what]:
                    self._notes.add(setting, key, f"{setting.text} is not carried over; mcastd: {_SILENT[what][0]}")
            elif not (what in _READ_OF_A_SIDE if side else key in _READ):
                self._notes.add(setting, key, _WHY_NOT.get(what, "it is not carried over: mcastd has no such key"))
        action = self._settings.get("dpdaction")
        if action is not None and action.text not in ("restart", "none"):
            self._notes.add(
                action, "dpdaction", f"{action.text} is not carried over: mcastd brings up again what was lost"
            )
        start = self._settings.get("auto")
        if start is not None and start.text != "start":
            self._notes.add(start, "auto", f"{start.text} is not carried over: mcastd brings its children up by itself")


def _file(folder: str, setting: Value) -> Scalar | Missing:
    if setting.text.startswith("%smartcard"):
        return Missing(f"{folder}/vm.pem", f"{setting.file}:{setting.line} has a smartcard, and a file is needed")
    found = text(setting, f"{folder}/vm.pem")
    return f"{folder}/{found}" if isinstance(found, str) and not found.startswith("/") else found
