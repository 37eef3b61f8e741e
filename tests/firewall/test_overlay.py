"""Who may send to an overlay: members, by the network that carries VXLAN."""

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from mcastd.config.downstream import Overlay
from mcastd.config.model import Config, Tunnel
from mcastd.firewall import rules
from mcastd.firewall.overlay import unguarded
from mcastd.system import nft
from tests.namespaces import DEADLINE, Namespace, join

LOCAL, MEMBER, STRANGER = "10.0.0.1", "10.0.0.10", "10.0.0.66"
OVERLAY = Overlay(
    name="vx0",
    from_=("gre1",),
    vni=7,
    local=IPv4Address(LOCAL),
    address=IPv4Interface("10.99.0.1/24"),
    members=(IPv4Network(MEMBER),),
)
TUNNEL = Tunnel(
    name="gre1",
    local=IPv4Address("10.44.6.1"),
    remote=IPv4Address("10.44.7.1"),
    address=IPv4Interface("10.44.4.6/30"),
)
CONFIG = Config(tunnels=(TUNNEL,), overlay=(OVERLAY,))
OF_OURS, OF_ANOTHER = (b"\x08\0\0\0\0\0" + bytes((vni, 0)) + b"frame" for vni in (7, 8))


@pytest.mark.root
@pytest.mark.parametrize(
    ("link", "source", "arrives"),
    [
        ("veth0", MEMBER, [OF_OURS, OF_ANOTHER]),
        ("veth0", STRANGER, [OF_ANOTHER]),
        ("gre1", MEMBER, [OF_ANOTHER]),  # out of the tunnel, with an address of the network that carries VXLAN
        ("vx0", MEMBER, [OF_ANOTHER]),
    ],
)
def test_vxlan_arrives_from_members_and_not_out_of_a_tunnel(
    namespace: Callable[[], Namespace], link: str, source: str, arrives: list[bytes]
) -> None:
    head, far = namespace(), namespace()
    join(head, f"{LOCAL}/24", far, f"{source}/24")
    head.batch("link set veth0 down", f"link set veth0 name {link}", f"link set {link} up")

    def say() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for payload in (OF_OURS, OF_ANOTHER):
                sock.sendto(payload, (LOCAL, 4789))

    async def main() -> None:
        await nft.transaction(rules.table(CONFIG))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((LOCAL, 4789))
            sock.settimeout(DEADLINE)
            far.call(say)
            assert [sock.recv(100) for _ in arrives] == arrives
            assert (await nft.counts("mcastd"))["overlay-vx0"][0] == 2 - len(arrives)

    head.run(main)


def test_an_overlay_is_guarded_as_long_as_the_table_that_is_in_place_has_its_rules() -> None:
    standing = rules.table(CONFIG)
    assert unguarded(CONFIG, standing) == set()
    assert unguarded(CONFIG, "") == {"vx0"}
    assert unguarded(CONFIG, standing.replace(f"ip saddr != {MEMBER}/32", "ip saddr != 10.0.0.0/8")) == {"vx0"}
