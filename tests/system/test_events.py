"""The code, the table of events and the journal's catalog say the same."""

import ast
import functools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcastd.system.events import EVENTS
from mcastd.system.log import LEVELS

ROOT = Path(__file__).parents[2]
CATALOG = (ROOT / "packaging" / "catalog" / "mcastd.catalog").read_text()
# Functions that log the event that they are given as one of their arguments, at the level of the table.
OTHER_LOGGERS = {"say", "_log_entries", "_logging"}


def constants(expression: ast.expr) -> Iterator[str]:
    """The texts that an expression may be: one, or one of two; none where it is handed on."""
    match expression:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from (*constants(body), *constants(orelse))


def calls(source: str) -> Iterator[tuple[str, str]]:
    """What a module logs: the name of the function and the event."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), args=[first, *more]):
                if name in LEVELS:
                    yield from ((name, event) for event in constants(first))
                elif name in OTHER_LOGGERS:
                    yield from ((name, event) for argument in (first, *more) for event in constants(argument))


def logged() -> set[tuple[str, str]]:
    modules = [path for path in (ROOT / "mcastd").rglob("*.py") if "lab" not in path.parts]
    return {call for path in modules for call in calls(path.read_text())}


def test_the_search_finds_what_is_logged_in_every_way() -> None:
    source = """
log.info("a", x=1)
self._log.bind(peer="p").warning("b" if x else "c")
say = log.debug if x else log.warning
say("d")
_log_entries(log, "e", 1)
log.info(what)
print("f")
"""
    assert set(calls(source)) == {
        ("info", "a"), ("warning", "b"), ("warning", "c"), ("say", "d"), ("_log_entries", "e"),
    }  # fmt: skip


def test_the_table_has_every_event_at_its_level_and_no_other() -> None:
    found = logged()
    assert len(found) > 40
    assert {event for _, event in found} == EVENTS.keys()
    assert {(name, event) for name, event in found if name in LEVELS and name != EVENTS[event].level} == set()


def test_what_is_worth_a_warning_is_explained() -> None:
    plain = {event for event, found in EVENTS.items() if found.level != "info" and found.message_id is None}
    assert plain == set()


def entries() -> dict[str, str]:
    found = re.split(r"(?m)^-- ([0-9a-f]{32})\n", CATALOG)
    return dict(zip(found[1::2], found[2::2], strict=True))


def test_the_catalog_explains_exactly_the_identifiers_of_the_table() -> None:
    identifiers = [found.message_id for found in EVENTS.values() if found.message_id is not None]
    assert len(set(identifiers)) == len(identifiers)
    assert entries().keys() == set(identifiers)


@functools.cache
def keywords() -> set[str]:
    """The names of all arguments that are given by name, the fields of events among them."""
    return {
        keyword.arg
        for path in (ROOT / "mcastd").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg
    }


@pytest.mark.parametrize("entry", entries().values(), ids=lambda entry: entry.partition("\n")[0])
def test_an_entry_says_what_happened_and_names_only_fields_that_events_have(entry: str) -> None:
    head, _, body = entry.partition("\n\n")
    assert [line.partition(": ")[0] for line in head.splitlines()] == ["Subject", "Defined-By", "Documentation"]
    assert body.strip()
    assert set(re.findall(r"@(\w+)@", body)) <= {f"MCASTD_{name.upper()}" for name in keywords()}


def test_journalctl_takes_the_catalog(tmp_path: Path) -> None:
    folder = tmp_path / "usr" / "lib" / "systemd" / "catalog"
    folder.mkdir(parents=True)
    (folder / "mcastd.catalog").write_text(CATALOG)
    (tmp_path / "var" / "lib" / "systemd" / "catalog").mkdir(parents=True)
    subprocess.run(["journalctl", f"--root={tmp_path}", "--update-catalog"], check=True, capture_output=True)
    identifier = EVENTS["child_sa_down"].message_id or ""
    shown = subprocess.run(
        ["journalctl", f"--root={tmp_path}", "--dump-catalog", identifier], check=True, capture_output=True, text=True
    )
    assert "Subject: A CHILD_SA is down" in shown.stdout
