"""Write a mcastd.toml from an ipsec.conf with its ipsec.secrets, or from a swanctl.conf; or the feeds of an exchange.

What is not imported, and what was chosen of several, is listed on standard error, with file and line, and in comments
of the result. Included files are read too; all files are one configuration. A pre-shared key is written with -o only,
into a separate file beside the result that only its owner can read; never to standard output.

Examples: mcastd import /etc/ipsec.conf /etc/ipsec.secrets -o /etc/mcastd.toml
          mcastd import /etc/swanctl/swanctl.conf | less
          mcastd import --feeds config.xml -o /etc/mcastd/cme.toml

exit code: 0 done; 1 the result has to be completed or changed before it is valid, or a file could not be written;
2 a file could not be read or parsed
"""

import argparse
import sys
from pathlib import Path
from typing import Final

from mcastd.cli import import_feeds
from mcastd.cli.output import PUBLIC, SECRET, write_new
from mcastd.config.checks.host import Host
from mcastd.config.load import loads
from mcastd.errors import ConfigError
from mcastd.system import own_networks
from mcastd.tools.importer.draft import Notes, PeerDraft
from mcastd.tools.importer.files import drafts
from mcastd.tools.importer.write import toml

_INCOMPLETE: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the files, where to write the result, and which side is ours."""
    parser.add_argument("files", metavar="FILE", nargs="*", type=Path, help="ipsec.conf, ipsec.secrets or swanctl.conf")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="the file to write, which must not exist yet")
    parser.add_argument("--local", choices=("left", "right"), help="which side of an ipsec.conf is ours")
    import_feeds.add_arguments(parser)
    parser.set_defaults(wrong_usage=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Read, convert and write; returns the exit code."""
    if (arguments.feeds is None) == (not arguments.files):
        arguments.wrong_usage("give FILE ..., or --feeds FILE")
    if arguments.feeds is not None:
        return import_feeds.run(arguments)
    notes = Notes()
    host = own_networks.read()
    peers = drafts(arguments.files, notes, arguments.local, host)
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
        print("mcastd: the result is incomplete: complete the lines that begin with #?", file=sys.stderr)
        return _INCOMPLETE
    return _check(text, arguments.output or Path("mcastd.toml"), host)


def _check(text: str, path: Path, host: Host) -> int:
    """Validate the result like `mcastd check`, without the key file."""
    try:
        loads(text, path, check_files=False, host=host)
    except ConfigError as error:
        print(f"mcastd: the result is not valid:\n{error}", file=sys.stderr)
        return _INCOMPLETE
    return 0


def _say_about_key(peer: PeerDraft, *, written: bool) -> None:
    if isinstance(peer.keys.get("psk_file"), str) and (peer.psk is None or not written):
        found = "is not written to standard output" if peer.psk is not None else "was not found"
        print(f"note: the pre-shared key of {peer.name} {found}: write it to {peer.keys['psk_file']}", file=sys.stderr)


def _write(path: Path, text: str, peers: list[PeerDraft]) -> None:
    """Write the pre-shared keys, then the result."""
    keys = {path.parent / str(peer.keys["psk_file"]): peer.written_key for peer in peers if peer.psk is not None}
    secret = {file: (key + b"\n", SECRET) for file, key in keys.items()}
    write_new({**secret, path: (text.encode(), PUBLIC)})
