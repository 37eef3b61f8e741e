"""Whatever happens to a host in whatever order: in the end the tunnels are as configured, and then nothing is left."""

import contextlib
import errno
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from hypothesis import given, settings
from hypothesis import strategies as st

from mcastd.config.model import Group, Pim, RpRange
from mcastd.net.gre import GreOptions
from mcastd.tunnel.mtu import Carrier
from tests.fakes.clock import run
from tests.fakes.kernel import FakeRoute
from tests.tunnel.agents import UP, tunnel
from tests.tunnel.virtual import ESP, PEER, Host, peers, running

PIM = Pim(rp=(RpRange(address=IPv4Address("100.15.30.253"), groups=(IPv4Network("239.0.0.0/8"),)),))
SECOND = tunnel(
    name="gre2", local=IPv4Address("10.44.6.2"), remote=IPv4Address("10.44.7.2"),
    address=IPv4Interface("10.44.8.6/30"), peer_address=None, child=None,
)  # fmt: skip
THIRD = tunnel(name="ipsec9", encapsulation="none", local=IPv4Address("192.0.2.1"), remote=PEER)
CONFIGURATIONS = (
    ((), ()),
    ((tunnel(),), ()),
    ((tunnel(pim=PIM), SECOND), ()),
    ((tunnel(pim=PIM, route_table=1000),), peers("10.45.8.17")),
    ((tunnel(remote=IPv4Address("10.44.7.9"), gre=GreOptions(40, sequence=True), mtu=1200), SECOND), ()),
    ((tunnel(pim=PIM),), peers(mode="interface", if_id=7, interface="ipsec1")),
    ((THIRD,), peers(mode="interface", if_id=7)),
)
GROUPS = (Group(group=IPv4Address("239.1.1.1"), tunnel="gre1"),)
CARRIERS = (Carrier(), UP, Carrier(True, 1, ESP, "tunnel", True, PEER), Carrier(up=False, up_count=1))
LINKS = st.sampled_from(("gre1", "gre2", "ipsec1", "ipsec9"))

Step = Callable[[Host], object]


def damage(change: Callable[[Host, str], object]) -> st.SearchStrategy[Step]:
    """Another program changes a link, if there is one of that name."""

    def make(name: str) -> Step:
        def step(host: Host) -> None:
            if name in host.made():
                with contextlib.suppress(FileExistsError):
                    change(host, name)

        return step

    return LINKS.map(make)


def delete_addresses(host: Host, name: str) -> None:
    while host.link(name).addresses:
        host.kernel.delete_address(name, host.link(name).addresses[0])


FOREIGN = (IPv4Interface("10.44.4.1/30"), None)
OPERATIONS = ("link", "addresses", "add_link", "delete_link", "set_link", "add", "delete", "routes", "rules")
CONFIGURE = st.tuples(st.sampled_from(CONFIGURATIONS), st.sampled_from(CARRIERS)).map(
    lambda one: lambda host: host.configure(*one[0][0], carrier=one[1], peers=one[0][1], groups=GROUPS)
)
STEPS = st.one_of(
    CONFIGURE,
    damage(lambda host, name: host.kernel.delete_link(name)),
    damage(lambda host, name: host.kernel.set_link(name, up=False)),
    damage(lambda host, name: host.kernel.set_link(name, mtu=max(1280, host.link(name).mtu - 8), multicast=False)),
    damage(lambda host, name: host.kernel.add_address(name, FOREIGN)),
    damage(delete_addresses),
    st.just(lambda host: host.kernel.flush_routes(1000)),
    st.just(lambda host: host.manager.close()),
    st.sampled_from(OPERATIONS).map(
        lambda operation: lambda host: host.netlink.refused.update({operation: errno.EPERM})
    ),
    st.just(lambda host: host.netlink.refused.clear()),
    st.just(Host.next_process),
    st.sampled_from((0.0, 0.001, 0.003, 0.06, 1.0, 40.0)).map(lambda seconds: lambda host: host.quiet(seconds)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=12), st.sampled_from(CONFIGURATIONS), st.booleans())
def test_in_the_end_the_host_is_as_configured(steps: list[Step], last: tuple, in_kernel: bool) -> None:  # type: ignore[type-arg]
    async def main() -> None:
        async with running(gre=in_kernel) as host:
            host.kernel.add_route(FakeRoute(IPv4Network("10.8.0.0/16"), "eth0"))
            before = picture(host)
            for step in steps:
                waiting = step(host)
                if waiting is not None:
                    await waiting  # type: ignore[misc]  # of a coroutine
            host.netlink.refused.clear()
            tunnels, behind = last
            await host.want(*tunnels, peers=behind, groups=GROUPS)
            await host.quiet(2.0)
            names = {one.name for one in tunnels}
            interfaces = {child.interface for peer in behind for child in peer.children if child.interface}
            assert host.made() == names | interfaces
            for one in tunnels:
                status = host.status(one.name)
                assert (status.state, status.problem) == ("up", None)
                assert [route.state for route in status.routes] == ["up"] * len(status.routes)
                assert host.addresses(one.name)[0].startswith(str(one.address))
                assert len(host.addresses(one.name)) == 1
                assert host.view(one.name).index == host.link(one.name).index
            changed = list(host.netlink.changed)
            await host.quiet()
            assert host.netlink.changed == changed
            await host.close()
            assert picture(host) == before
            assert host.ledger.copy() == {}
            assert not host.manager.kept

    run(main())


def picture(host: Host) -> object:
    kernel = host.kernel
    links = [(link.name, link.up, link.mtu, tuple(link.addresses)) for link in kernel.links.values()]
    return links, kernel.routes(), kernel.routes(1000), kernel.rules()
