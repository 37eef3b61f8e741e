"""Connections of a ``swanctl.conf`` (swanctl.conf(5)) to drafts of peers. Pure."""

from collections.abc import Iterator
from typing import Final

from mcastd.config.strongswan_conf import Section, Value
from mcastd.tools.importer.draft import Keys, Missing, Notes, PeerDraft, same_peer, usable_name
from mcastd.tools.importer.secrets import Secrets, shared
from mcastd.tools.importer.settings import SEVERAL, YES, Ends, Settings, authenticate, integer, path

_X509: Final = "/etc/swanctl/x509"
_X509_CA: Final = "/etc/swanctl/x509ca"
_PRIVATE: Final = "/etc/swanctl/private"
_OVER: Final = 0.1  # of a rekey time: what is added to it for the lifetime by default
_SECTION: Final = "the section is not imported"
_IF_IDS: Final = ("if_id_in", "if_id_out")  # of a connection or a CHILD_SA; 0 is none
_SAME: Final = {
    "round": ("1",),
    "mobike": ("no",),
    "unique": ("no", "never", "keep", "replace"),
    "keyingtries": ("0",),
    "send_cert": ("ifasked", "always"),
    "fragmentation": ("yes",),
    "start_action": ("start", "trap|start"),
    "dpd_action": ("restart", "start", "trap", "clear"),
    "close_action": ("none", "start"),
}
"""Values that make no difference: mcastd behaves in this way."""
_WHY: Final = {
    "rand_time": "mcastd rekeys at 80 to 90 % of the lifetime",
    "dpd_timeout": "with IKEv1 mcastd uses five times dpd_delay",
    "vips": "mcastd requests no virtual address",
    "aggressive": "mcastd uses main mode",
    "start_action": "mcastd initiates its CHILD_SAs itself",
    "updown": "mcastd runs no script; routes and addresses are keys of [tunnels.NAME]",
}
"""Why a setting is not imported."""


def drafts(root: Section, keys: Secrets, notes: Notes) -> list[PeerDraft]:
    """A peer for each connection; those that differ only in their CHILD_SAs become one."""
    found: list[PeerDraft] = []
    for name, section in _inner(root, "connections").sections.items():
        connection = _Connection(usable_name(name, [peer.name for peer in found]), section, notes)
        peer = connection.peer(keys)
        same = same_peer(found, peer)
        added = connection.add_children(same, [child.name for one in found for child in one.children])
        if not added and "children" in section.sections:
            notes.add(_where(section), name, "the connection is ignored: none of its CHILD_SAs can be imported")
        elif same is peer:
            found.append(peer)
    read = {"connections", "secrets", *_bases(root)}
    for name, section in root.sections.items():
        if name not in read and (section.values or section.sections):
            notes.add(_where(section), name, _SECTION)
    return found


def _bases(section: Section) -> Iterator[str]:
    """The sections of the file from which others inherit."""
    yield from (name.partition(".")[0] for name in section.references)
    for inner in section.sections.values():
        yield from _bases(inner)


def secrets(root: Section, notes: Notes) -> Secrets:
    """The pre-shared keys, in the order in which swanctl loads them."""
    found = []
    for name, section in _inner(root, "secrets").sections.items():
        secret = section.find("secret")
        if not name.startswith("ike"):
            notes.add(_where(section), f"secrets.{name}", "secrets of this type are not imported")
        elif secret is not None:
            ids = tuple(value.text for key, value in section.values.items() if key.startswith("id") and value.text)
            found.append(shared(ids, secret.text, _where(section), encoded=True))
    return Secrets(tuple(found))


def _where(section: Section) -> Value:
    return Value("", section.file, section.line)


def _inner(section: Section, name: str) -> Section:
    return section.sections.get(name) or Section(section.file, section.line)


def _settings(section: Section, notes: Notes) -> Settings:
    return Settings(section.values, notes, _where(section))


