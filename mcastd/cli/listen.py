"""Join a group as an application does, and show what one gets: rate, gaps, duplicates, jitter, senders, first bytes.

It opens a UDP socket, needs neither root nor the daemon, and prints a line a second and a summary at the end, also
after Ctrl-C. The exit code is 1 if something was lost, or nothing has arrived. Without a port, that of the feed in the
configuration is taken, or of the only stream that mcastd knows. Without an interface, the only tunnel of the
configuration, else where the routes lead.

Examples: mcastd listen 239.1.1.1:5000 --seconds 30
          mcastd listen 239.1.1.1:5000 --pair 239.2.1.1 --sequence moldudp64
          mcastd listen 232.1.1.1:5000 --source 100.15.30.10 --interface gre1 --sequence '{ offset = 0, size = 4 }'
"""

import argparse
import shutil
import sys
import time
import tomllib
from collections.abc import Sequence
from contextlib import closing, suppress
from ipaddress import IPv4Address
from math import inf
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from mcastd import control
from mcastd.cli import listen_lines, terminal
from mcastd.cli.client import add_socket_arguments, socket_of
from mcastd.config import feed_formats
from mcastd.config.line_numbers import scan
from mcastd.config.load import load
from mcastd.config.model import Config
from mcastd.config.report import Report
from mcastd.config.value_types import GROUP_PORT, GroupPort, ValueType, WrongValueError
from mcastd.errors import ControlError, McastdError
from mcastd.stream_status import StreamCount, StreamsReport
from mcastd.tools.listen import known
from mcastd.tools.listen.listener import Listener, Side
from mcastd.tools.listen.receive import Receiver
from mcastd.tools.listen.report import HeardSide, ListenReport

_WRONG = 2


class _WrongUsageError(Exception):
    """What is wrong, in words."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("group", metavar="GROUP[:PORT]", type=_group, help="a multicast group and its UDP port")
    parser.add_argument("--source", metavar="S", type=IPv4Address, help="only from one source, (S,G)")
    parser.add_argument("--pair", metavar="GROUP2[:PORT]", type=_group, help="compare with side B of the same feed")
    parser.add_argument(
        "--sequence",
        metavar="FORMAT",
        type=_sequence,
        help=f"{', '.join(feed_formats.FORMATS)}, or a table as in [[feeds]] (default: that of the feed)",
    )
    parser.add_argument("--interface", metavar="IF", help="the interface to join on (default: the only tunnel)")
    parser.add_argument("--seconds", metavar="N", type=_seconds, help="end after N seconds")
    parser.add_argument("--json", action="store_true", help="print one JSON object with stable keys, at the end")
    add_socket_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Listen until the time is over or Ctrl-C; returns the exit code."""
    config = _config(arguments.config)
    before = _Arrived(arguments)
    try:
        sides = _sides(arguments, config, before)
    except _WrongUsageError as wrong:
        print(f"mcastd: {wrong}", file=sys.stderr)
        return _WRONG
    report = _listen(arguments, sides, before)
    if arguments.json:
        print(msgspec.json.encode(report).decode(), flush=True)
    else:
        terminal.show(listen_lines.summary(report))
    return 1 if report.lost else 0


