"""Reads what is to be imported, and tells what kind it is. The only part that touches the world."""

import re
from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path
from typing import Final

from mcastd.config import strongswan
from mcastd.config.strongswan import LARGEST, Value
from mcastd.errors import ConfigError, Problem
from mcastd.tools.importer import conns, ipsecconf, secrets, swanctl
from mcastd.tools.importer.conns import Side
from mcastd.tools.importer.draft import Notes, PeerDraft
from mcastd.tools.importer.ipsecconf import IpsecConf
from mcastd.tools.importer.secrets import Secrets

_SWANCTL: Final = re.compile(r"^[ \t]*(?:connections|secrets|authorities|pools)\b[^=\n]*\{", re.MULTILINE)
_IPSEC_CONF: Final = re.compile(r"^(?:conn|config|ca)[ \t]+\S+", re.MULTILINE)
_IPSEC_SECRETS: Final = re.compile(r"^[^#\n]*(?:^|[ \t]):[ \t]+[A-Za-z0-9]+[ \t]", re.MULTILINE)


def drafts(paths: Sequence[Path], notes: Notes, local: Side | None = None) -> list[PeerDraft]:
    """The peers of all files together. Raises ConfigError for a file that is none of the kinds, or that has none."""
    conf, keys, found = IpsecConf(), Secrets(), []
    for path in paths:
        text = _read(path)
        if _SWANCTL.search(text):
            found += swanctl.drafts(strongswan.parse(text, path, _Included(notes)), notes)
        elif _IPSEC_CONF.search(text):
            conf = conf.merged(ipsecconf.parse(text, path, _Included(notes)))
        elif _IPSEC_SECRETS.search(text) or path.name.endswith(".secrets"):
            keys = keys.merged(secrets.parse(text, notes, path, _Included(notes)))
        else:
            raise _refused(path, "it is not an ipsec.conf, an ipsec.secrets or a swanctl.conf; allowed: those three")
    found += conns.drafts(conf, keys, notes, local, taken=[peer.name for peer in found])
    if not found:
        raise _refused(paths[0], "there is no connection in it; allowed: an ipsec.conf or a swanctl.conf with one")
    return found


class _Included:
    """Gives the files that an ``include`` means; what cannot be read is noted, as charon leaves it out."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def __call__(self, pattern: str, file: Path) -> Iterator[tuple[Path, str]]:
        for name in sorted(glob(str(file.parent / pattern))):  # noqa: PTH207  # absolute patterns, as glob(3)
            try:
                yield Path(name), _read(Path(name))
            except ConfigError as error:
                self._notes.add(Value("", file, 1), "include", error.problems[0].text + f": {name}")


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise _refused(path, f"it cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise _refused(path, "it is no name of a file") from error
    if len(content) > LARGEST:
        raise _refused(path, f"it is too large; allowed: at most {LARGEST} bytes")
    return content.decode(errors="replace")


def _refused(path: Path, text: str) -> ConfigError:
    return ConfigError((Problem(str(path), 1, "", text),))
