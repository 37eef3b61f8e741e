"""The members agent over real files, in virtual time: what a file names is desired, and a bad one changes nothing."""

import contextlib
import errno
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from msgspec.structs import replace

from mcastd.config.downstream import Forward
from mcastd.members.agent import MembersAgent
from mcastd.members.files import Files
from mcastd.membership import ANY_SOURCE, NOTHING, DesiredGroup
from mcastd.system import file_changes
from mcastd.wanted import MEMBERS, STATIC, Wanted
from tests.fakes.clock import simulated, until
from tests.fakes.memory import MemoryLog
from tests.loops import looping

GROUP, OTHER, SSM = IPv4Address("239.1.7.1"), IPv4Address("239.1.7.2"), IPv4Address("232.1.7.1")
SOURCE = IPv4Address("100.15.30.10")


class Bench:
    def __init__(self, folder: Path, files: Files = file_changes) -> None:
        self.path = folder / "members.json"
        self.config = Forward(name="eth0", from_=("gre1",), members_file=self.path)
        self.log = MemoryLog()
        self.downstream = Wanted(lambda: time.monotonic())
        self.heard: list[list[IPv4Address]] = []
        self.downstream.listen(lambda _, groups: self.heard.append(list(groups)))
        self.changes = 0
        self.agent = MembersAgent(
            files=files, downstream=self.downstream, log=self.log.logger, on_change=self._changed
        )  # fmt: skip

    def _changed(self) -> None:
        self.changes += 1

    def write(self, *groups: IPv4Address, sources: dict[IPv4Address, list[str]] | None = None) -> None:
        """As a hook does: whole, under another name, and moved to its place."""
        entries: list[dict[str, object]] = [{"group": str(group)} for group in groups]
        entries += [{"group": str(group), "sources": found} for group, found in (sources or {}).items()]
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"schema": 1, "groups": entries}))
        new.replace(self.path)

    async def configure(self, *interfaces: Forward) -> None:
        self.agent.configure(interfaces)
        await self.agent.settled()

    def desired(self, group: IPv4Address = GROUP, name: str = "eth0") -> DesiredGroup:
        return self.downstream.of(name).desired(group)

    def problems(self) -> list[tuple[str, str]]:
        return [(one.code, one.text) for one in self.agent.problems()]

    def codes(self) -> list[str]:
        return [code for code, _ in self.problems()]


@contextlib.asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[None]:
    async with looping(bench.agent.run()):
        await bench.configure(bench.config)
        yield
        await bench.agent.close()


@simulated
async def _life(folder: Path) -> None:
    bench = Bench(folder)
    bench.write(GROUP)
    async with running(bench):
        assert (bench.desired(), bench.problems()) == (ANY_SOURCE, [])
        assert bench.downstream.of("eth0").origins(GROUP, None) == (MEMBERS,)
        bench.write(OTHER, sources={SSM: [str(SOURCE)]})
        took = await until(lambda: bench.desired(OTHER) == ANY_SOURCE, "what is new")
        assert took <= 0.02  # word of it comes at once
        await until(lambda: bench.desired() == NOTHING, "what is gone")
        assert bench.desired(SSM) == DesiredGroup(sources=frozenset({SOURCE}))
        bench.heard.clear()
        bench.write(OTHER, sources={SSM: [str(SOURCE)]})
        await bench.agent.settled()
        assert bench.heard == []  # the same again is no change
        await bench.configure(replace(bench.config, members_file=None))
        assert bench.desired(OTHER) == bench.desired(SSM) == NOTHING


def test_what_the_file_names_is_desired_at_once_and_ends_with_it(tmp_path: Path) -> None:
    _life(tmp_path)


def _broken(path: Path) -> None:
    path.write_text('{"schema": 1, "groups": [{"group": "239.1.7.2"},\n {"group": "10.1.1.1"}]}')


def _cut(path: Path) -> None:
    path.write_text('{"schema": 1, "groups": [')


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (_broken, "members.json:2: '10.1.1.1' is no group that can be forwarded; allowed: 224.0.1.0"),
        (_cut, "members.json:1: no JSON"),
        (_pipe, "members.json: it is no regular file"),
        (_gone, "members.json: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_read_changes_nothing_and_is_a_problem(
    tmp_path: Path, spoil: Callable[[Path], None], text: str
) -> None:
    @simulated
    async def main() -> None:
        bench = Bench(tmp_path)
        bench.write(GROUP)
        async with running(bench):
            spoil(bench.path)
            await until(lambda: bench.codes() == ["members_file_wrong"], "the problem")
            assert text in bench.problems()[0][1]
            assert bench.problems()[0][1].endswith("; the 1 groups of before stay")
            assert (bench.desired(), bench.desired(OTHER)) == (ANY_SOURCE, NOTHING)
            assert bench.log.events().count("members_file_wrong") == 1
            bench.write(OTHER)
            await until(lambda: bench.codes() == [], "it is right again")
            assert (bench.desired(), bench.desired(OTHER)) == (NOTHING, ANY_SOURCE)

    main()


