"""Show what the kernel has counted of each stream that arrives: packets, bytes, rate, and the age of the last packet.

Examples: mcastd streams
          mcastd streams 239.1.1.1 --since 10m
          mcastd streams 239.1.1.1 --guess
          mcastd streams --json | jq '.streams[] | select(.state == "silent")'
"""

import argparse
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address

import msgspec

from mcastd import control
from mcastd.cli import stream_guess, stream_losses, stream_measures, stream_pairs
from mcastd.cli.client import add_socket_arguments, socket_of
from mcastd.cli.layout import Text
from mcastd.cli.units import duration
from mcastd.cli.watch import Answer, add_watch_arguments, watch
from mcastd.config.value_types import seconds
from mcastd.stream_status import SocketStatus, StreamCount, StreamsReport
from mcastd.system.processes import cgroup_path, of_sockets

_ROW = "{:<15} {:>5} {:<15} {:<10} {:>12} {:>15} {:>9} {:>8} {:>7} {:>7}"
_MEASURED = " {:>8} {:>8} {:>8}"
_TIMEOUT = 10.0  # seconds for the answer: tens of thousands of streams are read first


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("group", metavar="GROUP", type=IPv4Address, nargs="?", help="only the streams of this group")
    add_watch_arguments(parser)
    parser.add_argument("--since", metavar="D", type=_duration, help="only what arrived within, e.g., 10m; up to 25h")
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

    def ask() -> Answer:
        report = msgspec.json.decode(control.ask(path, "streams", question, _TIMEOUT), type=StreamsReport)
        report = msgspec.structs.replace(report, streams=tuple(sorted(report.streams, key=_order)))
        question["reset"] = False
        json = msgspec.json.encode(report).decode() if arguments.json else None
        return json or tuple(map(Text, _lines(report, is_one))), report.problem is None

    return watch(arguments, ask)


def _order(one: StreamCount) -> tuple[IPv4Address, int, IPv4Address, str]:
    return IPv4Address(one.group), one.port, IPv4Address(one.source), one.tunnel


def _lines(report: StreamsReport, is_one: bool) -> Iterator[str]:
    if report.problem is not None:
        yield f"streams are not counted: {report.problem}"
    if report.counting_since is None or report.period is None:
        return
    yield f"counted since {report.counting_since}; packets and bytes of the last {duration(report.period)}"
    if report.not_measured is not None:
        yield f"not everything is measured (gaps, bursts, sequence numbers, pairs): {report.not_measured}"
    is_measured = any(one.measured for one in report.streams)
    titles = "group", "port", "source", "tunnel", "packets", "bytes", "packets/s", "dropped", "last", "for"
    yield (_ROW.format(*titles) + (_MEASURED.format(*stream_measures.COLUMNS) if is_measured else "")).rstrip()
    for one in report.streams:
        rate = "" if one.rate is None else f"{one.rate:.1f}"
        age = "" if one.age is None else duration(one.age)
        counts = one.packets, one.bytes, rate, one.dropped, duration(one.last_age), age
        row = _ROW.format(one.group, one.port, one.source, one.tunnel, *counts)
        if is_measured:
            row += _MEASURED.format(*stream_measures.columns(one))
        marks = "silent" if one.state == "silent" else "", "" if one.wanted else "not wanted", one.feed
        yield "  ".join((row, *filter(None, marks))).rstrip()
        if is_one:
            yield from stream_measures.lines(one)
    if not report.streams:
        yield "nothing has arrived"
    yield from stream_pairs.lines(report.pairs, is_one)
    yield from stream_losses.lines(report)
    yield from _sockets(report.sockets)


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
    port = int(text)
    if not 1 <= port <= 65535:
        raise ValueError(text)
    return port


def _duration(text: str) -> float:
    """Seconds: ``90``, ``90s``, ``10m``, ``2h``, ``1d``."""
    found = seconds(text if text[-1:].isalpha() else f"{text}s")
    if found is None or not 1.0 <= found <= 25 * 3600.0:
        raise ValueError(text)
    return found
