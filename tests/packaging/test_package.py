"""What the package is built of: pinned, without a registry's name, and of one source with the rest."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mcastd import __version__
from mcastd.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"


def pinned(text: str) -> dict[str, str]:
    return {name.lower(): version for name, version in re.findall(r"(?m)^([\w-]+)==(\S+)", text)}


def test_every_requirement_has_hashes_and_is_what_the_tests_run_with() -> None:
    text = (PACKAGING / "requirements.txt").read_text()
    found, tested = pinned(text), pinned((PACKAGING / "constraints.txt").read_text())
    assert {"msgspec", "pyroute2", "structlog", "vici"} <= found.keys()
    assert found.items() <= tested.items()
    blocks = re.split(r"(?m)^(?=[\w-]+==)", text)[1:]
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text
    assert not re.search(r"(?m)^-", text)


def test_the_package_has_the_version_of_the_program() -> None:
    changelog = (PACKAGING / "debian" / "changelog").read_text()
    assert changelog.startswith(f"mcastd ({__version__}) ")


def test_what_makes_the_user_is_depended_on() -> None:
    assert "\n    systemd-sysusers " in (PACKAGING / "debian" / "mcastd.postinst").read_text()
    assert "systemd | systemd-standalone-sysusers," in (PACKAGING / "debian" / "control").read_text()


@pytest.fixture(scope="module")
def manuals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("manuals")
    subprocess.run([sys.executable, str(PACKAGING / "manuals.py"), str(folder)], check=True)
    return folder


def test_the_pages_have_every_command_and_every_key(manuals: Path) -> None:
    commands = (manuals / "mcastd.8").read_text()
    for name in COMMANDS:
        assert f".SS mcastd {name}".replace("-", "\\-") in commands
    keys = re.findall(r"(?m)^\| `(\w+)` \|", (ROOT / "docs" / "configuration.md").read_text())
    page = (manuals / "mcastd.toml.5").read_text()
    assert len(keys) > 50
    assert [key for key in keys if f".B {key}\n" not in page] == []


@pytest.mark.parametrize("page", ["mcastd.8", "mcastd.toml.5"])
def test_the_pages_are_right_for_groff(manuals: Path, page: str) -> None:
    line = ["groff", "-man", "-Tutf8", "-ww", "-z", str(manuals / page)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_bash_completes_commands_and_their_options(manuals: Path) -> None:
    script = f"""
source {manuals / "mcastd.bash"}
COMP_WORDS=(mcastd sta); COMP_CWORD=1; _mcastd; echo "${{COMPREPLY[@]}}"
COMP_WORDS=(mcastd status --j); COMP_CWORD=2; _mcastd; echo "${{COMPREPLY[@]}}"
"""
    shell = shutil.which("bash") or "bash"
    done = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["status", "--json"]