class _Arrived:
    """What the daemon has counted by now, if one answers."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._path = socket_of(arguments)
        self.problem: str | None = None  # why none does
        groups = {one.group for one in (arguments.group, arguments.pair) if one is not None}
        self.streams = {str(group): self._ask(group) for group in groups}

    def _ask(self, group: IPv4Address) -> tuple[StreamCount, ...]:
        if self.problem is not None:
            return ()
        try:
            answer = control.ask(self._path, "streams", {"group": str(group)})
            report = control.decode(answer, StreamsReport)
        except (ControlError, msgspec.DecodeError) as error:
            self.problem = str(error)
            return ()
        self.problem = report.problem
        return report.streams


def _config(path: Path) -> Config | None:
    """None where it cannot be used: without it one can listen, too."""
    with suppress(McastdError):
        return load(path, check_files=False).config
    return None


def _sides(arguments: argparse.Namespace, config: Config | None, before: _Arrived) -> tuple[Side, ...]:
    feeds = () if config is None else config.feeds
    a: GroupPort = arguments.group
    places = [GroupPort(a.group, a.port or _port(a.group, arguments, config, before))]
    if arguments.pair is not None:
        b: GroupPort = arguments.pair
        own = known.ports(feeds, b.group)
        places.append(GroupPort(b.group, b.port or (own[0] if len(own) == 1 else places[0].port)))
    sequences = (known.sequence(feeds, one.group, one.port or 0) for one in places)
    sequence = arguments.sequence or next(filter(None, sequences), None)
    if arguments.pair is not None and sequence is None:
        raise _WrongUsageError("a pair is compared by its sequence numbers: give --sequence")
    interface = arguments.interface
    if interface is None and config is not None and len(config.tunnels) == 1:
        interface = config.tunnels[0].name
    source = None if arguments.source is None else str(arguments.source)
    return tuple(
        Side(str(one.group), one.port or 0, interface, source, known.name(feeds, one.group, one.port or 0), sequence)
        for one in places
    )


def _port(group: IPv4Address, arguments: argparse.Namespace, config: Config | None, before: _Arrived) -> int:
    """The one that is known. Raises _WrongUsageError."""
    found = known.ports(() if config is None else config.feeds, group)
    found = found or sorted({one.port for one in before.streams[str(group)]})
    if len(found) == 1:
        return found[0]
    if found:
        why = f"known are {', '.join(map(str, found))}"
    else:
        file = "cannot be read or is wrong" if config is None else "has no feed with a port for it"
        seen = "mcastd has counted no stream of it" if before.problem is None else before.problem
        why = f"{arguments.config} {file}; {seen}"
    raise _WrongUsageError(f"a UDP socket receives one port: give it, {group}:PORT; {why}")


def _listen(arguments: argparse.Namespace, sides: Sequence[Side], before: _Arrived) -> ListenReport:
    listener = Listener(sides)
    with closing(Receiver(sides)) as receiver:
        began = time.monotonic()
        end = began + (arguments.seconds or inf)

        def report() -> ListenReport:
            return listener.report(time.monotonic() - began, time.time(), receiver.buffers())

        lines = None if arguments.json else _Live(report())
        with suppress(KeyboardInterrupt):
            tick = began
            while tick < end:
                tick = min(tick + 1.0, end)
                for side, packet in receiver.packets(tick):
                    listener.packet(side, packet)
                if lines is not None:
                    lines.show(report())
        if lines is not None:
            lines.end()
        found = report()
        after = _Arrived(arguments) if before.problem is None else before
    beside = zip(sides, found.sides, strict=True)
    return replace(found, sides=tuple(_beside(side, heard, before, after) for side, heard in beside))


def _beside(side: Side, heard: HeardSide, before: _Arrived, after: _Arrived) -> HeardSide:
    """With what the daemon counted meanwhile."""
    streams = after.streams[side.group]
    ports = tuple(sorted({one.port for one in streams} - {side.port}))
    return replace(heard, arrived=known.arrived(side, before.streams[side.group], streams), other_ports=ports)


class _Live:
    """A line each second; a terminal has one that is painted again."""

    def __init__(self, first: ListenReport) -> None:
        self._last = first
        self._is_terminal = sys.stdout.isatty()

    def show(self, report: ListenReport) -> None:
        line = listen_lines.live(self._last, report)
        self._last = report
        if self._is_terminal:
            print(f"\r{line[: shutil.get_terminal_size().columns - 1]}\x1b[K", end="", flush=True)
        else:
            print(line, flush=True)

    def end(self) -> None:
        if self._is_terminal:
            print("\r\x1b[K", end="")


def _group(text: str) -> GroupPort:
    found: GroupPort = _parsed(GROUP_PORT, text)
    return found


def _sequence(text: str) -> feed_formats.Sequence:
    try:
        value = tomllib.loads(f"value = {text}")["value"] if text.startswith("{") else text
    except tomllib.TOMLDecodeError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    found: feed_formats.Sequence = _parsed(feed_formats.SEQUENCE, value)
    return found


def _parsed(kind: ValueType, value: object) -> Any:
    """A value as the file has it."""
    try:
        return kind.parse(value, Report(Path(), scan("")), ())
    except WrongValueError as wrong:
        raise argparse.ArgumentTypeError(f"{wrong}; allowed: {kind.allowed}") from None


def _seconds(text: str) -> float:
    found = float(text)
    if not 0 < found < inf:
        raise argparse.ArgumentTypeError(f"{text}; allowed: more than 0")
    return found
