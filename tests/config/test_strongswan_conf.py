"""strongSwan's settings, as strongswan.conf(5) describes them."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcastd.config import strongswan_conf
from mcastd.config.strongswan_conf import Section, charon_setting, parse, truth
from mcastd.errors import ConfigError


def texts(section: Section) -> dict[str, object]:
    """A section as plain data."""
    return {name: value.text for name, value in section.values.items()} | {
        name: texts(one) for name, one in section.sections.items()
    }


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as error:
        parse(text, Path("x.conf"))
    return str(error.value)


def test_the_man_pages_example() -> None:
    text = """
    a = b
    section-one {
        somevalue = asdf
        subsection {
            othervalue = xxx
        }
        # yei, a comment
        yetanother = zz
    }
    section-two {
        x = 12
    }
    """
    assert texts(parse(text)) == {
        "a": "b",
        "section-one": {"somevalue": "asdf", "subsection": {"othervalue": "xxx"}, "yetanother": "zz"},
        "section-two": {"x": "12"},
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a { b = 1 }", {"a": {"b": "1"}}),
        ("a\n{\nb = 1\n}", {"a": {"b": "1"}}),
        ("a{b=1}c{d=2}", {"a": {"b": "1"}, "c": {"d": "2"}}),
        ("a = one   two\tthree # and a comment\nb = 2", {"a": "one two three", "b": "2"}),
        ('a = "one   two # no comment }" three', {"a": "one   two # no comment } three"}),
        ('a = "x\\ty\\"z\\\\\\\nw"', {"a": 'x\ty"z\\w'}),
        ('a = "two\nlines"\nb = 1', {"a": "two\nlines", "b": "1"}),
        ("a = b = c\n", {"a": "b = c"}),
        ("a = {x:y,z", {"a": "{x:y,z"}),
        ("a =\nb = 1", {"a": "", "b": "1"}),
        ("a = 1\r\nb = 2\r\n", {"a": "1", "b": "2"}),
        ("a { x = 1\n y = 1 }\na { y = 2\n z { } }", {"a": {"x": "1", "y": "2", "z": {}}}),
        ("include = no statement", {"include": "no statement"}),
        ("included { a = 1 }", {"included": {"a": "1"}}),
        ("# nothing", {}),
    ],
)
def test_syntax(text: str, found: dict[str, object]) -> None:
    assert texts(parse(text)) == found


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a {\n b = 1\n", 1, "the section is not closed"),
        ("a = {x}", 1, "'}' is not expected here"),
        ("a = 1\n}", 2, "'}' is not expected here"),
        ("a\nb = 1", 2, "after a name there is another; allowed: { or ="),
        ("a }", 1, "after a name there is '}'; allowed: { or ="),
        ("a", 1, "the file ends within a section or setting"),
        ('a = "b', 1, "not terminated"),
        ("\n= b", 2, "'=' is not expected here"),
        ('"a" = b', 1, "'\"' is not expected here"),
        ("a.b = c", 1, "after a name there is '.'; allowed: { or ="),
        ("a : { }", 1, "'{' is no section to inherit from"),
        ("a : b, , c { }", 1, "',' is no section to inherit from"),
        ("\n\ninclude #", 3, "include names no file"),
        ("a {" * 60, 1, "nested too deep"),
    ],
)
def test_errors_say_where_and_what(text: str, line: int, words: str) -> None:
    error = refused(text)
    assert error.startswith(f"x.conf:{line}: ")
    assert words in error


@pytest.mark.parametrize(
    "text", ["secret 0sc2Vj", "secret : 0sc2Vj\n}", "secret = x\n0sc2Vj\n}", "secret\n0sc2Vj", "0sc2Vj"]
)
def test_no_error_shows_a_secret_that_is_not_written_as_one(text: str) -> None:
    assert "0sc2Vj" not in refused(f"secrets {{ ike {{ {text}")


def test_lines_and_files_of_values() -> None:
    value = parse('\n\na {\n x = "1\n2"\n y = 3\n}', Path("x.conf")).find("a", "y")
    assert value == ("3", Path("x.conf"), 6)


def test_sections_inherit_and_their_own_values_win() -> None:
    text = """
    conn-defaults { version = 2
        local { auth = psk
            id = them } }
    more { version = 1
        encap = yes }
    connections {
        a : conn-defaults, more {
            local { id = us }
            encap =
        }
        b : connections.a { version = 1 }
    }
    """
    settings = parse(text)
    a = settings.sections["connections"].sections["a"]
    assert texts(a) == {"version": "2", "encap": "", "local": {"auth": "psk", "id": "us"}}
    assert settings.find("connections", "a", "encap") is None
    assert settings.find("connections", "b", "version") == ("1", Path(), 12)
    assert texts(settings.sections["connections"].sections["b"].sections["local"]) == {"auth": "psk", "id": "us"}


def test_circles_of_references_end() -> None:
    settings = parse("a : b { x = 1 }\nb : a { y = 2 }\nc : c { d : c { } }\ne : nowhere { z = 3 }")
    assert texts(settings.sections["a"]) == {"x": "1", "y": "2"}
    assert texts(settings.sections["e"]) == {"z": "3"}


def test_references_that_multiply_are_refused() -> None:
    doubling = "\n".join(f"s{n} {{ x : s{n + 1} {{ }}\n y : s{n + 1} {{ }} }}" for n in range(30))
    assert "it inherits too much" in refused(doubling)


def test_includes_stand_where_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "2.conf").write_text("x = from 2\n")
    (tmp_path / "d" / "1.conf").write_text("x = from 1\ny = from 1 # here }\ninclude ../deeper.conf")
    (tmp_path / "d" / "other").write_text("x = not this one")
    (tmp_path / "deeper.conf").write_text("z { w = 1 }\n")
    (tmp_path / "a b.conf").write_text("quoted = yes")
    main = tmp_path / "main.conf"
    main.write_text(
        'x = 0\ns { include d/*.conf\n y = main }\ninclude "a b.conf"\ninclude missing/*.conf\n'
        f"t {{ include {tmp_path}/deeper.conf }}\ninclude a\\ b.conf\n"
    )
    settings = strongswan_conf.load(main)
    assert texts(settings) == {
        "x": "0",
        "quoted": "yes",
        "s": {"x": "from 2", "y": "main", "z": {"w": "1"}},
        "t": {"z": {"w": "1"}},
    }
    assert settings.find("s", "x") == ("from 2", tmp_path / "d" / "2.conf", 1)


def test_a_file_that_includes_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "main.conf").write_text("include main.conf\n")
    with pytest.raises(ConfigError, match="does one include itself"):
        strongswan_conf.load(tmp_path / "main.conf")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        strongswan_conf.load(tmp_path / "none.conf")
    (tmp_path / "dir.conf").mkdir()
    (tmp_path / "main.conf").write_text("include dir.conf\na = 1")
    assert texts(strongswan_conf.load(tmp_path / "main.conf")) == {"a": "1"}
    (tmp_path / "large.conf").write_bytes(b"#" * (strongswan_conf.LARGEST + 1))
    with pytest.raises(ConfigError, match="too large"):
        strongswan_conf.load(tmp_path / "large.conf")


@pytest.mark.parametrize(
    ("text", "on"),
    [
        ("", False),
        ("charon { make_before_break = yes }", True),
        ("charon-systemd { make_before_break = true }", True),
        ("charon { make_before_break = yes }\ncharon-systemd { make_before_break = no }", False),
        ("charon { make_before_break = yes }\ncharon { make_before_break = no }", False),
        ("charon { make_before_break = perhaps }", False),
        ("charon { plugins { make_before_break = yes } }", False),
    ],
)
def test_settings_of_charon(text: str, on: bool) -> None:
    assert truth(charon_setting(parse(text), "make_before_break")) is on


def test_a_word_that_is_no_boolean_leaves_the_default() -> None:
    assert truth(parse("a = perhaps").find("a"), default=True)
    assert not truth(parse("a = disabled").find("a"), default=True)


@given(st.text(alphabet='ab{}=:,."\\#\n \t\rinclude', max_size=60))
@example("a : a { a : a { } }")
def test_any_text_is_parsed_or_refused_with_its_line(text: str) -> None:
    try:
        parse(text, Path("x.conf"))
    except ConfigError as error:
        (problem,) = error.problems
        assert 1 <= problem.line <= text.count("\n") + 1


@given(st.dictionaries(st.from_regex(r"[a-z_-]+", fullmatch=True), st.text(st.characters(codec="utf-8"), min_size=1)))
def test_quoted_values_come_back(values: dict[str, str]) -> None:
    clean = {key: value.replace("\r", "") for key, value in values.items() if value.replace("\r", "")}
    quoted = "".join(f'{key} = "{value}"\n'.replace("\\", "\\\\") for key, value in clean.items() if '"' not in value)
    assert texts(parse(f"s {{\n{quoted}}}")) == {"s": {key: text for key, text in clean.items() if '"' not in text}}
