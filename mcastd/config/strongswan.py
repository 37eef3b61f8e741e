"""strongSwan's settings, the format of strongswan.conf and swanctl.conf: strongswan.conf(5).

Sections in braces, ``key = value``, comments, quoted strings, ``include`` with wildcards (what is included takes the
place of the statement), and sections that inherit from others (``name : other, a.b { }``). What comes later in the text
wins; a section that comes again is extended.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from mcastd.errors import ConfigError, ConfigProblem

LARGEST: Final = 1 << 20
"""Bytes of one file."""
_FILES: Final = 1000
_INCLUDED_BY: Final = 10  # files that include one another, as in charon; so one that includes itself ends
_DEEPEST: Final = 50
_SECTIONS: Final = 20_000

_SPACE: Final = re.compile(r"(?:[ \t\r]+|#[^\n]*)+")
_NAME: Final = re.compile(r"[^#{}:.,=\"\r\n\t ]+")
_REFERENCE: Final = re.compile(r"[^#{}:,=\"\r\n\t ]+")
_WORD: Final = re.compile(r"[^#}\"\r\n\t ]+")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(\r?\n|.)", re.DOTALL)
_INCLUDE: Final = re.compile(r"include[ \t]+(?=[^=\s])")
_PATTERN: Final = re.compile(r'(?:\\["#} \\]|[^"#}\r\n\t ])+')
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t"}

Include = Callable[[str, Path], Iterable[tuple[Path, str]]]
"""From a pattern and the file that names it to the files meant and their texts."""


class Value(NamedTuple):
    """What a key is set to, and where. An empty ``text`` means the default, whatever is inherited."""

    text: str
    file: Path
    line: int


@dataclass
class Section:
    """One section, with what it inherits once it is parsed; ``values`` and ``sections`` are by name."""

    file: Path
    line: int
    values: dict[str, Value] = field(default_factory=dict)
    sections: dict[str, "Section"] = field(default_factory=dict)
    references: tuple[str, ...] = ()

    def find(self, *path: str) -> Value | None:
        """The value at a path of section names and a key; None where there is none or it is empty."""
        section: Section | None = self
        for name in path[:-1]:
            section = section.sections.get(name) if section else None
        found = section.values.get(path[-1]) if section else None
        return found if found and found.text else None


def load(path: Path) -> Section:
    """Read a file and what it includes. Raises ConfigError for the first thing that is wrong.

    Included files that cannot be read are left out, as charon does.
    """
    try:
        text = _read(path)
    except OSError as error:
        raise ConfigError((ConfigProblem(str(path), 1, "", f"it cannot be read: {error.strerror}"),)) from error
    return parse(text, path, _included)


def parse(text: str, file: Path = Path(), include: Include = lambda _pattern, _file: ()) -> Section:
    """Parse a text, ``include`` giving the files that it includes. Raises ConfigError for the first thing wrong."""
    root = _Parser(_Scanner(include).tokens(text, file)).document(file)
    return _Resolver(root).resolved(root, frozenset(), 0)


def truth(value: Value | None, default: bool = False) -> bool:
    """What charon takes a value for, where it wants a boolean; ``default`` for no value or another word."""
    word = value.text.lower() if value else ""
    if word in ("1", "yes", "true", "enabled"):
        return True
    return default and word not in ("0", "no", "false", "disabled")


def charon_setting(settings: Section, key: str) -> Value | None:
    """A setting of the daemon: charon-systemd's own section, and charon's where that one says nothing."""
    return settings.find("charon-systemd", key) or settings.find("charon", key)


def _included(pattern: str, file: Path) -> Iterator[tuple[Path, str]]:
    for name in sorted(glob(str(file.parent / pattern))):  # noqa: PTH207  # absolute patterns, no hidden files: as glob(3)
        try:
            yield Path(name), _read(Path(name))
        except OSError:
            continue


def _read(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        _refuse(path, 1, f"it is too large; allowed: at most {LARGEST} bytes")
    return content.decode(errors="replace")


def _refuse(file: Path, line: int, text: str) -> NoReturn:
    raise ConfigError((ConfigProblem(str(file), line, "", text),))


class _Token(NamedTuple):
    kind: str  # "name", "value", or the character itself; a newline is none of the grammar's business
    text: str
    file: Path
    line: int


class _Scanner:
    """Texts to tokens; those of an included file come where the statement stands."""

    def __init__(self, include: Include) -> None:
        self._include = include
        self._files = 0

    def tokens(self, text: str, file: Path, depth: int = 0) -> Iterator[_Token]:
        self._files += 1
        at, line, pattern = 0, 1, _NAME
        while at < len(text):
            start = at
            if match := _SPACE.match(text, at):
                at = match.end()
            elif text[at] == "\n":
                at += 1
            elif match := _INCLUDE.match(text, at):
                wanted, at = self._pattern(text, match.end(), file, line)
                if depth == _INCLUDED_BY or self._files > _FILES:
                    _refuse(file, line, "too many files include one another; does one include itself?")
                for path, content in self._include(wanted, file):
                    yield from self.tokens(content, path, depth + 1)
            elif text[at] == "=":
                yield _Token("=", "=", file, line)
                value, at = _value(text, at + 1, file, line)
                yield _Token("value", value, file, line)
            elif text[at] in "{}:,":
                pattern = _REFERENCE if text[at] in ":," else _NAME
                yield _Token(text[at], text[at], file, line)
                at += 1
            elif match := pattern.match(text, at):
                yield _Token("name", match[0], file, line)
                at = match.end()
            else:
                _refuse(file, line, f"{text[at]!r} is not expected here; allowed: a section or key = value")
            line += text.count("\n", start, at)

    def _pattern(self, text: str, at: int, file: Path, line: int) -> tuple[str, int]:
        if match := _QUOTED.match(text, at):
            return _unescaped(match[1]), match.end()
        if match := _PATTERN.match(text, at):
            return re.sub(r'\\(["#} ])', r"\1", match[0]), match.end()
        _refuse(file, line, "include names no file; allowed: a path, with wildcards if need be")


def _value(text: str, at: int, file: Path, line: int) -> tuple[str, int]:
    """The parts of a value up to the end of its line, one space between them, and where it ends."""
    parts = []
    while at < len(text) and text[at] not in "#}\n":
        if text[at] in " \t\r":
            at += 1
        elif match := _QUOTED.match(text, at):
            parts.append(_unescaped(match[1]))
            at = match.end()
        elif match := _WORD.match(text, at):
            parts.append(match[0])
            at = match.end()
        else:
            _refuse(file, line, 'a string is not terminated; allowed: a closing "')
    return " ".join(parts), at


def _unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        return "" if match[1].endswith("\n") else _ESCAPED.get(match[1], match[1])

    return _ESCAPE.sub(one, text.replace("\r\n", "\n"))


class _Parser:
    """Tokens to sections, without what they inherit."""

    def __init__(self, tokens: Iterator[_Token]) -> None:
        self._tokens = tokens

    def document(self, file: Path) -> Section:
        stack = [Section(file, 1)]
        for token in self._tokens:
            if token.kind == "}" and len(stack) > 1:
                stack.pop()
            elif token.kind == "name":
                self._statement(token, stack)
            else:
                _refuse(token.file, token.line, f"{token.kind!r} is not expected here; allowed: a section or a key")
            if len(stack) > _DEEPEST:
                _refuse(token.file, token.line, f"sections are nested too deep; allowed: {_DEEPEST} levels")
        if len(stack) > 1:
            _refuse(stack[-1].file, stack[-1].line, "the section is not closed; allowed: a } for each {")
        return stack[0]

    def _statement(self, name: _Token, stack: list[Section]) -> None:
        after = self._next(name)
        if after.kind == "=":
            value = self._next(after)
            stack[-1].values[name.text] = Value(value.text, name.file, name.line)
            return
        references: list[str] = []
        separator = ":"
        while after.kind == separator:
            reference = self._next(after)
            if reference.kind != "name":
                _refuse(reference.file, reference.line, f"{reference.kind!r} is no section to inherit from")
            references.append(reference.text)
            after, separator = self._next(reference), ","
        if after.kind != "{":
            # Without the words: one of them may be a secret whose = was forgotten.
            what = "another" if after.kind == "name" else repr(after.kind)
            _refuse(after.file, after.line, f"after a name there is {what}; allowed: {{ or =")
        section = stack[-1].sections.setdefault(name.text, Section(name.file, name.line))
        section.references += tuple(one for one in references if one not in section.references)
        stack.append(section)

    def _next(self, before: _Token) -> _Token:
        for token in self._tokens:
            return token
        _refuse(before.file, before.line, "the file ends within a section or setting; allowed: whole ones")


class _Resolver:
    """Puts into each section what it inherits; its own values win, then the references from left to right."""

    def __init__(self, root: Section) -> None:
        self._root = root
        self._made = 0

    def resolved(self, section: Section, through: frozenset[str], depth: int) -> Section:
        """The section with what it inherits; ``through`` are the references on the way, which end a circle."""
        self._made += 1
        if self._made > _SECTIONS or depth > _DEEPEST:
            _refuse(section.file, section.line, "it inherits too much; allowed: fewer references to other sections")
        values = dict(section.values)
        sections = {name: self.resolved(one, through, depth + 1) for name, one in section.sections.items()}
        for name in section.references:
            target = self._at(name)
            if target is not None and name not in through:
                base = self.resolved(target, through | {name}, depth + 1)
                values = base.values | values
                sections = _under(sections, base.sections)
        return Section(section.file, section.line, values, sections, section.references)

    def _at(self, name: str) -> Section | None:
        section: Section | None = self._root
        for part in name.split("."):
            section = section.sections.get(part) if section else None
        return section


def _under(sections: dict[str, Section], base: dict[str, Section]) -> dict[str, Section]:
    merged = dict(sections)
    for name, inherited in base.items():
        own = merged.get(name)
        if own is None:
            merged[name] = inherited
        else:
            values, below = inherited.values | own.values, _under(own.sections, inherited.sections)
            merged[name] = Section(own.file, own.line, values, below, own.references)
    return merged
