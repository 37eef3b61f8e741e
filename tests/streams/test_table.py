"""The table that counts: its rules for each mode of ESP, what nft(8) takes, and the keys of its set."""

import re
import subprocess
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.config.load import load
from mcastd.config.model import Config
from mcastd.errors import DecodeError
from mcastd.net.nfnetlink import Element, Table
from mcastd.streams.table import NAME, Key, key, table, transaction
from mcastd.system import nft_listing
from tests.fakes import streams
from tests.firewall.test_rules import ARTICLE, child, config, tunnel
from tests.namespaces import Namespace

ENDS = "ip saddr 10.44.7.1/32 ip daddr 10.44.6.1/32"
GRE = f"{ENDS} ip protocol 47"
ALL = IPv4Network("0.0.0.0/0")


def decrypted(made: Config) -> list[str]:
    """The rules that count what a CHILD_SA has decrypted."""
    return [line.strip() for line in table(made).splitlines() if line.endswith("counter name child-c")]


@pytest.mark.parametrize(
    ("changes", "tunnel_changes", "rules"),
    [
        ({}, {}, [f"meta ipsec exists {ENDS}", f'iifname "ipsec0" {ENDS}']),
        ({"protocol": "gre"}, {}, [f"meta ipsec exists {GRE}", f'iifname "ipsec0" {GRE}']),
        ({"mode": "transport", "protocol": "gre"}, {}, [f"meta ipsec exists {GRE}"]),
        ({"mode": "interface", "if_id": 7, "interface": "xfrm7"}, {}, [f'iifname "xfrm7" {ENDS}']),
        (
            {"mode": "interface", "if_id": 7, "remote_ts": ALL, "local_ts": ALL},
            {"encapsulation": "none"},
            ['iifname "gre1"'],
        ),
    ],
)  # fmt: skip
def test_what_a_child_sa_decrypts_is_known_by_its_mode(
    changes: dict[str, Any], tunnel_changes: dict[str, Any], rules: list[str]
) -> None:
    made = config(child(**changes), tunnels=(tunnel(**tunnel_changes),))
    assert decrypted(made) == [f"{rule} counter name child-c" for rule in rules]


def test_without_a_tunnel_there_is_no_table() -> None:
    assert table(config(child())) == table(Config()) == ""


def test_what_the_configuration_no_longer_has_is_removed_and_the_rest_stays() -> None:
    found = Table("", dict.fromkeys(["tunnel-gre1", "tunnel-gre2", "child-c"], (0, 0)), {})
    text = transaction(table(config(child(), tunnels=(tunnel(),))), found)
    assert [line for line in text.splitlines() if line.startswith("delete counter")] == [
        f"delete counter ip {NAME} tunnel-gre2"
    ]
    assert "delete set" not in text
    assert "delete table" not in text


@pytest.mark.root
def test_nft_takes_it_again_and_again_and_replaces_only_chains_that_are_elsewhere(
    namespace: Callable[[], Namespace],
) -> None:
    host = namespace()

    def nft(*arguments: str, text: str = "") -> str:
        argv = ["ip", "netns", "exec", host.name, "nft", *arguments]
        return subprocess.run(argv, input=text, text=True, check=True, capture_output=True).stdout

    def match(made: Config) -> list[str]:
        """The chains, with their handles."""
        nft("-f", "-", text=transaction(table(made), host.run(lambda: nft_listing.table(NAME))))
        return re.findall(r"chain \w+ { # handle \d+", nft("-a", "list", "table", "ip", NAME))

    article = load(ARTICLE, check_files=False).config
    modes = config(
        child("a", mode="interface", if_id=7, interface="xfrm7"), child("b", mode="transport", protocol="gre"),
        tunnels=(tunnel("gre1", child="a"), tunnel("gre2", child="b", remote=IPv4Address("10.44.7.9"))),
    )  # fmt: skip
    first = match(article)
    assert len(first) == 3
    assert [match(made) for made in (article, modes, article)] == [first] * 3
    # Another program moves one, and makes one without a hook: these alone are replaced.
    for name, begin in (("arriving", "{ type filter hook prerouting priority 0; }"), ("passed", "")):
        nft("-f", "-", text=f"delete chain ip {NAME} {name}\nadd chain ip {NAME} {name} {begin}\n")
    moved = match(article)
    assert set(moved) & set(first) == {one for one in first if "delivered" in one}
    assert "priority -500;" in nft("list", "chain", "ip", NAME, "arriving")
    assert match(article) == moved


def test_a_key_is_interface_source_group_and_port() -> None:
    element = Element(streams.key("gre1", "100.15.30.5", "239.1.1.1", 5000), 1, 1.0)
    assert key(element) == Key("gre1", IPv4Address("100.15.30.5"), IPv4Address("239.1.1.1"), 5000)


@given(st.binary(max_size=40))
def test_arbitrary_bytes_are_a_key_or_a_decode_error(data: bytes) -> None:
    try:
        key(Element(data, 1, 1.0))
    except DecodeError:
        assert len(data) != 28
