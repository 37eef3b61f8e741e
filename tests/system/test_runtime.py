import os
import stat
from pathlib import Path

import pytest

from mcastd.errors import HostError
from mcastd.system import notify, runtime, sysctl


def test_the_directory_is_made_and_a_second_claim_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "run" / "mcastd"
    lock = runtime.claim(directory)
    with pytest.raises(HostError, match=f"{directory}: another mcastd is running with this directory"):
        runtime.claim(directory)
    os.close(lock)
    again = runtime.claim(directory)
    assert stat.S_IMODE(directory.stat().st_mode) & 0o022 == 0
    os.close(again)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match="file/mcastd: Not a directory; mcastd keeps its state in this directory"):
        runtime.claim(tmp_path / "file" / "mcastd")


def test_the_lock_is_not_handed_to_children(tmp_path: Path) -> None:
    lock = runtime.claim(tmp_path)
    assert not os.get_inheritable(lock)
    os.close(lock)


def test_sysctls_are_read_and_one_that_is_not_there_is_none() -> None:
    assert sysctl.read("net/ipv4/ip_forward") in {"0", "1"}
    assert sysctl.read("net/ipv4/conf/mcastd-none/rp_filter") is None


def test_a_sysctl_that_the_host_refuses_is_named_with_its_value() -> None:
    with pytest.raises(HostError, match=r"sysctl net/ipv4/conf/mcastd-none/rp_filter = 2: "):
        sysctl.write("net/ipv4/conf/mcastd-none/rp_filter", "2")


def test_notify_without_systemd_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
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
