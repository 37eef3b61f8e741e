"""``docs/igmp.md`` names tests, by a letter for the file and a part of the name, and reasons: all of them exist."""

import re
from pathlib import Path

import pytest

from tests.cited import Page

FOLDER = Path(__file__).parent
PROJECT = FOLDER.parent.parent
PAGE = Page("igmp.md", FOLDER, FOLDER.parent / "net")
TEXT = PAGE.text


def test_the_docs_name_tests() -> None:
    assert len(PAGE.named()) > 40
    assert {letter for letter, _ in PAGE.named()} <= PAGE.files.keys()


@pytest.mark.parametrize(("letter", "name"), PAGE.named())
def test_a_test_of_that_name_is_there(letter: str, name: str) -> None:
    assert PAGE.has(letter, name)


def test_every_reason_is_explained() -> None:
    package = PROJECT / "mcastd"
    modules = (*(package / "igmp").glob("*.py"), package / "net" / "igmp.py", package / "net" / "ipv4.py")
    code = "".join(path.read_text() for path in modules)
    # Raised, counted, or beyond a limit.
    found = re.findall(r'DecodeError\("(\w+)"\)|(?:dropped|errors)\["(\w+)"\]|_refuse\("(\w+)"', code)
    reasons = {reason for several in found for reason in several if reason}
    assert {"truncated", "too_many_groups", "any_source_in_ssm_range", "flood", "ip_version"} <= reasons
    assert {reason for reason in reasons if f"`{reason}`" not in TEXT} == set()
