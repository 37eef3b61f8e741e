"""What arrives, in the lab: a sender that stops and starts again is shown, and known faults are counted exactly."""

import re
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from msgspec import UNSET

from mcastd.daemon import HAND_OVER
from mcastd.lab.commands import python, wait_for
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD, GROUP, SOURCE, SOURCE_ADDRESS, TUNNEL
from mcastd.stream_status import StreamCount, StreamsReport
from tests import pcap
from tests.lab import planned
from tests.lab.service_manager import ServiceManager
from tests.meter.model import Model

pytestmark = pytest.mark.root

FEED = f"""
[[feeds]]
name = "planned"
groups = ["{GROUP}"]
sequence = {{ offset = 0, size = 8, order = "big" }}
"""


@pytest.mark.alone
def test_a_sender_that_stops_and_its_return_are_shown_within_five_seconds_and_known_faults_are_counted_exactly() -> (
    None
):
    with Scene(Options(prefix="mcastd-test-streams", rate=200)) as scene:
        (sender,) = (one for one in scene.state.record.processes if one.name == "source")
        scene.config.write_text(scene.config.read_text() + FEED)
        manager = ServiceManager(scene)
        try:
            manager.start()
            wait_for("the feed", lambda: scene.feed.received()[GROUP].received > 100)
            status = scene.wait_for_status("everything is up", lambda status: status.healthy)
            assert [group.arrival for group in status.groups] == ["arriving"]
            time.sleep(8.0)  # by then its rate is known
            assert scene.status().healthy
            for seconds in (0.0, 2.0):
                time.sleep(seconds)
                stopped = time.monotonic()
                scene.stop(sender)
                status = scene.wait_for_status("all_silent", lambda status: not status.healthy)
                assert time.monotonic() - stopped < 5.0
                assert [problem.code for problem in status.problems] == ["all_silent"]
                assert (status.health, status.groups[0].arrival) == ("degraded", "silent")
                answer = scene.exec("cloud", ["mcastd", "status"])
                assert (answer.returncode, "1 silent" in answer.stdout) == (1, True)
                sender = scene.feed.send(GROUP)
                scene.wait_for_status("it arrives again", lambda status: status.healthy, 10.0)
            known_faults_are_counted_exactly(scene, manager)
            nft = scene.command("cloud", ["nft", "list", "table", "ip", "mcastd_streams"])
            assert "child-dc-tun-gre" in nft
        finally:
            scene.stop_daemon()
            manager.close()
        assert "mcastd_streams" not in scene.command("cloud", ["nft", "list", "tables"])


def known_faults_are_counted_exactly(scene: Scene, manager: ServiceManager) -> None:
    """50 streams of 5,000 packets a second together; the daemon is restarted and killed meanwhile.

    What the path itself loses or reorders is known from what is captured on the tunnel.
    """
    path = scene.folder / "streams.pcap"
    with capturing(scene, path):
        process = scene.start(SOURCE, "planned", python("tests.lab.planned", GROUP, "--source", SOURCE_ADDRESS))
        for number in (HAND_OVER, signal.SIGKILL):
            time.sleep(1.0)
            manager.restart(number)
        wait_for("the end", lambda: not process.alive)
        time.sleep(0.5)
        answer = scene.exec("cloud", ["mcastd", "streams", GROUP, "--json"])
        each_second_is_known_since_the_restart(scene)
    assert answer.returncode == 0, answer.stderr
    report = msgspec.json.decode(answer.stdout, type=StreamsReport)
    assert report.not_measured is None
    streams = {one.port: one for one in report.streams if one.port >= planned.FIRST_PORT}
    arrived = captured(path)
    sent = {planned.FIRST_PORT + number: numbers for number, numbers in enumerate(planned.plan())}
    assert streams.keys() == sent.keys() == arrived.keys()
    for port, numbers in arrived.items():
        assert counts(streams[port]) == expected(numbers)
    as_sent = [port for port in sent if arrived[port] == sent[port]]
    assert as_sent, "the path has lost packets of every stream"
    if len(as_sent) == len(sent):
        total = [sum(found) for found in zip(*(counts(one) for one in streams.values()), strict=True)]
        whole = planned.STREAMS * planned.NUMBERS
        faults = planned.TAKEN_OUT, planned.DOUBLED, planned.SWAPPED
        assert total == [whole - planned.TAKEN_OUT + planned.DOUBLED, *faults]
    assert conversations(path) == {port: one.packets for port, one in streams.items()}


def each_second_is_known_since_the_restart(scene: Scene) -> None:
    """Of every stream no more than was counted, and where all of it is known also what is missing."""
    answer = scene.exec("cloud", ["mcastd", "streams", GROUP, "--since", "10m", "--json"])
    report = msgspec.json.decode(answer.stdout, type=StreamsReport)
    assert report.not_recorded == 0
    for one in report.streams:
        assert one.history is not UNSET
        assert (len(one.history.packets), len(one.history.missing)) in ((600, 600), (600, 0))
        assert sum(filter(None, one.history.packets)) <= sum(each.packets for each in one.measured)

    def draw() -> str:
        return scene.exec("cloud", ["mcastd", "streams", GROUP, "--since", "10m"]).stdout

    # A second is known between two readings in time, of which the last process may have made one.
    wait_for("each stream's seconds", lambda: draw().count("|10m  |9m") == len(report.streams))
    drawn = draw()
    assert all(line == line.rstrip() for line in drawn.splitlines())


def counts(one: StreamCount) -> tuple[int, ...]:
    """Packets, and of the numbers those that are missing, duplicate and late."""
    (measure,) = one.measured
    numbers = measure.numbers
    assert numbers is not None
    assert (measure.packets, numbers.seen, numbers.resets) == (one.packets, one.packets, 0)
    return one.packets, numbers.missing + numbers.awaited, numbers.duplicate, numbers.late


def expected(numbers: list[int]) -> tuple[int, ...]:
    """The same by the model."""
    model = Model(64)
    for number in numbers:
        model.packet(number, 1, b"", 0)
    found = model.numbers()
    return len(numbers), found.missing + found.open, found.duplicate, found.late


@contextmanager
def capturing(scene: Scene, path: Path) -> Iterator[None]:
    """tcpdump writes the planned streams on the tunnel to a file."""
    last = planned.FIRST_PORT + planned.STREAMS - 1
    what = ["udp", "and", "portrange", f"{planned.FIRST_PORT}-{last}"]
    options = ["-i", TUNNEL, "-Q", "in", "-s", "96", "-B", "16384", "--immediate-mode", "-Z", "root", "-w", str(path)]
    process = scene.start(CLOUD, "tcpdump", ["tcpdump", *options, *what])
    wait_for("tcpdump", lambda: "listening on" in scene.log("tcpdump").read_text())
    yield
    scene.stop(process, signal.SIGINT)
    assert "\n0 packets dropped by kernel" in scene.log("tcpdump").read_text()


def captured(path: Path) -> dict[int, list[int]]:
    """The numbers of each port, in the order in which they arrived."""
    found = defaultdict[int, list[int]](list)
    for packet in pcap.read(path):
        port, number = int.from_bytes(packet[22:24], "big"), int.from_bytes(packet[28:36], "big")
        found[port].append(number)
    return dict(found)


def conversations(path: Path) -> dict[int, int]:
    """The packets to each port, as tshark counts them."""
    argv = ["tshark", "-n", "-q", "-r", str(path), "-z", "conv,udp"]
    text = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    found = re.findall(rf"<-> {GROUP}:(\d+) +0 0 bytes +(\d+) ", text)
    return {int(port): int(packets) for port, packets in found}
