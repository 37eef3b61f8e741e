"""A text as TOML, or why it is none: where, which key, what is probably meant, and what is allowed."""

import re
import tomllib
from pathlib import Path
from typing import Any, Final

from mcastd.config.line_numbers import KeyPath, last_key, scan
from mcastd.config.report import dotted, shown
from mcastd.errors import ConfigError, ConfigProblem

_AT: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)")
_DECLARED: Final = re.compile(
    r"Cannot (?:declare|mutate immutable namespace|redefine namespace) \((.*?),?\)(?: twice)?"
)
_QUOTED: Final = re.compile(r"""['"](.*?)['"](?:, |$)""")
_AGAIN: Final = re.compile(r"Cannot overwrite a value|Duplicate inline table key")
_HEADER: Final = re.compile(r"\s*\[")
_PAIR: Final = re.compile(r"\s*[^=#]*=\s*([^\[{\s].*?)\s*(?:#.*)?")
_TEXT: Final = re.compile(r"[^\W\d_]|[./:-]")
_WORD: Final = re.compile(r"[^\s,\[\]{}#=]+")
_TRUTHS: Final = {"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false"}
_CURLY: Final = "“”„‟‘’‚‛«»"
_PLAIN: Final = dict.fromkeys(map(ord, _CURLY))
_SECRET: Final = re.compile("psk|secret|passw", re.IGNORECASE)
_ALLOWED: Final = '[TABLE] or KEY = VALUE in a line, strings in quotes: lifetime = "4h"'
_HEADERS: Final = '[TABLE] or [[TABLE]], names with more than letters, digits, "_" and "-" in quotes: [peers."a b"]'


def parse(path: Path, text: str) -> dict[str, Any]:
    """The tables of a text that is or will be in the file ``path``. Raises ConfigError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError((_problem(str(path), text, str(error)),)) from None
    except RecursionError:
        reason = "not a usable file: tables or arrays are nested too deep; allowed: [TABLE] and KEY = VALUE"
    except ValueError:
        reason = "not a usable file: a number in it is too long; allowed: numbers of at most 4300 digits"
    raise ConfigError((ConfigProblem(str(path), 1, "", reason),))


def _problem(path: str, text: str, reason: str) -> ConfigProblem:
    """What tomllib's message is about."""
    lines, at = text.split("\n"), _AT.search(reason)
    if at is not None and at[1] is not None:
        row, column = int(at[1]), int(at[2])
        reason = f"{reason[: at.start()]}, column {column}"
        before = "\n".join([*lines[: row - 1], lines[row - 1][: column - 1]])
        is_header = _HEADER.match(lines[row - 1]) is not None and "=" not in lines[row - 1]
        key = () if is_header else last_key(before.rstrip(" \t"))
    else:  # something has no end: what began last
        before, key, is_header, column = text, last_key(text, is_unfinished=True), False, 0
        row = scan(text).line(key) if key and not _AGAIN.match(reason) else len(lines)
        reason = f"{reason[: at.start()]}, at the end of the file" if at else reason
    earlier = "\n".join(lines[: row - 1])
    if match := _DECLARED.search(reason):
        return _again(path, row, earlier, tuple(re.findall(_QUOTED, match[1])))
    if _AGAIN.match(reason):
        return _again(path, row, *((earlier, _named(lines[row - 1])) if is_header else (before, key)))
    if column and key and (said := _without_quotes(lines[row - 1], column, str(key[-1]))):
        return ConfigProblem(path, row, dotted(key), said)
    allowed = _HEADERS if is_header else _ALLOWED
    return ConfigProblem(path, row, dotted(key), f"not valid TOML: {reason}; allowed: {allowed}")


def _named(header: str) -> KeyPath:
    """The key of a valid header."""
    key: KeyPath = ()
    table: Any = tomllib.loads(header)
    while table:
        ((name, found),) = table.items()
        key, table = (*key, name), found[0] if isinstance(found, list) else found
    return key


def _again(path: str, row: int, text: str, key: KeyPath) -> ConfigProblem:
    """A key or a table that is there twice; the second time in a line of its own, or not."""
    first = scan(text).line(key)
    where = f", at line {first}" if first < row else ""
    said = f"not valid TOML: {dotted(key)} is there already{where}; allowed: each table and key once"
    return ConfigProblem(path, row, dotted(key), said)


def _without_quotes(line: str, column: int, key: str) -> str | None:
    """What is wrong with a value that is text, a word in an array as well; None if it is something else."""
    pair = _PAIR.fullmatch(line)
    if pair:
        value = pair[1]
    else:
        value = next((word[0] for word in _WORD.finditer(line) if word.start() < column <= word.end() + 1), "")
    said = shown(value)[1:-1]
    example = f"{key} = {shown(value)}" if pair else shown(value)
    if _SECRET.search(key):  # what was meant may be the secret itself
        said, example = "the value", f'{key} = "..."'
    if value[:1] and value[0] in _CURLY:
        return f"{said} has typographic quotes; allowed: plain ones, {example.translate(_PLAIN)}"
    if not _TEXT.search(value) or set(value) & set("\"'=[]{}"):
        return None
    if truth := _TRUTHS.get(value.lower()):
        return f"{said} is no value; allowed: {key} = {truth}, in small letters and without quotes"
    return f"{said} has no quotes; allowed: strings need quotes: {example}"
