"""``docs/igmp.md`` names tests, by a letter for the file and a part of the name, and reasons: all of them exist."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
PROJECT = FOLDER.parent.parent
TEXT = (PROJECT / "docs" / "igmp.md").read_text()
FILES = {
    letter: re.findall(r"`(test_\w+\.py)`", files)
    for letter, files in re.findall(r"\b([A-Z]) ((?:`test_\w+\.py`(?: and )?)+)", TEXT)
}


def named() -> list[tuple[str, str]]:
    """Every letter with a name behind it, in the rows of tables."""
    found = []
    for line in TEXT.splitlines():
        letter = None
        for word in re.finditer(r"(?<![\w'])([A-Z])(?= `)|`(\w+)`", line if line.startswith("|") else ""):
            if word[1] is not None:
                letter = word[1]
            elif letter is not None:
                found.append((letter, word[2]))
    return found


def test_the_docs_name_tests() -> None:
    assert len(named()) > 40
    assert {letter for letter, _ in named()} <= FILES.keys()


@pytest.mark.parametrize(("letter", "name"), named())
def test_a_test_of_that_name_is_there(letter: str, name: str) -> None:
    files = [folder / file for folder in (FOLDER, FOLDER.parent / "net") for file in FILES[letter]]
    text = "".join(path.read_text() for path in files if path.exists())
    assert re.search(rf"def test_\w*{name}", text)


def test_every_reason_is_explained() -> None:
    package = PROJECT / "mcastd"
    modules = (*(package / "igmp").glob("*.py"), package / "net" / "igmp.py", package / "net" / "ipv4.py")
    code = "".join(path.read_text() for path in modules)
    # Raised, counted, or beyond a limit.
    found = re.findall(r'DecodeError\("(\w+)"\)|(?:dropped|errors)\["(\w+)"\]|_refuse\("(\w+)"', code)
    reasons = {reason for several in found for reason in several if reason}
    assert {"truncated", "too_many_groups", "any_source_in_ssm_range", "flood", "ip_version"} <= reasons
    assert {reason for reason in reasons if f"`{reason}`" not in TEXT} == set()
