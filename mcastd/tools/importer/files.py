"""Reads the files to import and recognises their formats. All of one format are one configuration."""

import re
from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path
from typing import Final, Literal

from mcastd.config import strongswan_conf
from mcastd.config.checks.host import Host
from mcastd.config.strongswan_conf import LARGEST, Include, Value
from mcastd.errors import ConfigError
from mcastd.tools.importer import conns, ipsecconf, libreswan, secrets, swanctl
from mcastd.tools.importer.conns import Side
from mcastd.tools.importer.draft import Notes, PeerDraft, refused

Format = Literal["swanctl.conf", "ipsec.conf", "ipsec.secrets"]
Source = tuple[Path, str]

_MOST: Final = 1000  # files that a file includes, also through others
_DEEPEST: Final = 10  # files that include one another, when only the format is looked for
_SIGNS: Final[dict[Format, re.Pattern[str]]] = {
    "swanctl.conf": re.compile(r"^[ \t]*(?:connections|secrets|authorities|pools)\b[^=\n]*\s*\{", re.MULTILINE),
    "ipsec.conf": re.compile(r"^(?:conn|config|ca)[ \t]+\S", re.MULTILINE),
    "ipsec.secrets": re.compile(r"^[^#\n]*:[ \t]*(?:PSK|RSA|ECDSA|PKCS8|XAUTH|EAP)[ \t]", re.MULTILINE | re.IGNORECASE),
}
_INCLUDE: Final = re.compile(r'^[ \t]*include[ \t]+"?([^\s"]+)', re.MULTILINE)


def drafts(paths: Sequence[Path], notes: Notes, local: Side | None = None, own: Host | None = None) -> list[PeerDraft]:
    """The peers of all files; ``own`` is what this host has.

    Raises ConfigError for a file in no known format, and if there is no connection.
    """
    given: dict[Format, list[Source]] = {name: [] for name in _SIGNS}
    for path in paths:
        source = path, _read(path)
        form = _format(source, _Included(Notes()), 0)
        if form is None:
            raise refused(Value("", path, 1), f"not recognised; allowed: {', '.join(_SIGNS)}")
        if form == "ipsec.conf" and "\r\n" in source[1]:
            notes.add(
                Value("", path, 1), "", "its lines end with CR LF, with which strongSwan refuses it: read without CR"
            )
        given[form].append(source)
    conf = ipsecconf.parse(*_together(given["ipsec.conf"], notes))
    foreign = libreswan.sign(conf)
    if foreign is not None:
        dialect = "in the dialect of libreswan or Openswan, which strongSwan does not read: converted"
        notes.add(foreign, foreign.text, dialect)
        libreswan.translate(conf, notes)
    text, path, include = _together(given["ipsec.secrets"], notes)
    keys = secrets.parse(text, notes, path, include, libreswan=foreign is not None)
    root = strongswan_conf.parse(*_together(given["swanctl.conf"], notes))
    keys = keys.after(swanctl.secrets(root, notes))
    found = swanctl.drafts(root, keys, notes)
    found += conns.drafts(conf, keys, notes, local, [peer.name for peer in found], own.addresses if own else ())
    if not found:
        error = refused(
            Value("", paths[0], 1), "no connection; allowed: an ipsec.conf or swanctl.conf with at least one"
        )
        raise ConfigError((*error.problems, *notes.problems))
    numbers = {
        number for peer in found for child in peer.children if isinstance(number := child.keys.get("if_id"), int)
    }
    towards_gateway = next((str(one.address) for one in own.networks if one.is_gateway), None) if own else None
    used: set[int] = set()
    for peer in found:
        for child in peer.name_interfaces(numbers, used):
            text = "it has an XFRM interface of its own, with another number than in the source: mcastd shares none"
            notes.add(Value("", paths[0], 1), child, text)
        if towards_gateway is not None:
            peer.suggest(towards_gateway)
    return found


def _format(source: Source, included: "_Included", depth: int) -> Format | None:
    """By what is in a file, else by what it includes, else by its name."""
    path, text = source
    if path.suffix == ".secrets":
        return "ipsec.secrets"
    found = next((form for form, sign in _SIGNS.items() if sign.search(text)), None)
    patterns = [match[1] for match in _INCLUDE.finditer(text)] if depth < _DEEPEST else []
    inner = (_format(one, included, depth + 1) for pattern in patterns for one in included(pattern, path))
    named: dict[str, Format] = {form: form for form in _SIGNS}
    return found or next((form for form in inner if form), None) or named.get(path.name)


def _together(sources: Sequence[Source], notes: Notes) -> tuple[str, Path, Include]:
    """A text that includes all the files, and what reads these and those that they include."""
    included, root = _Included(notes), Path()
    return "include *\n" if sources else "", root, lambda name, file: sources if file == root else included(name, file)


class _Included:
    """Returns the files for an ``include`` pattern; one that cannot be read is noted, since charon ignores it."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._left = _MOST  # files that may still be read

    def __call__(self, pattern: str, file: Path) -> Iterator[Source]:
        found = sorted(glob(str(file.parent / pattern)))  # noqa: PTH207  # absolute patterns, as glob(3)
        if not found:
            self._notes.add(Value("", file, 1), "include", f"no file is there: {file.parent / pattern}")
        for name in found:
            self._left -= 1
            if self._left < 0:
                raise refused(Value("", file, 1), "too many files include one another; does one include itself?")
            try:
                yield Path(name), _read(Path(name))
            except ConfigError as error:
                self._notes.add(Value("", file, 1), "include", error.problems[0].text + f": {name}")


def _read(path: Path) -> str:
    where = Value("", path, 1)
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise refused(where, f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise refused(where, "not a file name") from error
    if len(content) > LARGEST:
        raise refused(where, f"too large; allowed: at most {LARGEST} bytes")
    return content.decode(errors="surrogateescape")
