"""The archive on a host where much is missing; the laboratory has it with everything (tests/lab/test_support.py)."""

import io
import sys
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest

from mcastd.cli import main
from mcastd.tools.support import collect
from mcastd.tools.support.collect import Item, archive, items, keys_of

KEY = "correct horse battery staple"


def unpacked(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:xz") as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            assert member.mode == 0o600
            assert member.name not in found
            found[member.name.removeprefix("mcastd-support/")] = file.read().decode()
    return found


def collected(*wanted: Item) -> dict[str, str]:
    return unpacked(archive(list(wanted), [KEY.encode()], lambda number, item: None)[0])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration that is refused, with a key in the wrong place too."""
    (tmp_path / "dc.psk").write_text(f"{KEY}\n")
    path = tmp_path / "mcastd.toml"
    path.write_text(f'[peers.dc]\npsk_file = "dc.psk"\nmtu = 1\n# {KEY}\n')
    return path


def test_without_a_daemon_the_archive_says_what_is_missing_and_why(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.tar.xz"
    assert main(["support", "-o", str(path), "-c", str(config), "--socket", str(tmp_path / "control.sock")]) == 0
    assert path.stat().st_mode & 0o777 == 0o600
    printed = capsys.readouterr()
    progress = printed.err.splitlines()
    assert progress[0] == f"1/{len(progress)} {config}"
    assert progress[-1].startswith(f"{len(progress)}/{len(progress)} journal of strongswan.service")
    assert printed.out.startswith(f"{path}: {len(progress)} sources, ")
    found = unpacked(path.read_bytes())
    contents = found["contents.txt"]
    has, _, lacks = contents.partition("\nMissing or incomplete:\n")
    assert {line.partition(": ")[0] for line in has.splitlines() if ".txt: " in line} == found.keys() - {"contents.txt"}
    assert f"mcastd status --json: exit status 3: mcastd: no mcastd answers on {tmp_path}/control.sock" in lacks
    assert f"mcastd check: exit status 2: {config}:" in lacks
    assert f"files in {tmp_path}: no such files, or no permission to read them" in lacks
    assert "swanctl --list-sas: " in lacks
    assert "ipv4/ip_forward: " in found["files-in-proc-sys-net.txt"]
    assert "Udp: " in found["files-in-proc-net.txt"]
    assert 'psk_file = "dc.psk"' in next(text for name, text in found.items() if name.endswith("mcastd-toml.txt"))
    assert KEY not in "".join(found.values())


def test_a_file_that_exists_is_not_overwritten(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mcastd.cli.support.items", lambda config, socket: [])
    path = tmp_path / "out.tar.xz"
    path.write_text("mine")
    assert main(["support", "-o", str(path), "-c", str(config)]) == 1
    assert path.read_text() == "mine"
    assert str(path) in capsys.readouterr().err


def test_the_default_name_has_host_and_time(tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcastd.cli.support.items", lambda config, socket: [])
    monkeypatch.chdir(tmp_path)
    assert main(["support", "-c", str(config)]) == 0
    assert len(list(tmp_path.glob("mcastd-support-*-*-*.tar.xz"))) == 1


def test_a_command_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "_TIMEOUT", 0.2)
    found = collected(Item("sleep", lambda: collect._command(["sleep", "60"], {"PATH": "/usr/bin:/bin"})))
    assert "sleep: Command '['sleep', '60']' timed out after 0.2 seconds" in found["contents.txt"]
    assert found.keys() == {"contents.txt"}


def test_a_program_that_is_not_installed_is_named() -> None:
    found = collected(Item("mcastd-none -x", lambda: collect._command(["mcastd-none", "-x"], {"PATH": "/usr/bin"})))
    assert "mcastd-none -x: No such file or directory" in found["contents.txt"]


def test_of_a_long_output_the_end_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "_LARGEST", 10)
    found = collected(Item("log", lambda: (b"old new new", None)))
    assert found["log.txt"] == "ld new new"
    assert "log.txt: log, 11 bytes, of which the last 10 are here" in found["contents.txt"]


def test_a_secret_is_removed_before_the_text_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "_LARGEST", 20)
    assert "battery" not in collected(Item("log", lambda: (f"{KEY} end".encode(), None)))["log.txt"]


def test_the_sockets_of_an_invalid_configuration_are_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "mcastd.toml").write_text("[daemon]\nvici_socket = ")
    assert any("swanctl" in item.source for item in items(tmp_path / "mcastd.toml", tmp_path / "control.sock"))
    assert keys_of(tmp_path / "none.toml") == []


def test_the_files_that_a_configuration_includes_are_collected_also_where_it_is_invalid(tmp_path: Path) -> None:
    (tmp_path / "mcastd.toml").write_text('include = ["lists/*.toml", "gone.toml", ""]\nx = 1\n')
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "b.toml").write_text("[[groups]]\n")
    found = items(tmp_path / "mcastd.toml", tmp_path / "control.sock")
    assert [item.source for item in found[:3]] == [
        str(tmp_path / name) for name in ("mcastd.toml", "lists/b.toml", "gone.toml")
    ]


class Reader:
    """The journal's reader, over ``records``, oldest first."""

    records: ClassVar[list[dict[str, Any]]] = []

    def __enter__(self) -> Self:
        self._left = list(self.records)
        self.matches: list[str] = []
        return self

    def __exit__(self, *_: object) -> None: ...

    def add_match(self, match: str) -> None:
        self.matches.append(match)

    def add_disjunction(self) -> None:
        assert self.matches == ["_SYSTEMD_UNIT=mcastd.service"]

    def seek_tail(self) -> None: ...

    def get_previous(self) -> dict[str, Any]:
        return self._left.pop() if self._left else {}


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Reader]]:
    import systemd.daemon
    import systemd.journal

    monkeypatch.setattr(systemd.daemon, "booted", lambda: True)
    monkeypatch.setattr(systemd.journal, "Reader", Reader)
    yield Reader
    Reader.records = []


def record(age: float, **fields: Any) -> dict[str, Any]:
    return {"__REALTIME_TIMESTAMP": datetime.now(UTC) - timedelta(seconds=age), **fields}


def test_the_last_day_of_the_journal_is_read_oldest_first(journal: type[Reader]) -> None:
    journal.records = [
        record(90000, MESSAGE="too old"),
        record(80000, MESSAGE="tunnel up", SYSLOG_IDENTIFIER="mcastd", _PID=7),
        record(20, MESSAGE=b"not UTF-8: \xff"),
        record(10),
    ]
    content, problem = collect._journal("mcastd.service")
    assert problem is None
    assert [line.partition(b" ")[2] for line in content.splitlines()] == [
        b"mcastd[7]: tunnel up", b"[]: not UTF-8: \xff", b"[]: ",
    ]  # fmt: skip


def test_a_journal_that_takes_too_long_is_read_in_part(journal: type[Reader], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "_TIMEOUT", -1.0)
    journal.records = [record(10, MESSAGE="a")]
    content, problem = collect._journal("mcastd.service")
    assert content == b""
    assert "reading took too long" in (problem or "")


def test_a_journal_without_records_says_so(journal: type[Reader]) -> None:
    assert collect._journal("mcastd.service") == (b"", "no records, or no permission to read them")


def test_without_systemd_or_its_library_the_journal_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import systemd.daemon

    monkeypatch.setattr(systemd.daemon, "booted", lambda: False)
    assert collect._journal("mcastd.service") == (b"", "this host does not run systemd")
    monkeypatch.setitem(sys.modules, "systemd", None)
    assert "python3-systemd" in (collect._journal("mcastd.service")[1] or "")
