import asyncio
import contextlib
import gc
import tracemalloc
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from mcastd.errors import HostError, LinkUnsupported
from mcastd.links import Address, Gre, Link, Route, Rule, Xfrm
from mcastd.net.gre import GreOptions
from mcastd.system import rtnetlink
from mcastd.system.netlink import Netlink
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
            assert await netlink.link("gre1") is None

    pair[0].run(main)


def test_addresses_with_and_without_a_peer(pair: tuple[Namespace, Namespace]) -> None:
    async def main() -> None:
        async with Netlink() as netlink:
            veth = await netlink.link("veth0")
            assert veth is not None
            plain, far = IPv4Interface("10.44.4.6/30"), IPv4Interface("10.44.5.6/30")
            for _ in range(2):  # the second time it is a no-op
                await netlink.add(Address(veth.index, plain))
                await netlink.add(Address(veth.index, far, IPv4Address("10.44.5.5")))
            assert set(await netlink.addresses()) == {
                Address(1, IPv4Interface("127.0.0.1/8")),
                Address(veth.index, IPv4Interface("192.0.2.1/24")),
                Address(veth.index, plain),
                Address(veth.index, far, IPv4Address("10.44.5.5")),
            }
            assert {one.index for one in await netlink.addresses(veth)} == {veth.index}
            assert len(await netlink.addresses(veth)) == 3
            assert await netlink.is_local(plain.ip)
            assert not await netlink.is_local(IPv4Address("10.44.5.5"))
            for _ in range(2):
                await netlink.delete(Address(veth.index, plain))
                await netlink.delete(Address(veth.index, far, IPv4Address("10.44.5.5")))
            assert len(await netlink.addresses()) == 2
            with pytest.raises(HostError, match=r"address 10\.44\.4\.6/30: No such device"):
                await netlink.add(Address(9999, plain))

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
            await netlink.set_link(veth, alias="by a test")
            assert "by a test" in pair[0].ip("link", "show", "veth0")
            for _ in range(2):
                await netlink.delete_link(veth)
            assert await netlink.link("veth0") is None

    pair[0].run(main)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("gre", Gre(IPv4Address("10.44.6.1"), IPv4Address("10.44.7.1"), GreOptions(0x28))),
        ("xfrm", Xfrm(7)),
    ],
)
def test_a_link_of_this_kind_or_a_clear_error(
    namespace: Callable[[], Namespace], kind: str, wanted: Gre | Xfrm
) -> None:
    async def main() -> None:
        async with Netlink() as netlink:
            try:
                await netlink.add_link("one", wanted)
            except LinkUnsupported:
                assert await netlink.link("one") is None
                return
            link = await netlink.link("one")
            assert link is not None
            assert (link.kind, link.parameters, link.up, link.multicast) == (kind, wanted, False, False)
            with pytest.raises(HostError, match="link one: File exists"):
                await netlink.add_link("one", wanted)

    namespace().run(main)


@pytest.mark.kernel("gre")
@pytest.mark.parametrize(
    "changed",
    [
        Gre(IPv4Address("10.44.6.9"), IPv4Address("10.44.7.9"), GreOptions(0x28)),
        Gre(IPv4Address("10.44.6.1"), IPv4Address("10.44.7.1"), GreOptions()),
        Gre(IPv4Address("10.44.6.1"), IPv4Address("10.44.7.1"), GreOptions(0x29, checksum=True, sequence=True, ttl=9)),
    ],
    ids=str,
)
def test_the_parameters_of_a_gre_link_change_in_place(namespace: Callable[[], Namespace], changed: Gre) -> None:
    async def main() -> None:
        async with Netlink() as netlink:
            before = Gre(IPv4Address("10.44.6.1"), IPv4Address("10.44.7.1"), GreOptions(0x28))
            await netlink.add_link("one", before)
            link = await netlink.link("one")
            assert link is not None
            assert link.parameters == before
            await netlink.set_link(link, mtu=1300, up=True, multicast=True, alias="by a test")
            await netlink.change_link(link, changed)
            after = await netlink.link("one")
            assert after is not None
            assert (after.index, after.parameters) == (link.index, changed)
            assert (after.up, after.multicast, after.alias) == (True, True, "by a test")

    namespace().run(main)


RANGE, EVERYWHERE = IPv4Network("239.0.0.0/8"), IPv4Network("0.0.0.0/0")


def test_routes_come_and_go_and_twice_is_a_no_op(namespace: Callable[[], Namespace]) -> None:
    async def main() -> None:
        async with Netlink() as netlink:
            here, there = Route(RANGE, 1, 254, 103), Route(EVERYWHERE, 1, 100000, 103)
            for _ in range(2):
                await netlink.add(here)
                await netlink.add(there)
            assert await netlink.routes(254, (), 103) == await netlink.routes(254, (RANGE,), 4) == (here,)
            assert await netlink.routes(100000, (EVERYWHERE,), 4) == (there,)
            for _ in range(2):
                await netlink.delete(here)
            assert await netlink.routes(254, (RANGE,), 103) == await netlink.routes(4711, (RANGE,), 103) == ()
            assert await netlink.routes(100000, (EVERYWHERE,), 4) == (there,)
            with pytest.raises(HostError, match=r"route 239\.0\.0\.0/8: No such device"):
                await netlink.add(Route(RANGE, 9999, 254, 103))

    namespace().run(main)


