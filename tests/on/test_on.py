"""``./dev on``: what a command sees in a root of its own, here busybox's, and what is left of it, which is nothing."""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.on import __main__ as on

PATIENCE = 30.0


def wait(what: str, ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder as .cache/on/RELEASE, with a root that is built already."""
    busybox = shutil.which("busybox")
    assert busybox
    root = tmp_path / "root"
    for name in ("bin", "dev", "etc", "mnt", "proc", "run", "sys", "usr"):
        (root / name).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    for name in ("cat", "env", "hostname", "ps", "sh", "sleep", "touch", "umount"):
        (root / "bin" / name).symlink_to("busybox")
    return tmp_path


@pytest.fixture
def run(store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a run reads, with this module's folder as the working tree."""
    monkeypatch.setattr(on, "STORE", store / "all")
    monkeypatch.setattr(on, "PROJECT", store / "project")
    (store / "project").mkdir()
    (store / "project/file").write_text("of the tree\n")
    subprocess.run(["git", "init", "-q", str(store / "project")], check=True)
    monkeypatch.setenv("PIP_FIND_LINKS", "/no/such/folder")
    monkeypatch.setenv("SECRET", "not for the root")
    on.prepare("sid", store, store / "run")
    return store / "run"


@pytest.mark.root
def test_the_command_has_a_root_and_processes_of_its_own(
    store: Path, run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mounts = Path("/proc/self/mounts").read_text()
    script = "cat file; hostname; ps; env; cat /proc/mounts; echo kept >build/result; touch /etc/new; exit 7"
    assert on.enter(store, run, "sid", ["sh", "-c", script]) == 7
    tree, name, *lines = capfd.readouterr().out.splitlines()
    assert (tree, name) == ("of the tree", "sid")
    assert len([line for line in lines if re.match(r" +\d+ ", line)]) < 6, "processes"
    assert any(line.split()[1:2] == ["/"] for line in lines), "a mount at /"
    assert "PIP_FIND_LINKS=/no/such/folder" in lines
    assert not any(line.startswith("SECRET") for line in lines)
    assert (store / "project/build/sid/result").read_text() == "kept\n"
    assert not (store / "root/etc/new").exists()
    assert not (store / "project/.cache").exists()
    assert Path("/proc/self/mounts").read_text() == mounts


@pytest.mark.root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_all_processes(store: Path, run: Path, number: signal.Signals) -> None:
    code = f"""
import signal, sys
from pathlib import Path
from tests.on import __main__ as on
on._PATIENCE = 0.1
signal.signal(signal.SIGTERM, on.stop)
sys.exit(on.enter(Path({str(store)!r}), Path({str(run)!r}), "sid", ["sh", "-c", "touch build/up; sleep 600"]))
"""
    running = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    try:
        wait("the command runs", (store / "project/build/sid/up").exists)
        running.send_signal(number)
        assert running.wait(PATIENCE) == (-number if number == signal.SIGKILL else 128 + number)
        here = [path for path in Path("/proc").glob("[0-9]*/root") if store_is_root(path, store)]
        wait("its processes have ended", lambda: not any(path.exists() for path in here))
        shutil.rmtree(run)
    finally:
        running.kill()
        running.wait()


def store_is_root(path: Path, store: Path) -> bool:
    try:
        return (path / "bin/busybox").samefile(store / "root/bin/busybox")
    except OSError:
        return False


def test_the_sources_of_this_machine_name_another_release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    listed = """Debian http://mirror/debian/ bookworm main
Debian http://mirror/debian/ bookworm main
Debian http://mirror/security/ bookworm-security main
Another http://another/ bookworm main
Debian http://mirror/debian/ sid main
"""
    monkeypatch.setattr(on, "output", lambda *_: listed)
    (tmp_path / "os-release").write_text("ID=debian\nVERSION_CODENAME=bookworm\n")
    monkeypatch.setattr(on, "OS_RELEASE", tmp_path / "os-release")
    assert on.sources("trixie") == [
        ("http://mirror/debian/", "trixie", "main"),
        ("http://mirror/security/", "trixie-security", "main"),
    ]


def test_paths_are_found_in_settings(tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    text = f"[global]\nindex-url = https://registry{folder}\nextra-index-url = file://{folder} file:///no/such/path\n"
    assert list(on.named_paths([text, str(folder)])) == [folder]
    assert list(on.named_paths([f"https://registry{folder}", "/"])) == []
