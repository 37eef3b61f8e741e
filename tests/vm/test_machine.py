"""The machines themselves: what a command finds in them, and what they leave behind, which is nothing."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vm import machine as machines
from tests.vm.abilities import MACHINES, PROBES
from tests.vm.kernels import PROJECT, Kernel, Kind
from tests.vm.machine import Machine, MachineError, Options, TimeLimitError

pytestmark = [pytest.mark.root, pytest.mark.vm]

PATIENCE = 60.0
PROBE = "".join(f"if unshare --net sh -c {probe!r}; then echo {name}; fi\n" for name, probe in PROBES.items())


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machines' folders are made in the test's."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def processes(word: str) -> list[str]:
    """The command lines that hold a word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in line:
            found.append(line)
    return found


def wait(what: str, ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.parametrize("kind", MACHINES)
def test_a_machine_has_another_kernel_with_its_abilities_over_the_files_of_this_one(kind: Kind, tmp_path: Path) -> None:
    script = f"uname -r\npwd\necho $WORD\n{PROBE}touch written /etc/written && echo result >/vm/results/file\nexit 7"
    options = Options(kind=kind, environment={"WORD": "a word"})
    with Machine(["sh", "-c", script], options) as machine:
        status = machine.wait()
        release, folder, word, *rest = machine.output().decode().splitlines()
        assert (status, folder, word) == (7, str(PROJECT), "a word")
        assert release == Kernel(kind).modules.name
        assert set(rest) & PROBES.keys() == MACHINES[kind]
        assert (machine.results / "file").read_text() == "result\n"
    assert not (PROJECT / "written").exists()
    assert not Path("/etc/written").exists()
    assert list(tmp_path.iterdir()) == []
    assert processes(str(tmp_path)) == []


def test_with_systemd_the_command_is_a_service_of_it() -> None:
    script = "cat /proc/1/comm; cat /proc/self/cgroup; systemctl is-active dbus; exit 3"
    with Machine(["sh", "-c", script], Options(systemd=True)) as machine:
        assert machine.wait() == 3
        assert machine.output().decode().splitlines() == ["systemd", "0::/system.slice/command.service", "active"]


def test_past_the_time_limit_it_is_switched_off(tmp_path: Path) -> None:
    with Machine(["sleep", "600"], Options(limit=1.0)) as machine:
        assert processes(str(tmp_path))
        with pytest.raises(TimeLimitError, match="not done after 1 s"):
            machine.wait()
    assert processes(str(tmp_path)) == []


def test_a_machine_that_dies_says_so_with_its_console() -> None:
    crash = "echo first; echo c >/proc/sysrq-trigger"
    with Machine(["sh", "-c", crash], Options()) as machine:
        with pytest.raises(MachineError, match=r"the machine died(.|\n)*sysrq triggered crash"):
            machine.wait()
        assert machine.output() == b"first\n"


def test_a_machine_that_does_not_come_up_says_so_with_its_console(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kernel, "image", Path("/no/such/kernel"))
    with Machine(["true"], Options()) as machine, pytest.raises(MachineError, match=r"did not come up(.|\n)*no/such/k"):
        machine.wait()


@pytest.mark.parametrize("kind", MACHINES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_everything(kind: Kind, number: signal.Signals, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "tests.vm", "--kind", kind, "--", "sleep", "600"]
    running = subprocess.Popen(argv, cwd=PROJECT, env={**os.environ, "TMPDIR": str(tmp_path)})
    try:
        wait("the machine runs", lambda: any(path.stat().st_size for path in tmp_path.glob("*/console")))
        running.send_signal(number)
        running.send_signal(number)
        assert running.wait(PATIENCE) == (-number if number == signal.SIGKILL else 128 + number)
    finally:
        running.kill()
        running.wait()
    wait("its processes have ended", lambda: not processes(str(tmp_path)))
    # What cannot be caught leaves the folder.
    assert number == signal.SIGKILL or list(tmp_path.iterdir()) == []


def test_the_project_may_be_in_a_folder_that_is_empty_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = Path("/tmp") / tmp_path.name / "a clone"
    clone.mkdir(parents=True)
    try:
        (clone / "file").write_text("of the clone")
        monkeypatch.setattr(machines, "PROJECT", clone)
        with Machine(["sh", "-c", "pwd; cat file; ls /tmp"], Options()) as machine:
            assert machine.wait() == 0
            assert machine.output().decode().splitlines() == [str(clone), f"of the clone{tmp_path.name}"]
    finally:
        shutil.rmtree(clone.parent)
