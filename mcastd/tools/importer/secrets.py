"""ipsec.secrets as strongSwan's stroke plugin reads it, or as libreswan does. No message has a secret. Pure."""

import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mcastd.config.pre_shared_key import LONGEST
from mcastd.config.strongswan_conf import Include, Value
from mcastd.tools.importer.draft import Notes, refused
from mcastd.tools.importer.ipsecconf import DEEPEST
from mcastd.tools.importer.keys import Secret

_OWNER: Final = re.compile(r"""'([^']*)'|"([^"]*)"|([^'"\s]\S*)""")
_KIND: Final = re.compile(r"[ \t]*([^\s#]+)[ \t]+")
_SECRET: Final = re.compile(r"""[ \t]*(?:'([^']*)'|"([^"]*)"|([^\s'"#][^ \t]*))""")
_INCLUDE: Final = re.compile(r"include[ \t]+(\S+)")
_KEY_FILES: Final = ("RSA", "ECDSA", "PKCS8", "BLISS")
_OTHERS: Final = ("EAP", "XAUTH", "NTLM", "PIN", "P12")
_LIBRESWAN: Final = re.compile(r"(.*?)\s*:\s+(?=\S)")  # what is before the kind of a secret
_DIGITS: Final = re.compile(r"(?:[0-9A-Fa-f]:?)+")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")


@dataclass(frozen=True)
class Secrets:
    """What the importer uses of the files: pre-shared keys in their order, and the names of files with private keys.

    ``foreign``: they are libreswan's, which chooses among several otherwise than charon.
    """

    shared: tuple[Secret, ...] = ()
    key_files: tuple[Value, ...] = ()
    foreign: bool = False

    def after(self, earlier: "Secrets") -> "Secrets":
        """These, loaded after those of ``earlier``."""
        return Secrets(earlier.shared + self.shared, self.key_files, self.foreign)


def parse(
    text: str,
    notes: Notes,
    file: Path = Path(),
    include: Include = lambda _pattern, _file: (),
    *,
    libreswan: bool = False,
) -> Secrets:
    """Parse a text; ``include`` returns the files for a pattern. An entry that is none ends its file, as for charon."""
    reader = _Reader(notes, include, libreswan=libreswan)
    reader.file(text, file, 0)
    return Secrets(tuple(reader.shared), tuple(reader.key_files), libreswan)


class _Reader:
    """Collects the entries of the files."""

    def __init__(self, notes: Notes, include: Include, *, libreswan: bool) -> None:
        self._notes = notes
        self._include = include
        self._libreswan = libreswan
        self.shared: list[Secret] = []  # found so far
        self.key_files: list[Value] = []  # found so far

    def file(self, text: str, file: Path, depth: int) -> None:
        for number, line in self._lines(text):
            where = Value("", file, number)
            if match := _INCLUDE.match(line):
                if depth == DEEPEST:
                    raise refused(where, "too many files include one another; does one include itself?")
                for path, included in self._include(match[1], file):
                    self.file(included, path, depth + 1)
            elif wrong := self._entry(line, where):
                end = "it is ignored" if self._libreswan else "charon ignores it, and the rest of the file"
                self._notes.add(where, "", f'{wrong}: {end}; allowed: IDENTITY ... : PSK "..."')
                if not self._libreswan:
                    return

    def _lines(self, text: str) -> Iterator[tuple[int, str]]:
        """Numbered lines without the blank ones. In libreswan's dialect an indented one continues an entry."""
        entries: list[tuple[int, str]] = []
        for number, line in enumerate(text.split("\n"), 1):
            content = line.removesuffix("\r").strip(" \t")
            if not content or content.startswith("#"):
                continue
            if self._libreswan and line[0].isspace() and entries:
                entries[-1] = entries[-1][0], f"{entries[-1][1]} {content}"
            else:
                entries.append((number, content))
        yield from entries

    def _entry(self, line: str, where: Value) -> str | None:
        """Add an entry; returns what is wrong with it, without the text, which may have a secret."""
        owners, separator, rest = ("", ":", line[2:]) if line.startswith(": ") else line.partition(" : ")
        if self._libreswan and (match := _LIBRESWAN.match(line)):
            owners, separator, rest = match[1], ":", line[match.end() :]
        kind = _KIND.match(rest)
        if not separator or kind is None:
            return "no colon with blanks on both sides" if not separator else "no type of secret after the colon"
        word = kind[1].upper() if self._libreswan else kind[1]
        if word not in ("PSK", *_KEY_FILES, *_OTHERS):
            return f"no type of secret that is known; allowed: PSK, {', '.join((*_KEY_FILES, *_OTHERS))}"
        secret = _SECRET.match(rest, kind.end())
        if secret is None:
            return "the secret is missing, or its quotes are not closed"
        if word in _OTHERS:
            self._notes.add(where, "", "secrets of this type are not imported")
            return None
        text = next(group for group in secret.groups() if group is not None)
        if word != "PSK":
            self.key_files.append(where._replace(text=text))
            return None
        ids = tuple(one for match in _OWNER.finditer(owners) for one in match.groups() if one)
        encoded = secret[3] is not None and len(text) > 2
        self.shared.append(shared(ids, text, where, encoded=encoded, underscores=self._libreswan))
        return None


def shared(ids: tuple[str, ...], text: str, where: Value, *, encoded: bool, underscores: bool = False) -> Secret:
    """A key as strongSwan writes it: its bytes or, if it may be ``encoded``, ``0x`` and hexadecimal, ``0s`` and base64.

    libreswan allows ``underscores`` between the digits.
    """
    prefix, rest, wrong = text[:2].lower() if encoded else "", text[2:], ""
    key = text.encode(errors="surrogateescape")
    if prefix == "0x":
        digits = rest.replace("_", "") if underscores else rest
        if _DIGITS.fullmatch(digits):
            plain = digits.replace(":", "")
            key = bytes.fromhex(plain.zfill(len(plain) + len(plain) % 2))
        else:
            wrong = "it is not hexadecimal after 0x"
    elif prefix == "0s":
        if rest and _BASE64.fullmatch(rest) and not len(rest) % 4:
            key = b64decode(rest.replace("-", "+").replace("_", "/"))
        else:
            wrong = "it is not base64 after 0s"
    if not wrong and not (0 < len(key) <= LONGEST):
        wrong = f"it is empty or longer than {LONGEST} bytes"
    return Secret(ids, key, where, wrong)
