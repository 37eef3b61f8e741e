"""Reads a file, with those that it includes, into a ``Config``, or refuses it with everything that is wrong."""

from codecs import BOM_UTF8
from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct

from mcastd.config import charon_settings, checks, credentials, group_ranges, implied, include
from mcastd.config.checks.host import Host
from mcastd.config.line_numbers import scan
from mcastd.config.model import Config
from mcastd.config.report import Report
from mcastd.config.schema import read_table
from mcastd.config.toml_errors import parse
from mcastd.errors import SHORTAGES, ConfigError, ConfigProblem, HostError

LARGEST: Final = 4 << 20
"""Bytes; 10,000 groups take a tenth of it."""

Rules = Callable[[Config, Report], None]
"""Rules about a whole file, which report what violates them."""

_UNKNOWN: Final = Host()


def _no_more(_config: Config, _report: Report) -> None:
    pass


class Loaded(Struct, frozen=True, kw_only=True):
    """A valid configuration, and notes on its file: what is not an error but may be a mistake."""

    config: Config
    notes: tuple[ConfigProblem, ...] = ()


def load(path: Path, *, check_files: bool = True, host: Host = _UNKNOWN, further: Rules = _no_more) -> Loaded:
    """Read and check a file. Raises ConfigError with every problem in it, by line; HostError if the host cannot.

    ``check_files`` also checks the files with keys and certificates that it names, and strongSwan's settings; ``host``
    is what its selectors are checked against; ``further`` are rules of the caller.
    """
    return loads(_read(path), path, check_files=check_files, host=host, further=further)


def loads(
    text: str, path: Path, *, check_files: bool = True, host: Host = _UNKNOWN, further: Rules = _no_more
) -> Loaded:
    """Like ``load``, for a text that is or will be in the file ``path``."""
    document = parse(path, text)
    report = Report(path, scan(text))
    include.merge(document, report, _read)
    group_ranges.expand(document, report)
    implied.complete(document, report)
    config = read_table(Config, document, report, ())
    checks.check(config, report)
    checks.host.check(config, host, report)
    if check_files:
        for note in charon_settings.notes(config):
            report.note(charon_settings.WHERE, note)
        for peer in config.peers:
            credentials.check(peer, report)
    further(config, report)
    if report.problems:
        raise ConfigError(_by_line(report.problems, path))
    return Loaded(config=config, notes=_by_line(report.notes, path))


def _by_line(found: list[ConfigProblem], path: Path) -> tuple[ConfigProblem, ...]:
    """Sorted, those of the file itself before those of the files that it includes."""
    return tuple(sorted(found, key=lambda one: (one.file != str(path), one.file, one.line)))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        if error.errno in SHORTAGES:
            raise HostError(f"{path}: {error.strerror}") from error
        raise _refused(path, 1, f"it cannot be read: {error.strerror}; allowed: a readable file") from error
    if len(content) > LARGEST:
        raise _refused(path, 1, f"it is too large; allowed: at most {LARGEST} bytes")
    if content.startswith(BOM_UTF8):
        raise _refused(path, 1, "it begins with a byte order mark; allowed: UTF-8 without one")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _refused(path, line, f"byte {content[error.start]:#04x} is not UTF-8; allowed: UTF-8 only") from None


def _refused(path: Path, line: int, text: str) -> ConfigError:
    return ConfigError((ConfigProblem(str(path), line, "", text),))
