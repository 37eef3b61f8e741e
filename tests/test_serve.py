"""What the host refuses before there is a daemon is tried again; a refused configuration is not."""

import errno
import os
from pathlib import Path

import pytest

from mcastd import cleanup, serve
from mcastd.config.load import load
from mcastd.errors import AlreadyRunning, ConfigError, HostError
from mcastd.system.runtime import RuntimeDirectory
from tests.fakes.memory import MemoryLog


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, os.strerror(errno.EMFILE)), HostError("no room")])
def test_it_is_tried_again_after_one_to_sixty_seconds(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    log, pauses, tries, said = MemoryLog(), list[float](), list[float](), list[str]()
    monkeypatch.setattr("mcastd.serve.time.sleep", pauses.append)
    monkeypatch.setattr(serve, "notify", said.append)

    def step() -> str:
        tries.append(sum(pauses))
        if len(tries) < 10:
            raise error
        return "done"

    assert serve.patiently(step, log.logger) == "done"
    assert tries == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 123.0, 183.0, 243.0]
    assert set(said) == {f"STATUS=the start failed and is tried again: {error}\nREADY=1", "WATCHDOG=1"}
    assert max(pauses) <= 10.0, "a third of WatchdogSec="
    assert said.count("WATCHDOG=1") == len(pauses)
    assert log.events() == ["start_failed"] * 9


def test_a_file_that_the_host_cannot_read_is_not_a_refused_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="it cannot be read: No such file"):
        load(tmp_path / "absent")

    def short(*_arguments: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Path, "open", short)
    with pytest.raises(HostError, match="Too many open files"):
        load(tmp_path / "present")


def test_a_cleanup_touches_nothing_of_a_daemon_that_has_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned: list[Path] = []

    async def clean_up(_config: object, directory: Path, _log: object) -> None:
        cleaned.append(directory)

    monkeypatch.setattr(cleanup, "clean_up", clean_up)
    file, directory = tmp_path / "mcastd.toml", tmp_path / "mcastd.toml" / "run"
    file.write_text(f'[daemon]\nruntime_dir = "{directory}"\n')
    daemon = RuntimeDirectory(directory)
    daemon.claim()
    with pytest.raises(AlreadyRunning):
        serve.clean_up(file, MemoryLog().logger)
    daemon.close()
    assert cleaned == []
    serve.clean_up(file, MemoryLog().logger)
    assert cleaned == [directory]
