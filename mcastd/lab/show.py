"""The output of ``mcastd lab run`` and ``lab up``: each step of the start with its time, live rates, a summary."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import IO, Any

import msgspec

from mcastd.errors import ControlError
from mcastd.lab import topology
from mcastd.lab.commands import STOPPING
from mcastd.lab.datacentre import DataCentre
from mcastd.lab.feed import StreamStats
from mcastd.lab.scene import Scene
from mcastd.status import Status

_POLL = 0.05
_START_TIMEOUT = 60.0  # seconds until the feed must have arrived


class Screen:
    """Permanent lines and one status line, which is overwritten on a terminal and printed each time elsewhere."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._live: Any = None

    def say(self, text: str) -> None:
        """Print a permanent line."""
        if self._live is not None:
            self._live.console.print(text, markup=False)
        else:
            print(text, file=self._file, flush=True)

    def change(self, text: str) -> None:
        """Print the status line."""
        if not self._file.isatty():
            self.say(text)
            return
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        if self._live is None:
            self._live = Live(console=Console(file=self._file), auto_refresh=False)
            self._live.start()
        self._live.update(Text(text), refresh=True)

    def close(self) -> None:
        """Keep the status line as it is."""
        if self._live is not None:
            self._live.stop()
            self._live = None


@dataclass(frozen=True)
class Step:
    """A step of the start that was reached ``at`` seconds after the daemon's exec."""

    name: str
    at: float
    detail: str


def steps(status: Status, now: float) -> Iterator[Step]:
    """The steps that a status shows as reached; ``now`` is in seconds after the daemon's exec."""
    for peer in status.peers:
        if peer.state == "up":
            nat = "behind NAT" if peer.nat_local else "no NAT"
            yield Step(f"IKE_SA {peer.name}", now - (peer.uptime or 0), f"{peer.remote}, {peer.proposal}, {nat}")
        for child in peer.children:
            if child.state == "up":
                detail = f"{child.local_ts} === {child.remote_ts}, {child.proposal}"
                yield Step(f"CHILD_SA {child.name}", now - (child.uptime or 0), detail)
    for tunnel in status.tunnels:
        if tunnel.state == "up":
            yield Step(f"tunnel {tunnel.name}", now, f"{tunnel.address}, MTU {tunnel.mtu}, {tunnel.datapath}")
        if tunnel.keepalive is not None and tunnel.keepalive.answered:
            yield Step("keepalive", now - (tunnel.keepalive.last_age or 0), "answered")
        for neighbor in tunnel.pim.neighbors if tunnel.pim else ():
            if not neighbor.static:
                yield Step(f"neighbour {neighbor.address}", now - neighbor.uptime, f"on {tunnel.name}")
    for group in status.groups:
        if group.state == "joined":
            entry = f"({group.source or '*'}, {group.group})"
            yield Step(f"join {entry}", now - (group.uptime or 0), f"towards {group.upstream}")


def packets(received: dict[str, StreamStats], exec_time: float) -> Iterator[Step]:
    """A step for each group of which packets have arrived."""
    for name, stream in received.items():
        if stream.first is not None:
            yield Step(f"packets {name}", stream.first - exec_time, "at the application")


def _start(scene: Scene, screen: Screen) -> bool:
    """Print the steps as they are reached; returns whether packets arrive."""
    seen: set[str] = set()
    deadline = scene.exec_time + _START_TIMEOUT
    settled = None
    while settled is None or time.monotonic() < settled:
        now = time.monotonic() - scene.exec_time
        reached = list(packets(scene.feed.received(), scene.exec_time))
        try:
            reached += steps(scene.status(), now)
        except ControlError:
            if not scene.daemon.alive:
                return False
        for step in sorted(reached, key=lambda step: step.at):
            if step.name not in seen:
                seen.add(step.name)
                screen.say(f"{step.at:8.3f} s  {step.name:<28} {step.detail}")
        arrived = all(f"packets {group}" in seen for group in scene.options.groups)
        if settled is None and arrived:
            # All other steps have been reached, except for a keepalive that is not due yet.
            settled = time.monotonic() + scene.options.keepalive_period + 2 * _POLL
        if arrived and "keepalive" in seen:
            return True
        if time.monotonic() > deadline:
            return any(name.startswith("packets") for name in seen)
        time.sleep(_POLL)
    return True


def _watch(scene: Scene, screen: Screen, seconds: float | None) -> None:
    began = time.monotonic()
    before, then = scene.feed.received(), began
    second = 0
    while seconds is None or time.monotonic() - began < seconds:
        second += 1
        left = seconds - (time.monotonic() - began) if seconds is not None else 1.0
        time.sleep(max(0.0, min(left, began + second - time.monotonic())))
        received, now = scene.feed.received(), time.monotonic()
        parts = [
            f"{name} {(stream.received - before[name].received) / (now - then):6.0f}/s, {stream.received} received, "
            f"{stream.lost} lost, longest gap {stream.longest_gap * 1000:.0f} ms"
            for name, stream in received.items()
        ]
        parts += [_line(dc) for dc in scene.data_centres]
        screen.change("; ".join(parts))
        before, then = received, now


