"""What programs and scripts of users depend on, one fact a line: docs/stability.md has the rules.

Each line is a promise by itself, so that nothing but adding lines is compatible: a key and its type, that it may be
left out, a field of the JSON, each value that a field may have. The files beside this one have what was promised so
far.
"""

import argparse
import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import Enum
from inspect import isclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, Struct, UnsetType
from msgspec.structs import fields

from mcastd import cli
from mcastd.config.schema import keys
from mcastd.group_status import GroupReport
from mcastd.lab.show import Summary
from mcastd.metrics.page import TABLES
from mcastd.problems import ProblemCode
from mcastd.status import Status
from mcastd.stream_status import StreamsReport
from mcastd.system.events import EVENTS
from mcastd.tools.bench.report import BenchReport
from mcastd.tools.doctor.finding import Cause
from mcastd.tools.doctor.walk import HOPS, Walk
from mcastd.tools.listen.report import ListenReport
from mcastd.tools.netcheck.report import NetcheckReport

HERE: Final = Path(__file__).parent
REPORTS: Final[dict[str, type[Struct]]] = {
    "status": Status,
    "status --group": GroupReport,
    "streams": StreamsReport,
    "listen": ListenReport,
    "bench": BenchReport,
    "doctor": Walk,
    "netcheck": NetcheckReport,
    "lab run": Summary,
}
"""What each command prints with ``--json``."""
_WORD: Final = re.compile(r'"[^"]*"|[0-9]+|true|false')
_NAMES: Final[dict[Any, str]] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    NoneType: "null",
    IPv4Address: "string",
    IPv4Interface: "string",
    IPv4Network: "string",
    Path: "string",
    datetime: "string",
    ProblemCode: "a code of problems.txt",
}


def surface() -> dict[str, list[str]]:
    """The lines of each file."""
    return {
        "command-line": sorted(_command_line()),
        "configuration": sorted(_configuration()),
        "json": sorted(line for name, report in REPORTS.items() for line in _report(name, report)),
        "metrics": sorted(_metrics()),
        "events": sorted(_events()),
        "problems": sorted(_codes()),
    }


def stored() -> dict[str, list[str]]:
    """The same as it was promised last."""
    return {name: path_of(name).read_text().splitlines() for name in surface() if path_of(name).exists()}


def path_of(name: str) -> Path:
    """The file that has the lines of this name."""
    return HERE / f"{name}.txt"


def difference(old: Mapping[str, Iterable[str]], new: Mapping[str, Iterable[str]]) -> tuple[list[str], list[str]]:
    """The lines that are gone, and those that were added, each with the name of its file."""
    before = {f"{name}: {line}" for name, lines in old.items() for line in lines}
    after = {f"{name}: {line}" for name, lines in new.items() for line in lines}
    return sorted(before - after), sorted(after - before)


def _command_line() -> Iterator[str]:
    yield from (f"exit code {code}: {meaning}" for code, meaning in cli.EXIT_CODES.items())
    actions = cli.command_line(cli.COMMANDS)._actions
    (commands,) = (one for one in actions if isinstance(one, argparse._SubParsersAction))
    for name, parser in commands.choices.items():
        if name != "lab":  # of it only the JSON is promised
            yield from _arguments(f"mcastd {name}", parser)


def _arguments(command: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    yield command
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        if action.option_strings:
            takes = "" if action.nargs == 0 else " VALUE"
            yield from (f"{command} {option}{takes}" for option in action.option_strings)
        else:
            yield f"{command} {action.dest.upper()}"


def _configuration() -> Iterator[str]:
    reference = _reference()
    tables = [("", reference.Config), *reference.sections()]
    for header, struct in tables:
        for key in keys(struct):
            if key.holds:
                continue
            yield from (f"{header} {key.name}: {kind}".lstrip() for kind in _kinds(key.values.name))
            if key.default is not NODEFAULT:
                default = key.implied or reference.default_of(key) or "none"
                yield f"{header} {key.name}, if it is left out: {default}".lstrip()
    yield from (header for header, _ in tables if header)


def _kinds(name: str) -> list[str]:
    """What a key may be: a type, or each of its words by itself."""
    words = re.split(r", | or ", name)
    return words if len(words) > 1 and all(_WORD.fullmatch(word) for word in words) else [name]


def _reference() -> ModuleType:
    """packaging/reference.py, which spells tables and defaults."""
    spec = importlib.util.spec_from_file_location("reference", HERE.parents[1] / "packaging" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _report(name: str, report: type[Struct]) -> Iterator[str]:
    for field, of in _fields(report, ""):
        yield f"{name} {field}: {of}"
    (schema,) = (one.default for one in fields(report) if one.name == "schema")
    yield f"{name} schema: {schema}"


def _fields(struct: type[Struct], path: str) -> Iterator[tuple[str, str]]:
    hints = get_type_hints(struct)
    for name, encoded in zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True):
        yield from _typed(f"{path}.{encoded}".lstrip("."), hints[name])


def _typed(path: str, of: Any) -> Iterator[tuple[str, str]]:
    """The field at ``path``, what is below it, and each word that it may be."""
    if (known := _NAMES.get(of)) is not None:
        yield path, known
        return
    origin, inner = get_origin(of), get_args(of)
    if origin is Annotated:
        yield from _typed(path, inner[0])
    elif origin in (Union, UnionType):
        for one in inner:
            if one is UnsetType:
                yield path, "may be absent"
            else:
                yield from _typed(path, one)
    elif origin is Literal:
        yield from ((path, f'"{word}"') for word in inner)
    elif origin in (tuple, list):
        yield path, "array"
        if inner[-1] is ... or origin is list:
            yield from _typed(f"{path}[]", inner[0])
        else:
            for index, one in enumerate(inner):
                yield from _typed(f"{path}[{index}]", one)
    elif origin in (dict, Mapping):
        yield path, "object"
        yield from _typed(f"{path}.*", inner[1])
    elif isclass(of) and issubclass(of, Struct):
        yield path, "object"
        yield from _fields(of, path)
    elif isclass(of) and issubclass(of, Enum):
        yield from ((path, f'"{one.value}"') for one in of)
    else:
        raise AssertionError(f"{path}: the JSON of {of} is not known here")


def _metrics() -> Iterator[str]:
    for table in TABLES:
        for family in table.families:
            yield f"{family.name}: {family.kind}"
            yield from (f"{family.name} label {label}" for label in (*table.labels, *family.labels))


def _events() -> Iterator[str]:
    for key, event in EVENTS.items():
        yield f"{key}"
        if event.message_id is not None:
            yield f"{key} MESSAGE_ID={event.message_id}"


def _codes() -> Iterator[str]:
    yield from (f"status {code}" for code in _words(ProblemCode))
    yield from (f"doctor {cause.name.lower()}" for declared in Cause.__subclasses__() for cause in declared)
    yield from (f"doctor, the hop {hop}" for hop in HOPS)


def _words(of: Any) -> Iterator[str]:
    for one in get_args(of):
        yield from (one,) if isinstance(one, str) else _words(one)
