"""Parses the format of strongswan.conf and swanctl.conf (strongswan.conf(5)).

Sections in braces, ``key = value``, comments, quoted strings, ``include`` with wildcards (what is included takes the
place of the statement), and sections that inherit from others (``name : other, a.b { }``). What comes later in the text
wins; a section that comes again is extended.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from glob import glob
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

import msgspec
from msgspec.structs import replace

from mcastd.config.cursor import Cursor
from mcastd.config.key_files import without_waiting
from mcastd.errors import ConfigError, ConfigProblem

LARGEST: Final = 1 << 20
"""Bytes of one file."""
_FILES: Final = 1000  # that may be included in all
_INCLUDED_BY: Final = 10  # the depth of inclusion, as in charon
_DEEPEST: Final = 50
_SECTIONS: Final = 20_000

_MARKS: Final = '{}:,="."'
_BLANK: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_EQUALS, _OPEN, _COLON, _COMMA = (
    re.compile(rf"{_BLANK.pattern}{mark}") for mark in ("=", r"\{", rf":{_BLANK.pattern}", rf",{_BLANK.pattern}")
)
_BRACE: Final = re.compile("}")
_GAP: Final = re.compile(r"[ \t\r]+")
_NAME: Final = re.compile(r"[^#{}:.,=\"\r\n\t ]+")
_REFERENCE: Final = re.compile(r"[^#{}:,=\"\r\n\t ]+")
_WORD: Final = re.compile(r"[^#}\"\r\n\t ]+")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(\r?\n|.)", re.DOTALL)
_INCLUDE: Final = re.compile(r"include[ \t]+(?=[^=\s])")
_PATTERN: Final = re.compile(r'(?:\\["#} \\]|[^"#}\r\n\t ])+')
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t"}

Include = Callable[[str, Path], Iterable[tuple[Path, str]]]
"""The files, with their texts, that match a pattern in the statement of a file."""


class Value(NamedTuple):
    """The value of a key, and where it is set. An empty ``text`` selects the default, not an inherited value."""

    text: str
    file: Path
    line: int


class Section(msgspec.Struct):
    """One section, by name its values and the sections in it; after ``parse``, with what it inherits."""

    file: Path
    line: int
    values: dict[str, Value] = msgspec.field(default_factory=dict)
    sections: dict[str, "Section"] = msgspec.field(default_factory=dict)
    references: tuple[str, ...] = ()

    def find(self, *path: str) -> Value | None:
        """The value at a path of section names and a key; None where there is none or it is empty."""
        section = self.section(path[:-1])
        found = section.values.get(path[-1]) if section else None
        return found if found and found.text else None

    def section(self, path: Iterable[str]) -> "Section | None":
        """The section at a path of names; None where there is none."""
        section: Section | None = self
        for name in path:
            section = section.sections.get(name) if section else None
        return section


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
    root = Section(file, 1)
    _Parser(include).statements(_Source(text, file), root)
    return _Resolver(root).resolved(root, frozenset(), 0)


def truth(value: Value | None, default: bool = False) -> bool:
    """A boolean setting as charon reads it; ``default`` for no value or another word."""
    word = value.text.lower() if value else ""
    if word in ("1", "yes", "true", "enabled"):
        return True
    return default and word not in ("0", "no", "false", "disabled")


def charon_setting(settings: Section, key: str) -> Value | None:
    """A setting of the daemon, from the section of charon-systemd or else of charon."""
    return settings.find("charon-systemd", key) or settings.find("charon", key)


def _included(pattern: str, file: Path) -> Iterator[tuple[Path, str]]:
    for name in sorted(glob(str(file.parent / pattern))):  # noqa: PTH207  # absolute patterns, no hidden files: as glob(3)
        try:
            yield Path(name), _read(Path(name))
        except OSError:
            continue


def _read(path: Path) -> str:
    with open(path, "rb", opener=without_waiting) as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        _refuse(path, 1, f"it is too large; allowed: at most {LARGEST} bytes")
    return content.decode(errors="replace")


def _refuse(file: Path, line: int, text: str) -> NoReturn:
    raise ConfigError((ConfigProblem(str(file), line, "", text),))


class _Source(Cursor):
    """The text of one file; ``included_by`` is its depth of inclusion."""

    def __init__(self, text: str, file: Path, included_by: int = 0) -> None:
        super().__init__(text)
        self.file = file
        self.included_by = included_by

    def refuse(self, text: str) -> NoReturn:
        """Raise ConfigError at the current line."""
        _refuse(self.file, self.line, text)


class _Parser:
    """Reads sections, without what they inherit from others."""

    def __init__(self, include: Include) -> None:
        self._include = include
        self._files = 0
        self._depth = 0  # of the section that is read

    def statements(self, source: _Source, section: Section, *, to_brace: bool = False) -> None:
        """Read what is in a section: up to its closing brace, or to the end of the file."""
        source.take(_BLANK)
        while source.next and not (source.next == "}" and to_brace):
            if source.take(_INCLUDE):
                self._included(source, section)
            elif source.next in _MARKS:
                source.refuse(f"{source.next!r} is not expected here; allowed: a section or key = value")
            else:
                self._statement(source, section)
            source.take(_BLANK)
        if to_brace and not source.take(_BRACE):
            _refuse(section.file, section.line, "the section is not closed; allowed: a } for each {")

    def _included(self, source: _Source, section: Section) -> None:
        if match := source.take(_QUOTED):
            pattern = _unescaped(match[1])
        elif match := source.take(_PATTERN):
            pattern = re.sub(r'\\(["#} ])', r"\1", match[0])
        else:
            source.refuse("include names no file; allowed: a path, with wildcards if need be")
        if source.included_by == _INCLUDED_BY or self._files > _FILES:
            source.refuse("too many files include one another; does one include itself?")
        for path, text in self._include(pattern, source.file):
            self._files += 1
            self.statements(_Source(text, path, source.included_by + 1), section)

    def _statement(self, source: _Source, section: Section) -> None:
        line, name = source.line, source.take(_NAME)
        assert name is not None
        if source.take(_EQUALS):
            section.values[name[0]] = Value(_value(source), source.file, line)
            return
        references: list[str] = []
        mark = _COLON
        while source.take(mark):
            reference = source.take(_REFERENCE)
            if reference is None:
                source.refuse(f"{source.next!r} is no section to inherit from")
            references.append(reference[0])
            mark = _COMMA
        if not source.take(_OPEN):
            source.take(_BLANK)
            if not source.next:
                _refuse(source.file, line, "the file ends within a section or setting; allowed: whole ones")
            # The text is not shown: it may be a secret whose = is missing.
            what = repr(source.next) if source.next in _MARKS else "another"
            source.refuse(f"after a name there is {what}; allowed: {{ or =")
        self._depth += 1
        if self._depth >= _DEEPEST:
            source.refuse(f"sections are nested too deep; allowed: {_DEEPEST} levels")
        below = section.sections.setdefault(name[0], Section(source.file, line))
        below.references += tuple(one for one in references if one not in below.references)
        self.statements(source, below, to_brace=True)
        self._depth -= 1


def _value(source: _Source) -> str:
    """The parts of a value up to the end of its line, one space between them."""
    parts = []
    while source.next and source.next not in "#}\n":
        if match := source.take(_QUOTED):
            parts.append(_unescaped(match[1]))
        elif match := source.take(_WORD):
            parts.append(match[0])
        elif not source.take(_GAP):
            source.refuse('a string is not terminated; allowed: a closing "')
    return " ".join(parts)


def _unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        return "" if match[1].endswith("\n") else _ESCAPED.get(match[1], match[1])

    return _ESCAPE.sub(one, text.replace("\r\n", "\n"))


class _Resolver:
    """Adds to each section what it inherits; its own values have priority, then the references from left to right."""

    def __init__(self, root: Section) -> None:
        self._root = root
        self._made = 0  # sections made so far; limited, since references can multiply

    def resolved(self, section: Section, through: frozenset[str], depth: int) -> Section:
        """The section with what it inherits; ``through`` are the references that led here, to end a cycle."""
        self._made += 1
        if self._made > _SECTIONS or depth > _DEEPEST:
            _refuse(section.file, section.line, "it inherits too much; allowed: fewer references to other sections")
        below = {name: self.resolved(one, through, depth + 1) for name, one in section.sections.items()}
        found = replace(section, sections=below)
        for name in section.references:
            target = self._root.section(name.split("."))
            if target is not None and name not in through:
                found = _over(found, self.resolved(target, through | {name}, depth + 1))
        return found


def _over(own: Section, base: Section) -> Section:
    """A section with the additional values and sections of another one, recursively."""
    common = own.sections.keys() & base.sections.keys()
    merged = {name: _over(own.sections[name], base.sections[name]) for name in common}
    return replace(own, values=own.values | base.values | own.values, sections=own.sections | base.sections | merged)
