"""Collect diagnostics for a support request into one archive: versions, configuration, status, doctor, logs, and the
state of the host.

It changes nothing and needs no running daemon; without root much is not available. Pre-shared keys, private keys and
session keys are not in it. contents.txt in the archive lists what is in it, and what is not available and why.

Example: sudo mcastd support -o /tmp/mcastd-support.tar.xz

exit code: 0 the archive is written; 1 it could not be written; 2 wrong usage
"""

import argparse
import os
import sys
import time
from pathlib import Path

from mcastd.cli.client import add_socket_arguments, socket_of
from mcastd.cli.output import SECRET, write_new
from mcastd.tools.support.collect import Item, archive, items, keys_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    text = "write it there; it must not exist yet (default: mcastd-support-HOST-TIME.tar.xz)"
    parser.add_argument("-o", "--output", metavar="FILE.tar.xz", type=Path, help=text)
    add_socket_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Collect and write."""
    collected = items(arguments.config, socket_of(arguments))
    line_end = "\x1b[K\r" if sys.stderr.isatty() else "\n"

    def progress(number: int, item: Item) -> None:
        print(f"{number}/{len(collected)} {item.source}", end=line_end, file=sys.stderr, flush=True)

    data, problems = archive(collected, keys_of(arguments.config), progress)
    path = arguments.output or Path(f"mcastd-support-{os.uname().nodename}-{time.strftime('%Y%m%d-%H%M%S')}.tar.xz")
    write_new({path: (data, SECRET)})
    print(f"{path}: {len(collected)} sources, {problems} of them missing or incomplete (see contents.txt in it)")
    return 0
