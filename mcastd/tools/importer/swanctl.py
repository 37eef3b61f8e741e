"""Connections of a ``swanctl.conf`` to drafts of peers: swanctl.conf(5). Pure."""

from collections.abc import Iterator
from itertools import product
from typing import Final

from mcastd.config.strongswan import Section, Value
from mcastd.tools.importer.draft import ChildDraft, Keys, Missing, Notes, PeerDraft, Scalar, same_peer
from mcastd.tools.importer.secrets import Secret, Secrets, key_bytes
from mcastd.tools.importer.values import (
    address,
    lifetime,
    proposals,
    replay_window,
    seconds,
    selectors,
    text,
    usable_name,
)

_X509: Final = "/etc/swanctl/x509"
_X509_CA: Final = "/etc/swanctl/x509ca"
_PRIVATE: Final = "/etc/swanctl/private"
_OVER: Final = 0.1  # of a rekey time: how much longer an SA lives by default
_YES: Final = ("yes", "true", "1", "enabled")

_READ_CONNECTION: Final = (
    *("version", "local_addrs", "remote_addrs", "proposals", "encap"),
    *("rekey_time", "reauth_time", "over_time", "dpd_delay"),
)
_READ_END: Final = ("auth", "id", "certs", "cacerts", "round")
_READ_CHILD: Final = (
    *("local_ts", "remote_ts", "esp_proposals", "mode", "rekey_time", "life_time"),
    *("if_id_in", "if_id_out", "replay_window"),
)
_SILENT: Final = {
    "mobike": ("no",),
    "unique": ("no", "never", "keep", "replace"),
    "keyingtries": ("0",),
    "start_action": ("start", "trap|start"),
    "dpd_action": ("restart", "start", "trap", "clear"),
    "close_action": ("none", "start"),
    "send_cert": ("ifasked", "always"),
    "fragmentation": ("yes",),
}
"""What mcastd does anyway, or what its doing makes no difference to."""
_WHY_NOT: Final = {
    "rand_time": "mcastd rekeys at 80 to 90 % of the lifetime",
    "dpd_timeout": "with IKEv1 mcastd takes five times dpd_delay",
    "start_action": "mcastd brings its children up by itself",
    "updown": "no script is run; routes and addresses are keys of [tunnels.NAME]",
    "vips": "mcastd asks for no virtual address",
    "mark_in": 'see route_table and rule_from, or mode = "interface"',
    "mark_out": 'see route_table and rule_from, or mode = "interface"',
    "aggressive": "mcastd uses main mode",
    "if_id_in": "it is a key of the children here",
    "if_id_out": "it is a key of the children here",
}


def drafts(settings: Section, notes: Notes) -> list[PeerDraft]:
    """A peer for each connection."""
    secrets = _secrets(settings, notes)
    found: list[PeerDraft] = []
    connections = settings.sections.get("connections", Section(settings.file, settings.line))
    for name, section in connections.sections.items():
        children = [child.name for peer in found for child in peer.children]
        peer = PeerDraft(usable_name(name, [peer.name for peer in found]), {})
        _Connection(section, peer, notes).fill(secrets, children)
        if not peer.children and "children" in section.sections:
            where = Value("", section.file, section.line)
            notes.add(where, name, "the connection is left out: none of its children is carried over")
            continue
        same = same_peer(found, peer)
        if same is peer:
            found.append(peer)
        else:
            same.children += peer.children
    for name in settings.sections.keys() - {"connections", "secrets"}:
        section = settings.sections[name]
        if section.values or section.sections:
            notes.add(Value("", section.file, section.line), name, "the section is not carried over")
    return found


def _secrets(settings: Section, notes: Notes) -> Secrets:
    shared = []
    sections = settings.sections.get("secrets", Section(settings.file, settings.line)).sections
    for name, section in sections.items():
        where = Value("", section.file, section.line)
        if not name.startswith("ike"):
            notes.add(where, f"secrets.{name}", "a secret of this kind is not carried over")
            continue
        ids = tuple(value.text for key, value in section.values.items() if key.startswith("id") and value.text)
        secret = section.find("secret")
        key = None if secret is None else key_bytes(secret.text, where, notes, quoted=False)
        if key is not None:
            shared.append(Secret(ids, key))
    return Secrets(tuple(shared))


