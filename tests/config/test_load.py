import re
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest
from msgspec.structs import replace

from mcastd.config.downstream import MAX_JOINS, Forward, Overlay
from mcastd.config.hours import parse as parse_hours
from mcastd.config.load import LARGEST, load
from mcastd.config.model import Child, Config, Feed, Group, Pim
from mcastd.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "etc" / "mcastd.toml"
TEXT = EXAMPLE.read_text()


def complaints(text: str, folder: Path) -> list[str]:
    """What is said of a file, each as ``LINE: KEY: TEXT``."""
    path = folder / "mcastd.toml"
    path.write_text(text)
    try:
        load(path, check_files=False)
    except ConfigError as error:
        return [str(problem).removeprefix(f"{path}:") for problem in error.problems]
    return []


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.split("\n"), 1) if part in line)


def test_the_example_says_what_was_agreed_on() -> None:
    loaded = load(EXAMPLE, check_files=False)
    (peer,) = loaded.config.peers
    (tunnel,) = loaded.config.tunnels
    assert (peer.name, peer.local, peer.remote) == ("dc-tun", IPv4Address("10.1.1.246"), IPv4Address("177.54.214.20"))
    assert (peer.local_id, peer.remote_id) == ("222.45.67.1", "177.54.214.20")
    assert (peer.proposals, peer.lifetime, peer.dpd_delay) == (("aes256-sha256-modp2048",), 14400.0, 30.0)
    assert peer.children == (
        Child(
            name="dc-tun-gre",
            local_ts=IPv4Network("10.44.6.1/32"),
            remote_ts=IPv4Network("10.44.7.1/32"),
            proposals=("aes256-sha256-modp2048",),
        ),
        Child(
            name="dc-tun-tcp",
            local_ts=IPv4Network("10.45.8.16/28"),
            remote_ts=IPv4Network("100.15.30.0/24"),
            proposals=("aes256-sha256-modp2048",),
            snat=IPv4Address("10.45.8.17"),
            snat_loopback=True,
        ),
    )
    assert (tunnel.name, tunnel.child, tunnel.mtu, tunnel.gre.key) == ("gre1", "dc-tun-gre", None, None)
    assert (tunnel.local, tunnel.remote) == (IPv4Address("10.44.6.1"), IPv4Address("10.44.7.1"))
    assert (tunnel.address, tunnel.peer_address) == (IPv4Interface("10.44.4.6/30"), IPv4Address("10.44.4.5"))
    assert tunnel.pim is not None
    assert tunnel.pim.rp[0].address == IPv4Address("100.15.30.253")
    assert loaded.config.groups == (Group(group=IPv4Address("239.1.1.1"), tunnel="gre1"),)


def test_host_bits_are_cut_off_with_a_note() -> None:
    (note,) = load(EXAMPLE, check_files=False).notes
    assert note.line == line_of(TEXT, "10.45.8.17/28")
    assert note.key == "peers.dc-tun.children.dc-tun-tcp.local_ts"
    assert note.text == "10.45.8.17/28 means 10.45.8.16/28, its host bits are cut off"


