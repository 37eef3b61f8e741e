import errno
import os
import shutil
import stat
from pathlib import Path

import pytest

from mcastd.errors import AlreadyRunning, HostError
from mcastd.system import notify, sysctl
from mcastd.system.runtime import RuntimeDirectory


def test_the_directory_is_made_and_a_second_claim_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run" / "mcastd"
    first, second = RuntimeDirectory(path), RuntimeDirectory(path)
    assert first.hold()
    assert not first.hold()
    for claim in (second.hold, second.claim):
        with pytest.raises(AlreadyRunning, match=f"{path}: another mcastd is running with this directory"):
            claim()
    first.close()
    assert second.hold()
    assert stat.S_IMODE(path.stat().st_mode) & 0o022 == 0
    second.close()


def test_a_directory_that_cannot_be_made_is_named_and_refuses_no_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    directory = RuntimeDirectory(tmp_path / "file" / "mcastd")
    with pytest.raises(HostError, match="file/mcastd: Not a directory; mcastd keeps its state in this directory"):
        directory.hold()
    directory.claim()
    directory.close()


def test_a_lock_that_was_removed_is_taken_again(tmp_path: Path) -> None:
    directory = RuntimeDirectory(tmp_path / "mcastd")
    directory.claim()
    shutil.rmtree(directory.path)
    assert directory.hold()
    assert not directory.hold()
    with pytest.raises(AlreadyRunning):
        RuntimeDirectory(directory.path).hold()
    directory.close()


def test_the_lock_of_a_directory_that_is_read_only_can_be_taken(tmp_path: Path) -> None:
    (tmp_path / "lock").touch(0o444)
    directory = RuntimeDirectory(tmp_path)
    assert directory.hold()
    directory.close()


def test_a_cleanup_is_refused_while_a_daemon_runs_that_has_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / ("mcastd" * 30)
    daemon, cleanup = RuntimeDirectory(path), RuntimeDirectory(path)
    daemon.claim()
    with pytest.raises(AlreadyRunning, match="another mcastd is running with this directory"):
        cleanup.claim_for_cleanup()
    cleanup.close()
    daemon.close()
    cleanup.claim_for_cleanup()
    cleanup.close()


def test_a_cleanup_is_refused_while_a_daemon_runs_whose_directory_was_removed(tmp_path: Path) -> None:
    path = tmp_path / "mcastd"
    daemon, cleanup = RuntimeDirectory(path), RuntimeDirectory(path)
    daemon.claim()
    shutil.rmtree(path)
    for _ in range(2):
        with pytest.raises(AlreadyRunning):
            cleanup.claim_for_cleanup()
        cleanup.close()
        daemon.hold()
    daemon.close()
    cleanup.claim_for_cleanup()
    with pytest.raises(AlreadyRunning):
        RuntimeDirectory(path).hold()
    cleanup.close()


def test_a_name_that_is_taken_prevents_no_start(tmp_path: Path) -> None:
    first, second = RuntimeDirectory(tmp_path / "mcastd"), RuntimeDirectory(tmp_path / "mcastd")
    first.claim_for_cleanup()
    second.claim()
    assert not second.hold(), "it has the directory"
    second.close()
    first.close()


def test_a_directory_that_cannot_be_looked_at_is_an_error_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "exists", refuse)
    directory = RuntimeDirectory(tmp_path)
    with pytest.raises(HostError, match="whether an mcastd is running is not known: Permission denied"):
        directory.claim_for_cleanup()
    directory.close()


def test_where_it_is_not_known_whether_a_daemon_runs_a_cleanup_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_arguments: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("mcastd.system.runtime.socket.socket", none_left)
    directory = RuntimeDirectory(tmp_path)
    with pytest.raises(HostError, match="whether an mcastd is running is not known: Too many open files"):
        directory.claim_for_cleanup()
    directory.claim()
    assert not directory.hold()
    directory.close()


def test_the_lock_is_not_handed_to_children(tmp_path: Path) -> None:
    directory = RuntimeDirectory(tmp_path)
    directory.claim()
    held = [int(one.name) for one in Path("/proc/self/fd").iterdir() if _is(int(one.name), tmp_path / "lock")]
    assert [os.get_inheritable(one) for one in held] == [False]
    directory.close()


def _is(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except OSError:
        return False


def test_sysctls_are_read_and_one_that_is_not_there_is_none() -> None:
    assert sysctl.read("net/ipv4/ip_forward") in {"0", "1"}
    assert sysctl.read("net/ipv4/conf/mcastd-none/rp_filter") is None


def test_a_sysctl_that_the_host_refuses_is_named_with_its_value() -> None:
    with pytest.raises(HostError, match=r"sysctl net/ipv4/conf/mcastd-none/rp_filter = 2: "):
        sysctl.write("net/ipv4/conf/mcastd-none/rp_filter", "2")


def test_notify_without_systemd_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify.notify("READY=1")


def test_notify_without_a_descriptor_for_its_socket_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_arguments: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    monkeypatch.setattr("mcastd.system.notify.socket.socket", none_left)
    notify.notify("READY=1")


def test_notify_sends_one_datagram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify.notify("READY=1\nSTATUS=all is up")
        assert manager.recv(4096) == b"READY=1\nSTATUS=all is up"


def test_a_reload_carries_the_monotonic_time_in_microseconds() -> None:
    import time

    first, second = notify.reloading().split("\n")
    assert first == "RELOADING=1"
    name, value = second.split("=")
    assert name == "MONOTONIC_USEC"
    assert 0 <= time.monotonic_ns() // 1000 - int(value) < 60_000_000
