import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def package() -> None:
    """The package, built."""
    built = subprocess.run([str(PROJECT / "dev"), "deb"], capture_output=True, text=True, check=False, cwd=PROJECT)
    assert built.returncode == 0, built.stdout + built.stderr
