import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mcastd.errors import HostError
from mcastd.system.ledger import Ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.json"


def test_the_first_value_seen_is_the_one_to_put_back(path: Path) -> None:
    ledger = Ledger(path)
    ledger.remember("sysctl", "rp_filter", "1")
    ledger.remember("sysctl", "rp_filter", "2")
    assert ledger.entries("sysctl") == {"rp_filter": "1"}
    again = Ledger(path)
    again.remember("sysctl", "rp_filter", "0")
    assert again.entries("sysctl") == {"rp_filter": "1"}


def test_what_is_remembered_outlives_the_process_in_order(path: Path) -> None:
    ledger = Ledger(path)
    for number, name in enumerate(("gre2", "gre1", "gre0")):
        ledger.remember("link", name, number)
    ledger.remember("endpoint", "10.44.6.1/32")
    again = Ledger(path)
    assert list(again.entries("link").items()) == [("gre2", 0), ("gre1", 1), ("gre0", 2)]
    assert again.entries("endpoint") == {"10.44.6.1/32": None}
    assert again.has("endpoint", "10.44.6.1/32")
    assert not again.has("link", "10.44.6.1/32")


def test_forgetting_the_last_entry_removes_the_file(path: Path) -> None:
    ledger = Ledger(path)
    ledger.remember("link", "gre1")
    ledger.remember("link", "gre2")
    ledger.forget("link", "gre1")
    assert Ledger(path).entries("link") == {"gre2": None}
    ledger.forget("link", "gre2")
    ledger.forget("link", "gre2")
    ledger.forget("endpoint", "never there")
    assert not path.exists()
    assert Ledger(path).entries("link") == {}


def test_entries_are_a_copy_that_may_be_walked_while_forgetting(path: Path) -> None:
    ledger = Ledger(path)
    for name in ("gre1", "gre2"):
        ledger.remember("link", name)
    for name in ledger.entries("link"):
        ledger.forget("link", name)
    assert ledger.entries("link") == {}


CRASH = """
import os, pathlib, signal, sys
from mcastd.system.ledger import Ledger
ledger = Ledger(pathlib.Path(sys.argv[1]))
ledger.remember("link", "gre1", 1)
pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
ledger.remember("link", "gre2", 2)
"""


def test_a_crash_between_write_and_rename_leaves_the_old_file_whole(path: Path) -> None:
    died = subprocess.run((sys.executable, "-c", CRASH, str(path)), check=False)
    assert died.returncode == -signal.SIGKILL
    assert sorted(each.name for each in path.parent.iterdir()) == ["ledger.json", "ledger.new"]
    ledger = Ledger(path)
    assert ledger.entries("link") == {"gre1": 1}
    ledger.remember("link", "gre2", 3)
    assert Ledger(path).entries("link") == {"gre1": 1, "gre2": 3}
    assert [each.name for each in path.parent.iterdir()] == ["ledger.json"]


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'{"link": []}',
        b'{"link": {"gre1": {}}}',
        b'{"link": {"gre1": 1.5}}',
        b"[" * 5000,
    ],
)
def test_a_file_that_is_no_ledger_is_refused_by_name(path: Path, garbage: bytes) -> None:
    path.write_bytes(garbage)
    with pytest.raises(HostError, match=r"ledger\.json: not a ledger of mcastd"):
        Ledger(path)
    assert path.read_bytes() == garbage


def test_a_file_that_cannot_be_read_or_written_is_an_error_of_the_host(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="Is a directory"):
        Ledger(tmp_path)
    with pytest.raises(HostError, match="absent"):
        Ledger(tmp_path / "absent" / "ledger.json").remember("link", "gre1")


def test_what_could_not_be_kept_is_not_taken_for_kept(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "later" / "ledger.json")
    for _ in range(2):
        with pytest.raises(HostError):
            ledger.remember("link", "gre1")
    assert not ledger.has("link", "gre1")
    (tmp_path / "later").mkdir()
    ledger.remember("link", "gre1")
    assert Ledger(tmp_path / "later" / "ledger.json").has("link", "gre1")


def test_what_is_put_back_is_forgotten_though_the_file_cannot_say_so(path: Path) -> None:
    ledger = Ledger(path)
    for name in ("gre1", "gre2"):
        ledger.remember("link", name)
    path.with_suffix(".new").mkdir()
    ledger.forget("link", "gre1")
    assert ledger.entries("link") == {"gre2": None}
    assert Ledger(path).entries("link") == {"gre1": None, "gre2": None}
    ledger.forget("link", "gre2")
    assert not path.exists()