def test_a_file_that_is_not_written_again_is_a_problem_and_goes_on(tmp_path: Path) -> None:
    @simulated
    async def main() -> None:
        bench = Bench(tmp_path)
        bench.write(GROUP)
        async with running(bench):
            took = await until(lambda: bench.codes() == ["members_file_old"], "too old", 400.0)
            assert 299 < took < 303
            await until(lambda: bench.changes == 1, "word of it", 3.0)
            assert bench.desired() == ANY_SOURCE
            bench.write(GROUP)
            await until(lambda: bench.codes() == [], "written again")
        old = time.time() - 1000
        os.utime(bench.path, (old, old))
        again = Bench(tmp_path)
        async with running(again):  # as after a restart
            assert (again.codes(), again.desired()) == (["members_file_old"], ANY_SOURCE)

    main()


def test_the_folder_may_come_late_and_be_another_one(tmp_path: Path) -> None:
    @simulated
    async def main() -> None:
        folder = tmp_path / "members"
        bench = Bench(folder)
        async with running(bench):
            assert bench.problems()[0][1].endswith("; nothing is known of before")
            for group in (GROUP, OTHER):
                folder.mkdir()
                bench.write(group)
                assert await until(lambda group=group: bench.desired(group) == ANY_SOURCE, "its file", 5.0) <= 2.1  # type: ignore[misc]
                folder.rename(tmp_path / f"away-{group}")

    main()


def test_groups_that_cannot_be_joined_are_named_and_the_others_are_desired(tmp_path: Path) -> None:
    @simulated
    async def main() -> None:
        bench = Bench(tmp_path)
        bench.write(SSM, GROUP)
        async with running(bench):
            assert bench.codes() == ["forward_not_joined"]
            assert "232.1.7.1 is source-specific: name its sources" in bench.problems()[0][1]
            assert (bench.desired(), bench.desired(SSM)) == (ANY_SOURCE, NOTHING)
            bench.write(GROUP)
            await until(lambda: bench.codes() == [], "it is gone")

    main()


def test_two_interfaces_and_other_origins_are_left_alone(tmp_path: Path) -> None:
    @simulated
    async def main() -> None:
        bench = Bench(tmp_path)
        bench.write(GROUP)
        bench.downstream.replace("eth0", STATIC, [(GROUP, None)])
        async with running(bench):
            await bench.configure(bench.config, replace(bench.config, name="eth1"), Forward(name="eth2", from_=("g",)))
            assert bench.desired(name="eth1") == ANY_SOURCE
            assert bench.desired(name="eth2") == NOTHING
            other = tmp_path / "other.json"
            other.write_text('{"schema": 1, "groups": []}')
            await bench.configure(replace(bench.config, members_file=other))
            assert (bench.desired(), bench.desired(name="eth1")) == (ANY_SOURCE, NOTHING)
            assert bench.downstream.of("eth0").origins(GROUP, None) == (STATIC,)

    main()


def test_without_notifications_files_are_looked_at(tmp_path: Path) -> None:
    class Without:
        read, stamp = staticmethod(file_changes.read), staticmethod(file_changes.stamp)

        def watch(self, on_change: Callable[[], None]) -> file_changes.FolderWatch:
            raise OSError(errno.EMFILE, "too many")

    @simulated
    async def main() -> None:
        bench = Bench(tmp_path, Without())
        bench.write(GROUP)
        async with running(bench):
            bench.write(OTHER)
            assert 0 < await until(lambda: bench.desired(OTHER) == ANY_SOURCE, "a look", 5.0) <= 2.1

    main()


def test_many_groups_leave_other_work_a_turn(tmp_path: Path) -> None:
    @simulated
    async def main() -> None:
        bench = Bench(tmp_path)
        many = [IPv4Address("239.2.0.0") + number for number in range(5000)]
        bench.write(*many)
        async with running(bench):
            assert max(map(len, bench.heard)) <= 100
            assert len(bench.downstream.of("eth0")) == 5000
            bench.heard.clear()
            bench.write(*many[1:], GROUP)
            await until(lambda: bench.desired() == ANY_SOURCE, "one more")
            assert bench.heard == [[many[0]], [GROUP]]

    main()


def test_many_sources_leave_other_work_a_turn(tmp_path: Path) -> None:
    @simulated
    async def main() -> None:
        bench = Bench(tmp_path)
        sources = [f"100.15.{number}.10" for number in range(40)]
        bench.write(sources={GROUP + number: sources for number in range(100)})
        async with running(bench):
            assert max(map(len, bench.heard)) <= 2
            assert len(bench.downstream.of("eth0")) == 4000
            bench.heard.clear()
            bench.write(OTHER)
            await until(lambda: bench.desired() == NOTHING, "what is gone")
            assert max(map(len, bench.heard)) <= 2

    main()


def test_a_clock_that_was_set_back_makes_no_file_younger_than_new(tmp_path: Path) -> None:
    @simulated
    async def main() -> None:
        bench = Bench(tmp_path)
        bench.write(GROUP)
        later = time.time() + 1000
        os.utime(bench.path, (later, later))
        async with running(bench):
            took = await until(lambda: bench.codes() == ["members_file_old"], "too old", 400.0)
            assert 299 < took < 303

    main()
