import asyncio
import itertools
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface

import pytest

from mcastd.errors import HostError
from mcastd.links import Gre
from mcastd.net.gre import GreOptions
from mcastd.system.netlink import Address, GreUnsupported, Link, Netlink, changes
from tests.namespaces import DEADLINE, Namespace, join

pytestmark = pytest.mark.root


@pytest.fixture
def pair(namespace: Callable[[], Namespace]) -> tuple[Namespace, Namespace]:
    one, other = namespace(), namespace()
    join(one, "192.0.2.1/24", other, "192.0.2.2/24")
    return one, other


def test_links_are_what_ip_link_shows(pair: tuple[Namespace, Namespace]) -> None:
    pair[0].ip("link", "set", "veth0", "mtu", "1400")

    async def main() -> None:
        async with Netlink() as netlink:
            veth = await netlink.link("veth0")
            assert veth is not None
            assert veth == Link(veth.index, "veth0", "veth", 1400, up=True, multicast=True)
            assert await netlink.link_by_index(veth.index) == veth
            assert await netlink.link("gre1") is None
            with pytest.raises(HostError, match="link 9999: No such device"):
                await netlink.link_by_index(9999)

    pair[0].run(main)


def test_addresses_with_and_without_a_peer(pair: tuple[Namespace, Namespace]) -> None:
    async def main() -> None:
        async with Netlink() as netlink:
            veth = await netlink.link("veth0")
            assert veth is not None
            plain, far = IPv4Interface("10.44.4.6/30"), IPv4Interface("10.44.5.6/30")
            for _ in range(2):  # what is there already is as good
                await netlink.add_address(veth.index, plain)
                await netlink.add_address(veth.index, far, IPv4Address("10.44.5.5"))
            assert set(await netlink.addresses()) == {
                Address(1, IPv4Interface("127.0.0.1/8")),
                Address(veth.index, IPv4Interface("192.0.2.1/24")),
                Address(veth.index, plain),
                Address(veth.index, far, IPv4Address("10.44.5.5")),
            }
            for _ in range(2):  # and so is what is gone already
                await netlink.delete_address(veth.index, plain)
                await netlink.delete_address(veth.index, far, IPv4Address("10.44.5.5"))
            assert len(await netlink.addresses()) == 2
            with pytest.raises(HostError, match=r"address 10\.44\.4\.6/30: No such device"):
                await netlink.add_address(9999, plain)

    pair[0].run(main)


def test_the_link_that_packets_leave_by(pair: tuple[Namespace, Namespace]) -> None:
    async def main() -> None:
        async with Netlink() as netlink:
            near = await netlink.link_towards(IPv4Address("192.0.2.2"))
            assert near is not None
            assert near.name == "veth0"
            from_here = await netlink.link_towards(IPv4Address("192.0.2.2"), IPv4Address("192.0.2.1"))
            assert from_here == near
            assert await netlink.link_towards(IPv4Address("198.51.100.1")) is None
            assert await netlink.link_towards(IPv4Address("192.0.2.2"), IPv4Address("10.9.9.9")) is None

    pair[0].run(main)


def test_flags_and_mtu_change_only_where_it_is_said(pair: tuple[Namespace, Namespace]) -> None:
    async def main() -> None:
        async with Netlink() as netlink:
            veth = await netlink.link("veth0")
            assert veth is not None
            await netlink.set_link(veth, mtu=1300)
            await netlink.set_link(veth, up=False)
            down = await netlink.link("veth0")
            assert down == Link(veth.index, "veth0", "veth", 1300, up=False, multicast=True)
            await netlink.set_link(veth, multicast=True)
            assert await netlink.link("veth0") == down
            await netlink.set_link(veth, up=True, multicast=True)
            assert await netlink.link("veth0") == Link(veth.index, "veth0", "veth", 1300, up=True, multicast=True)
            with pytest.raises(HostError, match="link veth0: Invalid argument"):
                await netlink.set_link(veth, mtu=1)
            await netlink.delete_link("veth0")
            await netlink.delete_link("veth0")
            assert await netlink.link("veth0") is None

    pair[0].run(main)


def test_gre_of_the_kernel_or_a_clear_no(namespace: Callable[[], Namespace]) -> None:
    wanted = Gre(IPv4Address("10.44.6.1"), IPv4Address("10.44.7.1"), GreOptions(0x28))

    async def main() -> None:
        async with Netlink() as netlink:
            try:
                await netlink.add_gre("gre1", wanted)
            except GreUnsupported:
                assert await netlink.link("gre1") is None
                return
            link = await netlink.link("gre1")
            assert link is not None
            assert (link.kind, link.detail, link.up, link.multicast) == ("gre", wanted, False, False)
            with pytest.raises(HostError, match="link gre1: File exists"):
                await netlink.add_gre("gre1", wanted)

    namespace().run(main)


def test_changes_of_links_addresses_and_routes_are_told(pair: tuple[Namespace, Namespace]) -> None:
    commands = [
        ("addr", "add", "10.44.4.6/30", "dev", "veth0"),
        ("link", "set", "veth0", "mtu", "1400"),
        ("route", "add", "198.51.100.0/24", "via", "192.0.2.2"),
        ("addr", "del", "10.44.4.6/30", "dev", "veth0"),
    ]
    told = asyncio.Event()

    async def watch() -> None:
        async for _ in changes():
            told.set()

    async def main() -> None:
        watching = asyncio.create_task(watch())
        numbers = itertools.count(60000)
        # The watcher's socket is there once it tells of a change that is made again and again.
        while not told.is_set():
            pair[0].ip("link", "set", "lo", "mtu", str(next(numbers)))
            await asyncio.sleep(0.01)
        for command in commands:
            told.clear()
            pair[0].ip(*command)
            async with asyncio.timeout(DEADLINE):
                await told.wait()
        watching.cancel()

    pair[0].run(main)
