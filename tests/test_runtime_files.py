"""The runtime directory while the daemon runs: removed, full, read-only, taken by another daemon."""

import asyncio
import contextlib
import errno
import os
import shutil
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path
from random import Random

import pytest

from mcastd.control import ControlServer
from mcastd.errors import AlreadyRunning, HostError
from mcastd.handover import Handover
from mcastd.pim.agent import PimAgent
from mcastd.pim.settings import PimState
from mcastd.runtime_files import RuntimeFiles
from mcastd.system import files
from mcastd.system.ledger import Ledger
from mcastd.system.runtime import RuntimeDirectory
from mcastd.wanted import COMMAND, Wanted
from tests.fakes.clock import simulated, until
from tests.fakes.memory import MemoryLog

GROUP = IPv4Address("239.1.1.7")
ALL = {"lock", "control.sock", "ledger.json", "handover.json", "joins"}


class Bench:
    """A daemon's files, without its agents."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = MemoryLog()
        self.changes = 0
        self.directory = RuntimeDirectory(path)
        self.directory.claim()
        self.ledger = Ledger(path / "ledger.json")
        self.wanted = Wanted(lambda: 0.0)
        self.pim = PimAgent(log=self.log.logger, on_change=lambda: None, rng=Random(1), wanted=self.wanted)
        self.handover = Handover(path, self.pim, self.wanted, self.log.logger)
        self.control = ControlServer(path / "control.sock", {}, self.log.logger)
        self.files = RuntimeFiles(
            self.directory, self.control, self.ledger, self.handover, self.log.logger, self._changed
        )

    def _changed(self) -> None:
        self.changes += 1

    def begin(self) -> None:
        """What a daemon that has been up for a while has written."""
        self.ledger.remember("link", "gre1", "kernel")
        self.pim.inherit(PimState({"gre1": 42}, ()))
        self.wanted.join("gre1", GROUP, None, COMMAND)
        self.handover.joined(GROUP, None, "gre1")
        self.handover.remember()

    def present(self) -> set[str]:
        return {file.name for file in self.path.iterdir()} if self.path.is_dir() else set()

    def codes(self) -> list[str]:
        return [f"{problem.code} {problem.subject}" for problem in self.files.problems()]

    async def answers(self) -> bool:
        """Whether a client reaches the control socket."""
        try:
            _, writer = await asyncio.open_unix_connection(self.path / "control.sock")
        except OSError:
            return False
        writer.close()
        return True


@contextlib.asynccontextmanager
async def running(path: Path) -> AsyncIterator[Bench]:
    bench = Bench(path)
    bench.begin()
    task = asyncio.create_task(bench.files.run())
    await asyncio.sleep(0.1)
    try:
        yield bench
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await bench.control.close()
        bench.directory.close()


@simulated
async def test_a_directory_that_is_removed_is_made_again_whole(tmp_path: Path) -> None:
    async with running(tmp_path / "run") as bench:
        before = {name: (bench.path / name).read_bytes() for name in ("ledger.json", "handover.json")}
        for _ in range(3):
            shutil.rmtree(bench.path)
            assert await until(lambda: bench.present() == ALL, "all again") <= 2.1
            assert await bench.answers()
            assert {name: (bench.path / name).read_bytes() for name in before} == before
            assert (bench.path / "joins" / str(GROUP)).is_file()
            with pytest.raises(AlreadyRunning):
                RuntimeDirectory(bench.path).hold()
        assert bench.log.events() == ["runtime_directory_made"] * 3
        assert bench.codes() == []


@pytest.mark.parametrize("name", sorted(ALL))
@simulated
async def test_one_thing_that_is_removed_is_made_again(tmp_path: Path, name: str) -> None:
    async with running(tmp_path / "run") as bench:
        path = bench.path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert await until(lambda: bench.present() == ALL, "it is there again") <= 2.1
        assert await bench.answers()


@simulated
async def test_what_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    async with running(tmp_path / "run") as bench:
        before = {file: file.stat() for file in (*bench.path.iterdir(), *(bench.path / "joins").iterdir())}
        await asyncio.sleep(600.0)
        assert {file: file.stat() for file in before} == before
        assert bench.present() == ALL
        assert await bench.answers()
        assert (bench.changes, bench.log.records) == (0, [])


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@simulated
async def test_what_cannot_be_written_is_a_problem_until_it_can(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path, _content: bytes) -> None:
        raise OSError(code, os.strerror(code))

    async with running(tmp_path / "run") as bench:
        with monkeypatch.context() as patch:
            patch.setattr(files, "replace", refuse)
            bench.ledger.remember("link", "gre2", "kernel")
            for number in range(1, 6):
                bench.handover.joined(IPv4Address(f"239.1.2.{number}"), None, "gre1")
            assert bench.codes() == ["state_not_saved ledger", "state_not_saved handover"]
            assert all(os.strerror(code) in problem.text for problem in bench.files.problems())
            await asyncio.sleep(60.0)
            assert bench.log.events() == ["state_not_saved"]
        await until(lambda: bench.codes() == [], "all is saved")
        assert bench.changes == 2, "it began and it ended"
        assert len(list((bench.path / "joins").iterdir())) == 6
        assert Ledger(bench.path / "ledger.json").has("link", "gre2")


@simulated
async def test_a_directory_that_cannot_be_made_is_a_problem_until_it_can(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with running(tmp_path / "file" / "run") as bench:
        assert set(bench.codes()) == {
            "state_not_saved directory",
            "state_not_saved ledger",
            "state_not_saved handover",
            "control_socket_failed control",
        }
        (tmp_path / "file").unlink()
        await until(lambda: bench.codes() == [], "it is made")
        assert bench.present() == ALL
        assert await bench.answers()


@simulated
async def test_a_control_socket_that_cannot_be_bound_is_a_problem_until_it_can(tmp_path: Path) -> None:
    async with running(tmp_path / "run") as bench:
        (bench.path / "control.sock").unlink()
        (bench.path / "control.sock").mkdir()
        await until(lambda: bench.codes() == ["control_socket_failed control"], "a problem")
        await asyncio.sleep(60.0)
        assert bench.log.events() == ["control_socket_failed"]
        (bench.path / "control.sock").rmdir()
        await until(lambda: bench.codes() == [], "bound")
        assert await bench.answers()


@simulated
async def test_a_directory_that_another_daemon_has_taken_is_left_to_it(tmp_path: Path) -> None:
    async with running(tmp_path / "run") as bench:
        shutil.rmtree(bench.path)
        other = RuntimeDirectory(bench.path)
        other.claim()
        await until(lambda: bench.codes() == ["state_not_saved directory"], "a problem")
        await asyncio.sleep(60.0)
        assert bench.present() == {"lock"}
        other.close()
        await until(lambda: bench.codes() == [], "taken again")
        assert bench.present() == ALL


@simulated
async def test_the_files_of_another_daemon_are_neither_written_nor_removed(tmp_path: Path) -> None:
    async with running(tmp_path / "run") as bench:
        shutil.rmtree(bench.path)
        other = Bench(bench.path)
        other.begin()
        before = {file: file.stat() for file in (*bench.path.iterdir(), *(bench.path / "joins").iterdir())}
        await until(lambda: bench.codes() == ["state_not_saved directory"], "a problem")
        bench.ledger.remember("link", "gre2", "kernel")
        bench.handover.joined(GROUP + 1, None, "gre1")
        assert not bench.handover.is_saved(GROUP + 1, None)
        bench.pim.inherit(PimState({"gre1": 43}, ()))
        bench.handover.remember()
        assert bench.codes() == ["state_not_saved directory", "state_not_saved ledger", "state_not_saved handover"]
        with pytest.raises(HostError, match="is another daemon's"):
            bench.ledger.remember("sysctl", "net/ipv4/ip_forward", "0")
        for name in ("gre1", "gre2"):
            bench.ledger.forget("link", name)
        bench.handover.forget()
        assert {file: file.stat() for file in before} == before
        assert bench.present() == {"lock", "ledger.json", "handover.json", "joins"}
        bench.ledger.remember("link", "gre3", "kernel")
        other.directory.close()
        await until(lambda: bench.codes() == [], "taken again")
        assert Ledger(bench.path / "ledger.json").entries("link") == {"gre3": "kernel"}
        assert len(list((bench.path / "joins").iterdir())) == 2


@simulated
async def test_a_directory_that_may_not_be_searched_is_a_problem_and_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    async with running(tmp_path / "run") as bench:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "exists", refuse)
            patch.setattr(files, "replace", refuse)
            await asyncio.sleep(10.0)
            assert "state_not_saved ledger" in bench.codes()
        await until(lambda: bench.codes() == [], "all is saved")


@simulated
async def test_joins_that_are_still_to_be_written_are_a_problem_and_are_known_by_one_more_join(tmp_path: Path) -> None:
    async with running(tmp_path / "run") as bench:
        groups = [IPv4Address("239.2.0.0") + number for number in range(1200)]
        for group in groups:
            bench.handover.joined(group, None, "gre1")
        shutil.rmtree(bench.path / "joins")
        await until(lambda: bench.codes() == ["state_not_saved handover"], "what is not written is shown")
        last = next(group for group in groups if not bench.handover.is_saved(group, None))
        bench.handover.joined(last, None, "gre1")
        assert bench.handover.is_saved(last, None)
        await until(lambda: bench.codes() == [], "all is saved")
        assert len(list((bench.path / "joins").iterdir())) == 1201
