"""What docs/stability.md promises is still there."""

import pytest

from mcastd.cli import EXIT_CODES
from tests.stability.surface import HERE, REPORTS, difference, stored, surface

PAGE = (HERE.parents[1] / "docs" / "stability.md").read_text()


@pytest.fixture(scope="module")
def now() -> dict[str, list[str]]:
    return surface()


def test_nothing_that_was_promised_is_gone_or_changed(now: dict[str, list[str]]) -> None:
    gone, _ = difference(stored(), now)
    assert gone == [], "keep it, or see docs/stability.md for what a change needs; then ./dev docs --removed"


def test_what_was_added_is_promised(now: dict[str, list[str]]) -> None:
    _, added = difference(stored(), now)
    assert added == [], "run ./dev docs, and commit what it adds to tests/stability/*.txt"


def test_each_line_is_there_once_and_says_something(now: dict[str, list[str]]) -> None:
    for name, lines in now.items():
        assert len(lines) > 20, name
        assert [line for line in lines if lines.count(line) > 1] == []
        assert all(line.strip() for line in lines)


def test_a_line_that_is_gone_or_changed_is_noticed() -> None:
    old, new = {"json": ["a: string", "b: string"]}, {"json": ["b: integer", "c: string"]}
    gone, added = difference(old, new)
    assert gone == ["json: a: string", "json: b: string"]
    assert added == ["json: b: integer", "json: c: string"]


def test_the_page_names_every_report_and_exit_code() -> None:
    for name in REPORTS:
        assert f"`mcastd {name}" in PAGE
    for code, meaning in EXIT_CODES.items():
        assert f"| {code} | {meaning} |" in PAGE
