"""Whom a VXLAN device sends to, by the kernel: copies are counted on the wire, by endpoint."""

import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from ipaddress import IPv4Address

import pytest

from mcastd.errors import HostError
from mcastd.links import Link, Vxlan
from mcastd.net.vxlan import EVERY, Forwarding, Replica, mac_of
from mcastd.system import vxlan
from mcastd.system.netlink import Netlink
from tests.namespaces import DEADLINE, Namespace, join, until

pytestmark = pytest.mark.root

LOCAL, SOURCE, OTHER = IPv4Address("10.0.0.1"), IPv4Address("10.20.0.1"), IPv4Address("10.20.0.9")
ONE, TWO, THREE = (IPv4Address(f"10.0.0.{number}") for number in (2, 3, 4))
GROUP, SECOND, FREE = (IPv4Address(f"239.1.1.{number}") for number in (1, 2, 3))
PARAMETERS = Vxlan(7, LOCAL, 4789, ageing=400)
PORT = 5001
_END = 5002  # the port of the packet that is sent last
_ETH_P_IP = 0x0800
_MAC = "02:00:00:00:00:01"  # of all endpoints


class Copies:
    """What arrives at the endpoints: how often for each endpoint, inner source and group."""

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
        self._sock.bind(("veth0", _ETH_P_IP))
        self._sock.settimeout(DEADLINE)

    def __iter__(self) -> Iterator[tuple[IPv4Address, IPv4Address, IPv4Address]]:
        """Those that were sent until now."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", (str(ONE), _END))
        while (packet := self._sock.recv(2048))[22:24] != _END.to_bytes(2, "big"):
            if packet[9] == socket.IPPROTO_UDP and packet[22:24] == PARAMETERS.port.to_bytes(2, "big"):
                inner = packet[20 + 8 + 8 + 14 :]
                if inner[9] == socket.IPPROTO_UDP:
                    yield IPv4Address(packet[16:20]), IPv4Address(inner[12:16]), IPv4Address(inner[16:20])

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def ends(namespace: Callable[[], Namespace]) -> tuple[Namespace, Namespace]:
    """A machine with a VXLAN device, and one that has the addresses of all endpoints."""
    head, far = namespace(), namespace()
    join(head, f"{LOCAL}/24", far, f"{ONE}/24")
    far.batch(f"addr add {TWO}/24 dev veth0", f"addr add {THREE}/24 dev veth0", f"link set veth0 address {_MAC}")
    # Without ARP, behind which a packet would wait while others pass.
    head.batch(*(f"neigh replace {endpoint} lladdr {_MAC} dev veth0 nud permanent" for endpoint in (ONE, TWO, THREE)))
    return head, far


@pytest.fixture
def copies(ends: tuple[Namespace, Namespace]) -> Iterator[Copies]:
    found = ends[1].call(Copies)
    yield found
    found.close()


async def made(netlink: Netlink, head: Namespace) -> Link:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # on one CPU packets of this thread keep their order
    await netlink.add_link("vx0", PARAMETERS)
    head.batch(f"addr add {SOURCE}/24 dev vx0", f"addr add {OTHER}/24 dev vx0", "link set vx0 addrgenmode none up")
    link = await netlink.link("vx0")
    assert link is not None
    return link


async def has_mdb(index: int) -> bool:
    """Whether the kernel has it (Linux 6.4); a kernel without has no entries, and refuses them."""
    if await vxlan.has_mdb(index):
        return True
    assert set(await vxlan.replicas(index)) == set()
    with pytest.raises(HostError, match=r"^MDB entries: (Operation not supported|Invalid argument)$"):
        await vxlan.add_replicas(index, [Replica(GROUP, None, ONE)])
    return False


def send(groups: Iterable[IPv4Address], source: IPv4Address = SOURCE) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((str(source), 0))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(str(SOURCE)))
        for group in groups:
            sock.sendto(b"one", (str(group), PORT))


def test_a_device_is_made_as_it_is_read(namespace: Callable[[], Namespace]) -> None:
    head = namespace()

    async def main() -> None:
        async with Netlink() as netlink:
            await netlink.add_link("vx0", PARAMETERS)
            link = await netlink.link("vx0")
            assert link is not None
            assert (link.kind, link.parameters, link.up) == ("vxlan", PARAMETERS, False)
            head.ip("link", "add", "vx1", "type", "vxlan", "id", "8", "remote", "10.0.0.9", "dstport", "4789")
            other = await netlink.link("vx1")
            assert other is not None
            assert (other.kind, other.parameters) == ("vxlan", None)  # not of the kind that this makes

    head.run(main)


def test_copies_leave_to_the_endpoints_of_a_group_and_to_no_others(
    ends: tuple[Namespace, Namespace], copies: Copies
) -> None:
    head, _ = ends
    wanted = {Replica(GROUP, None, ONE), Replica(GROUP, None, TWO), Replica(SECOND, None, THREE)}

    async def main() -> None:
        async with Netlink() as netlink:
            index = (await made(netlink, head)).index
            if not await has_mdb(index):
                return
            assert set(await vxlan.replicas(index)) == set()
            for _ in range(2):  # the second time it is a no-op
                await vxlan.add_replicas(index, wanted)
                assert set(await vxlan.replicas(index)) == wanted
            send((GROUP, GROUP, SECOND, FREE))
            assert Counter((endpoint, group) for endpoint, _, group in copies) == {
                (ONE, GROUP): 2, (TWO, GROUP): 2, (THREE, SECOND): 1,
            }  # fmt: skip
            for _ in range(2):
                await vxlan.remove_replicas(index, [Replica(GROUP, None, ONE)])
                assert set(await vxlan.replicas(index)) == wanted - {Replica(GROUP, None, ONE)}
            send((GROUP, SECOND))
            assert Counter((endpoint, group) for endpoint, _, group in copies) == {(TWO, GROUP): 1, (THREE, SECOND): 1}

    head.run(main)


def test_an_entry_of_a_source_replaces_that_of_the_group_for_this_source(
    ends: tuple[Namespace, Namespace], copies: Copies
) -> None:
    head, _ = ends

    async def main() -> None:
        async with Netlink() as netlink:
            index = (await made(netlink, head)).index
            if not await has_mdb(index):
                return
            wanted = {Replica(GROUP, None, ONE), Replica(GROUP, SOURCE, TWO)}
            await vxlan.add_replicas(index, wanted)
            assert set(await vxlan.replicas(index)) == wanted
            send([GROUP], SOURCE)
            send([GROUP], OTHER)
            assert set(copies) == {(TWO, SOURCE, GROUP), (ONE, OTHER, GROUP)}
            await vxlan.add_replicas(index, {Replica(GROUP, SOURCE, ONE)})
            send([GROUP], SOURCE)
            assert set(copies) == {(TWO, SOURCE, GROUP), (ONE, SOURCE, GROUP)}

    head.run(main)


@pytest.mark.also_kernel
def test_without_mdb_copies_leave_by_the_ethernet_address_of_the_group(
    ends: tuple[Namespace, Namespace], copies: Copies
) -> None:
    head, _ = ends
    alias = IPv4Address("239.129.1.1")  # has the Ethernet address of GROUP

    async def main() -> None:
        async with Netlink() as netlink:
            index = (await made(netlink, head)).index
            wanted = {Forwarding(mac_of(GROUP), ONE), Forwarding(mac_of(GROUP), TWO), Forwarding(mac_of(SECOND), TWO)}
            for _ in range(2):
                await vxlan.add_forwarding(index, wanted)
                assert set(await vxlan.forwarding(index)) == wanted
            send((GROUP, SECOND, FREE, alias))
            assert Counter((endpoint, group) for endpoint, _, group in copies) == {
                (ONE, GROUP): 1, (TWO, GROUP): 1, (TWO, SECOND): 1, (ONE, alias): 1, (TWO, alias): 1,
            }  # fmt: skip
            for _ in range(2):
                await vxlan.remove_forwarding(index, [Forwarding(mac_of(GROUP), ONE), Forwarding(mac_of(SECOND), TWO)])
            await vxlan.add_forwarding(index, [Forwarding(EVERY, THREE)])
            send((GROUP, FREE))
            assert {(endpoint, group) for endpoint, _, group in copies} == {(TWO, GROUP), (THREE, FREE)}

    head.run(main)


@pytest.mark.also_kernel
def test_where_a_host_is_is_learned_from_what_it_sends(ends: tuple[Namespace, Namespace]) -> None:
    head, far = ends
    mac, permanent = bytes.fromhex("02feedbeef01"), bytes.fromhex("02feedbeef02")
    frame = mac_of(GROUP) + mac + b"\x88\xb5"

    def from_endpoint(endpoint: IPv4Address) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((str(endpoint), 0))
            sock.sendto(b"\x08\0\0\0\0\0\x07\0" + frame + bytes(46), (str(LOCAL), 4789))

    async def main() -> None:
        async with Netlink() as netlink:
            index = (await made(netlink, head)).index
            for endpoint in (ONE, TWO):  # the second time it has moved
                far.call(partial(from_endpoint, endpoint))
                found: list[Forwarding] = []
                while Forwarding(mac, endpoint, learned=True) not in found:
                    found[:] = await vxlan.forwarding(index)
                assert await vxlan.endpoint(index, mac) == endpoint
            await until(lambda: len(found) == 1, "one entry")
            await vxlan.add_forwarding(index, [Forwarding(permanent, THREE)])
            assert set(await vxlan.forwarding(index)) == {*found, Forwarding(permanent, THREE)}
            assert await vxlan.endpoint(index, permanent) is None  # which nobody has sent from

    head.run(main)


def test_a_refusal_is_an_error_after_all_else_was_done(ends: tuple[Namespace, Namespace]) -> None:
    head, _ = ends

    async def main() -> None:
        async with Netlink() as netlink:
            index = (await made(netlink, head)).index
            if not await has_mdb(index):
                return
            good = {Replica(GROUP, None, IPv4Address(0x0A010000 + number)) for number in range(100)}
            with pytest.raises(HostError, match=r"^MDB entries: Invalid argument$"):
                await vxlan.add_replicas(index, [Replica(IPv4Address("10.1.1.1"), None, ONE), *good])
            assert set(await vxlan.replicas(index)) == good
            with pytest.raises(HostError, match=r"^forwarding entries: No such device$"):
                await vxlan.add_forwarding(4711, [Forwarding(mac_of(GROUP), ONE)])
            assert not await vxlan.has_mdb(1)  # the loopback

    head.run(main)
