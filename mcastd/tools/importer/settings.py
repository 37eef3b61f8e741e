"""The settings of one section of strongSwan's configuration, converted to keys of ``mcastd.toml``. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Final, NamedTuple

from mcastd.config.model import MAX_LIFETIME, MAX_REPLAY_WINDOW
from mcastd.config.proposals import Protocol, problem_with
from mcastd.config.strongswan_conf import Value
from mcastd.config.value_types import spell
from mcastd.tools.importer.draft import Keys, Missing, Notes, PeerDraft, Scalar, Selector, Selectors
from mcastd.tools.importer.keys import ANY_IDENTITY, choose
from mcastd.tools.importer.secrets import Secrets

YES: Final = ("yes", "true", "1", "enabled")
SEVERAL: Final = "several networks: imported as a CHILD_SA for each pair, as a Cisco crypto map has it, not as one"
_CERTIFICATE: Final = ("pubkey", "rsa", "rsasig", "ecdsa", "ecdsasig")
_PSK: Final = ("psk", "secret")
_DURATION: Final = re.compile(r"(\d{1,9})\s*([smhd]?)")
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SELECTOR: Final = re.compile(r"([^\[\]]*)(?:\[([^\[\]/]*)(?:/([^\[\]]*))?\])?")
GRE: Final = ("gre", "47")
ANY: Final = (None, "", "0", "any", "%any")  # protocol or port
_LONGEST_TEXT: Final = 255  # bytes, of an identity or a path
Values = Mapping[str, tuple[str, ...]]  # by key

_EVERYTHING: Final = Selector(IPv4Network("0.0.0.0/0"), False)
_EXAMPLE_PROPOSAL: Final = ("aes256-sha256-modp2048",)


class Settings:
    """The settings of one section. An empty value counts as not set; ``where`` stands for the section in notes."""

    def __init__(self, values: Mapping[str, Value], notes: Notes, where: Value) -> None:
        self._values = {key: value for key, value in values.items() if value.text}
        self._notes = notes
        self._where = where
        self._read: set[str] = set()  # the keys that were asked for

    def find(self, key: str) -> Value | None:
        """The value of a key, with its file and line."""
        self._read.add(key)
        return self._values.get(key)

    def text(self, key: str, default: str = "") -> str:
        """The text of a value."""
        value = self.find(key)
        return default if value is None else value.text

    def unknown(self, words: Values) -> str | None:
        """Note, and return, the first key that has none of its ``words``."""
        for key, allowed in words.items():
            if key in self._values and self._values[key].text not in allowed:
                self.note(key, f"{self._values[key].text} is unknown to strongSwan; allowed: {', '.join(allowed)}")
                return key
        return None

    def note(self, key: str, text: str, at: str | None = None) -> None:
        """Add a note on a setting; its line is that of the setting ``at``, or of the section if it does not have it."""
        self._notes.add(self._values.get(at or key, self._where), key, text)

    def note_others(self, same: Values, why: Mapping[str, str], sides: Iterable[str] = ()) -> None:
        """Note every setting that was not asked for, except those with which mcastd behaves in the ``same`` way.

        ``why`` has reasons; keys may begin with one of ``sides``.
        """
        for key, value in self._values.items():
            what = key.removeprefix(next((side for side in sides if key.startswith(side)), ""))
            if what in same and value.text not in same[what]:
                reason = why.get(what, f"mcastd behaves as with {same[what][0]}")
                self.note(key, f"{value.text} is not imported: {reason}")
            elif what not in same and key not in self._read:
                self.note(key, f"not imported: {why.get(what, 'mcastd has no such setting, or no use for it here')}")

    def seconds(self, key: str) -> int | None:
        """A time in seconds, with or without a unit; None for none or an invalid one."""
        text = self.text(key)
        match = _DURATION.fullmatch(text.strip())
        if text and match is None:
            self.note(key, f"{text!r} is ignored: not a time")
        return int(match[1]) * _UNITS[match[2]] if match else None

    def lifetime(self, key: str, value: int | None) -> Keys:
        """The key ``lifetime`` with ``value`` in seconds, which comes from ``key``; the default of mcastd for None."""
        if value is None or key not in self._values:
            return {}
        if value < 1:
            self.note(key, "an unlimited lifetime is not imported: the default of mcastd applies")
            return {}
        if value > MAX_LIFETIME:
            self.note(key, f"{self.text(key)} is too long and becomes {spell(MAX_LIFETIME)}")
        return {"lifetime": spell(min(value, MAX_LIFETIME))}

    def replay_window(self) -> Keys:
        """The key ``replay_window``; -1 is charon's default, for which mcastd has its own."""
        value = self.text("replay_window", "-1")
        if value == "-1":
            return {}
        if not value.isdecimal() or int(value) > MAX_REPLAY_WINDOW:
            self.note("replay_window", f"{value} is ignored; allowed: 0 to {MAX_REPLAY_WINDOW}")
            return {}
        return {"replay_window": int(value)}

    def address(self, key: str, example: str, hint: str = "") -> Scalar | Missing:
        """The first IPv4 address in a list of addresses and names; ``hint`` is for the others."""
        setting = self.find(key)
        if setting is None:
            return Missing(example, "not in the source")
        words = [word.strip() for word in setting.text.split(",")]
        for word in filter(is_address, (word.removeprefix("%") for word in words)):
            if len(words) > 1:
                self.note(key, f"of {setting.text}, only {word} is imported{hint}")
            return word
        return Missing(example, f"{setting.file}:{setting.line} has {setting.text}, and an IPv4 address is needed")

    def identity(self, key: str, default: Scalar | Missing, example: str, cert: str) -> Scalar | Missing:
        """An IKE identity; by default the subject of a certificate, of which ``cert`` is the key, or ``default``."""
        setting = self.find(key)
        if setting is None and cert in self._values:
            return Missing(example, f"it is the subject of {self._values[cert].text}")
        if setting is not None and setting.text in ANY_IDENTITY:
            return "%any"
        return default if setting is None else _text(setting, example)

    def proposals(self, key: str, protocol: Protocol) -> Scalar | Missing:
        """A list of proposals, each with or without a final ``!``; mcastd never accepts others."""
        setting = self.find(key)
        if setting is None:
            return Missing(_EXAMPLE_PROPOSAL, "not in the source, which uses charon's long list of defaults")
        found = []
        for word in filter(None, (one.strip() for one in setting.text.split(","))):
            proposal = word.rstrip("! ")
            if proposal == "default":
                self.note(key, "charon's default proposals are not imported: mcastd accepts only those listed")
            elif problem := problem_with(proposal, protocol):
                self.note(key, f"{proposal} is ignored: {problem}")
            else:
                found.append(proposal)
        if not found:
            return Missing(_EXAMPLE_PROPOSAL, f"none of those in {setting.file}:{setting.line} can be used")
        return tuple(dict.fromkeys(found))

    def selectors(self, key: str) -> tuple[Selector, ...]:
        """A list of traffic selectors, by default the peer's own address. What is not IPv4 is ignored."""
        found = []
        for word in [one.strip() for one in self.text(key).split(",") if one.strip()]:
            match = _SELECTOR.fullmatch(word)
            where, protocol, port = match.groups() if match else (word, None, None)
            try:
                prefix = None if where in ("", "dynamic", "%dynamic") else IPv4Network(where, strict=False)
            except ValueError:
                self.note(key, f"{word} is ignored; allowed: an IPv4 prefix")
                continue
            if prefix is not None and str(prefix.network_address) != where.partition("/")[0]:
                self.note(key, f"{where} becomes {prefix}, without host bits")
            gre = (protocol or "").lower() in GRE
            if not (gre or (protocol or "").lower() in ANY) or port not in ANY:
                self.note(key, f"protocol and port of {word} are ignored; allowed: GRE, or any")
            found.append(Selector(prefix, gre))
        return tuple(dict.fromkeys(found)) if self.text(key).strip() else (Selector(None, False),)

    def method(self, key: str) -> str:
        """How an end authenticates: "psk", "pubkey" (the default of strongSwan) or another of its words."""
        said = self.text(key, "pubkey")
        method = re.split("[-:]", said)[0]
        return "psk" if method in _PSK else "pubkey" if method in _CERTIFICATE else said

    def interface(self, marks: Iterable[str], ours: Selectors, theirs: Selectors, at: str) -> Keys:
        """The mode of a CHILD_SA that ``marks`` select for a VTI, or that takes everything: on an XFRM interface.

        Its number is a mark, if one is a number. ``at`` is the key of the selectors.
        """
        found = {key: value.text for key in marks if (value := self.find(key))}
        for key, mark in found.items():
            self.note(key, f'{mark} becomes mode = "interface": an XFRM interface, which needs no marks')
        numbers = [number for mark in found.values() if (number := integer(mark.partition("/")[0]))]
        if not found and _EVERYTHING in ours and _EVERYTHING in theirs:
            why = 'becomes mode = "interface", since in tunnel mode it would take the host\'s own traffic'
            self.note(at, f"0.0.0.0/0 at both ends {why}")
        elif not found:
            return {}
        return {"mode": "interface", **({"if_id": numbers[0]} if numbers else {})}

    def file(self, folder: str, key: str) -> Scalar | Missing:
        """The path of a file in one of strongSwan's folders; of a list, the first."""
        setting = self.find(key)
        if setting is None:
            return Missing(f"{folder}/vm.pem", f"{key} is not in the source")
        first, comma, _ = setting.text.partition(",")
        if comma:
            self.note(key, f"of {setting.text}, only {first.strip()} is imported")
        return path(folder, setting._replace(text=first.strip()))


