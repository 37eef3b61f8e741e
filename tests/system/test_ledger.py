import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcastd.errors import HostError
from mcastd.system import ledger_file
from mcastd.system.ledger import Ledger

FIXTURE = Path(__file__).parents[1] / "fixtures" / "0.1.0" / "ledger.json"
FORWARD = "net/ipv4/ip_forward"
USABLE: dict[str, dict[str, str | None]] = {
    "nftables": {"ip mcastd": None, "ip mcastd-streams": None},
    "sysctl": {FORWARD: "0", "net/ipv4/conf/gre1/rp_filter": "2"},
    "endpoint": {"10.44.6.1/32": "lo:mcastd", "10.45.8.17/32": None},
    "link": {"gre1": "kernel", "gre2": "userspace", "ipsec-1.7": "xfrm"},
    "routes": {"gre1 254": None, "gre1 4294967295": None},
    "rule": {"0.0.0.0/0 1000": None, "10.0.0.0/8 1": None},
    "vici-conn": {"dc": "10.1.1.246=C=DE, O=x 177.54.214.20=y IKEv2 aes256 psk", "found": None},
    "vici-child": {"dc/dc-tun": "10.44.6.1/32 10.44.7.1/32 any tunnel aes256 replay=1024"},
    "vici-shared": {"mcastd-dc": None},
    "vici-key": {"dc/0fe1": None},
    "vici-authority": {"dc/mcastd-dc-1": None},
}
UNUSABLE = (
    ("nftables", "ip filter", None),
    ("sysctl", "kernel/core_pattern", "|/bin/sh"),
    ("sysctl", "net/ipv4/../../kernel/panic", "1"),
    ("sysctl", FORWARD, "yes"),
    ("sysctl", FORWARD, None),
    ("endpoint", "10.44.6.0/24", None),
    ("endpoint", "999.44.6.1/32", None),
    ("endpoint", "10.44.6.1/32", "eth0"),
    ("link", "gre1", "veth"),
    ("link", "gre1", None),
    ("link", "a/b", "kernel"),
    ("link", "sixteen-letters-", "kernel"),
    ("routes", "gre1 0", None),
    ("routes", "gre1 4294967296", None),
    ("routes", "gre1 main", None),
    ("routes", "gre1 ²", None),
    ("rule", "10.0.0.1/8 1000", None),
    ("rule", "0.0.0.0/33 1000", None),
    ("vici-conn", "", "x"),
    ("vici-conn", "dc", "x" * 5000),
    ("vici-conn", "dc", "x"),
    ("vici-child", "dc", "10.44.6.1/32 10.44.7.1/32 any tunnel aes256"),
    ("vici-child", "dc/dc-tun", "x"),
    ("vici-shared", "theirs", None),
    ("vici-key", "dc/../x", None),
    ("vici-authority", "dc/theirs", None),
    ("unheard-of", "x", None),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.json"


def test_the_first_value_seen_is_the_one_to_put_back(path: Path) -> None:
    ledger = Ledger(path)
    ledger.remember("sysctl", FORWARD, "1")
    ledger.remember("sysctl", FORWARD, "2")
    assert ledger.entries("sysctl") == {FORWARD: "1"}
    again = Ledger(path)
    again.remember("sysctl", FORWARD, "0")
    assert again.entries("sysctl") == {FORWARD: "1"}


def test_what_is_remembered_outlives_the_process_in_order(path: Path) -> None:
    ledger = Ledger(path)
    for name, kind in (("gre2", "kernel"), ("gre1", "userspace"), ("gre0", "xfrm")):
        ledger.remember("link", name, kind)
    ledger.remember("endpoint", "10.44.6.1/32")
    again = Ledger(path)
    assert list(again.entries("link").items()) == [("gre2", "kernel"), ("gre1", "userspace"), ("gre0", "xfrm")]
    assert again.entries("endpoint") == {"10.44.6.1/32": None}
    assert again.has("endpoint", "10.44.6.1/32")
    assert not again.has("link", "10.44.6.1/32")
    assert (again.warnings, again.is_incomplete, again.problem) == ((), False, None)


def test_forgetting_the_last_entry_removes_the_file(path: Path) -> None:
    ledger = Ledger(path)
    ledger.remember("link", "gre1", "kernel")
    ledger.remember("link", "gre2", "kernel")
    ledger.forget("link", "gre1")
    assert Ledger(path).entries("link") == {"gre2": "kernel"}
    ledger.forget("link", "gre2")
    ledger.forget("link", "gre2")
    ledger.forget("endpoint", "never there")
    assert not path.exists()
    assert Ledger(path).entries("link") == {}


def test_entries_are_a_copy_that_may_be_walked_while_forgetting(path: Path) -> None:
    ledger = Ledger(path)
    for name in ("gre1", "gre2"):
        ledger.remember("link", name, "kernel")
    for name in ledger.entries("link"):
        ledger.forget("link", name)
    assert ledger.entries("link") == {}


CRASH = """
import os, pathlib, signal, sys
from mcastd.system.ledger import Ledger
ledger = Ledger(pathlib.Path(sys.argv[1]))
ledger.remember("link", "gre1", "kernel")
pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
ledger.remember("link", "gre2", "kernel")
"""


def test_a_crash_between_write_and_rename_leaves_the_old_file_whole(path: Path) -> None:
    died = subprocess.run((sys.executable, "-c", CRASH, str(path)), check=False)
    assert died.returncode == -signal.SIGKILL
    assert sorted(each.name for each in path.parent.iterdir()) == ["ledger.json", "ledger.new"]
    ledger = Ledger(path)
    assert ledger.entries("link") == {"gre1": "kernel"}
    ledger.remember("link", "gre2", "xfrm")
    assert Ledger(path).entries("link") == {"gre1": "kernel", "gre2": "xfrm"}
    assert [each.name for each in path.parent.iterdir()] == ["ledger.json"]


# What is in the file


def test_the_file_has_a_version_where_mcastd_0_1_reads_over_it(path: Path) -> None:
    Ledger(path).remember("link", "gre1", "kernel")
    assert json.loads(path.read_bytes()) == {"format": {"version": 1}, "link": {"gre1": "kernel"}}


def test_the_ledger_of_0_1_0_is_read_whole(path: Path) -> None:
    path.write_bytes(FIXTURE.read_bytes())
    ledger = Ledger(path)
    assert {kind: ledger.entries(kind) for kind in json.loads(FIXTURE.read_bytes())} == json.loads(FIXTURE.read_bytes())
    assert (ledger.warnings, ledger.is_incomplete) == ((), False)


def test_every_kind_of_entry_is_read_again(path: Path) -> None:
    ledger = Ledger(path)
    for kind, entries in USABLE.items():
        for key, value in entries.items():
            ledger.remember(kind, key, value)
    again = Ledger(path)
    assert again.warnings == ()
    assert {kind: again.entries(kind) for kind in USABLE} == USABLE


@pytest.mark.parametrize(("kind", "key", "value"), UNUSABLE)
def test_an_entry_that_cannot_be_used_is_named_and_the_others_are_used(
    path: Path, kind: str, key: str, value: str | None
) -> None:
    found = {other: dict(entries) for other, entries in USABLE.items()}
    found.setdefault(kind, {})[key] = value
    path.write_text(json.dumps(found))
    ledger = Ledger(path)
    (warning,) = ledger.warnings
    assert kind in warning
    assert ledger.is_incomplete
    expected = {other: dict(entries) for other, entries in USABLE.items()}
    expected.get(kind, {}).pop(key, None)
    assert {other: ledger.entries(other) for other in expected} == expected
    assert not ledger.has(kind, key)
    assert path.exists(), "it is a ledger"


@pytest.mark.parametrize("value", [1.5, {}, [], True, 7])
def test_a_value_of_another_type_is_not_used(path: Path, value: object) -> None:
    path.write_text(json.dumps({"link": {"gre1": value, "gre2": "kernel"}, "rule": value and [value]}))
    assert Ledger(path).entries("link") == {"gre2": "kernel"}


@pytest.mark.parametrize(
    "garbage", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"[" * 5000, b'{"link": ' * 5000, b"\0" * 100, b"{}{}"]
)
def test_a_file_that_is_no_ledger_is_kept_aside_by_name(path: Path, garbage: bytes) -> None:
    path.write_bytes(garbage)
    ledger = Ledger(path)
    aside = path.with_name("ledger.json.unreadable")
    assert ledger.warnings[0].startswith(f"{path} cannot be read: ")
    assert ledger.warnings[0].endswith(f"; it is kept as {aside}")
    assert "net.ipv4.ip_forward stays as it is" in ledger.warnings[1]
    assert ledger.is_incomplete
    assert (path.exists(), aside.read_bytes()) == (False, garbage)
    ledger.remember("link", "gre1", "kernel")
    assert Ledger(path).entries("link") == {"gre1": "kernel"}


