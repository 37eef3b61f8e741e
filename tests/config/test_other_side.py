from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest
from msgspec.structs import replace

from mcastd.config.model import Config, Tunnel
from mcastd.config.other_side import behind_nat, esp_in_udp, far_address, far_mtu, public_address
from mcastd.net.gre import GreOptions
from tests.tools.peerconfig.agreed import example, route_based, transport, with_child, with_peer, with_tunnel


@pytest.mark.parametrize(
    ("local", "local_id", "remote", "public"),
    [
        ("10.1.1.246", "222.45.67.1", "177.54.214.20", "222.45.67.1"),
        ("222.45.67.1", "222.45.67.1", "177.54.214.20", "222.45.67.1"),
        ("222.45.67.1", "vm.example.com", "177.54.214.20", "222.45.67.1"),
        ("10.1.1.246", "vm.example.com", "177.54.214.20", None),
        ("10.1.1.246", "vm.example.com", "10.9.9.1", "10.1.1.246"),
    ],
)
def test_our_address_as_the_other_side_sees_it(local: str, local_id: str, remote: str, public: str | None) -> None:
    peer = replace(
        example().peers[0], local=IPv4Address(local), local_id=local_id, remote=IPv4Address(remote), encap=False
    )
    assert public_address(peer) == (None if public is None else IPv4Address(public))
    assert behind_nat(peer) == (public != local)
    assert esp_in_udp(peer) == (public != local)
    assert esp_in_udp(replace(peer, encap=True))


@pytest.mark.parametrize(
    ("changes", "address"),
    [
        ({}, "10.44.4.5/30"),
        ({"peer_address": None}, "10.44.4.5/30"),
        ({"peer_address": None, "pim": None}, "10.44.4.5/30"),
        ({"peer_address": None, "pim": None, "address": IPv4Interface("10.44.4.6/31")}, "10.44.4.7/31"),
        ({"peer_address": None, "pim": None, "address": IPv4Interface("10.44.4.6/29")}, None),
    ],
)
def test_the_other_sides_address_on_the_tunnel(changes: dict[str, Any], address: str | None) -> None:
    tunnel = with_tunnel(example(), **changes).tunnels[0]
    assert far_address(tunnel) == (None if address is None else IPv4Interface(address))


def without_nat(config: Config) -> Config:
    return with_peer(config, local=IPv4Address("222.45.67.1"))


GCM = ("aes256gcm16-ecp256",)


@pytest.mark.parametrize(
    ("config", "mtu"),
    [
        (example(), 1398),
        (without_nat(example()), 1414),
        (with_child(example(), proposals=GCM), 1414),
        (without_nat(with_child(example(), proposals=GCM)), 1422),
        (with_child(example(), proposals=("aes256-sha256", *GCM)), 1398),
        (transport(), 1418),
        (route_based(gre=True), 1398),
        (route_based(gre=False), 1422),
        (with_tunnel(example(), gre=GreOptions(1, checksum=True, sequence=True)), 1386),
        (with_tunnel(example(), child=None), 1476),
        (with_tunnel(example(), mtu=1376), 1376),
    ],
)
def test_the_mtu_that_the_other_side_should_set(config: Config, mtu: int) -> None:
    tunnel: Tunnel = config.tunnels[0]
    assert far_mtu(config, tunnel) == mtu
