"""What the command takes and prints; the runs are made up."""

import os
from types import SimpleNamespace
from typing import Self

import msgspec
import pytest

from mcastd.cli import bench, main
from mcastd.tools.bench import report
from mcastd.tools.bench.plan import Buffer, Burst, Counts, Sent
from mcastd.tools.bench.report import BenchReport, Run


class Scene:
    """Receive buffers below ``needed`` bytes lose 100 packets; the sender is too slow for the first ``slow`` runs."""

    needed = 1 << 20
    slow = 0
    backlog = 0  # packets that softnet loses
    alone: str | None = None  # why it is not measured
    runs: list[tuple[int | None, float]]  # what was measured: the receive buffer and the stall

    def __init__(self, datapath: str | None) -> None:
        self.cpus = [0, 1]
        self.datapath = datapath or "kernel"
        self.without_esp: str | None = "no such algorithm"
        self.without_rps = self.alone
        type(self).runs = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def run(self, burst: Burst, buffer: Buffer, stall: float) -> Run:
        self.runs.append((buffer.asked, stall))
        full = 100 if (buffer.asked or 0) < self.needed else 0
        took = burst.within * (2 if len(self.runs) <= self.slow else 1)
        sent = Sent(packets=burst.total, refused=0, took=took, late=0.0)
        left = burst.total - self.backlog
        counters = {"dev/veth0": left, "dev/gre1": left, "Udp/RcvbufErrors": full, "softnet//dropped": self.backlog}
        before = Counts(received=0, dropped=0, size=425984, most=0, counters={})
        after = Counts(received=left - full, dropped=full, size=425984, most=4096, counters=counters)
        return report.run(burst, buffer, stall, sent, before, after, has_esp=False)


@pytest.fixture(autouse=True)
def scene(monkeypatch: pytest.MonkeyPatch) -> type[Scene]:
    class Own(Scene):
        pass

    monkeypatch.setattr(bench, "Scene", Own)
    monkeypatch.setattr(bench, "limit", {"rmem_default": 212992, "rmem_max": 212992}.__getitem__)
    monkeypatch.setattr(bench, "losses", SimpleNamespace(losses=lambda: {"cloud/ens5/pps": 42, "nic/ens5/errors": 1}))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return Own


def test_each_receive_buffer_is_measured_with_both_readers(
    scene: type[Scene], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench"]) == 1
    assert scene.runs == [(size, stall) for size in (None, 212992, 4 << 20, 16 << 20) for stall in (0.0, 0.02)]
    out = capsys.readouterr().out
    assert out.splitlines()[0] == (
        "Lost at each stage, of 3 x 7,000 packets of 250 bytes within 100.0ms (70,000/s); the kernel's GRE, 2 CPUs:"
    )
    assert words_of(out, 3) == "208 KiB (default) at once 100.0ms 0 - 0 0 100 20,900 4 KiB"
    assert words_of(out, 7) == "4 MiB at once 100.0ms 0 - 0 0 0 21,000 4 KiB"
    assert "ESP: not measured: this kernel has no ESP" in out
    assert "network card: not measured" in out
    assert "at its limits since it came up: ens5/pps 42" in out
    assert "net.core.rmem_max 212992 is too small for this burst: 4 MiB carried" in out.splitlines()[-1]


@pytest.mark.parametrize(("backlog", "shown"), [(0, "-"), (50, "50")])
def test_what_is_not_measured_is_shown_only_where_a_loss_was_counted(
    scene: type[Scene], capsys: pytest.CaptureFixture[str], backlog: int, shown: str
) -> None:
    scene.alone, scene.backlog, scene.needed = "there is no other one", backlog, 0
    assert main(["bench"]) == (1 if backlog else 0)
    out = capsys.readouterr().out
    assert words_of(out, 3) == f"208 KiB (default) at once 100.0ms {shown} - 0 0 0 {21000 - backlog:,} 4 KiB"
    assert ("softnet: backlog_full 50" in out) == bool(backlog)


@pytest.mark.parametrize(("size", "code"), [("4M", 0), ("65536", 1)])
def test_the_exit_code_is_that_of_the_chosen_receive_buffer(size: str, code: int) -> None:
    assert main(["bench", "--receive-buffer", size]) == code


def test_the_shape_of_the_burst_and_the_readers_are_chosen(
    scene: type[Scene], capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "bench --packets 20 --size 500 --within 10 --bursts 2 --pause 5 --stall 0 --group 232.1.1.1 --port 6000 --json"
    )
    assert main([*words.split(), "--datapath", "userspace", "--receive-buffer", "512K"]) == 1
    found = msgspec.json.decode(capsys.readouterr().out, type=BenchReport)
    assert found.burst == Burst(
        group="232.1.1.1", port=6000, packets=20, size=500, within=0.01, bursts=2, pause=0.005
    )  # fmt: skip
    assert (found.chosen, found.datapath, found.cloud_limits) == (512 << 10, "userspace", {"ens5/pps": 42})
    assert [one.receive_buffer_asked for one in found.runs] == [None, 212992, 512 << 10, 4 << 20, 16 << 20]
    assert {one.stall for one in found.runs} == {0.0}


def test_a_run_without_its_pace_is_repeated_twice_and_then_said(
    scene: type[Scene], capsys: pytest.CaptureFixture[str]
) -> None:
    scene.needed, scene.slow = 0, 2
    assert main(["bench", "--stall", "0"]) == 0
    assert len(scene.runs) == 4 + 2
    scene.slow = 3
    assert main(["bench", "--stall", "0"]) == 1
    assert len(scene.runs) == 4 + 2
    assert "the sender did not reach the pace in 1 of 4 runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--packets 0", "0; allowed: 1 to 1000000"),
        ("--size 1401", "1401; allowed: 4 to 1400"),
        ("--within 0", "0; allowed: more than 0 milliseconds"),
        ("--within nan", "nan; allowed: a number of milliseconds"),
        ("--stall -1", "allowed: a number of milliseconds"),
        ("--receive-buffer 4X", "4X; allowed: bytes, or with K or M"),
        ("--group 10.1.1.1", "10.1.1.1; allowed: an IPv4 multicast group"),
    ],
)
def test_wrong_usage_is_refused(words: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    option, value = words.split()
    with pytest.raises(SystemExit) as ended:
        main(["bench", f"{option}={value}"])
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


def test_without_root_it_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["bench"]) == 1
    assert capsys.readouterr().err == (
        "mcastd: mcastd bench makes network namespaces, for which it must be root: sudo mcastd bench\n"
    )


def words_of(text: str, line: int) -> str:
    return " ".join(text.splitlines()[line].split())
