"""Send a burst through this host's kernel, and show what each stage loses: which receive buffer carries it?

A sender and a reader run in network namespaces of their own, with GRE between them by the kernel or, where it has none,
by mcastd's own code, and with the kernel's ESP. The burst is received with several receive buffers, by an application
that reads at once, and by one that stalls at the first packet. Nothing of the host is changed, and nothing is left
behind; the kernel may load modules (veth, ip_gre, esp4). It takes CPU time from what the host does meanwhile.

It needs root. The exit code is 0 if the chosen receive buffer (without --receive-buffer, the default one) lost nothing,
and 1 if it lost something or the sender did not reach the pace.

Examples: mcastd bench
          mcastd bench --packets 20000 --size 500 --within 200 --receive-buffer 8M
"""

import argparse
import os
import sys
from ipaddress import IPv4Address
from math import inf

import msgspec

from mcastd.cli import terminal
from mcastd.cli.bench_lines import blocks
from mcastd.errors import HostError
from mcastd.system import losses
from mcastd.tools.bench import plan, report
from mcastd.tools.bench.plan import LARGEST, SMALLEST, Buffer, Burst
from mcastd.tools.bench.report import BenchReport, Run
from mcastd.tools.bench.scene import Scene, limit

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_LARGEST_BUFFER = (1 << 30) - 1  # bytes: the kernel doubles it
_MOST = 1_000_000
_LIMITS = "cloud/"
_AGAIN = 2  # times that a run is repeated in which the sender, on a busy host, did not reach the pace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("--packets", metavar="N", type=_whole(1, _MOST), default=7000, help="packets of a burst (default: 7000)")
    add("--size", metavar="BYTES", type=_whole(SMALLEST, LARGEST), default=250, help="of UDP payload (default: 250)")
    add("--within", metavar="MS", type=_milliseconds, default=0.1, help="how long a burst takes (default: 100)")
    add(
        "--bursts", metavar="N", type=_whole(1, _MOST), default=3, help="how many, for each receive buffer (default: 3)"
    )
    add("--pause", metavar="MS", type=_milliseconds, default=0.2, help="between two bursts (default: 200)")
    add("--stall", metavar="MS", type=_or_zero, default=0.02, help="of a slow reader; 0: no such reader (default: 20)")
    add("--receive-buffer", metavar="BYTES", type=_bytes, help="a size that is measured too, 4194304 or 4M (SO_RCVBUF)")
    add("--group", metavar="GROUP", type=_group, default="239.1.1.1", help="in the namespaces (default: 239.1.1.1)")
    add("--port", metavar="PORT", type=_whole(1, 65535), default=5000, help="in the namespaces (default: 5000)")
    add("--datapath", choices=("kernel", "userspace"), help="who does GRE (default: the kernel, if it can)")
    add("--json", action="store_true", help="print one JSON object with stable keys")


def run(arguments: argparse.Namespace) -> int:
    """Measure; returns the exit code."""
    if os.geteuid() != 0:
        raise HostError("mcastd bench makes network namespaces, for which it must be root: sudo mcastd bench")
    names = ("group", "port", "packets", "size", "within", "bursts", "pause")
    burst = Burst(**{name: getattr(arguments, name) for name in names})
    default, allowed = limit("rmem_default"), limit("rmem_max")
    readers = (0.0, arguments.stall) if arguments.stall else (0.0,)
    chosen = arguments.receive_buffer
    todo = [(buffer, stall) for buffer in plan.buffers(default, allowed, chosen) for stall in readers]
    with Scene(arguments.datapath) as scene:
        runs = tuple(_run(scene, burst, *one, f"{number} of {len(todo)}") for number, one in enumerate(todo, 1))
    found = BenchReport(
        burst=burst,
        cpus=len(scene.cpus),
        datapath=scene.datapath,
        esp=scene.without_esp is None,
        rmem_default=default,
        rmem_max=allowed,
        chosen=chosen,
        lost=report.has_lost(runs, chosen),
        advice=tuple(report.advice(burst, runs, allowed)),
        not_measured=report.not_measured(scene.without_rps, scene.without_esp),
        runs=runs,
        cloud_limits={
            name.removeprefix(_LIMITS): count for name, count in losses.losses().items() if name.startswith(_LIMITS)
        },
    )
    if arguments.json:
        print(msgspec.json.encode(found).decode())
    else:
        terminal.show(blocks(found))
    return 1 if found.lost else 0


def _run(scene: Scene, burst: Burst, buffer: Buffer, stall: float, progress: str) -> Run:
    if sys.stderr.isatty():
        print(f"\r{progress} ...\x1b[K", end="", file=sys.stderr, flush=True)
    try:
        found = scene.run(burst, buffer, stall)
        for _ in range(_AGAIN):
            if found.pace_reached:
                break
            found = scene.run(burst, buffer, stall)
        return found
    finally:
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


class _whole:  # noqa: N801 - argparse shows the name of a type in its errors
    """A whole number in a range."""

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most

    def __call__(self, text: str) -> int:
        if not text.isascii() or not text.isdigit() or not self._least <= int(text) <= self._most:
            raise argparse.ArgumentTypeError(f"{text}; allowed: {self._least} to {self._most}")
        return int(text)


def _milliseconds(text: str) -> float:
    found = _or_zero(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text}; allowed: more than 0 milliseconds")
    return found


def _or_zero(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < inf:
        raise argparse.ArgumentTypeError(f"{text}; allowed: a number of milliseconds")
    return found / 1e3


def _bytes(text: str) -> int:
    digits, factor = (text[:-1], _UNITS[text[-1]]) if text[-1:] in _UNITS else (text, 1)
    if not digits.isascii() or not digits.isdigit() or not 0 < int(digits) * factor <= _LARGEST_BUFFER:
        raise argparse.ArgumentTypeError(f"{text}; allowed: bytes, or with K or M, 1 to {_LARGEST_BUFFER}")
    return int(digits) * factor


def _group(text: str) -> str:
    try:
        is_group = IPv4Address(text).is_multicast
    except ValueError:
        is_group = False
    if not is_group:
        raise argparse.ArgumentTypeError(f"{text}; allowed: an IPv4 multicast group")
    return text