class _Connection:
    """One connection, read into a draft."""

    def __init__(self, section: Section, peer: PeerDraft, notes: Notes) -> None:
        self._section = section
        self._peer = peer
        self._keys = peer.keys
        self._notes = notes

    def fill(self, secrets: Secrets, taken: list[str]) -> None:
        """Everything of it; ``taken`` are the names of children that others have."""
        find, keys, notes = self._section.find, self._keys, self._notes
        keys["local"] = address(find("local_addrs"), "local_addrs", "10.1.1.246", notes)
        keys["remote"] = address(find("remote_addrs"), "remote_addrs", "177.54.214.20", notes)
        for key, end in (("local_id", "local"), ("remote_id", "remote")):
            identity = self._end(end).find("id")
            known_by = keys[end]
            keys[key] = known_by if identity is None else text(identity, "222.45.67.1")
        self._authenticate(secrets)
        keys["proposals"] = proposals(find("proposals"), "proposals", "ike", notes)
        keys |= self._ike()
        _left_out(self._section, _READ_CONNECTION, notes)
        _sections_left_out(self._section, ("local", "remote", "children"), notes)
        children = self._section.sections.get("children", Section(self._section.file, self._section.line))
        for name, section in children.sections.items():
            self._peer.children += self._child(name, section, [*taken, *(one.name for one in self._peer.children)])

    def _end(self, end: str) -> Section:
        """``local``, ``remote``, with whatever suffix; one round of authentication."""
        found = [section for name, section in self._section.sections.items() if name.startswith(end)]
        for another in found[1:]:
            where = Value("", another.file, another.line)
            self._notes.add(where, end, "a second round of authentication is not carried over")
        return found[0] if found else Section(self._section.file, self._section.line)

    def _authenticate(self, secrets: Secrets) -> None:
        methods = []
        for end in (self._end("local"), self._end("remote")):
            _left_out(end, _READ_END, self._notes)
            _sections_left_out(end, (), self._notes)
            method = end.find("auth")
            methods.append("pubkey" if method is None else method.text.split("-")[0].split(":")[0])
            if method is not None and methods[-1] not in ("psk", "pubkey", "rsa", "ecdsa"):
                self._notes.add(
                    method, "auth", f"{method.text} is left out: mcastd has pre-shared keys and certificates"
                )
        if "pubkey" in methods or "rsa" in methods or "ecdsa" in methods:
            self._certificates()
            return
        ours, theirs = (
            [value for key in pair if isinstance(value := self._keys[key], str)]
            for pair in (("local_id", "local"), ("remote_id", "remote"))
        )
        self._peer.psk = secrets.key_for(ours, theirs)
        self._keys["psk_file"] = f"{self._peer.name}.psk"

    def _certificates(self) -> None:
        own, their = self._one("local"), self._one("remote")
        issuers = self._end("remote").find("cacerts")
        missing = Missing(f"{_X509}/vm.pem", "the source names no certificate of ours")
        self._keys["local_cert"] = missing if own is None else _file(_X509, own)
        self._keys["local_key"] = Missing(f"{_PRIVATE}/vm.pem", "charon takes all in that folder, mcastd the one named")
        if their is not None:
            self._keys["remote_cert"] = _file(_X509, their)
        elif issuers is not None:
            names = [_file(_X509_CA, issuers._replace(text=one.strip())) for one in issuers.text.split(",")]
            self._keys["ca_certs"] = tuple(name for name in names if isinstance(name, str))
        else:
            why = "charon takes all in that folder, mcastd those named"
            self._keys["ca_certs"] = Missing((f"{_X509_CA}/ca.pem",), why)

    def _one(self, end: str) -> Value | None:
        """The certificate of an end; of several, the first."""
        found = self._end(end).find("certs")
        if found is None or "," not in found.text:
            return found
        first = found.text.partition(",")[0].strip()
        self._notes.add(found, "certs", f"of {found.text}, only {first} is carried over")
        return found._replace(text=first)

    def _ike(self) -> Keys:
        keys: Keys = {}
        version, encap = self._section.find("version"), self._section.find("encap")
        if version is not None and version.text == "1":
            keys["version"] = 1
        elif version is not None and version.text != "2":
            self._notes.add(version, "version", f"{version.text}: mcastd takes IKEv2 alone")
        rekey, reauth, over = (self._seconds(self._section, key) for key in ("rekey_time", "reauth_time", "over_time"))
        if reauth and keys.get("version") != 1:
            keys["reauthentication"] = True
        said = next((key for key, value in (("reauth_time", reauth), ("rekey_time", rekey)) if value is not None), "")
        soft = min(filter(None, (rekey, reauth)), default=0)
        whole = soft + (round(_OVER * soft) if over is None or not soft else over)
        keys |= lifetime(whole, self._section.find(said), said, self._notes)
        if encap is not None and encap.text in _YES:
            keys["encap"] = True
        delay = self._seconds(self._section, "dpd_delay")
        return keys if delay is None else keys | {"dpd_delay": f"{min(delay, 86400)}s"}

    def _seconds(self, section: Section, key: str) -> int | None:
        return seconds(section.find(key), key, self._notes)

    def _child(self, name: str, section: Section, taken: list[str]) -> Iterator[ChildDraft]:
        mode = section.find("mode")
        if mode is not None and mode.text not in ("tunnel", "transport"):
            self._notes.add(mode, "mode", f"the child {name} is left out: mcastd has tunnel and transport mode")
            return
        transport = mode is not None and mode.text == "transport"
        keys = self._child_keys(section, transport=transport)
        _left_out(section, _READ_CHILD, self._notes)
        found = {key: selectors(section.find(key), key, self._notes) for key in ("local_ts", "remote_ts")}
        pairs = list(product(found["local_ts"], found["remote_ts"]))
        if len(pairs) > 1:
            key = "local_ts" if len(found["local_ts"]) > 1 else "remote_ts"
            why = "several networks: a child for each pair, as a Cisco's crypto map has it; charon had one for all"
            self._notes.add(section.find(key) or Value("", section.file, section.line), key, why)
        made: list[str] = []
        for ours, theirs in pairs:
            ends: Keys = {}
            for key, selector, end in (("local_ts", ours, "local"), ("remote_ts", theirs, "remote")):
                own = self._keys[end]
                if selector.prefix is not None:
                    ends[key] = str(selector.prefix)
                elif not transport:
                    ends[key] = f"{own}/32" if isinstance(own, str) else own
            if (ours.gre or theirs.gre) != transport:
                ends["protocol"] = "any" if transport else "gre"
            made.append(usable_name(name, [*taken, *made]))
            yield ChildDraft(made[-1], ends | keys)

    def _child_keys(self, section: Section, *, transport: bool) -> Keys:
        keys: Keys = {"proposals": proposals(section.find("esp_proposals"), "esp_proposals", "esp", self._notes)}
        rekey, life = self._seconds(section, "rekey_time"), self._seconds(section, "life_time")
        whole, said = life or (rekey and round(rekey * (1 + _OVER))), "life_time" if life else "rekey_time"
        keys |= lifetime(whole, section.find(said), said, self._notes)
        keys |= replay_window(section.find("replay_window"), "replay_window", self._notes)
        inwards, outwards = section.find("if_id_in"), section.find("if_id_out")
        if_id = inwards or outwards
        if if_id is not None and (inwards is None or outwards is None or inwards.text != outwards.text):
            self._notes.add(if_id, "if_id_in", f"{if_id.text} is taken for both directions: an XFRM interface has one")
        if transport:
            keys["mode"] = "transport"
        if if_id is not None:
            keys["mode"] = "interface"
            number = _number(if_id)
            keys["if_id"] = number if number else Missing(1, f"{if_id.text} is charon's choice, here it is a number")
        return keys


def _left_out(section: Section, read: tuple[str, ...], notes: Notes) -> None:
    for key, value in section.values.items():
        if key not in read and value.text and value.text not in _SILENT.get(key, ()):
            notes.add(value, key, _WHY_NOT.get(key, "it is not carried over: mcastd has no such key"))


def _sections_left_out(section: Section, read: tuple[str, ...], notes: Notes) -> None:
    for name, inner in section.sections.items():
        if not name.startswith(read):
            notes.add(Value("", inner.file, inner.line), name, "the section is not carried over")


def _number(value: Value) -> int | None:
    try:
        number = int(value.text, 0)
    except ValueError:
        return None
    return number if 0 <= number < 2**32 else None


def _file(folder: str, value: Value) -> Scalar | Missing:
    found = text(value, f"{folder}/vm.pem")
    return f"{folder}/{found}" if isinstance(found, str) and not found.startswith("/") else found