class Ends(NamedTuple):
    """What says how the ends authenticate each other: methods and identities, ours first, and the IKE version.

    An identity is None where it is not known, "%any" where charon accepts every one. ``key`` is where a method is set.
    """

    key: str
    methods: tuple[str, str]
    identities: tuple[str | None, str | None]
    version: int


def authenticate(
    peer: PeerDraft, ends: Ends, secrets: Secrets, certificates: Callable[[], Keys], settings: Settings
) -> None:
    """Give a peer its certificates or its pre-shared key; what is not clear is left out, with a reason."""
    if ends.methods == ("pubkey", "pubkey"):
        peer.keys |= certificates()
        return
    peer.keys["psk_file"] = f"{peer.name}.psk"
    if ends.methods != ("psk", "psk"):
        ours, theirs = ends.methods
        why = f"we authenticate with {ours}, the other side with {theirs}, which is not supported"
        why += "; allowed: pre-shared keys and certificates, the same for both sides"
        settings.note(ends.key, why)
        peer.keys["psk_file"] = Missing(f"{peer.name}.psk", why)
    elif secrets.shared:
        _choose_key(peer, ends, secrets, settings)


def _choose_key(peer: PeerDraft, ends: Ends, secrets: Secrets, settings: Settings) -> None:
    local, remote = (value if isinstance(value := peer.keys[end], str) else None for end in ("local", "remote"))
    addresses = (local, remote) if ends.version == 1 else None
    choice = choose(secrets.shared, *ends.identities, addresses=addresses, exact=secrets.foreign)
    taken, others = choice.taken, ", ".join(str(one) for one in choice.candidates if one is not choice.taken)
    if taken is None:
        why = f"of the keys in {others} none is taken: {choice.why}"
    elif taken.wrong:
        why = f"the key in {taken} cannot be used: {taken.wrong}"
    else:
        peer.psk = taken.key
        if set(taken.key) & set(b"\n\0") or taken.key.endswith(b"\r"):
            peer.keys["psk_encoding"] = "base64"  # what a line cannot have
        if choice.noteworthy:
            by = "" if secrets.foreign else " as charon does"
            settings.note("psk", f"the key in {taken} is taken{by}, not that in {others}: {choice.why}")
        return
    settings.note("psk", why)
    peer.keys["psk_file"] = Missing(f"{peer.name}.psk", why)


