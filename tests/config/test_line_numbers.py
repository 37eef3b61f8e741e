import json
import tomllib
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcastd.config.line_numbers import KeyPath, scan

DOCUMENT = '''\
# a comment, "quoted" [not.a.table]
title = "one # not a comment"
"quoted \\"key\\"" = 1
dotted.key = 2
'literal.key'.inner = 3
long = """
[not.a.table]
fake = 1 \\"""
"""""
raw = \'\'\'
fake = 2\'\'\'
array = [ # comment ]
  "a]", # , ]
  [1, 2],

  { x = 1, y.z = "}" },
]
[peers."dc tun"] # comment
local = 1979-05-27 07:32:00
[peers."dc tun".children.gre]
ts = "x"
[[groups]]
group = "a"
[[groups]]
group = "b"
  [groups.inner]
  deep = {}
  [[groups.rp]]
  address = 1
  [[groups.rp]]
  address = 2
[[groups]]
group = "c"
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (('quoted "key"',), 3),
        (("dotted",), 4),
        (("dotted", "key"), 4),
        (("literal.key", "inner"), 5),
        (("long",), 6),
        (("raw",), 10),
        (("array",), 12),
        (("array", 0), 13),
        (("array", 1), 14),
        (("array", 1, 1), 14),
        (("array", 2), 16),
        (("array", 2, "y", "z"), 16),
        (("peers",), 18),
        (("peers", "dc tun"), 18),
        (("peers", "dc tun", "local"), 19),
        (("peers", "dc tun", "children", "gre"), 20),
        (("peers", "dc tun", "children", "gre", "ts"), 21),
        (("groups",), 22),
        (("groups", 0), 22),
        (("groups", 1), 24),
        (("groups", 1, "group"), 25),
        (("groups", 1, "inner", "deep"), 27),
        (("groups", 1, "rp", 1, "address"), 31),
        (("groups", 2, "group"), 33),
    ],
)
def test_lines_of_every_form(path: KeyPath, line: int) -> None:
    tomllib.loads(DOCUMENT)
    lines = scan(DOCUMENT)
    assert path in lines
    assert lines.line(path) == line


def test_a_key_that_is_not_there_is_at_its_table() -> None:
    lines = scan(DOCUMENT)
    assert lines.line(("groups", 1, "missing")) == 24
    assert lines.line(("groups", 1, "rp", 0, "groups", 3)) == 28
    assert lines.line(("nowhere", "at all")) == 1


def test_fake_keys_in_strings_are_not_found() -> None:
    lines = scan(DOCUMENT)
    assert ("fake",) not in lines
    assert ("not",) not in lines


@given(st.text())
def test_no_text_makes_it_fail(text: str) -> None:
    assert scan(text).line(("a", 0, "b")) >= 1


def test_deep_nesting_does_not_make_it_fail() -> None:
    assert scan("a = 1\nb = " + "[" * 100_000).line(("b",)) == 2


KEYS = st.text("ab-_1", min_size=1, max_size=3) | st.text(max_size=3)
SCALARS = (
    st.integers(-9, 9) | st.booleans() | st.text(max_size=6) | st.sampled_from((1.5, "# no", '"""', "'''", "a\nb = 1"))
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
BREAKS = st.sampled_from(("", " ", "\n", " # ] comment\n", "\r\n", "\n\n\t"))
SPACES = st.sampled_from(("", " ", "\t "))
TRAILERS = st.sampled_from(("\n", " # comment = [\n", "\r\n", "\n\n# x\n"))


def bare(key: str) -> bool:
    return bool(key) and all(letter in "ab-_1" for letter in key)


def key_text(draw: st.DrawFn, key: str) -> str:
    if bare(key) and draw(st.booleans()):
        return key
    if key.isprintable() and "'" not in key and draw(st.booleans()):
        return f"'{key}'"
    return quoted(key)


def quoted(text: str) -> str:
    return (
        '"'
        + "".join(f"\\U{ord(letter):08x}" if letter in '"\\' or not letter.isprintable() else letter for letter in text)
        + '"'
    )


def value_text(draw: st.DrawFn, value: object) -> str:
    if isinstance(value, dict):
        pairs = (
            f"{key_text(draw, key)}{draw(SPACES)}={draw(SPACES)}{value_text(draw, one)}" for key, one in value.items()
        )
        return "{" + draw(SPACES) + f"{draw(SPACES)},{draw(SPACES)}".join(pairs) + draw(SPACES) + "}"
    if isinstance(value, list):
        return (
            "[" + "".join(f"{draw(BREAKS)}{value_text(draw, one)}{draw(BREAKS)}," for one in value) + draw(BREAKS) + "]"
        )
    if isinstance(value, str):
        form = draw(st.sampled_from(("basic", "long", "literal")))
        if form == "long":
            return '"""\n' + "".join("\n" if letter == "\n" else quoted(letter)[1:-1] for letter in value) + '"""'
        if form == "literal" and value.isprintable() and "'" not in value:
            return f"'{value}'" if draw(st.booleans()) else f"'''{value}'''"
        return quoted(value)
    return json.dumps(value)


def table_text(draw: st.DrawFn, table: dict[str, object], path: tuple[str, ...]) -> str:
    text = ""
    later: list[tuple[str, Sequence[dict[str, object]], bool]] = []
    for key, value in table.items():
        if isinstance(value, dict) and draw(st.booleans()):
            later.append((key, [value], False))
        elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value) and draw(st.booleans()):
            later.append((key, value, True))
        elif isinstance(value, dict) and len(value) == 1 and draw(st.booleans()):
            ((inner, one),) = value.items()
            name = f"{key_text(draw, key)}{draw(SPACES)}.{draw(SPACES)}{key_text(draw, inner)}"
            text += f"{name} = {value_text(draw, one)}{draw(TRAILERS)}"
        else:
            name = f"{draw(SPACES)}{key_text(draw, key)}{draw(SPACES)}"
            text += f"{name}={draw(SPACES)}{value_text(draw, value)}{draw(TRAILERS)}"
    for key, value, is_array in later:
        names = (*path, key)
        header = f"{draw(SPACES)}.{draw(SPACES)}".join(key_text(draw, part) for part in names)
        for one in value:
            text += (f"[[{header}]]" if is_array else f"[{header}]") + draw(TRAILERS) + table_text(draw, one, names)
    return text


@st.composite
def documents(draw: st.DrawFn) -> str:
    return table_text(draw, draw(st.dictionaries(KEYS, VALUES, max_size=4)), ())


def key_paths(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    if path:
        yield path
    for key, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from key_paths(one, (*path, key))


@settings(max_examples=300, deadline=None)
@given(documents())
def test_every_key_has_a_line_and_stands_on_it(text: str) -> None:
    lines = scan(text)
    rows = text.split("\n")
    for path in key_paths(tomllib.loads(text)):
        assert path in lines
        row = rows[lines.line(path) - 1]
        if isinstance(path[-1], str):
            assert path[-1] in row or quoted(path[-1]) in row
