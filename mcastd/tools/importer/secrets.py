"""ipsec.secrets: who shares which key: ipsec.secrets(5). What is in one appears in no message. Pure."""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mcastd.config.psk import LONGEST
from mcastd.config.strongswan import Include, Value
from mcastd.errors import ConfigError, Problem
from mcastd.tools.importer.draft import Notes

_SEPARATOR: Final = re.compile(r"(?:^|\s):\s+")
_STRING: Final = re.compile(r'"([^"]*)"|\'([^\']*)\'|(\S+)')
_COMMENT: Final = re.compile(r"(?:^|(?<=\s))#.*")
_KEY_FILES: Final = ("RSA", "ECDSA", "PKCS8", "BLISS")
_INCLUDED_BY: Final = 10
_FILES: Final = 1000
ANY: Final = frozenset(("%any", "%any4", "0.0.0.0"))


@dataclass(frozen=True)
class Secret:
    """A pre-shared key and the identities that share it; none at all is everybody."""

    ids: tuple[str, ...]
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class Secrets:
    """What of the files is of use: pre-shared keys, and the files of private keys."""

    shared: tuple[Secret, ...] = ()
    key_files: tuple[Value, ...] = ()

    def merged(self, other: "Secrets") -> "Secrets":
        """Both together."""
        return Secrets(self.shared + other.shared, self.key_files + other.key_files)

    def key_for(self, local: Iterable[str], remote: Iterable[str]) -> bytes | None:
        """The key of a pair, each known by any of some names; the entry that names most of the two."""
        ours, theirs = {_plain(name) for name in local}, {_plain(name) for name in remote}
        fitting = [secret for secret in self.shared if _score(secret, ours, theirs)]
        return max(fitting, key=lambda secret: _score(secret, ours, theirs)).key if fitting else None


def _plain(identity: str) -> str:
    return identity.removeprefix("@").lower()


def _score(secret: Secret, ours: set[str], theirs: set[str]) -> int:
    """How well an entry fits a pair; 0: not at all. One identity may be of either side, several have to name both."""
    if not secret.ids:
        return 1
    ids = {_plain(one) for one in secret.ids}
    exact = bool(ids & ours) + bool(ids & theirs)
    if len(ids) == 1:
        return 2 if exact or ids & ANY else 0
    fits = ids & (ours | ANY) and ids & (theirs | ANY) and (exact or ids <= ANY)
    return 3 + exact if fits else 0


def parse(text: str, notes: Notes, file: Path = Path(), include: Include = lambda _pattern, _file: ()) -> Secrets:
    """Parse a text, ``include`` giving the files that it includes. Raises ConfigError for what is no entry."""
    shared: list[Secret] = []
    key_files: list[Value] = []
    for ids, kind, rest, setting in _entries(text, file, include, 0, [0]):
        if kind == "PSK":
            if (key := _key(rest, setting, notes)) is not None:
                shared.append(Secret(ids, key))
        elif kind in _KEY_FILES and (words := _STRING.match(rest)):
            key_files.append(setting._replace(text=words[1] or words[2] or words[3] or ""))
        else:
            notes.add(setting, "", "a secret of this kind is not carried over")
    return Secrets(tuple(shared), tuple(key_files))


def _entries(
    text: str, file: Path, include: Include, depth: int, files: list[int]
) -> Iterator[tuple[tuple[str, ...], str, str, Value]]:
    """Identities, kind, what follows, and where. ``files`` counts those read."""
    files[0] += 1
    for line, content in _joined(text):
        words = content.split()
        if words[0] == "include":
            if depth == _INCLUDED_BY or files[0] > _FILES:
                raise _refused(file, line, "too many files include one another; does one include itself?")
            for path, included in include(" ".join(words[1:]), file):
                yield from _entries(included, path, include, depth + 1, files)
            continue
        separator = _SEPARATOR.search(content)
        kind, _, rest = content[separator.end() :].partition(" ") if separator else ("", "", "")
        if separator is None or not rest.strip():
            raise _refused(file, line, 'it is no entry; allowed: IDENTITY ... : PSK "..."')
        yield tuple(content[: separator.start()].split()), kind.upper(), rest.strip(), Value("", file, line)


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Numbered entries: what is indented goes on with the line before."""
    held: tuple[int, str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        content = _COMMENT.sub("", line, count=1).rstrip() if '"' not in line else line.rstrip()
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


def _key(text: str, setting: Value, notes: Notes) -> bytes | None:
    match = _STRING.match(text)
    assert match is not None, "an entry has something behind its kind"
    return key_bytes(match[1] or match[2] or match[3] or "", setting, notes, quoted=match[3] is None)


def key_bytes(text: str, setting: Value, notes: Notes, *, quoted: bool) -> bytes | None:
    """A key as strongSwan writes it: text, ``0x`` hexadecimal, ``0s`` base64; None, and a note, for what is no key."""
    try:
        if not quoted and text.startswith("0x"):
            key = bytes.fromhex(text[2:].replace("_", ""))
        elif not quoted and text.startswith("0s"):
            key = b64decode(text[2:], validate=True)
        else:
            key = text.encode()
    except (ValueError, Base64Error):
        notes.add(setting, "PSK", "the key is not what 0x or 0s says, and is left out")
        return None
    if not key or len(key) > LONGEST or b"\n" in key or b"\0" in key or key.endswith(b"\r"):
        notes.add(setting, "PSK", f"the key is left out; allowed: one line of at most {LONGEST} bytes")
        return None
    return key


def _refused(file: Path, line: int, text: str) -> ConfigError:
    return ConfigError((Problem(str(file), line, "", text),))
