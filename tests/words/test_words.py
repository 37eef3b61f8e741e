import pytest

from tests.words.__main__ import HERE, findings, lines, words

REFUSED = words(lines(HERE / "words.txt"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nSomebody else's change", 2),
        ("def test_it_holds_nobody_up() -> None:", 1),
        ("# what the former\n    # life left", 1),
        ("it lasts for\never", 1),
        ("class Greeting:", 1),
        ("what is wanted", 1),
    ],
)
def test_a_word_is_found_with_its_line(text: str, line: int) -> None:
    assert {found for found, _ in findings(text, REFUSED)} == {line}


@pytest.mark.parametrize(
    "text",
    [
        "lifetime = 4h, the replay window has no room, amended, forever young",
        "file.tell() > limit, B tell_us_at_once, untold",
        "SOMEBODYELSE, olives, houses",
    ],
)
def test_other_words_are_not(text: str) -> None:
    assert list(findings(text, REFUSED)) == []


def test_it_says_what_to_write_instead() -> None:
    assert list(findings("mended", REFUSED)) == [(1, "mended: write fix, repair, correct")]
