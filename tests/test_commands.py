"""What the control socket's commands do with a PIM agent that has no interface yet."""

import asyncio
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from random import Random
from typing import Any, cast

import msgspec
import pytest
from msgspec.structs import replace

from mcastd.commands import Commands
from mcastd.composition import Composition
from mcastd.config.model import Config, Pim, Tunnel
from mcastd.errors import ControlRefused, HostError, McastdError
from mcastd.group_status import GroupReport
from mcastd.handover import Handover
from mcastd.meter.report import Measured
from mcastd.pim.agent import PimAgent
from mcastd.status import Status
from mcastd.stream_status import StreamCount, StreamsReport
from mcastd.system import files
from mcastd.wanted import COMMAND, FILE, Wanted
from tests.fakes.memory import MemoryLog

GRE1 = Tunnel(
    name="gre1", local=IPv4Address("10.44.6.1"), remote=IPv4Address("10.44.7.1"),
    address=IPv4Interface("10.44.4.6/30"), pim=Pim(),
)  # fmt: skip
GRE2 = replace(GRE1, name="gre2")
BARE = replace(GRE1, name="bare", pim=None)
GROUP, SOURCE = IPv4Address("239.1.1.7"), IPv4Address("100.15.30.10")


@dataclass
class FakeMeter:
    """What the commands need of the meter."""

    agents: "FakeAgents"
    problem: str | None = "no CAP_BPF"

    def status(self, _now: float) -> str | None:
        return self.problem

    async def reset(self) -> None:
        self.agents.resets += 1

    async def read(self, _group: IPv4Address | None) -> Measured:
        return Measured({}, (), 0.0)


@dataclass
class FakeAgents:
    """What the commands need of the composition."""

    config: Config
    wanted: Wanted
    refreshed: int = 0
    resets: int = 0

    @property
    def streams(self) -> "FakeAgents":
        return self

    @property
    def forward(self) -> "FakeAgents":
        return self

    @property
    def meter(self) -> "FakeMeter":
        return FakeMeter(self)

    async def refresh(self) -> None:
        self.refreshed += 1

    async def reset(self) -> None:
        self.resets += 1

    async def report(
        self, group: IPv4Address | None, seconds: float | None, measured: Measured, *, history: float
    ) -> tuple[StreamsReport, list[list[StreamCount]]]:
        one = StreamCount(
            tunnel="gre1", source=str(SOURCE), group=str(group), port=1, state="silent", packets=1, bytes=2,
            rate=None, last_age=3.0,
        )  # fmt: skip
        return StreamsReport(period=seconds), [list(measured(part)) for part in ([], [one, one], [], [one])]

    async def group(self, group: IPv4Address, _now: float) -> GroupReport:
        return GroupReport(group=str(group))


class Bench:
    def __init__(self, folder: Path, *tunnels: Tunnel) -> None:
        log = MemoryLog().logger
        self.folder = folder
        wanted = Wanted(lambda: 0.0)
        pim = PimAgent(log=log, on_change=lambda: None, rng=Random(1), wanted=wanted)
        self.agents = FakeAgents(Config(tunnels=tunnels), wanted)
        handover = Handover(folder, pim, wanted, log)
        self.status = cast("Status", object())
        commands = Commands(cast("Composition", self.agents), handover, self._reload, self._status)
        self.handlers = commands.handlers()

    async def _reload(self) -> str:
        return "reloaded"

    async def _status(self) -> Status:
        return self.status

    def ask(self, command: str, **arguments: Any) -> Any:
        async def main() -> Any:
            return await self.handlers[command](arguments)

        return asyncio.run(main())

    def joins(self) -> set[tuple[str, IPv4Address, IPv4Address | None]]:
        return set(self.agents.wanted.of_origin(COMMAND))

    def kept(self) -> set[str]:
        return {file.name for file in (self.folder / "joins").iterdir()}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Bench]:
    return lambda *tunnels: Bench(tmp_path, *tunnels)


def test_join_and_leave_by_the_only_tunnel_with_pim(make: Callable[..., Bench]) -> None:
    bench = make(BARE, GRE1)
    assert bench.ask("join", group=str(GROUP)) == "joined"
    assert bench.ask("join", group="232.1.1.1", source=str(SOURCE)) == "joined"
    assert bench.joins() == {("gre1", GROUP, None), ("gre1", IPv4Address("232.1.1.1"), SOURCE)}
    assert bench.kept() == {"239.1.1.7", "232.1.1.1,100.15.30.10"}
    assert bench.ask("leave", group=str(GROUP)) == "left"
    assert bench.joins() == {("gre1", IPv4Address("232.1.1.1"), SOURCE)}
    assert bench.kept() == {"232.1.1.1,100.15.30.10"}


