"""The package's Python environment, with the package's files laid over those of this machine."""

import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SYSTEM = Path("/usr/lib/python3/dist-packages")

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def files(package: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the package, with one module more in the folder of the system's Python packages."""
    folder = tmp_path_factory.mktemp("package")
    (built,) = (PROJECT / "build").glob("mcastd_*.deb")
    subprocess.run(["dpkg-deb", "--extract", str(built), str(folder)], check=True)
    system = folder / SYSTEM.relative_to("/")
    system.mkdir(parents=True)
    (system / "other_module.py").touch()
    return folder


def imports(files: Path, python: str, module: str) -> bool:
    """Whether a Python imports a module."""
    script = 'mount -t overlay -o "lowerdir=$1/usr:/usr" usr /usr && exec "$2" -I -c "import $3"'
    argv = ["unshare", "--mount", "sh", "-c", script, "sh", str(files), python, module]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "No module named" in done.stderr, done.stderr
    return done.returncode == 0


@pytest.mark.parametrize(
    "module", ["systemd.daemon", "systemd.journal", "cryptography.x509", "mcastd.daemon", "scapy", "rich"]
)
def test_it_has_what_the_daemon_and_the_commands_need(files: Path, module: str) -> None:
    assert imports(files, "/usr/lib/mcastd/bin/python3", module)


@pytest.mark.parametrize("module", ["other_module", "pip"])
def test_of_the_systems_packages_it_sees_no_other(files: Path, module: str) -> None:
    assert not imports(files, "/usr/lib/mcastd/bin/python3", module)


def test_the_system_sees_the_other_module(files: Path) -> None:
    assert imports(files, "/usr/bin/python3", "other_module")


def test_the_package_depends_on_what_it_links_to_and_runs(package: None) -> None:
    (built,) = (PROJECT / "build").glob("mcastd_*.deb")
    field = ["dpkg-deb", "--field", str(built), "Depends"]
    depends = subprocess.run(field, capture_output=True, text=True, check=True).stdout
    assert {"iproute2", "python3-cryptography", "python3-systemd"} <= set(depends.replace(",", " ").split())


def test_lintian_finds_no_error(package: None) -> None:
    (changes,) = (PROJECT / "build/deb").glob("*.changes")
    argv = ["lintian", "--fail-on", "error", "--allow-root", str(changes)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
