"""Reads XML as a tree, without entities: these are a way to exhaust memory, or to read other files. Pure."""

from typing import Final
from xml.parsers import expat

import msgspec

from mcastd.tools.feedlist.entry import Source

_DEEPEST: Final = 64


class Element(msgspec.Struct):
    """One element: its name and attributes in small letters and without namespaces, and the text in it.

    ``line`` is that of its tag.
    """

    name: str
    line: int
    attributes: dict[str, str]
    children: list["Element"] = msgspec.field(default_factory=list)
    texts: list[str] = msgspec.field(default_factory=list)

    @property
    def text(self) -> str:
        """Its text, with single blanks."""
        return " ".join("".join(self.texts).split())

    def all(self, *names: str) -> list["Element"]:
        """The elements in it with one of these names."""
        return [child for child in self.children if child.name in names]

    def first(self, *names: str) -> "Element | None":
        """The first of them."""
        return next(iter(self.all(*names)), None)


def parse(content: bytes, source: Source) -> Element:
    """The root. Raises ConfigError for what is not XML, or declares entities."""
    return _Reader(source).parse(content)


class _Reader:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._top = Element("", 1, {})  # has the root
        self._open = [self._top]
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.EntityDeclHandler = self._entity

    def parse(self, content: bytes) -> Element:
        try:
            self._parser.Parse(content, True)
        except expat.ExpatError as error:
            raise self._source.refused(
                error.lineno, f"not XML: {expat.ErrorString(error.code)}; allowed: well-formed XML"
            ) from None
        except (ValueError, LookupError) as error:  # an encoding that expat and Python do not have
            raise self._source.refused(1, f"not XML that can be read: {error}; allowed: UTF-8 and the like") from None
        return self._top.children[0]

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) > _DEEPEST:
            raise self._source.refused(
                self._parser.CurrentLineNumber, f"elements are nested too deep; allowed: {_DEEPEST} levels"
            )
        own = {_local(key): " ".join(value.split()) for key, value in attributes.items()}
        element = Element(_local(name), self._parser.CurrentLineNumber, own)
        self._open[-1].children.append(element)
        self._open.append(element)

    def _end(self, _name: str) -> None:
        self._open.pop()

    def _text(self, text: str) -> None:
        self._open[-1].texts.append(text)

    def _entity(self, name: str, *_: object) -> None:
        line = self._parser.CurrentLineNumber
        raise self._source.refused(
            line, f"it declares the entity {name[:40]}; allowed: a file without entities of its own"
        )


def _local(name: str) -> str:
    return name.rpartition(":")[2].lower()
