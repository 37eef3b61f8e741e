"""Finds words that stop a reader; words.txt has them, and what to write instead. ``./dev lint`` runs it."""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
HELD = ("README.md", "CHANGELOG.md", "dev", "docs", "etc", "mcastd", "packaging")


class Word(NamedTuple):
    expression: re.Pattern[str]
    instead: str


def lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def words(texts: Iterable[str]) -> list[Word]:
    found = []
    for text in texts:
        expression, instead = text.split(" => ")
        spaced = expression.replace(" ", r"[\s#]+")
        found.append(Word(re.compile(rf"(?<![^\W_])(?:{spaced})(?![^\W_])", re.IGNORECASE), instead))
    return found


def findings(text: str, refused: Iterable[Word]) -> Iterator[tuple[int, str]]:
    """The line numbers of refused words in a text, each with what to say about it."""
    for word in refused:
        for match in word.expression.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, f"{' '.join(match[0].split())}: write {word.instead}"


def files() -> Iterator[Path]:
    for held in (ROOT / name for name in HELD):
        found = [held] if held.is_file() else sorted(held.rglob("*"))
        yield from (path for path in found if path.is_file() and "__pycache__" not in path.parts)


def main() -> int:
    refused = words(lines(HERE / "words.txt"))
    found = 0
    for path in files():
        for line, text in sorted(findings(path.read_text(errors="replace"), refused)):
            sys.stdout.write(f"{path.relative_to(ROOT)}:{line}: {text}\n")
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
