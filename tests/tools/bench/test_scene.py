"""Real namespaces: a buffer that is too small is seen to lose, one that is large enough not; and nothing stays."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mcastd.tools.bench.plan import Buffer, Burst
from mcastd.tools.bench.scene import Scene

STALL = 0.3  # seconds: much longer than the burst takes, also on a busy machine
BURST = Burst(group="239.1.1.1", port=5000, packets=1000, size=250, within=0.02, bursts=1, pause=0.0)

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Scene() as made:
        yield made


@pytest.mark.also_kernel
def test_a_small_receive_buffer_loses_and_a_large_one_does_not(scene: Scene) -> None:
    small = scene.run(BURST, Buffer(asked=65536), STALL)
    large = scene.run(BURST, Buffer(asked=16 << 20, forced=True), STALL)
    assert (small.receive_buffer, large.receive_buffer) == (2 * 65536, 32 << 20)
    for one in (small, large):
        assert one.sent == 1000
        assert all(stage.lost is not None for stage in one.stages)
        assert sum(stage.lost or 0 for stage in one.stages) == one.sent - one.received, "a packet is lost once"
    last = small.stages[-1]
    assert last.stage == "receive_buffer"
    assert last.lost == last.reasons["full"]
    assert last.lost > 500, "the burst is ten times as large as the buffer, and nothing is read meanwhile"
    assert large.stages[-1].lost == 0
    assert large.most > 65536 * 2
    assert [one.stage for one in large.stages] == [
        "softnet", *(("esp",) if scene.without_esp is None else ()), "gre", "udp", "receive_buffer",
    ]  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_however_it_ends(number: signal.Signals) -> None:
    argv = (sys.executable, "-m", "mcastd", "bench", "--within", "60000")
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as command:
        try:
            until(lambda: any(map(arrived, processes(command.pid))))
            children = processes(command.pid)
        finally:
            command.send_signal(number)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))


def processes(parent: int) -> set[int]:
    return set(map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()))


def arrived(pid: int) -> bool:
    """Whether the tunnel in the network namespace of a process has received something."""
    try:
        found = re.search(r"gre1: *\d+ +([1-9])", Path(f"/proc/{pid}/net/dev").read_text())
    except OSError:
        return False  # it was one of those that set up the namespaces
    return found is not None


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
