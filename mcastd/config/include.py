"""``include``: files with more ``[[groups]]`` and ``[[feeds]]``, such as the lists of exchanges.

Their tables come after those of the file that includes them; what is wrong in them is reported with their own lines.
They include no files themselves.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from glob import glob, has_magic
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from mcastd.config import value_types as values
from mcastd.config.line_numbers import KeyPath, scan
from mcastd.config.report import Place, Report
from mcastd.config.toml_errors import parse
from mcastd.config.value_types import toml_type
from mcastd.errors import ConfigError, ConfigProblem

MOST: Final = 100
"""Files."""
_ARRAYS: Final = ("groups", "feeds")
_PATH: Final = values.file_path()


def _pattern(value: object, report: Report, path: KeyPath) -> str:
    _PATH.parse(value, report, path)
    return str(value)


INCLUDE: Final = replace(values.several(replace(_PATH, parse=_pattern, stand_in="")), hint="")
"""The key."""


def files(patterns: Iterable[str], file: Path) -> Iterator[tuple[int, Path]]:
    """The files that are included by ``file``, each with the index of its pattern; those of a pattern that exist."""
    own, seen = os.path.realpath(file), set[str]()
    for index, pattern in enumerate(patterns):
        if not pattern:  # it was no path
            continue
        path, is_pattern = str(file.parent / pattern), has_magic(pattern)
        for name in sorted(glob(path)) if is_pattern else [path]:  # noqa: PTH207  # absolute patterns
            real = os.path.realpath(name)
            if real not in seen and not (is_pattern and real == own):  # "*.toml" matches the file itself as well
                seen.add(real)
                yield index, Path(name)


def merge(document: dict[str, Any], report: Report, read: Callable[[Path], str]) -> None:
    """Append the tables of the files that a document includes to its own, and remove the key.

    ``read`` returns the text of a file, or raises ConfigError.
    """
    if "include" not in document:
        return
    patterns = INCLUDE.read(document.pop("include"), report, ("include",), ())
    found = list(files(patterns, report.file))
    used = {index for index, _ in found}
    for index, pattern in enumerate(patterns):
        if has_magic(pattern) and index not in used:
            report.note(("include", index), "no file matches it")
    for number, (index, file) in enumerate(found):
        where: KeyPath = ("include", index)
        if number == MOST:
            report.wrong(where, f"with it there are more than {MOST} files; allowed: at most that")
            break
        try:
            text = _text(file, report.file, read)
        except ConfigError as error:
            report.wrong(where, str(error))
            continue
        try:
            tables, lines = parse(file, text), scan(text)
        except ConfigError as error:
            report.problems += error.problems
            continue
        for name, value in tables.items():
            _append(document, name, value, Place(file, lines, (name,)), report)


def _append(document: dict[str, Any], name: str, value: object, place: Place, report: Report) -> None:
    """Append what one key of an included file has."""
    if name not in _ARRAYS:
        wrong = "an included file includes no others" if name == "include" else "it cannot be in an included file"
        report.wrong_at(place, f"{wrong}; allowed: [[groups]] and [[feeds]]")
    elif not isinstance(value, list):
        report.wrong_at(place, f"it is {toml_type(value)}; allowed: an array of tables, [[{name}]]")
    elif isinstance(tables := document.setdefault(name, []), list):
        here = (Place(place.file, place.lines, (name, index)) for index in range(len(value)))
        report.moved(name, dict(enumerate(here, len(tables))))
        tables += value


def _text(file: Path, by: Path, read: Callable[[Path], str]) -> str:
    """The text of a file that is included by another one."""
    wrong = ""
    if os.path.realpath(file) == os.path.realpath(by):
        wrong = "it is this file itself; allowed: other files"
    else:
        with suppress(OSError):
            mode = file.stat().st_mode
            wrong = "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "it is no regular file; allowed: a file of text"
    if wrong:
        raise ConfigError((ConfigProblem(str(file), 1, "", wrong),))
    return read(file)
