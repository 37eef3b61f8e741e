"""Selectors and routes that would take this host's traffic to its gateway or a connected network are refused."""

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from mcastd.config.checks.host import Host, OwnNetwork
from mcastd.config.load import load
from mcastd.errors import ConfigError
from tests.config.test_checks_of_modes import PEER, child

GRE1 = '[tunnels.gre1]\nlocal = "10.44.6.1"\nremote = "10.44.7.1"\naddress = "10.44.4.6/30"\n'
LOCAL = IPv4Address("10.1.1.246")
GATEWAY = OwnNetwork("eth0", IPv4Network("10.1.1.1/32"), LOCAL, is_gateway=True)
SUBNET = OwnNetwork("eth0", IPv4Network("10.1.1.0/24"), LOCAL)
CONTAINERS = OwnNetwork("docker0", IPv4Network("172.17.0.0/16"), IPv4Address("172.17.0.1"))
OF_TUNNEL = OwnNetwork("gre1", IPv4Network("10.44.4.4/30"), IPv4Address("10.44.4.6"))
ADDRESSES = frozenset({LOCAL, IPv4Address("172.17.0.1"), IPv4Address("10.44.4.6"), IPv4Address("127.0.0.1")})
HOST = Host(ADDRESSES, (GATEWAY, SUBNET, CONTAINERS, OF_TUNNEL))
PEERS_NETWORK = OwnNetwork("eth0", IPv4Network("177.54.214.20/32"), LOCAL)
ANOTHER = Host(frozenset({IPv4Address("192.0.2.2")}), HOST.networks)


def refused(local: str, remote: str, host: Host, folder: Path, lines: str = "") -> str:
    """What the file is refused with; empty if it is accepted."""
    file = folder / "mcastd.toml"
    selectors = f'local_ts = "{local}"\nremote_ts = "{remote}"\n{lines}'
    file.write_text(PEER + child(selectors) + GRE1)
    try:
        load(file, check_files=False, host=host)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("local", "remote", "host", "what"),
    [
        ("0.0.0.0/0", "0.0.0.0/0", Host(), "takes all that this host sends, also to its gateway,"),
        ("10.0.0.0/8", "0.0.0.0/0", ANOTHER, "takes all that this host sends, also to its gateway,"),
        ("10.1.0.0/16", "10.0.0.0/8", HOST, "takes the gateway 10.1.1.1 of eth0, to which this host sends from"),
        ("10.1.1.246/32", "10.1.1.0/30", HOST, "takes the gateway 10.1.1.1 of eth0"),
        ("10.0.0.0/8", "10.1.1.0/24", Host(ADDRESSES, (SUBNET,)), "takes the network 10.1.1.0/24 of eth0"),
        ("0.0.0.0/0", "172.16.0.0/12", HOST, "takes the network 172.17.0.0/16 of docker0"),
        ("0.0.0.0/1", "0.0.0.0/1", HOST, "takes the gateway 10.1.1.1 of eth0"),
    ],
)  # fmt: skip
def test_what_would_cut_the_host_off_is_refused(local: str, remote: str, host: Host, what: str, tmp_path: Path) -> None:
    text = refused(local, remote, host, tmp_path)
    assert text.startswith(f"{tmp_path}/mcastd.toml:")
    assert f"peers.dc.children.gre.remote_ts: {remote} from {local} {what}" in text
    assert 'allowed: mode = "interface" with an if_id, narrower selectors, or protocol = "gre"' in text
    assert text.count("peers.dc.children.gre.remote_ts") == 1


@pytest.mark.parametrize(
    ("local", "remote", "host", "lines"),
    [
        ("0.0.0.0/0", "0.0.0.0/0", HOST, 'protocol = "gre"'),
        ("0.0.0.0/0", "0.0.0.0/0", HOST, 'mode = "interface"\nif_id = 7\ninterface = "ipsec1"'),
        ("10.1.1.246/32", "177.54.214.20/32", Host(ADDRESSES, (GATEWAY, SUBNET, PEERS_NETWORK)), ""),
        ("10.45.8.16/28", "0.0.0.0/0", HOST, ""),  # other hosts behind this one
        ("172.16.0.0/12", "10.0.0.0/8", HOST, ""),
        ("10.1.0.0/16", "10.0.0.0/8", ANOTHER, ""),  # this machine is not the host that the file is for
        ("10.44.4.6/32", "10.44.4.4/30", HOST, ""),  # in the tunnel
    ],
)
def test_the_rest_is_accepted(local: str, remote: str, host: Host, lines: str, tmp_path: Path) -> None:
    assert refused(local, remote, host, tmp_path, lines) == ""


def refused_route(route: str, host: Host, folder: Path, lines: str = "") -> str:
    """What the file is refused with for a route of the tunnel; empty if it is accepted."""
    file = folder / "mcastd.toml"
    selectors = 'local_ts = "10.44.6.1/32"\nremote_ts = "10.44.7.1/32"\n'
    file.write_text(PEER + child(selectors) + GRE1 + f'routes = ["groups", "{route}"]\n{lines}')
    try:
        load(file, check_files=False, host=host)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("route", "what"),
    [
        ("10.1.1.0/24", "the network 10.1.1.0/24 of eth0"),
        ("10.1.1.0/28", "the gateway 10.1.1.1 of eth0"),
        ("10.1.1.1/32", "the gateway 10.1.1.1 of eth0"),
        ("172.17.0.0/16", "the network 172.17.0.0/16 of docker0"),
    ],
)
def test_a_route_that_would_cut_the_host_off_is_refused(route: str, what: str, tmp_path: Path) -> None:
    text = refused_route(route, HOST, tmp_path)
    assert f"tunnels.gre1.routes[1]: {route} takes {what}, which this host reaches directly" in text
    assert "allowed: other networks" in text
    assert refused_route(route, ANOTHER, tmp_path) == ""  # this machine is not the host that the file is for
    assert refused_route(route, HOST, tmp_path, 'route_table = 1000\nrule_from = ["10.45.8.0/24"]\n') == ""


@pytest.mark.parametrize("route", ["10.0.0.0/11", "10.1.0.0/16", "10.1.1.128/25", "10.44.4.4/30", "100.15.30.0/24"])
def test_routes_that_leave_the_host_its_networks(route: str, tmp_path: Path) -> None:
    assert refused_route(route, HOST, tmp_path) == ""


@pytest.mark.parametrize(
    ("network", "address", "wrong"),
    [
        ("177.54.214.20/30", "177.54.214.21", True),
        ("177.54.214.20/30", "10.1.1.246", False),  # a route, not a connected network
        ("177.54.214.16/29", "177.54.214.21", False),
        ("177.54.214.20/31", "177.54.214.21", False),
    ],
)
def test_a_peer_is_no_address_of_a_whole_network(network: str, address: str, wrong: bool, tmp_path: Path) -> None:
    host = Host(ADDRESSES, (OwnNetwork("eth0", IPv4Network(network), IPv4Address(address)),))
    text = refused("10.44.6.1/32", "10.44.7.1/32", host, tmp_path)
    expected = "177.54.214.20 is the network or broadcast address of 177.54.214.20/30; allowed: the address of a host"
    assert (expected in text) == wrong


def test_a_route_of_a_tunnel_that_is_renamed_is_no_network_of_this_host(tmp_path: Path) -> None:
    earlier = OwnNetwork("gre9", IPv4Network("100.15.30.0/24"), IPv4Address("10.44.4.6"))
    assert refused_route("100.15.30.0/24", Host(ADDRESSES, (GATEWAY, SUBNET, earlier)), tmp_path) == ""
