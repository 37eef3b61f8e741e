"""What is missing is said by name; the process that asks is a real one without it."""

import resource
import subprocess
import sys

import pytest

from mcastd.system import capabilities

NAMES = "from mcastd.system.capabilities import missing; print(*(name for name, _ in missing()))"


@pytest.mark.root
def test_root_has_all() -> None:
    assert capabilities.missing() == ()


@pytest.mark.root
@pytest.mark.parametrize("without", ["net_admin", "net_raw", "net_admin,-net_raw"])
def test_what_was_taken_away_is_missing(without: str) -> None:
    line = ["setpriv", f"--bounding-set=-{without}", f"--inh-caps=-{without}", sys.executable, "-c", NAMES]
    printed = subprocess.run(line, capture_output=True, text=True, check=True).stdout.split()
    assert printed == [f"CAP_{name.upper()}" for name in without.split(",-")]


def test_it_is_still_known_when_no_descriptor_is_left() -> None:
    before = capabilities.missing()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        assert capabilities.missing() == before
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