def test_a_file_larger_than_any_ledger_is_not_read(path: Path) -> None:
    path.write_bytes(b" " * (ledger_file.LARGEST + 1))
    assert "larger" in Ledger(path).warnings[0]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(sorted(USABLE)) | st.text(), inner, max_size=4)
        ),
    ).map(lambda found: json.dumps(found).encode())
)
def test_whatever_is_in_the_file_it_is_no_error_and_no_more_than_entries(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    ledger = Ledger(path)
    for kind in USABLE:
        for key, value in ledger.entries(kind).items():
            assert value is None or isinstance(value, str)
            ledger.forget(kind, key)
    path.unlink(missing_ok=True)


VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
KINDS = st.sampled_from(sorted(USABLE.keys() - {"link"})) | st.text()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(KINDS, VALUES | st.lists(VALUES) | st.dictionaries(st.text(), VALUES)),
    st.dictionaries(st.text(), VALUES | st.lists(VALUES)),
)
def test_whatever_is_beside_an_entry_it_is_used(path: Path, kinds: dict[str, object], links: dict[str, object]) -> None:
    path.write_text(json.dumps({**kinds, "link": {**links, "gre1": "kernel"}}))
    ledger = Ledger(path)
    assert ledger.entries("link")["gre1"] == "kernel"
    assert path.exists(), "it is a ledger"


