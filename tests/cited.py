"""The tests that a page of documentation names in its tables, by a letter for the file and a part of the name."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


class Page:
    """A page below ``docs``, and the folders in which its tests are."""

    def __init__(self, name: str, *folders: Path) -> None:
        self.text = (DOCS / name).read_text()
        self._folders = folders
        self.files = {
            letter: re.findall(r"`(test_\w+\.py)`", files)
            for letter, files in re.findall(r"\b([A-Z]) ((?:`test_\w+\.py`(?: and )?)+)", self.text)
        }

    def named(self) -> list[tuple[str, str]]:
        """Every letter with a name behind it, in the rows of tables."""
        found = []
        for line in self.text.splitlines():
            letter = None
            for word in re.finditer(r"(?<![\w'])([A-Z])(?= `)|`(\w+)`", line if line.startswith("|") else ""):
                if word[1] is not None:
                    letter = word[1]
                elif letter is not None:
                    found.append((letter, word[2]))
        return found

    def has(self, letter: str, name: str) -> bool:
        """Whether one of the letter's files has a test of that name."""
        paths = [folder / file for folder in self._folders for file in self.files[letter]]
        code = "".join(path.read_text() for path in paths if path.exists())
        return re.search(rf"def test_\w*{name}", code) is not None
