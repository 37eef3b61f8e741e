"""ipsec.conf, the format of strongSwan's starter: ipsec.conf(5).

A section begins at the margin (``conn NAME``), its settings are indented. A section that comes again is extended;
``also`` inherits, ``conn %default`` underlies all.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mcastd.config.strongswan import Include, Value
from mcastd.errors import ConfigError, Problem

DEFAULT: Final = "%default"
_SECTIONS: Final = ("config", "conn", "ca")
_COMMENT: Final = re.compile(r"(?:^|(?<=\s))#.*")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "\n": ""}
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=\s*(.*)", re.DOTALL)
_INCLUDED_BY: Final = 10
_FILES: Final = 1000


@dataclass
class Section:
    """``conn NAME``, ``ca NAME`` or ``config setup``, as written: without what it inherits."""

    file: Path
    line: int
    settings: dict[str, Value] = field(default_factory=dict)
    also: list[Value] = field(default_factory=list)


@dataclass
class IpsecConf:
    """A file and what it includes."""

    conns: dict[str, Section] = field(default_factory=dict)
    authorities: dict[str, Section] = field(default_factory=dict)
    setup: dict[str, Section] = field(default_factory=dict)

    def merged(self, other: "IpsecConf") -> "IpsecConf":
        """Both together; of sections of the same name the other's."""
        return IpsecConf(self.conns | other.conns, self.authorities | other.authorities, self.setup | other.setup)

    def effective(self, name: str) -> dict[str, Value]:
        """The settings of a conn, and what it inherits: from ``also``, where the last one wins, and from the default.

        An empty setting takes back an inherited one. Raises ConfigError for an ``also`` of no conn, or in a circle.
        """
        inherited = self._with_also(name, self.conns, frozenset({name}))
        if DEFAULT in self.conns and name != DEFAULT:
            inherited = self._with_also(DEFAULT, self.conns, frozenset({DEFAULT})) | inherited
        return {key: setting for key, setting in inherited.items() if setting.text}

    def _with_also(self, name: str, sections: dict[str, Section], through: frozenset[str]) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for also in sections[name].also:
            if also.text not in sections or also.text in through:
                what = "leads in a circle" if also.text in through else "names no conn"
                raise _refused(also.file, also.line, f"also={also.text} {what}; allowed: the name of another conn")
            found |= self._with_also(also.text, sections, through | {also.text})
        return found | sections[name].settings


def parse(text: str, file: Path = Path(), include: Include = lambda _pattern, _file: ()) -> IpsecConf:
    """Parse a text, ``include`` giving the files that it includes. Raises ConfigError with everything that is wrong."""
    reader = _Reader(include)
    reader.read(text, file, 0)
    if reader.problems:
        raise ConfigError(tuple(reader.problems))
    return reader.conf


def _refused(file: Path, line: int, text: str) -> ConfigError:
    return ConfigError((Problem(str(file), line, "", text),))


class _Reader:
    def __init__(self, include: Include) -> None:
        self.conf = IpsecConf()
        self.problems: list[Problem] = []
        self._include = include
        self._files = 0
        self._section: Section | None = None

    def read(self, text: str, file: Path, depth: int) -> None:
        self._files += 1
        for line, content in _lines(text):
            if content[0].isspace():
                self._setting(content, file, line)
            elif content.split()[0] == "include":
                if depth == _INCLUDED_BY or self._files > _FILES:
                    raise _refused(file, line, "too many files include one another; does one include itself?")
                for path, included in self._include(content[len("include") :].strip(), file):
                    self.read(included, path, depth + 1)
                self._section = None
            else:
                self._header(_COMMENT.sub("", content, count=1).split(), file, line)

    def _header(self, words: list[str], file: Path, line: int) -> None:
        self._section = None
        if words[0] == "version":
            return
        if words[0] not in _SECTIONS or len(words) != 2:
            self._wrong(
                file, line, "it begins no section; allowed: conn NAME, ca NAME or config setup, settings indented"
            )
            return
        into = {"conn": self.conf.conns, "ca": self.conf.authorities, "config": self.conf.setup}[words[0]]
        self._section = into.setdefault(words[1], Section(file, line))

    def _setting(self, content: str, file: Path, line: int) -> None:
        match = _KEY.fullmatch(content.rstrip())
        if match is None:
            self._wrong(file, line, "it is no setting; allowed: KEY=VALUE")
        elif self._section is not None:
            value = _value(match[2])
            if value is None:
                self._wrong(file, line, 'a string is not terminated; allowed: a closing "')
            elif match[1] == "also":
                self._section.also.append(Value(value, file, line))
            else:
                self._section.settings[match[1]] = Value(value, file, line)
        elif not self.problems:
            self._wrong(file, line, "it is in no section; allowed: settings below conn NAME, ca NAME or config setup")

    def _wrong(self, file: Path, line: int, text: str) -> None:
        self.problems.append(Problem(str(file), line, "", text))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines that say something; a quoted value that ends with a backslash goes on in the next."""
    number, held = 0, ""
    for current, line in enumerate(text.split("\n"), 1):
        if not held and not _COMMENT.sub("", line, count=1).strip():
            continue
        number = number if held else current
        whole = held + line.rstrip("\r")
        if whole.count('"') % 2 and whole.endswith("\\"):
            held = f"{whole}\n"
            continue
        held = ""
        yield number, whole
    if held:
        yield number, held


def _value(text: str) -> str | None:
    """A value without its comment, blanks in it made one; in quotes as it is. None for quotes that are not closed."""
    if text.startswith('"'):
        match = _QUOTED.fullmatch(text)
        if match is None:
            return None
        return _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[1]), match[1])
    return " ".join(_COMMENT.sub("", text, count=1).split())
