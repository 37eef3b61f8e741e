"""The tables of docs/configuration.md and the comments of etc/mcastd.toml, from the schema of the configuration.

The table of docs/monitoring.md as well, from the declarations of the metrics.

python packaging/reference.py     rewrites the files where they differ from it; `./dev docs` runs this
"""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from ipaddress import IPv4Network
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from msgspec import NODEFAULT, Struct  # noqa: E402

from mcastd.config.model import Config  # noqa: E402
from mcastd.config.schema import Key, keys  # noqa: E402
from mcastd.config.value_types import spell  # noqa: E402
from mcastd.metrics.page import TABLES  # noqa: E402

REFERENCE = ROOT / "docs" / "configuration.md"
EXAMPLE = ROOT / "etc" / "mcastd.toml"
MONITORING = ROOT / "docs" / "monitoring.md"
_HEADER = re.compile(r"(?:# )?\[\[?([^]]+)\]\]?")
_KEY = re.compile(r"(# )?(\w+) =(?: ([^#]*?))? *(?:#.*)?")
_COMMENT_COLUMN = 40


def help_of(key: Key) -> str:
    """The string below the declaration of a key."""
    (declaration,) = ast.parse(inspect.getsource(key.declared_in)).body
    assert isinstance(declaration, ast.ClassDef)
    for field, below in pairwise(declaration.body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.target.id == key.field:
            assert isinstance(below, ast.Expr), key.name
            assert isinstance(below.value, ast.Constant), key.name
            return str(below.value.value)
    raise AssertionError(key.name)


def default_of(key: Key) -> str | None:
    """The default of a key as the file would have it; None if there is none."""
    if key.default is NODEFAULT or key.holds:
        return None
    if key.default == () and ("not empty" in key.values.hint or key.values.name.startswith("array of two")):
        return None  # what is left out cannot be written as an empty array
    if key.default is None:
        return '"auto"' if key.values.name.endswith('or "auto"') else None
    if key.values.name.startswith("duration"):
        return f'"{spell(key.default)}"'
    return _toml(key.default[0] if key.values.name.endswith("or an array of them") else key.default)


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return f"{value:g}"
        case tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case str() | Path() | IPv4Network():
            return f'"{value}"'
    raise AssertionError(value)


def sections(struct: type[Struct] = Config, above: str = "") -> Iterator[tuple[str, type[Struct]]]:
    """Every table of the file by its header, as the reference writes it: ``[peers.NAME]``, ``[[groups]]``."""
    for key in keys(struct):
        if key.holds:
            name = above + key.name + (".NAME" if _has_names(key.holds) else "")
            yield f"[[{name}]]" if key.values.name.startswith("array") else f"[{name}]", key.holds
            yield from sections(key.holds, f"{name}.")


def _rows(struct: type[Struct]) -> Iterator[str]:
    yield "| key | kind | default | meaning |"
    yield "|---|---|---|---|"
    for key in keys(struct):
        default = default_of(key)
        shown = "required" if key.default is NODEFAULT else "none" if default is None else f"`{default}`"
        cells = (f"`{key.name}`", _code(key.values.name.partition(", [")[0]), key.implied or shown, _code(help_of(key)))
        yield f"| {' | '.join(cells)} |"


def _has_names(struct: type[Struct]) -> bool:
    return "name" in struct.__struct_fields__


def _code(text: str) -> str:
    return re.sub(r'("[^"]*")', r"`\1`", text).replace("*", r"\*")


def reference(markdown: str) -> str:
    """docs/configuration.md with the tables of the schema."""
    for header, struct in sections():
        before, heading, after = markdown.partition(f"\n## `{header}`\n")
        assert heading, f"docs/configuration.md has no section {header}"
        start, end = re.search(r"(?m)^\|", after), re.search(r"(?m)^\|.*\n(?!\|)", after)
        assert start, f"docs/configuration.md has no table in {header}"
        assert end, f"docs/configuration.md has no table in {header}"
        table = "".join(f"{row}\n" for row in _rows(struct))
        markdown = before + heading + after[: start.start()] + table + after[end.end() :]
    return markdown


def monitoring(markdown: str) -> str:
    """docs/monitoring.md with the table of all metrics, which is its last one."""
    before, head, _ = markdown.partition("| metric | kind | labels | meaning |\n")
    rows = (
        f"| `{family.name}` | {family.kind} | {', '.join((*table.labels, *family.labels))} | {family.help} |\n"
        for table in TABLES
        for family in table.families
    )
    return f"{before}{head}|---|---|---|---|\n{''.join(rows)}"


def example(toml: str) -> str:
    """etc/mcastd.toml with the defaults of the schema, where keys are commented out, and its help.

    A key has its help where it first occurs; comments on it elsewhere are left alone.
    """
    table: type[Struct] = Config
    described: set[tuple[type[Struct], str]] = set()
    lines = []
    for line in toml.splitlines():
        if header := _HEADER.match(line):
            table = _table_at(header[1].split("."))
        elif (match := _KEY.fullmatch(line)) and (key := next((k for k in keys(table) if k.name == match[2]), None)):
            value = (default_of(key) if match[1] else None) or match[3]
            left = f"{match[1] or ''}{key.name} =" + (f" {value}" if value else "")
            if (table, key.name) not in described:
                described.add((table, key.name))
                line = f"{left.ljust(_COMMENT_COLUMN - 2)}  # {help_of(key)}"
        lines.append(line)
    return "".join(f"{line}\n" for line in lines)


def keys_of_example(toml: str) -> set[tuple[type[Struct], str]]:
    """The keys that etc/mcastd.toml has, also commented out, by the struct of their table."""
    table: type[Struct] = Config
    found = set()
    for line in toml.splitlines():
        if header := _HEADER.match(line):
            table = _table_at(header[1].split("."))
        elif match := _KEY.fullmatch(line):
            found.add((table, match[2]))
    return found


def _table_at(path: list[str]) -> type[Struct]:
    struct: type[Struct] = Config
    while path:
        key = next(key for key in keys(struct) if key.name == path[0])
        assert key.holds
        struct, path = key.holds, path[2 if _has_names(key.holds) else 1 :]
    return struct


def main() -> None:
    """Rewrite the files."""
    for path, made in ((REFERENCE, reference), (EXAMPLE, example), (MONITORING, monitoring)):
        text = path.read_text()
        if (new := made(text)) != text:
            path.write_text(new)


if __name__ == "__main__":
    main()
