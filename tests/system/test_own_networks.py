"""What the kernel says of a host's own networks."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from mcastd.config.checks.host import Host, OwnNetwork
from mcastd.system import own_networks
from tests.namespaces import Namespace


@pytest.mark.root
def test_addresses_networks_and_gateways_are_those_of_the_kernel(namespace: Callable[[], Namespace]) -> None:
    host = namespace()
    host.batch(
        "link add eth0 type veth peer name eth1",
        "link set eth0 up",
        "link set eth1 up",
        "addr add 10.1.1.246/24 dev eth0",
        "addr add 10.45.8.17/32 dev lo",
        "route add 203.0.113.1/32 dev eth0",
        "route add default via 10.1.1.1",
        "route add unreachable 198.51.100.0/24",
    )
    address = IPv4Address("10.1.1.246")
    found = host.call(own_networks.read)
    assert found.addresses == {IPv4Address("127.0.0.1"), address, IPv4Address("10.45.8.17")}
    assert set(found.networks) == {
        OwnNetwork("eth0", IPv4Network("10.1.1.0/24"), address),
        OwnNetwork("eth0", IPv4Network("10.1.1.1/32"), address, is_gateway=True),
        OwnNetwork("eth0", IPv4Network("203.0.113.1/32"), address),
    }


def test_without_proc_nothing_is_known(tmp_path: Path) -> None:
    assert own_networks.read(tmp_path) == Host()


def test_a_gateway_of_twenty_thousand_routes_is_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # iface, destination, gateway (10.1.1.1), flags (up, gateway), refcnt, use, metric, mask, mtu, window, irtt
    routes = [f"eth0 {number:04X}000A 0101010A 0003 0 0 0 FFFFFFFF 0 0 0" for number in range(20_000)]
    (tmp_path / "route").write_text("\n".join(["head", *routes, "eth0 0001010A 00000000 0001 0 0 0 00FFFFFF 0 0 0"]))
    (tmp_path / "fib_trie").write_text("")
    address, asked = IPv4Address("10.1.1.246"), []

    def source(destination: IPv4Address) -> IPv4Address:
        asked.append(destination)
        return address

    monkeypatch.setattr(own_networks, "_source", source)
    assert own_networks.read(tmp_path).networks == (
        OwnNetwork("eth0", IPv4Network("10.1.1.1/32"), address, is_gateway=True),
        OwnNetwork("eth0", IPv4Network("10.1.1.0/24"), address),
    )
    assert asked == [IPv4Address("10.1.1.1")] * 2
