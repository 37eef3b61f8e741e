"""What is made of nft's answers, with a program of that name in place of nft(8); the agent's tests use the real one."""

import asyncio
from pathlib import Path

import pytest

from mcastd.errors import HostError
from mcastd.system import nft

LISTING = """{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"table": {"family": "ip", "name": "t", "handle": 7}},
{"counter": {"name": "a", "handle": 2, "packets": 3, "bytes": 300}}, {"rule": {"expr": [{"drop": null}], "handle": 9}}]}
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where nft is looked for, and is not yet."""
    monkeypatch.setenv("PATH", f"{tmp_path}")
    return tmp_path / "nft"


def answers(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_a_listing_is_split_into_structure_and_counts(program: Path) -> None:
    answers(program, f"echo '{LISTING}'")
    first = asyncio.run(nft.table("t"))
    assert first is not None
    assert first.counts == {"a": (3, 300)}
    answers(program, f"echo '{LISTING.replace('9', '8').replace('300', '400').replace('7', '6')}'")
    again = asyncio.run(nft.table("t"))
    assert again is not None
    assert (again.structure, again.counts) == (first.structure, {"a": (3, 400)})
    answers(program, f"echo '{LISTING.replace('drop', 'accept')}'")
    other = asyncio.run(nft.table("t"))
    assert other is not None
    assert other.structure != first.structure


def test_a_table_that_does_not_exist_is_none_and_no_error(program: Path) -> None:
    answers(program, "echo 'Error: No such file or directory' >&2; exit 1")
    assert asyncio.run(nft.table("t")) is None
    with pytest.raises(HostError, match="nft: Error: No such file or directory"):
        asyncio.run(nft.transaction("delete table ip t"))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'Error: syntax error' >&2; echo more >&2; exit 1", "nft: Error: syntax error"),
        ("exit 3", "nft: exit status 3"),
        ("echo no", "nft: the listing is not valid JSON "),
    ],
)
def test_a_failure_has_a_reason(program: Path, script: str, reason: str) -> None:
    answers(program, script)
    with pytest.raises(HostError, match=reason):
        asyncio.run(nft.table("t"))


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
        asyncio.run(nft.table("t"))
