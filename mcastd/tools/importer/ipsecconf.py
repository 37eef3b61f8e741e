"""ipsec.conf as strongSwan's starter reads it (ipsec.conf(5)). Pure.

A section begins in the first column (``conn NAME``), its settings are indented. A section that occurs again is
extended; ``also`` inherits from another one, ``conn %default`` applies to all. A word ends at ``#``, ``"`` and ``=``
wherever they stand; a string may go on in the next line.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mcastd.config.cursor import Cursor
from mcastd.config.strongswan_conf import Include, Value
from mcastd.errors import ConfigError, ConfigProblem
from mcastd.tools.importer.draft import refused

DEFAULT: Final = "%default"
DEEPEST: Final = 10  # files that include one another

_IGNORED: Final = re.compile(r"[ \t]*(?:version[^\n]*|#[^\n]*|\r)?(?:\n|\Z)")  # a line
_BLANK: Final = re.compile(r"[ \t\r]+")
_INCLUDE: Final = re.compile(r'include[ \t]+(?!=)(?:"([^"\n]*)"|((?:\\["#} ]|[^# \t\r\n"])+))')
_END: Final = re.compile(r"[ \t\r]*(?:#[^\n]*)?(?:\n|\Z)")
_REST: Final = re.compile(r"[^\n]*(?:\n|\Z)")
_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_WORD: Final = re.compile(r'=|(?:@#)?[^"#= \t\r\n]+')
_ESCAPE: Final = re.compile(r"\\(\r?\n|.)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", "\n": "", "\r\n": ""}
_UNTERMINATED: Final = 'a string is not terminated; allowed: a closing "'


@dataclass
class Section:
    """``conn NAME``, ``ca NAME`` or ``config setup`` as written, without what it inherits; ``where`` it begins."""

    where: Value
    settings: dict[str, Value] = field(default_factory=dict)
    also: list[Value] = field(default_factory=list)


@dataclass
class IpsecConf:
    """The sections of all files, by name; ``settings`` are those of ``config setup``."""

    conns: dict[str, Section] = field(default_factory=dict)
    authorities: dict[str, Section] = field(default_factory=dict)
    setup: dict[str, Section] = field(default_factory=dict)

    def effective(self, name: str) -> dict[str, Value]:
        """The settings of a conn with what it inherits; an empty one removes an inherited one.

        Raises ConfigError for an ``also`` of an unknown conn or in a loop.
        """
        found: dict[str, Value] = {}
        for section in reversed(self._line(name, ())):
            found |= self.conns[section].settings
        return {key: setting for key, setting in found.items() if setting.text}

    def _line(self, name: str, through: tuple[str, ...]) -> list[str]:
        """A conn and those it inherits from, the most important first: of what is there twice, the last counts."""
        line = [name]
        for also in reversed(self.conns[name].also if name != DEFAULT else []):
            if also.text not in self.conns or also.text in (name, *through):
                what = "names an unknown conn" if also.text not in self.conns else "is a loop"
                raise refused(also, f"also={also.text} {what}; allowed: the name of another conn")
            line += self._line(also.text, (name, *through))
        if len(line) == 1 and name != DEFAULT and DEFAULT in self.conns:
            line.append(DEFAULT)
        return [one for at, one in enumerate(line) if one not in line[at + 1 :]]


def parse(text: str, file: Path = Path(), include: Include = lambda _pattern, _file: ()) -> IpsecConf:
    """Parse a text; ``include`` returns the files for a pattern. Raises ConfigError with every error found."""
    conf = IpsecConf()
    reader = _Reader(conf, include)
    reader.file(Cursor(text), file, 0)
    if reader.problems:
        raise ConfigError(tuple(reader.problems))
    return conf


class _Reader:
    """Puts the statements of the files into sections."""

    def __init__(self, conf: IpsecConf, include: Include) -> None:
        self._sections = {"conn": conf.conns, "ca": conf.authorities, "config": conf.setup}
        self._include = include
        self._section: Section | None = None  # the one that settings belong to
        self._lost = False  # whether settings before any section were noted
        self.problems: list[ConfigProblem] = []  # found so far

    def file(self, source: Cursor, file: Path, depth: int) -> None:
        while source.next:
            if source.take(_IGNORED):
                continue
            where, indented = Value("", file, source.line), source.take(_BLANK) is not None
            if match := source.take(_INCLUDE):
                if depth == DEEPEST:
                    raise refused(where, "too many files include one another; does one include itself?")
                pattern = match[1] if match[2] is None else re.sub(r'\\(["#} ])', r"\1", match[2])
                for path, text in self._include(pattern, file):
                    self.file(Cursor(text), path, depth + 1)
                wrong = None
            else:
                words = list(_words(source))
                wrong = self._setting(words, where) if indented else self._begin(words, where)
            if source.take(_END) is None:
                wrong = _UNTERMINATED if source.next == '"' else "a second pattern; allowed: include PATTERN"
                source.take(_REST)
            if wrong is not None:
                self.problems.append(ConfigProblem(str(file), where.line, "", wrong))

    def _begin(self, words: list[str], where: Value) -> str | None:
        self._section = None
        if len(words) != 2 or words[0] not in self._sections:
            return "not the start of a section; allowed: conn NAME, ca NAME or config setup, settings indented"
        self._section = self._sections[words[0]].setdefault(words[1], Section(where))
        return None

    def _setting(self, words: list[str], where: Value) -> str | None:
        """Put a setting into its section; returns what is wrong with it, which for a missing section is said once."""
        key, equals, *rest = (*words, "", "")[: max(2, len(words))]
        if equals != "=" or key in ("", "="):
            return "not a setting; allowed: KEY=VALUE"
        if self._section is None:
            said, self._lost = self._lost or bool(self.problems), True
            return None if said else "not in a section; allowed: settings below conn NAME, ca NAME or config setup"
        value = where._replace(text=" ".join(rest))
        if "=" in rest:
            if not key.endswith("key"):  # a public key in base64, which libreswan does not want in quotes
                return 'a value has a =; allowed: in quotes, KEY="VALUE"'
            value = where._replace(text="".join(rest))
        if key != "also":
            self._section.settings[key] = value
        elif value.text not in ("", DEFAULT):
            self._section.also.append(value)
        return None


def _words(source: Cursor) -> Iterator[str]:
    """The words of a line, and of what continues it in strings."""
    while source.next:
        if match := source.take(_STRING):
            yield _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[1]), match[1])
        elif match := source.take(_WORD):
            yield match[0]
        elif not source.take(_BLANK):
            return
