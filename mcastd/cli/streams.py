"""Show what the kernel has counted of each stream that arrives: packets, bytes, rate, and the age of the last packet.

Examples: mcastd streams
          mcastd streams 239.1.1.1 --since 10m
          mcastd streams 239.1.1.1 --guess
          mcastd streams --json | jq '.streams[] | select(.state == "silent")'
"""

import argparse
import sys
from collections.abc import Iterator
from datetime import datetime
from functools import partial

import msgspec
from msgspec import UNSET

from mcastd import control
from mcastd.cli import stream_guess, stream_history, stream_losses, stream_measures, stream_pairs, stream_rows
from mcastd.cli.client import add_socket_arguments, multicast_group, socket_of
from mcastd.cli.layout import Block, Text
from mcastd.cli.units import duration
from mcastd.cli.watch import Answer, add_watch_arguments, watch
from mcastd.config.value_types import seconds
from mcastd.stream_status import SocketStatus, StreamCount, StreamsReport
from mcastd.system.processes import cgroup_path, of_sockets

_HISTORY = 600.0  # seconds for which it is known what a stream carried in each second
_TIMEOUT = 10.0  # seconds for the answer: tens of thousands of streams are read first


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("group", metavar="GROUP", type=multicast_group, nargs="?", help="only streams of this group")
    add_watch_arguments(parser)
    parser.add_argument(
        "--since",
        metavar="D",
        type=_duration,
        help="only what arrived within, e.g., 10m; up to 25h. Of GROUP also second by second, up to 10m",
    )
    parser.add_argument("--reset", action="store_true", help="begin to count again from 0, all streams")
    parser.add_argument("--guess", action="store_true", help="say where the packets of GROUP have a sequence number")
    parser.add_argument("--port", metavar="PORT", type=_port, help="for --guess: only packets to this UDP port")
    add_socket_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask the daemon and print what it has counted, or look at packets; returns the exit code."""
    if arguments.guess:
        if arguments.group is None:
            print("mcastd: --guess needs a group", file=sys.stderr)
            return 2
        return stream_guess.run(arguments.group, arguments.port)
    if arguments.port is not None:
        print("mcastd: --port is for --guess", file=sys.stderr)
        return 2
    path, is_one = socket_of(arguments), arguments.group is not None
    question = {"group": str(arguments.group or ""), "since": arguments.since, "reset": arguments.reset}
    is_drawn = is_one and arguments.since is not None
    if is_drawn:
        question["history"] = min(arguments.since, _HISTORY)
    elif arguments.watch and not arguments.json:
        question["history"] = stream_history.MINUTE

    def ask() -> Answer:
        report = control.decode(control.ask(path, "streams", question, _TIMEOUT), StreamsReport)
        question["reset"] = False
        is_well = report.problem is None
        if not arguments.json:
            return tuple(_blocks(report, is_one, is_drawn)), is_well
        report = msgspec.structs.replace(report, streams=tuple(sorted(report.streams, key=stream_rows.order)))
        return msgspec.json.encode(report).decode(), is_well

    return watch(arguments, ask)


def _blocks(report: StreamsReport, is_one: bool, is_drawn: bool) -> Iterator[Block]:
    if report.problem is not None:
        yield Text(f"streams are not counted: {report.problem}", "bad")
    if report.counting_since is None or report.period is None:
        return
    period = duration(report.period)
    yield Text(f"counted since {report.counting_since}; packets and bytes of the last {period}", "dim")
    if report.not_measured is not None:
        what = "gaps, bursts, sequence numbers, pairs"
        yield Text(f"not everything is measured ({what}): {report.not_measured}", "dim")
    if report.history_until is not None and report.not_recorded:
        yield Text(f"{report.not_recorded} streams are not recorded second by second: they are too many", "dim")
    if report.streams:
        yield stream_rows.summary(report.streams)
        yield stream_rows.table(report.streams, partial(_below, report, is_drawn) if is_one else no_lines)
    else:
        yield Text("nothing has arrived")
    yield from stream_pairs.lines(report.pairs, is_one)
    yield from stream_losses.lines(report)
    yield from map(Text, _sockets(report.sockets))


def no_lines(_one: StreamCount) -> tuple[Text, ...]:
    """Below a stream of all there is nothing."""
    return ()


def _below(report: StreamsReport, is_drawn: bool, one: StreamCount) -> Iterator[Text]:
    """What is known of a stream besides."""
    if is_drawn and report.history_until is not None and one.history is not UNSET:
        yield from stream_history.lines(one.history, datetime.fromisoformat(report.history_until))
    yield from (Text(line.lstrip(), indent=2) for line in stream_measures.lines(one))


def _sockets(sockets: tuple[SocketStatus, ...]) -> Iterator[str]:
    names = of_sockets([one.inode for one in sockets])
    if sockets:
        yield "sockets that are bound to these ports:"
    for one in sockets:
        processes = ", ".join(f"{name} ({pid})" for pid, name in names.get(one.inode, {}).items())
        who = processes or f"a process of uid {one.uid} (its name is for root)"
        cgroup = cgroup_path(one.cgroup)
        taken = f"{one.queued} of {one.receive_buffer} bytes taken, {one.dropped} dropped"
        yield f"  {one.address} port {one.port}: {who}{f', cgroup {cgroup}' if cgroup else ''}, {taken}"


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text}; allowed: 1 to 65535")
    return int(text)


def _duration(text: str) -> float:
    """Seconds: ``90``, ``90s``, ``10m``, ``2h``, ``1d``."""
    found = seconds(text if text[-1:].isalpha() else f"{text}s")
    if found is None or not 1.0 <= found <= 25 * 3600.0:
        raise argparse.ArgumentTypeError(f"{text}; allowed: 1s to 25h, e.g. 90s, 10m, 2h")
    return found
