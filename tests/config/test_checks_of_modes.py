"""Ways through IPsec that cannot work are refused with the reason, and those that can are taken."""

import re
from pathlib import Path

import pytest

from mcastd.config.load import load
from mcastd.config.model import Config
from mcastd.errors import ConfigError

PEER = """
[peers.dc]
local = "10.1.1.246"
remote = "177.54.214.20"
local_id = "222.45.67.1"
remote_id = "177.54.214.20"
psk_file = "psk"
proposals = ["aes256-sha256-modp2048"]
"""
CHILD = '[peers.dc.children.{name}]\nproposals = ["aes256-sha256-modp2048"]\n{lines}\n'
TUNNEL = '[tunnels.{name}]\nchild = "{child}"\naddress = "10.44.4.6/30"\n{lines}\n'
LOOPBACKS = 'local = "10.44.6.1"\nremote = "10.44.7.1"'
INTERFACE = 'mode = "interface"\nif_id = 7\ninterface = "ipsec1"'


def child(lines: str, name: str = "gre") -> str:
    return CHILD.format(name=name, lines=lines)


def tunnel(lines: str, name: str = "gre1", child: str = "gre") -> str:
    return TUNNEL.format(name=name, child=child, lines=lines)


def read(text: str, folder: Path) -> Config:
    file = folder / "mcastd.toml"
    file.write_text(text)
    return load(file, check_files=False).config


TRANSPORT = PEER + child('mode = "transport"') + tunnel('local = "10.1.1.246"\nremote = "177.54.214.20"')
ON_INTERFACE = PEER + child(INTERFACE) + tunnel(LOOPBACKS)
STRAIGHT = PEER + child('mode = "interface"\nif_id = 7') + tunnel('encapsulation = "none"', name="ipsec1")


@pytest.mark.parametrize("text", [TRANSPORT, ON_INTERFACE, STRAIGHT])
def test_the_topologies_that_work_are_taken(text: str, tmp_path: Path) -> None:
    assert read(text, tmp_path).tunnels[0].child == "gre"


def test_without_gre_the_ends_are_the_peers(tmp_path: Path) -> None:
    (found,) = read(STRAIGHT, tmp_path).tunnels
    assert (str(found.local), str(found.remote)) == ("10.1.1.246", "177.54.214.20")


@pytest.mark.parametrize(("text", "largest"), [(TRANSPORT, 1418), (ON_INTERFACE, 1398), (STRAIGHT, 1422)])
def test_each_has_the_mtu_that_it_allows(text: str, largest: int, tmp_path: Path) -> None:
    with_mtu = text.replace('address = "10.44.4.6/30"', 'address = "10.44.4.6/30"\nmtu = {}')
    assert read(with_mtu.format(largest), tmp_path).tunnels[0].mtu == largest
    with pytest.raises(ConfigError, match=f"allowed: at most {largest}"):
        read(with_mtu.format(largest + 1), tmp_path)


