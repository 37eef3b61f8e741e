"""The page for the article's readers has a row for each of its commands, and names nothing that there is not."""

import re
from pathlib import Path

import msgspec
import pytest

from mcastd.cli import COMMANDS as VERBS
from mcastd.cli import main
from mcastd.config.model import Child, Config, Daemon, Firewall, Group, Keepalive, Peer, Pim, RpRange, Tunnel
from mcastd.config.schema import keys

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "from-the-article.md").read_text()

COMMANDS = [
    "ike=aes256-sha256-modp2048!",
    "esp=aes256-sha256-modp2048!",
    "sysctl net.ipv4.ip_forward=1",
    "iptables -t nat -A POSTROUTING -d 100.15.30.0/24 -j SNAT --to-source 10.45.8.17",
    "iptables -t nat -A POSTROUTING -d 10.44.7.1/32 -j SNAT --to-source 10.44.6.1",
    "ipsec restart",
    "ip tunnel add gre1 local 10.44.6.1 remote 10.44.7.1 mode gre ttl 255",
    "ip link set gre1 up",
    "ip addr add 10.44.4.6/30 dev gre1",
    "ip link set dev gre1 mtu 1476",
    "ip link set gre1 multicast on",
    "ifconfig gre1 pointopoint 10.44.4.5",
    "sysctl net.ipv4.conf.default.accept_local=1",
    "sysctl net.ipv4.conf.all.accept_local=1",
    "tcpdump -n -vv -i eth0 proto 47",
    "tcpdump -i gre1 -n",
    "ipsec statusall",
    "send_dummy_join(group, rp_addr, neighbor_ip)",
]
"""Every command line of the article, in its order."""

TABLES: dict[tuple[str, ...], type[msgspec.Struct]] = {
    (): Config,
    ("daemon",): Daemon,
    ("firewall",): Firewall,
    ("peers", "NAME"): Peer,
    ("peers", "NAME", "children", "NAME"): Child,
    ("tunnels", "NAME"): Tunnel,
    ("tunnels", "NAME", "keepalive"): Keepalive,
    ("tunnels", "NAME", "pim"): Pim,
    ("tunnels", "NAME", "pim", "rp"): RpRange,
    ("groups",): Group,
}
ROWS = [re.split(r" \| ", line.strip("| ")) for line in PAGE.splitlines() if line.startswith("| ")]
QUOTED = set(re.findall(r"`([^`]+)`", PAGE))
KEYS = sorted(word for word in QUOTED if re.fullmatch(r"(?:daemon|firewall|peers|tunnels|groups)\.[A-Za-z_.]+", word))
HEADERS = sorted(word for word in QUOTED if re.fullmatch(r"\[+[a-zA-Z_.]+\]+", word))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_article_has_a_row_that_says_what_does_it(command: str) -> None:
    (row,) = [row for row in ROWS if f"`{command}`" in row[0]]
    assert re.search(r"`(?:mcastd|\[|firewall\.|peers\.|tunnels\.)", row[1])


def test_every_command_that_the_page_shows_is_an_articles_and_in_its_order() -> None:
    shown = [quoted for row in ROWS for quoted in re.findall(r"`([^`]+)`", row[0])]
    assert [one for one in shown if one in COMMANDS] == COMMANDS


@pytest.mark.parametrize("key", KEYS)
def test_every_key_that_it_names_is_one(key: str) -> None:
    *table, name = key.split(".")
    assert name in {found.name for found in keys(TABLES[tuple(table)]) if not found.holds}


@pytest.mark.parametrize("header", HEADERS)
def test_every_table_that_it_names_is_one(header: str) -> None:
    path = tuple(header.strip("[]").split("."))
    assert path in TABLES or path[:2] == ("tunnels", "gre1")
    assert header.startswith("[[") == (path == ("groups",))


def test_every_command_of_ours_that_it_names_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    named = sorted(
        set(
            re.findall(
                r"\bmcastd ([a-z-]+)(?: --vendor [a-z-]+)?",
                " ".join(re.findall(r"`mcastd [^`]+`|^    mcastd .*", PAGE, re.M)),
            )
        )
    )
    assert len(named) > 5
    assert set(named) <= set(VERBS)
    for name in named:
        with pytest.raises(SystemExit) as caught:
            main([name, "--help"])
        assert caught.value.code == 0
    capsys.readouterr()


def test_it_names_the_keys_at_all() -> None:
    assert len(KEYS) > 15
    assert len(HEADERS) >= 4