def test_a_route_of_another_program_is_not_deleted(namespace: Callable[[], Namespace]) -> None:
    made = namespace()
    made.ip("route", "add", str(RANGE), "dev", "lo")

    async def main() -> None:
        async with Netlink() as netlink:
            await netlink.delete(Route(RANGE, 1, 254, 103))
            (left,) = await netlink.routes(254, (RANGE,), 103)
            assert (left.prefix, left.protocol) == (RANGE, 3)

    made.run(main)


def test_rules_come_and_go_and_twice_is_a_no_op(namespace: Callable[[], Namespace]) -> None:
    async def main() -> None:
        async with Netlink() as netlink:
            before = set(await netlink.rules())
            ours = {Rule(EVERYWHERE, 100000, 210, 103), Rule(IPv4Network("10.45.8.16/28"), 1000, 210, 103)}
            for _ in range(2):
                for rule in ours:
                    await netlink.add(rule)
            assert set(await netlink.rules()) == before | ours
            for _ in range(2):
                for rule in ours:
                    await netlink.delete(rule)
            assert set(await netlink.rules()) == before

    namespace().run(main)


def test_changes_of_links_addresses_and_routes_are_reported(pair: tuple[Namespace, Namespace]) -> None:
    """Without a limit, of whatever route."""
    commands = [
        ("addr", "add", "10.44.4.6/30", "dev", "veth0"),
        ("link", "set", "veth0", "mtu", "1400"),
        ("route", "add", "198.51.100.0/24", "via", "192.0.2.2"),
        ("rule", "add", "from", "10.9.0.0/16", "lookup", "1000"),
        ("addr", "del", "10.44.4.6/30", "dev", "veth0"),
    ]

    async def main() -> None:
        for command in commands:
            async with Netlink().changes() as changes:
                pair[0].ip(*command)
                async with asyncio.timeout(DEADLINE):
                    await anext(changes)

    pair[0].run(main)


WATCHED = [IPv4Network("198.51.100.7/32"), IPv4Network("239.0.0.0/8")]


@pytest.mark.parametrize(
    "command",
    [
        "ip addr add 10.44.4.6/30 dev veth0",
        "ip addr del 192.0.2.1/24 dev veth0",
        "ip link set veth0 mtu 1400",
        "ip rule add from 10.9.0.0/16 lookup 1000",
        "sysctl -qw net.ipv4.conf.veth0.rp_filter=1",
        "sysctl -qw net.ipv4.conf.all.rp_filter=1",
        "sysctl -qw net.ipv4.ip_forward=1",
        "ip route add 198.51.100.0/24 via 192.0.2.2",  # it contains what is watched
        "ip route add 198.51.100.7 via 192.0.2.2 table 1000",
        "ip route add 239.1.1.0/24 dev veth0",  # it is contained
        "ip route add blackhole 198.0.0.0/7",
        "ip route add default via 192.0.2.2",
    ],
)
def test_changes_are_reported(pair: tuple[Namespace, Namespace], command: str) -> None:
    async def main() -> None:
        async with (netlink := Netlink()), netlink.changes() as changes:
            netlink.limit_routes(WATCHED)
            pair[0].execute(command)
            async with asyncio.timeout(DEADLINE):
                await anext(changes)

    pair[0].run(main)


RTNLGRP_IPV4_ROUTE = 7
OTHERS = [f"route add 10.{number >> 8}.{number & 255}.0/24 via 192.0.2.2" for number in range(2000)]


@pytest.mark.parametrize("watched", [WATCHED, [*WATCHED, IPv4Network("10.7.207.1/32")]])
def test_routes_that_lead_elsewhere_are_not_reported(
    pair: tuple[Namespace, Namespace], watched: list[IPv4Network]
) -> None:
    async def main() -> None:
        with contextlib.closing(rtnetlink.Changes((RTNLGRP_IPV4_ROUTE,))) as changes:
            changes.limit_routes(watched)
            pair[0].batch(*OTHERS, "route add 198.51.0.0/24 via 192.0.2.2", "route del 10.0.1.0/24")
            assert (await reported(changes) == 0) == (watched == WATCHED)

    pair[0].run(main)


async def reported(changes: rtnetlink.Changes) -> int:
    """How often changes are reported that are there already."""
    seen = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            async for _ in changes:
                seen += 1
    return seen


@pytest.mark.parametrize("several", [[], [IPv4Network(number << 9 | 256) for number in range(20000)]])
def test_what_does_not_fit_is_one_more_change(pair: tuple[Namespace, Namespace], several: list[IPv4Network]) -> None:
    """Where there are too many networks to compare, every change of a route is reported."""

    async def main() -> None:
        with contextlib.closing(rtnetlink.Changes((RTNLGRP_IPV4_ROUTE,))) as changes:
            if several:
                changes.limit_routes(several)
            pair[0].batch(*OTHERS)
            assert 1 <= await reported(changes) < 10
            pair[0].batch("route del 10.0.1.0/24")
            assert await reported(changes) == 1

    pair[0].run(main)


def test_what_is_asked_again_and_again_leaves_nothing_in_memory(pair: tuple[Namespace, Namespace]) -> None:
    async def main() -> list[int]:
        held = []
        async with Netlink() as netlink:
            for _ in range(3):
                for _ in range(300):
                    await netlink.link("veth0")
                    await netlink.link("gre1")
                    await netlink.is_local(IPv4Address("192.0.2.1"))
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
        return held

    tracemalloc.start()
    try:
        _, few, many = pair[0].run(main)
    finally:
        tracemalloc.stop()
    assert many - few < 20_000  # an acknowledgement that is kept for each request would be 45,000
