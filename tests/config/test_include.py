"""Files with [[groups]] and [[feeds]] of their own: as if they were in the file, each error where it is."""

import os
from pathlib import Path

import pytest

from mcastd.config import include
from mcastd.config.load import Loaded, load
from mcastd.errors import ConfigError

TEXT = (Path(__file__).parents[2] / "etc" / "mcastd.toml").read_text()
BEFORE = TEXT.partition("\n[[groups]]")[0] + "\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def group(address: str, more: str = "") -> str:
    return f'[[groups]]\ngroup = "{address}"\n{more}\n'


def feed(name: str, address: str) -> str:
    return f'[[feeds]]\nname = "{name}"\ngroups = ["{address}"]\n'


def loaded(value: str, text: str = "", **files: str) -> Loaded:
    """The configuration with ``include = VALUE`` and with these files, ``a__b`` for ``a/b.toml``."""
    for name, content in files.items():
        path = Path(f"{name.replace('__', '/')}.toml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    Path("main.toml").write_text(f"include = {value}\n{BEFORE}{text}")
    return load(Path("main.toml"), check_files=False)


def groups(value: str, text: str = "", **files: str) -> list[str]:
    return [str(one.group) for one in loaded(value, text, **files).config.groups]


def complaints(value: str, text: str = "", **files: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(value, text, **files)
    return str(caught.value).splitlines()


def test_tables_of_other_files_come_after_those_of_the_file_itself() -> None:
    found = loaded(
        '["b.toml", "lists/*.toml"]', group("239.1.1.1") + feed("own", "239.1.1.1"),
        b=feed("b", "239.1.2.1") + group("239.1.2.1"), lists__y=group("239.1.4.0/31"), lists__x=group("239.1.3.1"),
    ).config  # fmt: skip
    assert [str(one.group) for one in found.groups] == ["239.1.1.1", "239.1.2.1", "239.1.3.1", "239.1.4.0", "239.1.4.1"]
    assert [one.label for one in found.feeds] == ["own", "b"]
    assert {one.tunnel for one in found.groups} == {"gre1"}


def test_the_file_itself_may_have_none() -> None:
    assert groups('"b.toml"', b=group("239.1.2.1")) == ["239.1.2.1"]
    assert groups("[]") == []


def test_paths_are_relative_to_the_file_that_includes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded('["lists/b.toml"]', lists__b=group("239.1.2.1"))
    monkeypatch.chdir("/")
    (one,) = load(tmp_path / "main.toml", check_files=False).config.groups
    assert str(one.group) == "239.1.2.1"


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    text = group("239.1.2.1")
    assert groups(f'["b.toml", "*.toml", "./b.toml", "{tmp_path}/b.toml"]', b=text) == ["239.1.2.1"]


def test_the_same_values_are_the_same_configuration_whatever_file_they_are_in() -> None:
    assert loaded('["b.toml"]', b=group("239.1.2.1")).config == loaded("[]", group("239.1.2.1")).config


def test_each_reading_reads_them_again() -> None:
    assert groups('["b.toml"]', b=group("239.1.2.1")) == ["239.1.2.1"]
    Path("b.toml").write_text(group("239.1.2.2"))
    assert str(load(Path("main.toml"), check_files=False).config.groups[0].group) == "239.1.2.2"


def test_an_error_is_where_the_table_is() -> None:
    wrong = group("239.1.2.0/30") + "\n" + group("239.1.2.9", 'sources = ["x"]')
    (found,) = complaints('["b.toml"]', group("239.1.1.1"), b=wrong)
    assert found.startswith('b.toml:7: groups[1].sources[0]: "x" is not an IPv4 address; allowed: ')
    (found,) = complaints('["b.toml"]', group("239.1.1.1"), b="[[groups]]")
    assert found.startswith("b.toml:1: groups[0].group: it is missing from [groups[0]]; allowed: a multicast group")
    (found,) = complaints('["b.toml"]', group("239.1.1.1"), b=feed("b", "239.1.2.1") + "\nport = 0\n")
    assert found.startswith("b.toml:5: feeds[0].port: 0 is out of range; allowed: ")


def test_rules_hold_across_files() -> None:
    twice = group("239.1.1.1") + feed("own", "239.1.1.1")
    first, second, third = complaints('["b.toml"]', twice, b=group("239.1.1.0/30") + feed("own", "239.1.1.1"))
    line = f"\n{BEFORE}".count("\n") + 2
    assert first.startswith(f"b.toml:2: groups[0].group: 239.1.1.1 from every source is joined at main.toml:{line} alr")
    assert second.startswith("b.toml:5: feeds[0].name: own is the name of the feed at main.toml:")
    assert third.startswith("b.toml:6: feeds[0].groups[0]: 239.1.1.1/32 with this port is in the feed at main.toml:")
    (found,) = complaints('["b.toml", "c.toml"]', b=group("239.1.1.1"), c=group("239.1.1.1"))
    assert "is joined at b.toml:2 already" in found
    (found,) = complaints('["b.toml"]', b=group("239.1.1.1") + group("239.1.1.1"))
    assert "is joined at line 2 already" in found


def test_what_else_cannot_be_in_them() -> None:
    found = complaints('["b.toml"]', b='include = ["c.toml"]\n[daemon]\n[groups]\n')
    assert found == [
        "b.toml:1: include: an included file includes no others; allowed: [[groups]] and [[feeds]]",
        "b.toml:2: daemon: it cannot be in an included file; allowed: [[groups]] and [[feeds]]",
        "b.toml:3: groups: it is a table; allowed: an array of tables, [[groups]]",
    ]


def test_what_is_wrong_in_several_files_is_reported_together() -> None:
    first, second, third = complaints('["gone.toml", "b.toml", "c.toml"]', b="x = 1\ny = ", c=group("10.1.1.1"))
    assert first.startswith("main.toml:1: include[0]: gone.toml:1: it cannot be read: No such file or directory")
    assert second.startswith("b.toml:2: ")
    assert third.startswith("c.toml:2: groups[0].group: 10.1.1.1 is not a multicast group")


def test_files_that_cannot_be_included(tmp_path: Path) -> None:
    def said(value: str) -> str:
        (found,) = complaints(value)
        assert found.startswith("main.toml:1: include[0]: ")
        return found.removeprefix("main.toml:1: include[0]: ")

    assert said('"main.toml"') == "main.toml:1: it is this file itself; allowed: other files"
    assert said(f'"{tmp_path}"').startswith(f"{tmp_path}:1: it cannot be read: Is a directory")
    os.mkfifo("pipe")
    assert said('"pipe"') == "pipe:1: it is no regular file; allowed: a file of text"
    Path("loop").symlink_to("loop")
    assert said('"loop"').startswith("loop:1: it cannot be read: Too many levels of symbolic links")
    Path("binary").write_bytes(b"x\n\xff")
    assert said('"binary"').startswith("binary:2: byte 0xff is not UTF-8")
    assert said("[3]") == "it is an integer; allowed: a path of at most 4095 bytes"
    assert said('["\\u0000"]').endswith("is not that; allowed: a path of at most 4095 bytes")


def test_it_belongs_above_the_first_table() -> None:
    Path("main.toml").write_text(f'{BEFORE}{group("239.1.1.1")}include = ["b.toml"]\n')
    with pytest.raises(
        ConfigError, match=r"groups\[0\].include: there is no such key; include is a key of the file it"
    ):
        load(Path("main.toml"), check_files=False)


def test_a_pattern_may_match_nothing_with_a_note() -> None:
    found = loaded('["lists/*.toml"]', group("239.1.1.1"))
    assert [str(note) for note in found.notes][:1] == ["main.toml:1: include[0]: no file matches it"]


def test_there_are_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(include, "MOST", 2)
    lists = {f"lists__{name}": group(f"239.1.1.{number}") for number, name in enumerate("abc")}
    assert complaints('"lists/*.toml"', **lists) == [
        "main.toml:1: include[0]: with it there are more than 2 files; allowed: at most that"
    ]