# A file that cannot be read or written


def test_a_path_that_cannot_be_read_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").mkdir()
    ledger = Ledger(tmp_path / "ledger.json")
    assert "Is a directory" in ledger.warnings[0]


def test_what_could_not_be_written_is_written_as_soon_as_it_can(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "later" / "ledger.json")
    ledger.remember("link", "gre1", "kernel")
    assert ledger.has("link", "gre1")
    assert ledger.problem is not None
    assert ledger.problem.startswith(f"{tmp_path}/later/ledger.json: No such file or directory")
    ledger.keep()
    (tmp_path / "later").mkdir()
    ledger.keep()
    assert [ledger.problem] == [None]
    assert Ledger(tmp_path / "later" / "ledger.json").has("link", "gre1")


def test_the_value_of_a_sysctl_that_could_not_be_kept_is_not_taken_for_kept(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "later" / "ledger.json")
    for _ in range(2):
        with pytest.raises(HostError, match="No such file"):
            ledger.remember("sysctl", FORWARD, "0")
    assert not ledger.has("sysctl", FORWARD)
    (tmp_path / "later").mkdir()
    ledger.remember("sysctl", FORWARD, "0")
    assert Ledger(tmp_path / "later" / "ledger.json").has("sysctl", FORWARD)


def test_a_file_that_was_removed_is_written_again_and_without_entries_there_is_none(path: Path) -> None:
    ledger = Ledger(path)
    ledger.keep()
    assert not path.exists()
    ledger.remember("link", "gre1", "kernel")
    path.unlink()
    ledger.keep()
    assert Ledger(path).entries("link") == {"gre1": "kernel"}


def test_what_is_put_back_is_forgotten_though_the_file_cannot_say_so(path: Path) -> None:
    ledger = Ledger(path)
    for name in ("gre1", "gre2"):
        ledger.remember("link", name, "kernel")
    path.with_suffix(".new").mkdir()
    ledger.forget("link", "gre1")
    assert ledger.entries("link") == {"gre2": "kernel"}
    assert Ledger(path).entries("link") == {"gre1": "kernel", "gre2": "kernel"}
    ledger.forget("link", "gre2")
    assert not path.exists()


def test_what_is_found_by_its_mark_is_recorded_and_shows_that_the_file_was_not_complete(path: Path) -> None:
    ledger = Ledger(path)
    ledger.remember("link", "gre1", "kernel")
    assert not ledger.found("link", "gre1", "kernel")
    assert [ledger.is_incomplete] == [False]
    assert ledger.found("link", "gre2", "kernel")
    assert [ledger.is_incomplete] == [True]
    assert Ledger(path).entries("link") == {"gre1": "kernel", "gre2": "kernel"}


def test_a_file_is_whole_if_it_was_there_with_entries_and_nothing_is_known_to_be_missing(path: Path) -> None:
    ledger = Ledger(path)
    ledger.remember("link", "gre1", "kernel")
    assert not ledger.is_whole
    again = Ledger(path)
    assert [again.is_whole] == [True]
    assert again.found("link", "gre2", "kernel")
    assert [again.is_whole] == [False]
    for content in (b"", b"{}", b'{"format": {"version": 1}}', b'{"link": {"gre1": 1.5}}'):
        path.write_bytes(content)
        assert not Ledger(path).is_whole
