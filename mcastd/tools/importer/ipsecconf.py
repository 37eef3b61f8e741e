"""ipsec.conf, the format of strongSwan's starter (ipsec.conf(5)). Pure.

A section begins in the first column (``conn NAME``), its settings are indented. A section that occurs again is
extended; ``also`` inherits from another one, ``conn %default`` applies to all.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mcastd.config.strongswan_conf import Include, Value
from mcastd.errors import ConfigError, ConfigProblem
from mcastd.tools.importer.draft import refused
from mcastd.tools.importer.statements import COMMENT, statements

DEFAULT: Final = "%default"
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "\n": ""}
_SETTING: Final = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=\s*(.*)", re.DOTALL)


@dataclass
class Section:
    """``conn NAME``, ``ca NAME`` or ``config setup`` as written, without what it inherits; ``where`` it begins."""

    where: Value
    settings: dict[str, Value] = field(default_factory=dict)
    also: list[Value] = field(default_factory=list)


@dataclass
class IpsecConf:
    """The sections of a file and of what it includes, by name."""

    conns: dict[str, Section] = field(default_factory=dict)
    authorities: dict[str, Section] = field(default_factory=dict)
    setup: dict[str, Section] = field(default_factory=dict)

    def merged(self, other: "IpsecConf") -> "IpsecConf":
        """Both files; of sections with the same name the one of ``other``."""
        return IpsecConf(self.conns | other.conns, self.authorities | other.authorities, self.setup | other.setup)

    def effective(self, name: str) -> dict[str, Value]:
        """The settings of a conn with what it inherits from ``also``, of which the last one wins, and ``%default``.

        An empty setting removes an inherited one. Raises ConfigError for an ``also`` of an unknown conn or in a loop.
        """
        inherited = self._with_also(name, frozenset({name}))
        if DEFAULT in self.conns and name != DEFAULT:
            inherited = self._with_also(DEFAULT, frozenset({DEFAULT})) | inherited
        return {key: setting for key, setting in inherited.items() if setting.text}

    def _with_also(self, name: str, through: frozenset[str]) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for also in self.conns[name].also:
            if also.text not in self.conns or also.text in through:
                what = "is a loop" if also.text in through else "names an unknown conn"
                raise refused(also, f"also={also.text} {what}; allowed: the name of another conn")
            found |= self._with_also(also.text, through | {also.text})
        return found | self.conns[name].settings


def parse(text: str, file: Path = Path(), include: Include = lambda _pattern, _file: ()) -> IpsecConf:
    """Parse a text; ``include`` returns the files for a pattern. Raises ConfigError with every error found."""
    conf = IpsecConf()
    sections = {"conn": conf.conns, "ca": conf.authorities, "config": conf.setup}
    problems: list[ConfigProblem] = []
    section: Section | None = None
    for statement in statements(text, file, _lines, include):
        if statement.text[0].isspace():
            wrong = _setting(statement, section, first=not problems)
        else:
            words = COMMENT.sub("", statement.text, count=1).split()
            section, wrong = None, None
            if words[0] in sections and len(words) == 2:
                section = sections[words[0]].setdefault(words[1], Section(statement))
            elif words[0] not in ("include", "version"):
                wrong = "not the start of a section; allowed: conn NAME, ca NAME or config setup, settings indented"
        if wrong is not None:
            problems.append(ConfigProblem(str(statement.file), statement.line, "", wrong))
    if problems:
        raise ConfigError(tuple(problems))
    return conf


def _setting(statement: Value, section: Section | None, *, first: bool) -> str | None:
    """Put a setting into its section; returns what is wrong with it, which for a missing section is said once."""
    match = _SETTING.fullmatch(statement.text.rstrip())
    if match is None:
        return "not a setting; allowed: KEY=VALUE"
    if section is None:
        return "not in a section; allowed: settings below conn NAME, ca NAME or config setup" if first else None
    value = _value(match[2])
    if value is None:
        return 'a string is not terminated; allowed: a closing "'
    if match[1] == "also":
        section.also.append(statement._replace(text=value))
    else:
        section.settings[match[1]] = statement._replace(text=value)
    return None


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank; a quoted value that ends with a backslash continues on the next line."""
    number, held = 0, ""
    for current, line in enumerate(text.split("\n"), 1):
        if not held and not COMMENT.sub("", line, count=1).strip():
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
    """A value without comment and with single blanks, or what is in its quotes; None for quotes that are not closed."""
    if text.startswith('"'):
        match = _QUOTED.fullmatch(text)
        if match is None:
            return None
        return _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[1]), match[1])
    return " ".join(COMMENT.sub("", text, count=1).split())
