"""Tests of every outcome, for test_plugin.py; not collected by themselves, some of them fail."""

from pathlib import Path

import pytest

pytestmark = [pytest.mark.root, pytest.mark.kernel("dummy")]


def test_passes() -> None:
    assert Path("/vm").is_dir()


def test_fails() -> None:
    assert Path("/vm").is_file(), "a reason"


def test_is_skipped() -> None:
    pytest.skip("another reason")


def test_kills_the_machine() -> None:
    Path("/proc/sysrq-trigger").write_text("c")


def test_comes_too_late() -> None:
    assert Path("/vm").is_dir()
