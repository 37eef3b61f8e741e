"""What the host refuses before there is a daemon is tried again; a refused configuration is not."""

import errno
import os
from pathlib import Path

import pytest

from mcastd import serve
from mcastd.config.load import load
from mcastd.errors import ConfigError, HostError
from tests.fakes.memory import MemoryLog


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, os.strerror(errno.EMFILE)), HostError("no room")])
def test_it_is_tried_again_after_one_to_sixty_seconds(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    log, pauses, said = MemoryLog(), list[float](), list[str]()
    monkeypatch.setattr("mcastd.serve.time.sleep", pauses.append)
    monkeypatch.setattr(serve, "notify", said.append)

    def step() -> str:
        if len(pauses) < 9:
            raise error
        return "done"

    assert serve.patiently(step, log.logger) == "done"
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert set(said) == {f"STATUS=the start failed and is tried again: {error}\nREADY=1"}
    assert log.events() == ["start_failed"] * 9


def test_a_file_that_the_host_cannot_read_is_not_a_refused_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="it cannot be read: No such file"):
        load(tmp_path / "absent")

    def short(*_arguments: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Path, "open", short)
    with pytest.raises(HostError, match="Too many open files"):
        load(tmp_path / "present")