def test_what_is_commented_out_in_the_example_is_the_default(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^# (\w+ = [^ ]|\[)", r"\1", TEXT)
    assert text != TEXT
    (tmp_path / "mcastd.toml").write_text(text)
    found = load(tmp_path / "mcastd.toml", check_files=False).config
    assert found.forward == (Forward(name="eth1", from_=("gre1",)),)
    assert found.feeds == (Feed(label="trades", groups=(IPv4Network("239.1.1.1/32"),)),)
    assert found.overlay == (
        Overlay(
            name="vx0",
            from_=("gre1",),
            vni=7,
            local=IPv4Address("10.1.2.10"),
            address=IPv4Interface("10.99.0.1/24"),
            members=(IPv4Network("10.1.2.0/24"),),
        ),
    )
    assert replace(found, forward=(), overlay=(), feeds=()) == load(EXAMPLE, check_files=False).config


HUGE = f"0x{'f' * 5000}"


@pytest.mark.parametrize(
    ("before", "after", "key", "said"),
    [
        ('lifetime = "4h"', 'lifetme = "4h"', "peers.dc-tun.lifetme", "no such key; did you mean lifetime?"),
        ("[daemon]", "[demon]", "demon", "did you mean daemon?"),
        ("reply = true", 'reply = "yes"', "tunnels.gre1.keepalive.reply", "it is a string; allowed: true or false"),
        (
            'local = "10.1.1.246"',
            "local = 10",
            "peers.dc-tun.local",
            "it is an integer; allowed: a unicast IPv4 address",
        ),
        ('local = "10.1.1.246"', 'local = "10.1.1.256"', "peers.dc-tun.local", '"10.1.1.256" is not an IPv4 address'),
        ('local = "10.1.1.246"', 'local = "::1"', "peers.dc-tun.local", '"::1" is not an IPv4 address'),
        ('local = "10.1.1.246"', 'local = "239.1.1.1"', "peers.dc-tun.local", "no address of a host"),
        ('local = "10.1.1.246" ', "", "peers.dc-tun.local", "it is missing from [peers.dc-tun]"),
        ('remote = "177.54.214.20"', 'remote = "10.1.1.246"', "peers.dc-tun.remote", "the same as local"),
        ('remote_id = "177.54.214.20"', 'remote_id = ""', "peers.dc-tun.remote_id", "is empty"),
        (
            'lifetime = "4h"',
            'lifetime = "4 hours"',
            "peers.dc-tun.lifetime",
            "no duration; allowed: a duration from 1s to 30d",
        ),
        ('lifetime = "4h"', "lifetime = -1", "peers.dc-tun.lifetime", "-1 is out of range"),
        ('lifetime = "4h"', "lifetime = nan", "peers.dc-tun.lifetime", "nan is out of range"),
        ('lifetime = "4h"', "lifetime = 1979-05-27", "peers.dc-tun.lifetime", "a date or time"),
        ('# retry_min = "1s"', 'retry_min = "2m"', "peers.dc-tun.retry_min", "more than retry_max, 60 s"),
        ("# version = 2", "version = 3", "peers.dc-tun.version", "3; allowed: 2 or 1"),
        ("# version = 2", f"version = {HUGE}", "peers.dc-tun.version", "a number of 20000 bits; allowed: 2 or 1"),
        ('lifetime = "4h"', f"lifetime = {HUGE}", "peers.dc-tun.lifetime", "a number of 20000 bits is out of range"),
        ('lifetime = "4h"', f"lifetime = -{'9' * 400}", "peers.dc-tun.lifetime", "is out of range"),
        ('lifetime = "4h"', "lifetime = inf", "peers.dc-tun.lifetime", "inf is out of range"),
        ('lifetime = "4h"', "lifetime = true", "peers.dc-tun.lifetime", "it is a boolean"),
        (
            '\nmtu = "auto"',
            f"\nmtu = {HUGE}",
            "tunnels.gre1.mtu",
            "a number of 20000 bits is out of range; allowed: an integer",
        ),
        ('\nmtu = "auto"', "\nmtu = 1398.0", "tunnels.gre1.mtu", "it is a number; allowed: an integer"),
        (
            'psk_file = "/etc/mcastd/dc-tun.psk"',
            "psk_file = 7",
            "peers.dc-tun.psk_file",
            "it is an integer; allowed: a path",
        ),
        ('psk_file = "/etc/mcastd/dc-tun.psk"', 'psk_file = ""', "peers.dc-tun.psk_file", "allowed: a path"),
        ('remote = "177.54.214.20"', 'remote = "177.054.214.020"', "peers.dc-tun.remote", "is not an IPv4 address"),
        ('group = "239.1.1.1"', 'group = "239.0.0.0/8"', "groups[0].group", "allowed: a multicast group"),
        ('proposals = ["aes256-sha256-modp2048"]  # I', "proposals = [] # I", "peers.dc-tun.proposals", "empty"),
        (
            'proposals = ["aes256-sha256-modp2048"]  # I',
            'proposals = ["aes256-sha256-modp2048", "aes256-sha256"] # I',
            "peers.dc-tun.proposals[1]",
            "no Diffie-Hellman group",
        ),
        (
            'proposals = ["aes256-sha256-modp2048"]  # I',
            'proposals = "aes256-sha256-modp2048" # I',
            "peers.dc-tun.proposals",
            "it is a string; allowed: an array",
        ),
        (
            'proposals = ["aes256-sha256-modp2048"]  # E',
            'proposals = ["aes256-sha256-modp2048!"] # E',
            "peers.dc-tun.children.dc-tun-gre.proposals[0]",
            "leave out the '!'",
        ),
        (
            'local_ts = "10.45.8.17/28"',
            'local_ts = "10.45.8.17/33"',
            "peers.dc-tun.children.dc-tun-tcp.local_ts",
            "no IPv4 prefix",
        ),
        (
            'child = "dc-tun-gre"',
            'child = "dc-tun"',
            "tunnels.gre1.child",
            'no child "dc-tun"; allowed: dc-tun-gre, dc-tun-tcp',
        ),
        (
            'local = "10.44.6.1"',
            'local = "10.44.6.2"',
            "tunnels.gre1.local",
            "outside local_ts of dc-tun-gre; allowed: an address in",
        ),
        ('remote = "10.44.7.1"', 'remote = "10.44.7.2"', "tunnels.gre1.remote", "outside remote_ts of dc-tun-gre"),
        ('address = "10.44.4.6/30"', 'address = "10.44.4.6"', "tunnels.gre1.address", "no prefix length"),
        (
            'address = "10.44.4.6/30"',
            'address = "10.44.4.7/30"',
            "tunnels.gre1.address",
            "broadcast address of 10.44.4.4/30",
        ),
        (
            'address = "10.44.4.6/30"',
            'address = "10.44.4.4/30"',
            "tunnels.gre1.address",
            "network or broadcast address",
        ),
        (
            'peer_address = "10.44.4.5"',
            'peer_address = "10.44.4.9"',
            "tunnels.gre1.peer_address",
            "outside 10.44.4.4/30",
        ),
        ('peer_address = "10.44.4.5"', 'peer_address = "10.44.4.6"', "tunnels.gre1.peer_address", "our own address"),
        ('peer_address = "10.44.4.5"', 'peer_address = "10.44.4.7"', "tunnels.gre1.peer_address", "broadcast"),
        ('\nmtu = "auto"', "\nmtu = 1399", "tunnels.gre1.mtu", 'allowed: at most 1398, or "auto"'),
        ('\nmtu = "auto"', "\nmtu = 1398\nkey = 7", "tunnels.gre1.mtu", "allowed: at most 1394"),
        ('\nmtu = "auto"', "\nmtu = 575", "tunnels.gre1.mtu", 'allowed: an integer from 576 to 65535, or "auto"'),
        ('\nmtu = "auto"', "\nmtu = true", "tunnels.gre1.mtu", "it is a boolean"),
        ("# ttl = 255", "ttl = 0", "tunnels.gre1.ttl", "an integer from 1 to 255"),
        ("# max_per_second = 10", "max_per_second = 0", "tunnels.gre1.keepalive.max_per_second", "from 0.1 to 1000"),
        ('neighbor = "10.44.4.5"', 'neighbor = "10.44.4.6"', "tunnels.gre1.pim.neighbor", "our own address"),
        (
            'neighbor = "10.44.4.5"',
            'neighbor = "10.44.4.5"\naccept_neighbors = ["10.0.0.1/32"]',
            "tunnels.gre1.pim.neighbor",
            "in none of accept_neighbors",
        ),
        (
            'neighbor = "10.44.4.5"',
            "static_neighbor = true",
            "tunnels.gre1.pim.static_neighbor",
            "there is no neighbor",
        ),
        (
            '# hello_holdtime = "105s"',
            "hello_holdtime = 29",
            "tunnels.gre1.pim.hello_holdtime",
            "less than hello_period",
        ),
        (
            '# rp_preference = "static"',
            'rp_preference = "bootstrap"',
            "tunnels.gre1.pim.rp_preference",
            "bootstrap = true",
        ),
        (
            '# rp_preference = "static"',
            'rp_preference = ["static", "auto_rp"]',
            "tunnels.gre1.pim.rp_preference",
            "auto_rp = true",
        ),
        ('# rp_preference = "static"', "rp_preference = []", "tunnels.gre1.pim.rp_preference", "or an array of them"),
        (
            '# rp_preference = "static"',
            'rp_preference = ["static", "static"]',
            "tunnels.gre1.pim.rp_preference",
            "or an array of them",
        ),
        ('# rp_preference = "static"', 'rp_preference = "dense"', "tunnels.gre1.pim.rp_preference", '"dense"; allowed'),
        ('address = "100.15.30.253"', 'address = "10.44.4.6"', "tunnels.gre1.pim.rp[0].address", "our own address"),
        (
            'groups = ["239.0.0.0/8"]',
            'groups = ["10.0.0.0/8"]',
            "tunnels.gre1.pim.rp[0].groups[0]",
            "not within 224.0.0.0/4",
        ),
        (
            'groups = ["239.0.0.0/8"]',
            'groups = ["239.0.0.0/8", "239.0.0.0/8"]',
            "tunnels.gre1.pim.rp[0].groups[1]",
            "has an RP at line",
        ),
        (
            'groups = ["239.0.0.0/8"]',
            'groups = ["239.0.0.0/8", "232.1.0.0/16"]',
            "tunnels.gre1.pim.rp[0].groups[1]",
            "SSM, which has no RP",
        ),
        ('group = "239.1.1.1"', 'group = "10.1.1.1"', "groups[0].group", "not a multicast group"),
        ('group = "239.1.1.1"', 'group = "224.0.0.13"', "groups[0].group", "never leaves its link"),
        ('group = "239.1.1.1"', 'group = "238.1.1.1"', "groups[0].group", "no RP serves 238.1.1.1"),
        ('group = "239.1.1.1"', 'group = "232.1.1.1"', "groups[0].sources", "SSM and needs at least one source"),
        (
            'group = "239.1.1.1"',
            'group = "239.1.1.1"\ntunnel = "gre2"',
            "groups[0].tunnel",
            'no tunnel "gre2"; allowed: gre1',
        ),
        (
            'group = "239.1.1.1"',
            'group = "239.1.1.1"\nsources = ["10.0.0.1", "10.0.0.1"]',
            "groups[0].sources[1]",
            "239.1.1.1 from 10.0.0.1 is joined at line",
        ),
        (
            'group = "239.1.1.1"',
            'group = "239.1.1.1"\nsources = ["0.0.0.0"]',
            "groups[0].sources[0]",
            "no address of a host",
        ),
    ],
)
def test_one_mistake_is_said_once_and_at_its_line(before: str, after: str, key: str, said: str, tmp_path: Path) -> None:
    assert TEXT.count(before) == 1
    text = TEXT.replace(before, after)
    (complaint,) = complaints(text, tmp_path)
    line, where, what = complaint.split(": ", 2)
    assert where == key
    assert said in what
    part = key.rsplit(".", 1)[-1].split("[")[0]
    row = text.split("\n")[int(line) - 1]
    assert part in row or row.startswith("[")


def test_everything_is_said_at_once_and_by_line(tmp_path: Path) -> None:
    text = """\
[peers.a]
local = "x"
remote = 5
proposals = ["aes256-sha256-modp2048", 7, "rot13"]
surprise = 1
[tunnels.gre1]
mtu = 9000
local = "10.0.0.1"
remote = "10.0.0.2"
address = "10.0.1.1/30"
peer_address = "10.0.1.9"
[tunnels.gre1.pim]
hello_period = "fast"
[[groups]]
group = "232.0.0.1"
[[groups]]
group = "239.0.0.1"
"""
    found = [complaint.split(": ")[:2] for complaint in complaints(text, tmp_path)]
    assert found == [
        ["1", "peers.a.local_id"],
        ["1", "peers.a.remote_id"],
        ["1", "peers.a.psk_file"],
        ["1", "peers.a.children"],
        ["2", "peers.a.local"],
        ["3", "peers.a.remote"],
        ["4", "peers.a.proposals[1]"],
        ["4", "peers.a.proposals[2]"],
        ["5", "peers.a.surprise"],
        ["7", "tunnels.gre1.mtu"],
        ["11", "tunnels.gre1.peer_address"],
        ["13", "tunnels.gre1.pim.hello_period"],
        ["14", "groups[0].sources"],
        ["17", "groups[1].group"],
    ]


def test_bootstrap_or_a_source_makes_up_for_an_rp(tmp_path: Path) -> None:
    other = TEXT.replace('group = "239.1.1.1"', 'group = "238.1.1.1"')
    assert complaints(other.replace("# bootstrap = false", "bootstrap = true "), tmp_path) == []
    assert complaints(other.replace("# sources = []", 'sources = ["10.0.0.1"]'), tmp_path) == []


def test_a_group_without_an_rp_is_an_error_unless_bootstrap_is_asked_for() -> None:
    assert Pim().bootstrap is False


def test_an_empty_file_is_valid(tmp_path: Path) -> None:
    assert complaints("", tmp_path) == []


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.5, '"500ms"'), (30, '"30s"'), (300, '"5m"'), (14400, '"4h"'), (86400, '"1d"'), (2.5, "2.5")],
)
def test_durations(seconds: float, written: str, tmp_path: Path) -> None:
    path = tmp_path / "mcastd.toml"
    path.write_text(TEXT.replace('dpd_delay = "30s"', f"dpd_delay = {written}"))
    assert load(path, check_files=False).config.peers[0].dpd_delay == seconds


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (b"a = 1\nb = \n", 2, "not valid TOML"),
        (b"a = 1\na = 2\n", 2, "not valid TOML: a is there already, at line 1; allowed: each table and key once"),
        (
            b"[peers.a]\n[peers.a]\n",
            2,
            "not valid TOML: peers.a is there already, at line 1; allowed: each table and key once",
        ),
        (b'[peers."a.b"]\n[peers."a.b"]\n', 2, 'not valid TOML: peers."a.b" is there already'),
        (b"peers = {}\n[peers.a]\n", 2, "is there already"),
        (b"groups = []\n[[groups]]\n", 2, "groups is there already"),
        (b"\xef\xbb\xbfa = 1\n", 1, "byte order mark; allowed: UTF-8 without one"),
        ("a = 1\n".encode("utf-16"), 1, "is not UTF-8"),
        (b"a = 1\n\0", 2, "not valid TOML"),
        (b"peer dc {\n}\n", 1, "not valid TOML"),
        (b'[daemon]\n\nx = "abc', 3, "not valid TOML"),
        (b"# fine\nx = \xff\n", 2, "byte 0xff is not UTF-8"),
        (b"a = " + b"[" * 100_000, 1, "nested too deep"),
        (b"a = " + b"9" * 5000, 1, "too long"),
        (b"#" * (LARGEST + 1), 1, "too large"),
    ],
)
def test_what_is_no_toml_at_all(content: bytes, line: int, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mcastd.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert problem.line == line
    assert said in problem.text


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mcastd\.toml:1: it cannot be read: No such file"):
        load(tmp_path / "mcastd.toml")
    with pytest.raises(ConfigError, match="it cannot be read: Is a directory"):
        load(tmp_path)


def test_more_joins_on_a_tunnel_than_are_kept_are_refused_where_they_begin(tmp_path: Path) -> None:
    sources = ", ".join(f'"10.9.{index >> 8}.{index & 255}"' for index in range(MAX_JOINS - 1))
    most = f"""{TEXT}
[[groups]]
group = "232.1.1.1"
sources = [{sources}]
"""
    assert complaints(most, tmp_path) == []
    (complaint,) = complaints(most + '[[groups]]\ngroup = "239.2.0.1"\n[[groups]]\ngroup = "239.2.0.2"\n', tmp_path)
    assert "groups[2].group" in complaint
    assert "more than 20000 joins on gre1" in complaint


def test_ten_thousand_groups_are_fine(tmp_path: Path) -> None:
    groups = "".join(f'[[groups]]\ngroup = "239.2.{index >> 8}.{index & 255}"\n' for index in range(10_000))
    assert complaints(TEXT + "\n" + groups, tmp_path) == []


@pytest.mark.parametrize(
    ("text", "line", "key", "said"),
    [
        ("peers = 3\n", 1, "peers", "it is an integer; allowed: tables by name, [peers.NAME]"),
        ("[[peers]]\n", 1, "peers", "it is an array; allowed: tables by name, [peers.NAME]"),
        ("[groups]\n", 1, "groups", "it is a table; allowed: an array of tables, [[groups]]"),
        ("\n[tunnels]\ngre1 = 1\n", 3, "tunnels.gre1", "it is an integer; allowed: a table, [tunnels.NAME]"),
        ("[peers.a]\n", 1, "peers.a.psk_file", "it is missing from [peers.a]; allowed: a pre-shared key, or"),
        ("[tunnels.gre1]\n", 1, "tunnels.gre1.address", "it is missing from [tunnels.gre1]"),
        ('[peers."a b"]\n', 1, 'peers."a b"', '"a b" is not a usable name; allowed: up to 63'),
        ('[tunnels."a/b"]\n', 1, 'tunnels."a/b"', '"a/b" is no interface name; allowed: up to 15'),
        ("[daemon]\ndatapth = 1\n", 2, "daemon.datapth", "there is no such key; did you mean datapath?"),
    ],
)
def test_tables_that_are_none_are_told_with_what_is_allowed(
    text: str, line: int, key: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "mcastd.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    (problem,) = (problem for problem in caught.value.problems if problem.key == key)
    assert problem.line == line
    assert said in problem.text


def test_a_file_that_says_nothing_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "mcastd.toml"
    path.write_text("[peers]\n[tunnels]\n")
    assert load(path).config == Config()


def test_ikev1_has_no_combined_mode_ciphers_for_itself(tmp_path: Path) -> None:
    text = TEXT.replace("# version = 2", "version = 1").replace(
        "aes256-sha256-modp2048", "aes256gcm16-prfsha256-modp2048", 1
    )
    (complaint,) = complaints(text, tmp_path)
    assert "peers.dc-tun.proposals[0]: aes256gcm16-prfsha256-modp2048: IKEv1 has no combined-mode ciphers" in complaint
    assert complaints(text.replace("version = 1", "version = 2"), tmp_path) == []


def test_hours_are_one_or_several(tmp_path: Path) -> None:
    path = tmp_path / "mcastd.toml"
    found = []
    for text in ('"Mon-Fri 09:50-18:45 Europe/Moscow"', '["Mon-Fri 09:50-18:45 Europe/Moscow"]'):
        path.write_text(f'{TEXT}\n[[feeds]]\nname = "A"\ngroups = ["239.1.1.1"]\nmax_silence = "5s"\nhours = {text}\n')
        found.append(load(path, check_files=False).config.feeds[0].hours)
    assert found[0] == found[1] == (parse_hours("Mon-Fri 09:50-18:45 Europe/Moscow"),)
    path.write_text(TEXT.replace("# hours = []", "hours = 5", 1))
    with pytest.raises(ConfigError, match=r"streams\.hours: it is an integer; allowed: hours of the week, or an array"):
        load(path, check_files=False)


def test_a_standby_has_what_it_leaves_out_from_the_peer_that_it_stands_by_for(tmp_path: Path) -> None:
    second = '[peers.dc2]\nstandby_for = "dc-tun"\nremote = "177.54.214.21"\nremote_id = "dc2.example.com"\n'
    (tmp_path / "m.toml").write_text(f"{EXAMPLE.read_text()}\n{second}")
    first, other = load(tmp_path / "m.toml", check_files=False).config.peers
    assert other == replace(
        first, name="dc2", standby_for="dc-tun", remote=IPv4Address("177.54.214.21"), remote_id="dc2.example.com",
        children=(),
    )  # fmt: skip
    certified = 'local_cert = "c.pem"\nlocal_key = "k.pem"\nca_certs = ["ca.pem"]\n'
    (tmp_path / "m.toml").write_text(f"{EXAMPLE.read_text()}\n{second}{certified}")
    _, other = load(tmp_path / "m.toml", check_files=False).config.peers
    assert (other.psk_file, other.local_cert) == (None, tmp_path / "c.pem"), "credentials are one thing"


def test_what_a_standby_has_from_the_first_peer_is_reported_there_alone(tmp_path: Path) -> None:
    second = '[peers.dc2]\nstandby_for = "dc-tun"\nremote = "177.54.214.21"\nremote_id = "dc2.example.com"\n'
    broken = EXAMPLE.read_text().replace('local = "10.1.1.246"', 'local = "vm"')

    def keys(text: str) -> list[str]:
        (tmp_path / "m.toml").write_text(text)
        with pytest.raises(ConfigError) as caught:
            load(tmp_path / "m.toml", check_files=False)
        return [problem.key for problem in caught.value.problems]

    assert keys(f"{broken}\n{second}") == ["peers.dc-tun.local"]
    without = EXAMPLE.read_text().replace('local = "10.1.1.246"', "").replace("psk_file =", "# psk_file =")
    assert keys(f"{without}\n{second}") == ["peers.dc-tun.local", "peers.dc-tun.psk_file"]
    assert keys(f"{EXAMPLE.read_text()}\n{second}retry_max = 0.5\n") == ["peers.dc2.retry_min"], (
        "with its own retry_max"
    )
    inside = (
        EXAMPLE.read_text().replace('"10.44.4.6/30"', '"10.1.1.246/32"').replace("peer_address =", "# peer_address =")
    )
    assert keys(f"{inside}\n{second}").count("tunnels.gre1.address") == 1, "of the local that both have"
    misnamed = second.replace('"dc-tun"', '"dc"')
    assert keys(f"{EXAMPLE.read_text()}\n{misnamed}") == ["peers.dc2.standby_for"], "what is left out is no mistake"
