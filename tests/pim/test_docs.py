"""``docs/pim.md`` names tests, by a letter for the file and a part of the name, and reasons: all of them exist."""

import re
from pathlib import Path

import pytest

from tests.cited import Page

FOLDER = Path(__file__).parent
PROJECT = FOLDER.parent.parent
PAGE = Page("pim.md", FOLDER)
TEXT = PAGE.text


def test_the_docs_name_tests() -> None:
    assert len(PAGE.named()) > 40
    assert {letter for letter, _ in PAGE.named()} <= PAGE.files.keys()


@pytest.mark.parametrize(("letter", "name"), PAGE.named())
def test_a_test_of_that_name_is_there(letter: str, name: str) -> None:
    assert PAGE.has(letter, name)


def test_every_reason_is_explained() -> None:
    package = PROJECT / "mcastd"
    code = "".join(path.read_text() for path in (*(package / "pim").glob("*.py"), package / "net" / "ipv4.py"))
    # Raised, counted, or in the table of messages that are not for a leaf.
    found = re.findall(r'DecodeError\("(\w+)"\)|dropped\["(\w+)"\]|\([\w.]+, "([a-z_]+)"\)[,)]', code)
    reasons = {reason for several in found for reason in several if reason}
    assert {"truncated", "too_many_joins", "dense_mode", "unexpected_type", "ip_version"} <= reasons
    assert len(reasons) > 40
    assert {reason for reason in reasons if f"`{reason}`" not in TEXT} == set()
