"""ipsec.secrets (ipsec.secrets(5)): pre-shared keys and their identities. No message has a secret. Pure."""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mcastd.config.pre_shared_key import LONGEST
from mcastd.config.strongswan_conf import Include, Value
from mcastd.tools.importer.draft import Notes, refused
from mcastd.tools.importer.statements import COMMENT, statements

_SEPARATOR: Final = re.compile(r"(?:^|\s):\s+")
_STRING: Final = re.compile(r'"([^"]*)"|\'([^\']*)\'|(\S+)')
_KEY_FILES: Final = ("RSA", "ECDSA", "PKCS8", "BLISS")
ANY: Final = frozenset(("%any", "%any4", "0.0.0.0"))


@dataclass(frozen=True)
class Secret:
    """A pre-shared key and the identities that use it; without any, it is for all."""

    ids: tuple[str, ...]
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class Secrets:
    """What the importer uses of the files: pre-shared keys, and the names of files with private keys."""

    shared: tuple[Secret, ...] = ()
    key_files: tuple[Value, ...] = ()

    def merged(self, other: "Secrets") -> "Secrets":
        """The secrets of both."""
        return Secrets(self.shared + other.shared, self.key_files + other.key_files)

    def key_for(self, local: Iterable[str], remote: Iterable[str]) -> bytes | None:
        """The key of two ends, each with one or more identities: of the entry that names most of the two."""
        ours, theirs = {_plain(name) for name in local}, {_plain(name) for name in remote}
        fitting = [secret for secret in self.shared if _score(secret, ours, theirs)]
        return max(fitting, key=lambda secret: _score(secret, ours, theirs)).key if fitting else None


def _plain(identity: str) -> str:
    return identity.removeprefix("@").lower()


def _score(secret: Secret, ours: set[str], theirs: set[str]) -> int:
    """How well an entry fits two ends; 0: not at all. A single identity may be of either, several must name both."""
    if not secret.ids:
        return 1
    ids = {_plain(one) for one in secret.ids}
    exact = bool(ids & ours) + bool(ids & theirs)
    if len(ids) == 1:
        return 2 if exact or ids & ANY else 0
    fits = ids & (ours | ANY) and ids & (theirs | ANY) and (exact or ids <= ANY)
    return 3 + exact if fits else 0


def parse(text: str, notes: Notes, file: Path = Path(), include: Include = lambda _pattern, _file: ()) -> Secrets:
    """Parse a text; ``include`` returns the files for a pattern. Raises ConfigError for what is not an entry."""
    shared: list[Secret] = []
    key_files: list[Value] = []
    for entry in statements(text, file, _entries, include):
        if entry.text.split()[0] == "include":
            continue
        separator = _SEPARATOR.search(entry.text)
        kind, _, rest = entry.text[separator.end() :].partition(" ") if separator else ("", "", "")
        word = _STRING.match(rest.strip())
        if separator is None or word is None:
            raise refused(entry, 'not an entry; allowed: IDENTITY ... : PSK "..."')
        secret, where = word[1] or word[2] or word[3] or "", entry._replace(text="")
        if kind.upper() == "PSK":
            if (key := key_bytes(secret, where, notes, quoted=word[3] is None)) is not None:
                shared.append(Secret(tuple(entry.text[: separator.start()].split()), key))
        elif kind.upper() in _KEY_FILES:
            key_files.append(where._replace(text=secret))
        else:
            notes.add(where, "", "secrets of this type are not imported")
    return Secrets(tuple(shared), tuple(key_files))


def _entries(text: str) -> Iterator[tuple[int, str]]:
    """Numbered entries; an indented line continues the one before."""
    held: tuple[int, str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        content = COMMENT.sub("", line, count=1).rstrip() if '"' not in line else line.rstrip()
        if not content.strip() or content.lstrip().startswith("#"):
            continue
        if content[0].isspace() and held is not None:
            held = held[0], f"{held[1]} {content.strip()}"
            continue
        if held is not None:
            yield held
        held = number, content.strip()
    if held is not None:
        yield held


def key_bytes(text: str, where: Value, notes: Notes, *, quoted: bool) -> bytes | None:
    """A key as strongSwan writes it: text, ``0x`` hexadecimal, ``0s`` base64. None, and a note, for an invalid key."""
    try:
        if not quoted and text.startswith("0x"):
            key = bytes.fromhex(text[2:].replace("_", ""))
        elif not quoted and text.startswith("0s"):
            key = b64decode(text[2:], validate=True)
        else:
            key = text.encode()
    except (ValueError, Base64Error):
        notes.add(where, "PSK", "the key is ignored: not hexadecimal after 0x, or not base64 after 0s")
        return None
    if not key or len(key) > LONGEST or b"\n" in key or b"\0" in key or key.endswith(b"\r"):
        notes.add(where, "PSK", f"the key is ignored; allowed: one line of at most {LONGEST} bytes")
        return None
    return key
