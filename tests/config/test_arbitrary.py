"""Whatever is in a file, it is read or refused, and nothing else happens."""

import tomllib
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcastd.config.load import load
from mcastd.errors import ConfigError

TEXT = (Path(__file__).parents[2] / "etc" / "mcastd.toml").read_text()

NAMES = st.sampled_from(
    [
        "daemon",
        "peers",
        "tunnels",
        "groups",
        "gre1",
        "dc-tun",
        "children",
        "local",
        "remote",
        "child",
        "pim",
        "rp",
        "group",
        "keepalive",
        "sources",
        "tunnel",
        "address",
        "mtu",
        "key",
        "proposals",
        "neighbor",
        "local_ts",
        "psk_file",
        "\0",
        "a.b",
    ]
)
LEAVES = st.sampled_from(
    [
        '"10.0.0.1"',
        '"239.1.1.1"',
        '"10.0.0.1/24"',
        '"232.0.0.0/8"',
        '"gre1"',
        '"auto"',
        '"5s"',
        '"\\u0000/"',
        '""',
        '"/"',
        "0",
        "-1",
        "1400",
        "1e400",
        "nan",
        "true",
        "[]",
        "{}",
        "99999999999999999999",
        "1979-05-27",
        "07:32:00",
        "[1, {}]",
    ]
)


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{name}" = {toml(one)}'.replace("\0", "\\u0000") for name, one in value.items()) + "}"
    return "[" + ", ".join(map(toml, value)) + "]" if isinstance(value, list) else str(value)


def said(path: Path) -> list[str]:
    """What a file is refused with."""
    try:
        load(path)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


TREES = st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner) | st.lists(inner), max_leaves=30)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=st.dictionaries(NAMES, TREES))
def test_no_tree_does_more_than_refuse(tree: dict[str, object], tmp_path: Path) -> None:
    text = "".join(f'"{name}" = {toml(one)}\n'.replace("\0", "\\u0000") for name, one in tree.items())
    tomllib.loads(text)
    path = tmp_path / "mcastd.toml"
    path.write_text(text)
    found = said(path)
    assert not any("\n" in one or "not valid TOML" in one for one in found)
    assert all("; allowed: " in one or "did you mean " in one for one in found)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary() | st.text().map(str.encode), at=st.integers(0, len(TEXT.encode())))
def test_no_bytes_do_more_than_refuse(content: bytes, at: int, tmp_path: Path) -> None:
    path = tmp_path / "mcastd.toml"
    whole = TEXT.encode()
    for damaged in (content, whole[:at] + content + whole[at:], whole[:at] + content):
        path.write_bytes(damaged)
        assert all("; allowed: " in one or "did you mean " in one for one in said(path))