USERSPACE = '[daemon]\ndatapath = "userspace"\n'
TUNNEL_MODE = PEER + child('local_ts = "10.44.6.1/32"\nremote_ts = "10.44.7.1/32"')


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        (ON_INTERFACE.replace('interface = "ipsec1"', ""), "peers.dc.children.gre.interface", "it is missing"),
        (ON_INTERFACE.replace("if_id = 7", ""), "peers.dc.children.gre.if_id", "it is missing"),
        (ON_INTERFACE.replace('"ipsec1"', '"gre1"'), "peers.dc.children.gre.interface", "the name of tunnels.gre1"),
        (ON_INTERFACE.replace('"ipsec1"', '"a/b"'), "peers.dc.children.gre.interface", "no interface name"),
        (ON_INTERFACE.replace('"ipsec1"', '"ipsec0"'), "peers.dc.children.gre.interface", "taken by the system"),
        (
            ON_INTERFACE.replace("10.44.7.1", "177.54.214.20"),
            "tunnels.gre1.remote",
            "ESP itself would go into the XFRM interface",
        ),
        (
            ON_INTERFACE + child(INTERFACE.replace("ipsec1", "ipsec2"), "more"),
            "peers.dc.children.more.if_id",
            "gre has it already",
        ),
        (
            ON_INTERFACE + child(INTERFACE.replace("7", "8"), "more"),
            "peers.dc.children.more.interface",
            "the name of peers.dc.children.gre.interface",
        ),
        (
            STRAIGHT.replace("if_id = 7", 'if_id = 7\ninterface = "ipsec2"'),
            "peers.dc.children.gre.interface",
            "tunnel ipsec1 is the interface",
        ),
        (
            STRAIGHT + tunnel('encapsulation = "none"', "ipsec2").replace("10.44.4.6", "10.44.5.6"),
            "tunnels.ipsec2.child",
            "ipsec1 is its XFRM interface already",
        ),
        (
            STRAIGHT.replace("if_id = 7", 'if_id = 7\nlocal_ts = "10.0.0.0/8"'),
            "peers.dc.children.gre.local_ts",
            "contains no multicast",
        ),
        (STRAIGHT + "key = 5\n", "tunnels.ipsec1.key", "a part of GRE"),
        (STRAIGHT + "checksum = true\n", "tunnels.ipsec1.checksum", "a part of GRE"),
        (STRAIGHT + "sequence = true\n", "tunnels.ipsec1.sequence", "a part of GRE"),
        (STRAIGHT + 'keepalive.period = "10s"\n', "tunnels.ipsec1.keepalive", "a part of GRE"),
        (
            TUNNEL_MODE + tunnel('encapsulation = "none"'),
            "tunnels.gre1.encapsulation",
            'with a child of mode "interface"',
        ),
        (
            PEER + child('mode = "transport"') + tunnel(LOOPBACKS),
            "tunnels.gre1.local",
            "transport mode carries nothing else; allowed: 10.1.1.246",
        ),
        (USERSPACE + TRANSPORT, "peers.dc.children.gre.mode", "ESP in user space has no such mode"),
        (USERSPACE + ON_INTERFACE, "peers.dc.children.gre.mode", "ESP in user space has no such mode"),
        (
            TUNNEL_MODE + tunnel(LOOPBACKS + '\nrule_from = ["10.45.8.16/28"]'),
            "tunnels.gre1.rule_from",
            "there is no route_table",
        ),
        (TUNNEL_MODE + tunnel(LOOPBACKS + "\nroute_table = 220"), "tunnels.gre1.route_table", "charon's table"),
        (
            TUNNEL_MODE + tunnel(LOOPBACKS + '\nroutes = ["rp", "177.0.0.0/8"]'),
            "tunnels.gre1.routes[1]",
            "contains 177.54.214.20, to which the packets of the tunnel itself go",
        ),
        (TUNNEL_MODE + tunnel(LOOPBACKS + '\nroutes = ["10.0.0.0/8"]'), "tunnels.gre1.routes[0]", "contains 10.44.7.1"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(text: str, key: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text, tmp_path)
    found = [str(problem) for problem in caught.value.problems]
    assert any(f": {key}: " in problem and said in problem for problem in found), found


def test_routes_for_some_sources_may_hold_the_far_end(tmp_path: Path) -> None:
    lines = LOOPBACKS + '\nroutes = ["0.0.0.0/0"]\nroute_table = 1000\nrule_from = ["10.45.8.16/28"]'
    assert read(TUNNEL_MODE + tunnel(lines), tmp_path).tunnels[0].route_table == 1000


def documented() -> dict[str, str]:
    """The example of each topology in docs/topologies.md, by its heading."""
    text = (Path(__file__).parents[2] / "docs" / "topologies.md").read_text()
    sections = (section.partition("\n") for section in text.split("\n## ")[1:])
    blocks = {heading: re.findall(r"^    (.*)$", body, re.MULTILINE) for heading, _, body in sections}
    return {heading: "\n".join(lines) for heading, lines in blocks.items() if "[tunnels." in "\n".join(lines)}


@pytest.mark.parametrize("heading", documented())
def test_the_examples_of_the_documentation_are_valid(heading: str, tmp_path: Path) -> None:
    assert len(documented()) == 5
    assert read(PEER + documented()[heading], tmp_path).tunnels[0].routes == ("groups",)
