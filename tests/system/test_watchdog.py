"""The watchdog is petted while the loops come around, and only then."""

import asyncio
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import structlog

from mcastd.system import log
from mcastd.system.watchdog import HANGS_AFTER, feed_watchdog
from tests.loops import looping


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "3000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield sock
    structlog.reset_defaults()


def live(turned: Mapping[str, float], looks: int = 4) -> None:
    """Let it look that often at the same loops."""

    async def main() -> None:
        left = iter(range(looks))
        done = asyncio.Event()

        def look() -> Mapping[str, float]:
            if next(left, None) is None:
                done.set()
            return turned

        async with looping(feed_watchdog(look, log.get_logger())):
            await done.wait()

    asyncio.run(main())


def test_while_all_loops_come_around_it_is_petted_again_and_again(manager: socket.socket) -> None:
    now = time.monotonic()
    live({"ipsec": now, "tunnels": now - HANGS_AFTER / 2})
    assert [manager.recv(100) for _ in range(4)] == [b"WATCHDOG=1"] * 4


def test_one_loop_that_hangs_ends_the_signs_and_is_named_once(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    log.configure()
    now = time.monotonic()
    live({"ipsec": now, "tunnels": now - HANGS_AFTER - 1})
    with pytest.raises(BlockingIOError):
        manager.recv(100)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("error   the loop of an agent hangs  parts=tunnels seconds=60.000")


def test_without_a_watchdog_it_returns(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC")
    asyncio.run(feed_watchdog(dict, log.get_logger()))
    with pytest.raises(BlockingIOError):
        manager.recv(100)