def _line(dc: DataCentre) -> str:
    line, name = dc.keepalives(), f"{dc.site.node} " if dc.site.suffix else ""
    rtt = f" ({line.rtt * 1000:.1f} ms)" if line.rtt is not None else ""
    return f"{name}keepalives {line.answered}/{line.sent}{rtt}, line {line.line_protocol}"


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a run, which is the JSON of ``mcastd lab run --json``. Times are in seconds."""

    schema: int = 1
    first_packet_s: float | None
    received: int
    lost: int
    duplicates: int
    longest_gap_s: float
    datapath: str | None
    keepalives_sent: int
    keepalives_answered: int
    gre_in_the_clear: int


def summary(scene: Scene) -> Summary:
    """The result of a run."""
    streams = scene.feed.received()
    firsts = [stream.first for stream in streams.values() if stream.first is not None]
    try:
        datapath = next((tunnel.datapath for tunnel in scene.status().tunnels), None)
    except ControlError:
        datapath = None
    keepalives = [dc.keepalives() for dc in scene.data_centres]
    return Summary(
        first_packet_s=round(min(firsts) - scene.exec_time, 4) if firsts else None,
        received=sum(stream.received for stream in streams.values()),
        lost=sum(stream.lost for stream in streams.values()),
        duplicates=sum(stream.duplicates for stream in streams.values()),
        longest_gap_s=round(max((stream.longest_gap for stream in streams.values()), default=0.0), 4),
        datapath=datapath,
        keepalives_sent=sum(line.sent for line in keepalives),
        keepalives_answered=sum(line.answered for line in keepalives),
        gre_in_the_clear=scene.leaked(),
    )


def _explain(scene: Scene, screen: Screen) -> None:
    try:
        for problem in _problems(scene.status()):
            screen.say(f"status: {problem}")
    except ControlError as error:
        screen.say(f"status: {error}")
    screen.say(f"the end of mcastd's log:\n{scene.tail('mcastd', 25)}{scene.ended_parts()}")
    questions = ["show ip pim interface detail", "show ip pim neighbor", "show ip pim join"]
    for dc in scene.data_centres:
        screen.say(f"FRR in {dc.site.node}:\n" + "\n".join(dc.frr(question).strip() for question in questions))


def _problems(status: Status) -> Iterator[str]:
    yield status.summary
    named = [(peer.name, peer.problem) for peer in status.peers]
    named += [(f"{tunnel.name} dropped", str(tunnel.dropped)) for tunnel in status.tunnels if tunnel.dropped]
    named += [(child.name, child.problem) for peer in status.peers for child in peer.children]
    named += [(tunnel.name, tunnel.problem) for tunnel in status.tunnels]
    named += [(group.group, group.problem) for group in status.groups]
    yield from (f"{name}: {problem}" for name, problem in named if problem)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turn the first signal that stops the lab into KeyboardInterrupt, and ignore further ones during the teardown."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _built(scene: Scene, screen: Screen) -> None:
    began = time.monotonic()
    scene.up()
    screen.say(
        f"The scene is up ({time.monotonic() - began:.1f} s): charons without an SA, FRR without a neighbour; "
        f"{topology.SOURCE_ADDRESS} sends {scene.options.rate:.0f} packets/s to {', '.join(scene.options.groups)}"
        f"{' in both data centres' * (len(scene.sites) - 1)}."
    )


def up(scene: Scene, *, daemon: bool) -> int:
    """Build the scene and keep it; returns the exit code."""
    screen = Screen(sys.stdout)
    with _stoppable():
        _built(scene, screen)
        try:
            if daemon:
                scene.start_daemon()
                screen.say(f"mcastd is started; its log is {scene.log('mcastd')}.")
            scene.keep()
        except BaseException:
            scene.down()
            raise
    screen.say(f"Its configuration is {scene.config}. For example: mcastd lab exec cloud mcastd status")
    return 0


def run(scene: Scene, *, seconds: float | None, as_json: bool) -> int:
    """Build the scene, show the feed until ``seconds`` after its arrival or Ctrl-C, remove all; the exit code."""
    screen = Screen(sys.stderr if as_json else sys.stdout)
    with _stoppable():
        _built(scene, screen)
        try:
            screen.say("   0.000 s  exec of mcastd")
            scene.start_daemon()
            if _start(scene, screen):
                _watch(scene, screen, seconds)
        except KeyboardInterrupt:
            screen.close()
        finally:
            screen.close()
            try:
                result = summary(scene)
                if not result.received:
                    _explain(scene, screen)
                elif status := scene.stop_daemon():
                    screen.say(f"mcastd ended with status {status}; the end of its log:\n{scene.tail('mcastd', 25)}")
            finally:
                scene.down()
    _say_summary(result, screen)
    if as_json:
        print(msgspec.json.encode(result).decode(), flush=True)
    return 0 if result.received else 1


def _say_summary(result: Summary, screen: Screen) -> None:
    first = result.first_packet_s
    arrival = f"First packet {first:.3f} s after the exec of mcastd" if first is not None else "Nothing arrived"
    screen.say(
        f"{arrival}; {result.received} received, {result.lost} lost, "
        f"longest gap {result.longest_gap_s * 1000:.0f} ms; GRE by {result.datapath or 'nothing'}."
    )
