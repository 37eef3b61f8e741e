"""The descriptor store and the notifications, against a socket that stands where systemd's does."""

import array
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from mcastd.system import log
from mcastd.system.fdstore import FdStore
from mcastd.system.notify import notify, reloading, watchdog_timeout


@pytest.fixture(params=["a file", "an abstract one"])
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """The service manager's end of the notification socket, which has both kinds of names."""
    path = f"@mcastd-{os.getpid()}" if request.param == "an abstract one" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.bind(path.replace("@", "\0", 1))
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield sock


def heard(manager: socket.socket) -> list[tuple[str, int]]:
    """What was said, each with the number of descriptors that came along; these are closed."""
    found: list[tuple[str, int]] = []
    while True:
        try:
            data, ancillary, _, _ = manager.recvmsg(4096, socket.CMSG_SPACE(16))
        except BlockingIOError:
            return found
        descriptors = array.array("i", b"".join(content for _, _, content in ancillary))
        for descriptor in descriptors:
            os.close(descriptor)
        found.append((data.decode(), len(descriptors)))


def test_a_notification_is_one_datagram(manager: socket.socket) -> None:
    notify("READY=1\nSTATUS=up")
    assert heard(manager) == [("READY=1\nSTATUS=up", 0)]


def test_a_reload_carries_the_time_in_the_same_datagram(manager: socket.socket) -> None:
    notify(reloading())
    ((said, _),) = heard(manager)
    first, second = said.splitlines()
    assert first == "RELOADING=1"
    assert second.startswith("MONOTONIC_USEC=")
    assert int(second.partition("=")[2]) > 0


def test_without_a_service_manager_nothing_is_said(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("READY=1")
    assert heard(manager) == []


def test_a_service_manager_that_is_gone_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify("READY=1")


def test_a_descriptor_is_kept_in_place_of_an_earlier_one_and_dropped(manager: socket.socket) -> None:
    store = FdStore()
    with Path("/dev/null").open() as file:
        store.keep("gre1.tun", file.fileno())
        store.drop("gre1.tun")
    assert heard(manager) == [
        ("FDSTOREREMOVE=1\nFDNAME=gre1.tun", 0),
        ("FDSTORE=1\nFDNAME=gre1.tun\nFDPOLL=0", 1),
        ("FDSTOREREMOVE=1\nFDNAME=gre1.tun", 0),
    ]


def test_without_the_library_nothing_is_stored_and_the_log_has_it_once(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "systemd", None)
    with structlog.testing.capture_logs() as logged:
        store = FdStore.inherited(log.get_logger())
        with Path("/dev/null").open() as file:
            store.keep("gre1.tun", file.fileno())
            store.keep("gre1.gre", file.fileno())
    assert [(entry["log_level"], entry["missing"]) for entry in logged] == [("warning", "systemd-python")]
    assert {descriptors for _, descriptors in heard(manager)} == {0}
    monkeypatch.delenv("NOTIFY_SOCKET")
    with structlog.testing.capture_logs() as logged:
        FdStore.inherited(log.get_logger())
    assert logged == []


INHERITING = """
import os, subprocess
from mcastd.system import log
from mcastd.system.fdstore import FdStore
os.environ["LISTEN_PID"] = str(os.getpid()) if {ours} else str(os.getpid() + 1)
store = FdStore.inherited(log.get_logger())
child = subprocess.run(["env"], capture_output=True, text=True).stdout
print(store.has("b"), store.has("c"), [line for line in child.splitlines() if line.startswith("LISTEN")])
taken = store.take("b")
print(taken, store.has("b"), store.take("b"))
if taken is not None:
    print(os.read(taken, 10).decode(), os.get_inheritable(taken))
    store.drop("a")
    print(os.path.exists("/proc/self/fd/3"))
"""


@pytest.mark.parametrize(
    ("ours", "printed"),
    [
        (True, ["True False []", "4 False None", "of b False", "False"]),
        (False, ["False False []", "None False None"]),
    ],
)
def test_what_the_previous_process_stored_is_found_by_name(tmp_path: Path, ours: bool, printed: list[str]) -> None:
    """In a process of its own, whose descriptors 3 and 4 are set by its shell."""
    for name in "ab":
        (tmp_path / name).write_text(f"of {name}")
    (tmp_path / "script").write_text(INHERITING.format(ours=ours))
    line = (
        f"exec 3<{tmp_path}/a 4<{tmp_path}/b; LISTEN_FDS=2 LISTEN_FDNAMES=a:b exec {sys.executable} {tmp_path}/script"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert done.stdout.splitlines() == printed


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid() + 1)}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_ours_where_the_service_manager_says_so(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], seconds: float | None
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert watchdog_timeout() == seconds
