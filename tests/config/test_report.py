"""What is reported of keys, and what is not since a value is wrong by itself."""

from pathlib import Path

import pytest

from mcastd.config.line_numbers import KeyPath, LineNumbers
from mcastd.config.report import Report, dotted, shown


def report() -> Report:
    return Report(Path("/etc/x.toml"), LineNumbers({("peers",): 3, ("peers", "a", "local"): 5}))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("peers", "a b", "local"), 'peers."a b".local'),
        (("groups", 2, "sources", 0), "groups[2].sources[0]"),
    ],
)
def test_paths_as_they_are_written(path: KeyPath, text: str) -> None:
    assert dotted(path) == text


def test_values_on_one_line_and_not_too_long() -> None:
    assert shown("a\nb") == '"a\\nb"'
    assert shown(7) == "7"
    assert shown("x" * 100).endswith("...")
    assert len(shown("x" * 100)) == 63
    assert shown(1 << 4000) == "a number of 4001 bits"


def test_a_problem_has_its_file_line_and_key() -> None:
    found = report()
    found.wrong(("peers", "a", "local"), "it is an integer")
    assert [str(problem) for problem in found.problems] == ["/etc/x.toml:5: peers.a.local: it is an integer"]
    assert found.folder == Path("/etc")


@pytest.mark.parametrize(
    ("wrong", "involved"),
    [
        (("peers", "a", "local"), "local"),
        (("peers", "a"), "local"),  # the table that it is in
        (("peers", "a", "ca_certs", 1), "ca_certs"),  # an element of it
        (("peers", "a", "ca_certs"), ("peers", "a", "ca_certs", 0)),  # the array that it is in
    ],
)
def test_nothing_more_is_reported_of_what_is_wrong_by_itself(wrong: KeyPath, involved: str | KeyPath) -> None:
    found = report()
    found.wrong(wrong, "it is wrong")
    table = found.table("peers", "a")
    table.refuse("remote", "it is the same", involved)
    table.note("remote", "it is odd", involved)
    found.refuse(table["remote"], "it is the same", table[involved] if isinstance(involved, str) else involved)
    assert len(found.problems) == 1
    assert found.notes == []


def test_the_key_itself_is_involved() -> None:
    found = report()
    table = found.table("peers", "a")
    found.wrong(table["remote"], "it is wrong")
    table.refuse("remote", "it is the same", "local")
    assert len(found.problems) == 1


def test_what_is_not_wrong_is_reported_for_a_key_or_its_table() -> None:
    found = report()
    found.wrong(("peers", "b"), "it is wrong")
    table = found.table("peers", "a")
    table.refuse("local", "it is the same", "remote", ("peers", "c", "local"))
    table.refuse(("ca_certs", 1), "it is odd")
    table.note((), "it has no child")
    assert [problem.key for problem in found.problems] == ["peers.b", "peers.a.local", "peers.a.ca_certs[1]"]
    assert [(note.line, note.key) for note in found.notes] == [(3, "peers.a")]
    assert table.keys("local", "remote") == [("peers", "a", "local"), ("peers", "a", "remote")]
