"""Write a mcastd.toml out of an ipsec.conf, with its ipsec.secrets, or of a swanctl.conf.

What cannot be carried over is named on standard error, with file and line, and in comments of the result. A pre-shared
key is written with -o only, into a file of its own beside the result, which nobody else can read; never to standard
output.

Examples: mcastd import /etc/ipsec.conf /etc/ipsec.secrets -o /etc/mcastd.toml
          mcastd import /etc/swanctl/swanctl.conf | less

exit code: 0 done; 1 something has to be filled in or changed before `mcastd check` is content, or a file could not be
written; 2 a file could not be read or understood
"""

import argparse
import sys
from pathlib import Path
from typing import Final

from mcastd.cli.output import PUBLIC, SECRET, write_new
from mcastd.config.load import loads
from mcastd.errors import ConfigError
from mcastd.tools.importer.draft import Notes, PeerDraft
from mcastd.tools.importer.files import drafts
from mcastd.tools.importer.write import toml

_INCOMPLETE: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the files, and what to do with the result."""
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help="ipsec.conf, ipsec.secrets or swanctl.conf")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write it there; it must not exist yet")
    parser.add_argument("--local", choices=("left", "right"), help="which side of an ipsec.conf is ours")


def run(arguments: argparse.Namespace) -> int:
    """Read, convert, write; the exit code."""
    notes = Notes()
    peers = drafts(arguments.files, notes, arguments.local)
    text = toml(peers, notes.problems)
    if arguments.output is None:
        print(text, end="")
    else:
        _write(arguments.output, text, peers)
    for problem in notes.problems:
        print(f"note: {problem}", file=sys.stderr)
    for peer in peers:
        _say_about_key(peer, written=arguments.output is not None)
    if not all(peer.complete for peer in peers):
        print("mcastd: some of it has to be filled in: the lines that begin with #?", file=sys.stderr)
        return _INCOMPLETE
    return _check(text, arguments.output or Path("mcastd.toml"))


def _check(text: str, path: Path) -> int:
    """What `mcastd check` would say of the result, the key aside."""
    try:
        loads(text, path, check_files=False)
    except ConfigError as error:
        print(f"mcastd: what the source says does not go together here:\n{error}", file=sys.stderr)
        return _INCOMPLETE
    return 0


def _say_about_key(peer: PeerDraft, *, written: bool) -> None:
    if "psk_file" in peer.keys and (peer.psk is None or not written):
        found = "is not written to standard output" if peer.psk is not None else "was not found"
        print(f"note: the pre-shared key of {peer.name} {found}: put it into {peer.keys['psk_file']}", file=sys.stderr)


def _write(path: Path, text: str, peers: list[PeerDraft]) -> None:
    """The keys, then the file."""
    keys = {path.parent / str(peer.keys["psk_file"]): peer.psk for peer in peers if peer.psk is not None}
    secret = {file: (key + b"\n", SECRET) for file, key in keys.items()}
    write_new({**secret, path: (text.encode(), PUBLIC)})
