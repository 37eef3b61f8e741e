"""Reads the files to import and recognises their formats."""

import re
from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path
from typing import Final

from mcastd.config import strongswan_conf
from mcastd.config.strongswan_conf import LARGEST, Value
from mcastd.errors import ConfigError
from mcastd.tools.importer import conns, ipsecconf, secrets, swanctl
from mcastd.tools.importer.conns import Side
from mcastd.tools.importer.draft import Notes, PeerDraft, refused
from mcastd.tools.importer.ipsecconf import IpsecConf
from mcastd.tools.importer.secrets import Secrets

_MOST: Final = 1000  # files that a file includes, also through others
_SWANCTL: Final = re.compile(r"^[ \t]*(?:connections|secrets|authorities|pools)\b[^=\n]*\{", re.MULTILINE)
_IPSEC_CONF: Final = re.compile(r"^(?:conn|config|ca)[ \t]+\S+", re.MULTILINE)
_IPSEC_SECRETS: Final = re.compile(r"^[^#\n]*(?:^|[ \t]):[ \t]+[A-Za-z0-9]+[ \t]", re.MULTILINE)


def drafts(paths: Sequence[Path], notes: Notes, local: Side | None = None) -> list[PeerDraft]:
    """The peers of all files. Raises ConfigError for a file in no known format, and if there is no connection."""
    conf, keys, found = IpsecConf(), Secrets(), []
    for path in paths:
        text = _read(path)
        if _SWANCTL.search(text):
            found += swanctl.drafts(strongswan_conf.parse(text, path, _Included(notes)), notes)
        elif _IPSEC_CONF.search(text):
            conf = conf.merged(ipsecconf.parse(text, path, _Included(notes)))
        elif _IPSEC_SECRETS.search(text) or path.name.endswith(".secrets"):
            keys = keys.merged(secrets.parse(text, notes, path, _Included(notes)))
        else:
            raise refused(Value("", path, 1), "not recognised; allowed: an ipsec.conf, ipsec.secrets or swanctl.conf")
    found += conns.drafts(conf, keys, notes, local, taken=[peer.name for peer in found])
    if not found:
        raise refused(Value("", paths[0], 1), "no connection; allowed: an ipsec.conf or swanctl.conf with at least one")
    return found


class _Included:
    """Returns the files for an ``include`` pattern; one that cannot be read is noted, since charon ignores it."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._left = _MOST  # files that may still be read

    def __call__(self, pattern: str, file: Path) -> Iterator[tuple[Path, str]]:
        for name in sorted(glob(str(file.parent / pattern))):  # noqa: PTH207  # absolute patterns, as glob(3)
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
    return content.decode(errors="replace")
