"""Show IKE, keepalives, PIM and IGMP as they pass: on the wire, in ESP's inside and on the tunnels.

One line a packet: time, interface, direction, and what it says. ESP is counted, the feed is left alone. It takes root
and the configuration, not the daemon. Ctrl-C ends it with a summary.

Examples: mcastd trace
          mcastd trace --tunnel gre1 --only keepalive --seconds 30
          mcastd trace --write gre1.pcapng
"""

import argparse
import sys
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mcastd import __version__
from mcastd.cli import add_config_argument
from mcastd.config.load import load
from mcastd.errors import HostError, McastdError
from mcastd.tools.trace.capture import Capture, Captured
from mcastd.tools.trace.pcapng import Writer
from mcastd.tools.trace.scope import KINDS, scope_of

if TYPE_CHECKING:
    from mcastd.tools.trace.decode import Meaning
    from mcastd.tools.trace.show import Take

_WRONG = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--write", metavar="FILE", type=Path, help="write a pcapng file, for Wireshark, and show nothing"
    )
    parser.add_argument("--tunnel", metavar="T", help="only this tunnel, and the peer that carries it")
    parser.add_argument("--only", metavar="KIND,...", type=_kinds, default=KINDS, help=f"of {', '.join(KINDS)}")
    parser.add_argument("--seconds", metavar="N", type=_seconds, help="end after N seconds")
    parser.add_argument("--count", metavar="N", type=_count, help="end after N packets")
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Trace until told to stop."""
    try:
        from mcastd.tools.trace import show  # scapy takes a second to load, and need not be there
    except ModuleNotFoundError as error:
        raise McastdError("trace needs scapy: pip install 'mcastd[trace]'") from error
    config = load(arguments.config).config
    try:
        scope = scope_of(config, arguments.tunnel, arguments.only)
    except KeyError:
        names = ", ".join(tunnel.name for tunnel in config.tunnels) or "none is defined"
        print(f"mcastd: there is no tunnel {arguments.tunnel}; allowed: {names}", file=sys.stderr)
        return _WRONG

    def say(captured: Captured, meaning: "Meaning") -> None:
        print(show.line(captured, meaning), flush=True)

    seen: Counter[str] = Counter()
    with ExitStack() as stack:
        capture = stack.enter_context(Capture())
        take = say if arguments.write is None else _writing(arguments.write, stack)
        began = time.monotonic()
        print(f"tracing {', '.join(arguments.only)}; Ctrl-C ends it", file=sys.stderr, flush=True)
        with suppress(KeyboardInterrupt):
            show.trace(capture.packets(arguments.seconds), scope, arguments.count, seen, take)
        print(_summary(seen, capture, time.monotonic() - began), file=sys.stderr, flush=True)
    return 0


def _writing(path: Path, stack: ExitStack) -> "Take":
    try:
        writer = Writer(stack.enter_context(path.open("wb")), f"mcastd {__version__}")
    except OSError as error:
        raise HostError(f"{path}: {error.strerror}") from error

    def write(captured: Captured, meaning: "Meaning") -> None:
        try:
            writer.packet(captured.interface, captured.time_ns, captured.outgoing, captured.data, meaning.text)
        except OSError as error:
            raise HostError(f"{path}: {error.strerror}") from error

    return write


def _summary(seen: Counter[str], capture: Capture, seconds: float) -> str:
    received, sent = capture.esp()
    lost = capture.lost()
    counts = [f"{seen[kind]} {kind}" for kind in KINDS] + ([f"{seen['broken']} broken"] if seen["broken"] else [])
    told = f"{seconds:.1f} s: {', '.join(counts)}; ESP {received} in, {sent} out"
    return told + (f"; {lost} lost, they came too fast" if lost else "")


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(","))
    if set(kinds) - set(KINDS):
        raise argparse.ArgumentTypeError(f"{text}; allowed: {', '.join(KINDS)}, several with commas between")
    return kinds


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}; allowed: more than 0")
    return seconds


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text}; allowed: at least 1")
    return count
