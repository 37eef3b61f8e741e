"""The key ``sequence`` of a feed: known formats, described ones, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from mcastd.config.feed_formats import FORMATS, SEQUENCE, Field, Sequence
from mcastd.config.line_numbers import LineNumbers
from mcastd.config.report import Report


def read(value: object) -> tuple[Any, list[str]]:
    report = Report(Path("mcastd.toml"), LineNumbers({}))
    found = SEQUENCE.read(value, report, ("feeds", 0, "sequence"), None)
    return found, [problem.text for problem in report.problems]


@pytest.mark.parametrize("name", FORMATS)
def test_known_formats_have_names(name: str) -> None:
    assert read(name) == (FORMATS[name], [])


def test_a_format_may_be_described() -> None:
    assert read({"offset": 6, "size": 4}) == (Sequence(Field(6, 4)), [])
    assert read({"offset": 6, "size": 8, "order": "big", "count": 1}) == (Sequence(Field(6, 8, True)), [])
    counted = {"offset": 0, "size": 4, "count": {"offset": 9, "size": 1}}
    assert read(counted) == (Sequence(Field(0, 4), Field(9, 1)), [])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("fix", '"fix" is not a known format'),
        (5, "it is an integer"),
        ({}, "offset is not an integer from 0 to 1024"),
        ({"offset": 0}, "size is not an integer from 1 to 8"),
        ({"offset": 0, "size": 9}, "size is not an integer from 1 to 8"),
        ({"offset": True, "size": 4}, "offset is not"),
        ({"offset": 0, "size": 4, "order": "network"}, 'order "network" is not that'),
        ({"offset": 0, "size": 4, "order": []}, "order"),
        ({"offset": 0, "size": 4, "count": 2}, "count is neither a table nor 1"),
        ({"offset": 0, "size": 4, "count": {"offset": 0}}, "size is not"),
        ({"offset": 0, "size": 4, "count": {"offset": 0, "size": 1, "order": "big"}}, 'there is no key "order"'),
        ({"offset": 0, "size": 4, "units": 1}, 'there is no key "units"'),
    ],
)
def test_what_is_wrong_is_named(value: object, text: str) -> None:
    found, problems = read(value)
    assert found is None
    (problem,) = problems
    assert text in problem
    assert 'allowed: "cme-mdp3"' in problem
