"""Show IKE, keepalives, PIM and IGMP as they pass: on the wire, decrypted, and on the tunnels.

One line per packet: time, interface, direction, and text. ESP is counted, the feed is not captured. It needs root and
the configuration, but not the daemon. Ctrl-C ends it with a summary.

Examples: mcastd trace
          mcastd trace --tunnel gre1 --only keepalive --seconds 30
          mcastd trace --group 239.1.1.1
          mcastd trace --write gre1.pcapng
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

from mcastd import __version__
from mcastd.cli import add_config_argument, terminal
from mcastd.cli.layout import Style, Text
from mcastd.config.feed_names import FeedNames
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
    parser.add_argument("--write", metavar="FILE", type=Path, help="write a pcapng file for Wireshark, not lines")
    parser.add_argument("--tunnel", metavar="T", help="only this tunnel, and the peer that carries it")
    parser.add_argument("--group", metavar="G", type=_group, help="only what PIM and IGMP say of this group")
    parser.add_argument("--only", metavar="KIND,...", type=_kinds, default=KINDS, help=f"of {', '.join(KINDS)}")
    parser.add_argument("--seconds", metavar="N", type=_positive(float), help="end after N seconds")
    parser.add_argument("--count", metavar="N", type=_positive(int), help="end after N packets")
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Trace until a limit is reached or Ctrl-C; returns the exit code."""
    try:
        from mcastd.tools.trace import show  # loads scapy, which takes a second and may not be installed
    except ModuleNotFoundError as error:
        raise McastdError("trace needs scapy: pip install 'mcastd[trace]'") from error
    config = load(arguments.config).config
    feeds = FeedNames(config.feeds)
    try:
        scope = scope_of(config, arguments.tunnel, arguments.only, arguments.group)
    except KeyError:
        names = ", ".join(tunnel.name for tunnel in config.tunnels) or "none is defined"
        print(f"mcastd: there is no tunnel {arguments.tunnel}; allowed: {names}", file=sys.stderr)
        return _WRONG

    def printed(captured: Captured, meaning: "Meaning") -> None:
        style: Style = "bad" if meaning.broken else "dim" if captured.outgoing else "plain"
        terminal.show((Text(feeds.beside(show.line(captured, meaning)), style),))

    seen: Counter[str] = Counter()
    with ExitStack() as stack:
        capture = stack.enter_context(closing(Capture()))
        take = printed if arguments.write is None else _writing(arguments.write, stack)
        began = time.monotonic()
        print(f"tracing {', '.join(scope.kinds)}; Ctrl-C ends it", file=sys.stderr, flush=True)
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
    summary = f"{seconds:.1f} s: {', '.join(counts)}; ESP {received} in, {sent} out"
    return summary + (f"; {lost} lost, they came too fast" if lost else "")


def _group(text: str) -> IPv4Address:
    try:
        group = IPv4Address(text)
    except ValueError:
        group = None
    if group is None or not group.is_multicast:
        raise argparse.ArgumentTypeError(f"{text}; allowed: a multicast address, e.g. 239.1.1.1")
    return group


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(","))
    if set(kinds) - set(KINDS):
        raise argparse.ArgumentTypeError(f"{text}; allowed: {', '.join(KINDS)}, several separated by commas")
    return kinds


def _positive(number: Callable[[str], float]) -> Callable[[str], float]:
    """An argument type for a number that is larger than 0."""

    def parse(text: str) -> float:
        value = 0.0
        with suppress(ValueError):
            value = number(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text}; allowed: more than 0")
        return value

    return parse