class _Connection(Settings):
    """One connection."""

    def __init__(self, name: str, section: Section, notes: Notes) -> None:
        super().__init__(section.values, notes, _where(section))
        self._name = name
        self._section = section
        self._if_ids = {key: value for key in _IF_IDS if (value := self.find(key)) is not None}  # for its CHILD_SAs
        self._local, self._ours = self._end("local")
        self._remote, self._theirs = self._end("remote")

    def peer(self, secrets: Secrets) -> PeerDraft:
        """The keys of the IKE_SA."""
        keys: Keys = {}
        for end, name, example in ((self._local, "local", "10.1.1.246"), (self._remote, "remote", "177.54.214.20")):
            hint = "; another gateway is a peer with standby_for" if name == "remote" else ""
            keys[name] = self.address(f"{name}_addrs", example, hint)
            default = keys[name] if name == "local" else "%any"
            keys[f"{name}_id"] = end.identity("id", default, "222.45.67.1", "certs")
        peer = PeerDraft(self._name, keys)
        keys |= self._ike()
        local, remote = (value if isinstance(value := keys[f"{end}_id"], str) else None for end in ("local", "remote"))
        ends = Ends("auth", (self._ours, self._theirs), (local, remote), 1 if "version" in keys else 2)
        odd = self._remote if self._ours in ("psk", "pubkey") else self._local
        authenticate(peer, ends, secrets, self._certificates, odd)
        keys["proposals"] = self.proposals("proposals", "ike")
        for settings in (self, self._local, self._remote):
            settings.note_others(_SAME, _WHY)
        self._note_sections(self._section, ("local", "remote", "children"))
        return peer

    def _end(self, end: str) -> tuple[Settings, str]:
        """The section ``local`` or ``remote``, with any suffix, and the methods of all rounds of authentication."""
        found = [section for name, section in self._section.sections.items() if name.startswith(end)]
        for another in found[1:]:
            self._notes.add(_where(another), end, "a second round of authentication is not imported")
        sections = found or [Section(self._section.file, self._section.line)]
        self._note_sections(sections[0], ())
        rounds = [_settings(section, self._notes) for section in sections]
        return rounds[0], " and ".join(one.method("auth") for one in rounds)

    def _note_sections(self, section: Section, read: tuple[str, ...]) -> None:
        for name, inner in section.sections.items():
            if not name.startswith(read):
                self._notes.add(_where(inner), name, _SECTION)

    def _certificates(self) -> Keys:
        every = "charon {} every one in that folder, mcastd those named"
        keys: Keys = {
            "local_cert": self._local.file(_X509, "certs"),
            "local_key": Missing(f"{_PRIVATE}/vm.pem", every.format("loads")),
        }
        if self._remote.find("certs") is not None:
            return keys | {"remote_cert": self._remote.file(_X509, "certs")}
        issuers = self._remote.find("cacerts")
        if issuers is None:
            return keys | {"ca_certs": Missing((f"{_X509_CA}/ca.pem",), every.format("trusts"))}
        names = [path(_X509_CA, issuers._replace(text=one.strip())) for one in issuers.text.split(",")]
        return keys | {"ca_certs": tuple(name for name in names if isinstance(name, str))}

    def _ike(self) -> Keys:
        keys: Keys = {}
        version = self.text("version", "2")
        if version == "1":
            keys["version"] = 1
        elif version != "2":
            self.note("version", f"{version}: mcastd uses IKEv2 only")
        times = {key: time for key in ("reauth_time", "rekey_time") if (time := self.seconds(key)) is not None}
        over = self.seconds("over_time")
        if times.get("reauth_time") and version != "1":
            keys["reauthentication"] = True
        soft = min(filter(None, times.values()), default=0)
        whole = soft + (round(_OVER * soft) if over is None or not soft else over)
        keys |= self.lifetime(next(iter(times), ""), whole)
        if self.text("encap") in YES:
            keys["encap"] = True
        delay = self.seconds("dpd_delay")
        return keys if delay is None else keys | {"dpd_delay": f"{min(delay, 86400)}s"}

    def add_children(self, peer: PeerDraft, taken: list[str]) -> int:
        """Add the CHILD_SAs, each for a pair of traffic selectors, and return how many."""
        added = 0
        for name, section in _inner(self._section, "children").sections.items():
            child = Settings({**self._if_ids, **section.values}, self._notes, _where(section))
            if child.text("mode", "tunnel") not in ("tunnel", "transport"):
                child.note("mode", f"the CHILD_SA {name} is ignored: mcastd has tunnel and transport mode")
                continue
            keys = _child_keys(child)
            ours, theirs = child.selectors("local_ts"), child.selectors("remote_ts")
            if "mode" not in keys:
                keys |= child.interface(("mark_in", "mark_out"), ours, theirs, "local_ts")
            child.note_others(_SAME, _WHY)
            count = peer.add_children(name, keys, (ours, theirs), taken)
            if count > 1:
                child.note("local_ts" if len(ours) > 1 else "remote_ts", SEVERAL)
            added += count
        return added


def _child_keys(child: Settings) -> Keys:
    keys: Keys = {"proposals": child.proposals("esp_proposals", "esp")}
    rekey, life = child.seconds("rekey_time"), child.seconds("life_time")
    whole = life or (rekey and round(rekey * (1 + _OVER)))
    keys |= child.lifetime("life_time" if life else "rekey_time", whole)
    keys |= child.replay_window()
    if child.text("mode") == "transport":
        keys["mode"] = "transport"
    if_ids = {key: value.text for key in _IF_IDS if (value := child.find(key)) and value.text != "0"}
    if if_ids:
        key, text = next(iter(if_ids.items()))
        if len(if_ids) < 2 or len(set(if_ids.values())) > 1:
            child.note(key, f"{text} is used for both directions: an XFRM interface has one")
        number = integer(text)
        keys |= {"mode": "interface"} if number is None else {"mode": "interface", "if_id": number}
    return keys
