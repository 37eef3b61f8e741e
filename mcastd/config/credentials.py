"""What a peer authenticates with, read from the files that it names."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mcastd.config.certificates import certificate, private_key
from mcastd.config.key_files import KeyFile, KeyFileError
from mcastd.config.line_numbers import KeyPath
from mcastd.config.model import Peer
from mcastd.config.pre_shared_key import pre_shared_key
from mcastd.config.report import Report, dotted
from mcastd.errors import ConfigError, ConfigProblem


@dataclass(frozen=True)
class Certificates:
    """Our certificate and key, and what the other side's certificate is verified with; all in DER."""

    local: bytes
    key: bytes = field(repr=False)
    authorities: tuple[bytes, ...] = ()
    remote: bytes | None = None


def check(peer: Peer, report: Report) -> None:
    """Report the files of a peer that cannot be used, and notes on the others."""
    for key, _, found in _read(peer):
        where = ("peers", peer.name, *key)
        if isinstance(found, KeyFileError):
            report.refuse(where, str(found))
        elif found.note is not None:
            report.note(where, found.note)


def read_psk(peer: Peer) -> bytes | None:
    """The pre-shared key of a peer; None if it has certificates. Raises ConfigError if it cannot be used."""
    return _contents(peer)["psk_file"][0] if peer.psk_file is not None else None


def read_certificates(peer: Peer) -> Certificates | None:
    """The certificates of a peer; None if it has a pre-shared key. Raises ConfigError if one cannot be used."""
    if peer.local_cert is None or peer.local_key is None:
        return None
    found = _contents(peer)
    return Certificates(
        local=found["local_cert"][0],
        key=found["local_key"][0],
        authorities=tuple(found["ca_certs"]),
        remote=next(iter(found["remote_cert"]), None),
    )


def _read(peer: Peer) -> Iterator[tuple[KeyPath, Path, KeyFile | KeyFileError]]:
    """What is in each file of a peer, or why it cannot be used, by its key."""
    files: list[tuple[KeyPath, Path | None, Callable[[Path], KeyFile]]] = [
        (("psk_file",), peer.psk_file, partial(pre_shared_key, encoding=peer.psk_encoding)),
        (("local_cert",), peer.local_cert, certificate),
        (("local_key",), peer.local_key, private_key),
        (("remote_cert",), peer.remote_cert, certificate),
        *((("ca_certs", index), path, certificate) for index, path in enumerate(peer.ca_certs)),
    ]
    for key, path, read in files:
        if path is not None:
            try:
                yield key, path, read(path)
            except KeyFileError as error:
                yield key, path, error


def _contents(peer: Peer) -> dict[str, list[bytes]]:
    contents: dict[str, list[bytes]] = defaultdict(list)
    problems = []
    for key, path, found in _read(peer):
        if isinstance(found, KeyFile):
            contents[str(key[0])].append(found.content)
        else:
            problems.append(ConfigProblem(str(path), 1, dotted(("peers", peer.name, *key)), str(found)))
    if problems:
        raise ConfigError(tuple(problems))
    return contents
