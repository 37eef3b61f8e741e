"""What is made of nft's answers, with a program of that name in place of nft(8); the agent's tests use the real one."""

import asyncio
import errno
from pathlib import Path

import pytest

from mcastd.errors import HostError
from mcastd.system import nft


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where nft is looked for, and is not yet."""
    monkeypatch.setenv("PATH", f"{tmp_path}")
    return tmp_path / "nft"


def answers(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'Error: syntax error' >&2; echo more >&2; exit 1", "nft: Error: syntax error"),
        ("exit 3", "nft: exit status 3"),
    ],
)
def test_a_failure_has_a_reason(program: Path, script: str, reason: str) -> None:
    answers(program, script)
    with pytest.raises(HostError, match=reason):
        asyncio.run(nft.transaction("add table ip t"))


def test_without_nft_the_package_is_named(program: Path) -> None:
    with pytest.raises(HostError, match="nft: no such program; install the package nftables"):
        asyncio.run(nft.transaction("flush ruleset"))
    program.touch(0o644)
    with pytest.raises(HostError, match="nft: Permission denied"):
        asyncio.run(nft.transaction("flush ruleset"))


def test_one_that_hangs_is_ended(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "_TIMEOUT", 0.05)
    answers(program, "read nothing; exec /bin/sleep 60")
    with pytest.raises(HostError, match="nft: no answer within 0 s"):
        asyncio.run(nft.transaction("add table ip t"))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("can't start new thread"), "nft: can't start new thread"),
        (OSError(errno.EMFILE, "Too many open files"), "nft: Too many open files"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "nft: Resource temporarily unavailable"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "nft: Cannot allocate memory"),
    ],
)
def test_a_host_that_can_start_no_process_is_an_error_of_the_host(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    async def start(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    with pytest.raises(HostError, match=reason):
        asyncio.run(nft.transaction("add table ip t"))
