from ipaddress import IPv4Address

import msgspec
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import GRE

from mcastd.config.model import Config
from mcastd.tools.trace.scope import scope_of
from tests.ipsec.charons import DC, article
from tests.tunnel.agents import tunnel

OTHER = msgspec.structs.replace(article(), name="other", remote=IPv4Address("192.0.2.9"), children=())
CONFIG = Config(
    peers=(article(), OTHER),
    tunnels=(tunnel(child="dc-tun-gre"), tunnel(name="gre2", remote=IPv4Address("10.44.8.1"))),
)


def udp(source: str, destination: str) -> bytes:
    return bytes(IP(src=source, dst=destination) / UDP(sport=500, dport=500))


def gre(source: str, destination: str) -> bytes:
    return bytes(IP(src=source, dst=destination, proto=47) / GRE(proto=0))


def test_everything_on_a_tunnel_and_what_the_far_ends_send_and_get() -> None:
    scope = scope_of(CONFIG)
    assert scope.holds("gre1", bytes(IP(proto=2)))
    assert scope.holds("gre2", bytes(IP(proto=103)))
    assert not scope.holds("eth0", bytes(IP(proto=103)))
    for far in (DC, "192.0.2.9"):
        assert scope.holds("eth0", udp("10.1.1.246", far))
        assert scope.holds("eth0", udp(far, "10.1.1.246"))
    assert not scope.holds("eth0", udp("10.1.1.246", "10.44.7.1"))
    assert scope.holds("ipsec0", gre("10.44.7.1", "10.44.6.1"))
    assert scope.holds("eth0", gre("10.44.6.1", "10.44.8.1"))
    assert not scope.holds("eth0", gre("10.44.6.1", DC))


def test_one_tunnel_with_its_peer() -> None:
    scope = scope_of(CONFIG, "gre1")
    assert scope.holds("gre1", bytes(IP(proto=2)))
    assert not scope.holds("gre2", bytes(IP(proto=2)))
    assert scope.holds("eth0", udp("10.1.1.246", DC))
    assert not scope.holds("eth0", udp("10.1.1.246", "192.0.2.9"))
    assert not scope.holds("eth0", gre("10.44.6.1", "10.44.8.1"))


def test_a_tunnel_that_is_not_there() -> None:
    with pytest.raises(KeyError):
        scope_of(CONFIG, "gre9")
