from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mcastd.errors import ConfigError, ConfigProblem
from mcastd.tools.importer.ipsecconf import IpsecConf, parse

FILE = Path("ipsec.conf")


def texts(conf: IpsecConf, name: str) -> dict[str, str]:
    return {key: value.text for key, value in conf.effective(name).items()}


def test_settings_comments_blanks_and_quotes() -> None:
    conf = parse(
        "# of the file\nversion 2\n\nconn one # of the section\n"
        "\tike = aes256-sha256-modp2048!  # of the setting\n"
        "  esp=aes256\n\n"
        "\tleftid=@#6d65\n"
        '\tleftcert = "a  b\\"c.pem" # quoted\n'
        "\tauto =   start   now\n"
        "# between\n\trightid=\n",
        FILE,
    )
    assert texts(conf, "one") == {
        "ike": "aes256-sha256-modp2048!",
        "esp": "aes256",
        "leftid": "@#6d65",
        "leftcert": 'a  b"c.pem',
        "auto": "start now",
    }
    assert conf.effective("one")["leftid"].line == 8


def test_a_quoted_value_goes_on_in_the_next_line() -> None:
    conf = parse('conn one\n\tleftid="C=CH, \\\nCN=moon"\n\tauto=add\n', FILE)
    assert texts(conf, "one") == {"leftid": "C=CH, CN=moon", "auto": "add"}
    assert conf.effective("one")["auto"].line == 4


def test_what_is_inherited() -> None:
    conf = parse(
        "conn %default\n\tike=d\n\tesp=d\n\tauto=d\n\tleft=d\n"
        "conn three\n\tike=own\n\talso=one\n\talso=two\n\tleft=\n"
        "conn one\n\tike=1\n\tesp=1\n\talso=base\n"
        "conn two\n\tesp=2\nconn base\n\tright=b\n",
        FILE,
    )
    assert texts(conf, "three") == {"ike": "own", "esp": "2", "auto": "d", "right": "b"}


def test_a_section_that_comes_again_is_extended() -> None:
    conf = parse("conn one\n\tike=1\nconn two\n\tike=2\nconn one\n\tesp=1\n", FILE)
    assert texts(conf, "one") == {"ike": "1", "esp": "1"}


def test_included_files_stand_where_the_statement_does() -> None:
    def include(pattern: str, file: Path) -> list[tuple[Path, str]]:
        assert (pattern, file) == ("ipsec.d/*.conf", FILE)
        return [(Path("a.conf"), "conn two\n\tike=2\n"), (Path("b.conf"), "conn one\n\tesp=1\n")]

    conf = parse("conn one\n\tike=1\ninclude ipsec.d/*.conf\n", FILE, include)
    assert texts(conf, "one") == {"ike": "1", "esp": "1"}
    assert conf.effective("two")["ike"].file == Path("a.conf")


def test_files_that_include_themselves_end() -> None:
    with pytest.raises(ConfigError, match=r"include one another"):
        parse("include me\n", FILE, lambda _pattern, _file: [(FILE, "include me\n")])


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("conn one\nike=1\n", 2, "not the start of a section"),
        ("conn\n", 1, "not the start of a section"),
        ("conn one two\n", 1, "not the start of a section"),
        ("conn one\n\tike\n", 2, "not a setting"),
        ("\tike=1\n", 1, "not in a section"),
        ('conn one\n\n\tleftid="C=CH\n', 3, "not terminated"),
        ('conn one\n\tleftid="C=CH\\\n', 2, "not terminated"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, FILE)
    assert (caught.value.problems[0].line, caught.value.problems[0].file) == (line, "ipsec.conf")
    assert words in caught.value.problems[0].text


@pytest.mark.parametrize("also", ["nowhere", "one", "two"])
def test_an_also_that_leads_nowhere_is_refused(also: str) -> None:
    conf = parse(f"conn one\n\talso={also}\nconn two\n\talso=one\n", FILE)
    with pytest.raises(ConfigError, match=r"ipsec\.conf:\d+: also="):
        conf.effective("two")


PIECES = st.sampled_from(
    [
        "conn ",
        "conn a\n",
        "config setup\n",
        "%default",
        "\t",
        " ",
        "\n",
        "=",
        '"',
        "\\",
        "#",
        "!",
        "also=",
        "include ",
        "ike",
        "a",
    ]
)


@settings(max_examples=500, deadline=None)
@example('#"\\')
@given(st.lists(PIECES | st.text(max_size=5)).map("".join))
def test_no_text_does_more_than_refuse(text: str) -> None:
    problems: tuple[ConfigProblem, ...] = ()
    try:
        conf = parse(text, FILE)
        for name in conf.conns:
            conf.effective(name)
    except ConfigError as error:
        problems = error.problems
    assert all(1 <= problem.line <= text.count("\n") + 1 for problem in problems)
    assert all("\n" not in problem.text for problem in problems)