def test_among_several_the_tunnel_is_named(make: Callable[..., Bench]) -> None:
    bench = make(GRE1, GRE2)
    bench.ask("join", group=str(GROUP), tunnel="gre2")
    assert bench.joins() == {("gre2", GROUP, None)}
    for arguments, problem in (
        ({}, "name the tunnel; those with PIM or IGMP are: gre1, gre2"),
        ({"tunnel": "x"}, "tunnel x is not one with PIM or IGMP; those with PIM or IGMP are: gre1, gre2"),
    ):
        with pytest.raises(ControlRefused, match=problem):
            bench.ask("join", group=str(GROUP), **arguments)
    with pytest.raises(ControlRefused, match="those with PIM or IGMP are: none"):
        make(BARE).ask("join", group=str(GROUP))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "a group and a source are IPv4 addresses"),
        ({"group": "x"}, "a group and a source are IPv4 addresses"),
        ({"group": str(GROUP), "source": "x"}, "a group and a source are IPv4 addresses"),
        ({"group": "232.1.1.1"}, "232.1.1.1 is source-specific: name the source to join"),
        ({"group": "10.0.0.1"}, "10.0.0.1 is not a multicast group"),
    ],
)
def test_what_cannot_be_joined_is_refused_and_not_kept(
    make: Callable[..., Bench], arguments: dict[str, str], problem: str
) -> None:
    bench = make(GRE1)
    with pytest.raises(McastdError, match=problem):
        bench.ask("join", **arguments)
    assert bench.joins() == set()
    assert not (bench.folder / "joins").exists()


def test_what_was_not_joined_cannot_be_left(make: Callable[..., Bench]) -> None:
    with pytest.raises(McastdError, match="was not joined on gre1 by command"):
        make(GRE1).ask("leave", group=str(GROUP))


def test_a_tunnel_with_igmp_is_joined_on_and_one_with_neither_is_not(make: Callable[..., Bench]) -> None:
    bench = make(BARE, replace(BARE, name="igmp", upstream="igmp"))
    assert bench.ask("join", group=str(GROUP)) == "joined"
    assert bench.joins() == {("igmp", GROUP, None)}
    with pytest.raises(McastdError, match=r"232\.1\.1\.1 is source-specific"):
        bench.ask("join", group="232.1.1.1")
    with pytest.raises(
        ControlRefused, match="tunnel bare is not one with PIM or IGMP; those with PIM or IGMP are: igmp"
    ):
        bench.ask("join", group=str(GROUP), tunnel="bare")


def test_leaving_what_another_origin_wants_says_who(make: Callable[..., Bench]) -> None:
    bench = make(GRE1)
    bench.agents.wanted.join("gre1", GROUP, None, FILE)
    with pytest.raises(McastdError, match="desired by: file"):
        bench.ask("leave", group=str(GROUP))


def test_one_group_is_asked_for_after_streams_and_entries_were_read(make: Callable[..., Bench]) -> None:
    bench = make(GRE1)
    assert bench.ask("group", group=str(GROUP)) == GroupReport(group=str(GROUP))
    assert bench.agents.refreshed == 2
    with pytest.raises(ControlRefused, match="a group and a source are IPv4 addresses"):
        bench.ask("group", group="x")


def test_the_counters_are_read_before_the_status(make: Callable[..., Bench]) -> None:
    bench = make(GRE1)
    assert bench.ask("status") is bench.status
    assert bench.agents.refreshed == 1
    assert bench.ask("reload") == "reloaded"


def test_what_cannot_be_saved_is_done_and_the_answer_says_that_it_will_be_forgotten(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make(GRE1)
    bench.ask("join", group="239.1.1.8")

    def full(path: Path, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(files, "replace", full)
        for _ in range(2):
            with pytest.raises(HostError, match=r"^joined; but it will be forgotten at a restart: .*No space left"):
                bench.ask("join", group=str(GROUP))
        assert bench.joins() == {("gre1", GROUP, None), ("gre1", IPv4Address("239.1.1.8"), None)}
        bench.ask("leave", group=str(GROUP))
    bench.ask("join", group=str(GROUP))
    assert bench.kept() == {"239.1.1.7", "239.1.1.8"}


def test_a_leave_that_cannot_be_saved_says_so(make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make(GRE1)
    bench.ask("join", group=str(GROUP))

    def read_only(_path: Path, *, missing_ok: bool) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(HostError, match=r"^left; but it will be joined again after a restart: .*Read-only"):
        bench.ask("leave", group=str(GROUP))
    assert bench.joins() == set()


def test_streams_are_encoded_in_parts_and_are_one_report(make: Callable[..., Bench]) -> None:
    bench = make(GRE1)
    answer = bench.ask("streams", group=str(GROUP), since=600)
    report = msgspec.json.decode(answer, type=StreamsReport)
    assert (report.period, [one.group for one in report.streams], bench.agents.resets) == (600.0, [str(GROUP)] * 3, 0)
    assert report.not_measured == "no CAP_BPF"
    bench.ask("streams", reset=True)
    assert bench.agents.resets == 2  # what is counted, and what is measured
    with pytest.raises(ControlRefused, match="since is a number of seconds"):
        bench.ask("streams", since="10m")
    with pytest.raises(ControlRefused, match="history is a number of seconds"):
        bench.ask("streams", history="10m")
