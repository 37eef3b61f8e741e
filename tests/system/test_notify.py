import contextlib
import socket
from pathlib import Path

import pytest

from mcastd.system.notify import notify


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    return sock


def test_a_service_manager_hears_it(manager: socket.socket) -> None:
    with manager:
        notify("READY=1")
        assert manager.recv(100) == b"READY=1"


def test_one_that_does_not_listen_holds_nobody_up_for_good(manager: socket.socket) -> None:
    with manager, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as others:
        others.connect(manager.getsockname())
        with contextlib.suppress(BlockingIOError):
            while others.send(b"WATCHDOG=1"):
                pass
        notify("READY=1")
        heard = []
        with contextlib.suppress(BlockingIOError):
            while said := manager.recv(100):
                heard.append(said)
        assert set(heard) == {b"WATCHDOG=1"}
        notify("READY=1")
        assert manager.recv(100) == b"READY=1"


def test_one_that_is_gone_is_no_error(manager: socket.socket) -> None:
    manager.close()
    notify("READY=1")
