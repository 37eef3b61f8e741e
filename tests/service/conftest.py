import fcntl
import os
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def package() -> None:
    """The package, built once, however many processes the session has."""
    session = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid4().hex)
    (PROJECT / "build").mkdir(exist_ok=True)
    with (PROJECT / "build" / "session").open("a+") as built_by:
        fcntl.flock(built_by, fcntl.LOCK_EX)
        built_by.seek(0)
        if built_by.read() != session:
            built = subprocess.run(
                [str(PROJECT / "dev"), "deb"], capture_output=True, text=True, check=False, cwd=PROJECT
            )
            assert built.returncode == 0, built.stdout + built.stderr
            built_by.truncate(0)
            built_by.write(session)
