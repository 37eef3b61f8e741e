"""Configurations that cannot work: each is refused, at its line, with what is wrong and what is allowed."""

import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from mcastd.config.checks.host import Host, OwnNetwork
from mcastd.config.downstream import Forward, Overlay
from mcastd.config.load import loads
from mcastd.config.model import (
    Child,
    Daemon,
    Feed,
    Firewall,
    Group,
    Keepalive,
    Metrics,
    Paths,
    Peer,
    Pim,
    RpRange,
    Streams,
    Tunnel,
)
from mcastd.config.schema import keys
from mcastd.errors import ConfigError, ConfigProblem
from tests.config.wrong import children, daemon, multicast, noted, overlay, peers, tunnels
from tests.config.wrong.mistakes import Changes, Wrong, line_of, written

LOCAL = IPv4Address("10.1.1.246")
HOST = Host(
    frozenset({LOCAL, IPv4Address("127.0.0.1")}),
    (OwnNetwork("eth0", IPv4Network("10.1.1.0/24"), LOCAL),),
)
WRONG = [one for part in (daemon, peers, children, tunnels, multicast, overlay) for one in part.WRONG]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the configurations name."""
    made = tmp_path_factory.mktemp("wrong")
    contents = {
        "dc.psk": "correct horse\r\n",
        "empty.psk": "",
        "blank.psk": " \t\r\n",
        "lines.psk": "a\nb\n",
        "open.psk": "x",
        "line.psk": '10.0.0.1 : PSK "x"\n',
        "quoted.psk": '"x"\n',
        "blanks.psk": " x\n",
    }
    for name, content in contents.items():
        (made / name).write_text(content, newline="")
        (made / name).chmod(0o644 if name == "open.psk" else 0o600)
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "k.pem", "-out", "c.pem")
    subprocess.run(
        ("openssl", "req", "-x509", *new, "-subj", "/CN=222.45.67.1", "-days", "90"),
        cwd=made,
        check=True,
        capture_output=True,
    )
    return made


def problems(changes: Changes, folder: Path) -> tuple[ConfigProblem, ...]:
    try:
        loads(written(changes), folder / "m.toml", host=HOST)
    except ConfigError as error:
        return error.problems
    return ()


def test_what_is_right_is_accepted(folder: Path) -> None:
    assert problems({}, folder) == ()
    assert [note.key for note in loads(written({}), folder / "m.toml", host=HOST).notes] == ["daemon.strongswan_conf"]


@pytest.mark.parametrize("one", [*noted.NOTED, *overlay.NOTED], ids=lambda one: f"{one.key}: {one.said}")
def test_what_is_probably_a_mistake_is_noted(one: Wrong, folder: Path) -> None:
    text = written(one.changes)
    notes = loads(text, folder / "m.toml", host=HOST).notes
    (note,) = (note for note in notes if note.key == one.key and one.said in note.text)
    assert note.line == line_of(text, one.key)


def test_there_are_two_hundred() -> None:
    assert len({(one.key, tuple(one.changes.items())) for one in WRONG}) == len(WRONG) >= 200


@pytest.mark.parametrize("one", WRONG, ids=lambda one: f"{one.key}: {one.said}")
def test_it_is_refused_with_what_is_allowed(one: Wrong, folder: Path) -> None:
    found = problems(one.changes, folder)
    assert [problem for problem in found if problem.key == one.key and one.said in problem.text], list(map(str, found))
    for problem in found:
        assert "; allowed: " in problem.text or "did you mean " in problem.text, str(problem)
        assert problem.line == line_of(written(one.changes), problem.key), str(problem)
    assert len(found) < 8, "what follows from the mistake is not repeated"


VALUES = (
    *("7", "-1", "0.5", "inf", "true", '""', '"x"', '" 10.0.0.1 "', "[]", '["x"]', "[7]", "[[]]", "{}", "{ x = 1 }"),
    *("1979-05-27", "07:32:00"),
)


def every_key() -> Iterator[tuple[str, str]]:
    """The table and the name of every key of the schema, with the tables of the right file."""
    tables = {
        "daemon": Daemon, "firewall": Firewall, "streams": Streams, "metrics": Metrics, "peers.dc": Peer,
        "peers.dc.children.gre": Child, "tunnels.gre1": Tunnel, "tunnels.gre1.keepalive": Keepalive,
        "tunnels.gre1.pim": Pim, "tunnels.gre1.pim.rp[0]": RpRange, "groups[0]": Group, "feeds[0]": Feed,
        "forward.eth1": Forward, "overlay.vx0": Overlay, "paths": Paths,
    }  # fmt: skip
    for table, struct in tables.items():
        for key in keys(struct):
            if f"{table}.{key.name}" not in tables and key.holds is None:
                yield table, key.name


@pytest.mark.parametrize("value", VALUES)
def test_values_of_every_type(value: str, folder: Path) -> None:
    """All keys at once have a value that is right for few of them: each is taken, or refused with what is allowed."""
    changes = {f"{table}.{name}": value for table, name in every_key()}
    found = problems(changes, folder)
    assert len(found) > 50
    for problem in found:
        assert "; allowed: " in problem.text or "did you mean " in problem.text, str(problem)
        assert problem.line == line_of(written(changes), problem.key), str(problem)