def integer(text: str) -> int | None:
    """A number as charon reads it, also in hexadecimal; None for none that an XFRM interface can have."""
    try:
        number = int(text, 0)
    except ValueError:
        return None
    return number if 0 < number < 2**32 else None


def path(folder: str, setting: Value) -> Scalar | Missing:
    """The path of a file in one of strongSwan's folders."""
    if setting.text.startswith("%smartcard"):
        return Missing(f"{folder}/vm.pem", f"{setting.file}:{setting.line} has a smartcard, and a file is needed")
    found = _text(setting, f"{folder}/vm.pem")
    return f"{folder}/{found}" if isinstance(found, str) and not found.startswith("/") else found


def is_address(word: str) -> bool:
    """Whether it is the IPv4 address of a host; 0.0.0.0 stands for any."""
    try:
        found = IPv4Address(word)
    except ValueError:
        return False
    return not (found.is_unspecified or found.is_multicast or found.is_reserved)


def _text(setting: Value, example: str) -> Scalar | Missing:
    """A text that mcastd accepts as an identity or a path."""
    word = setting.text
    if word and word.isprintable() and word == word.strip() and len(word.encode()) <= _LONGEST_TEXT:
        return word
    return Missing(example, f"the value in {setting.file}:{setting.line} is empty, too long or not printable")
