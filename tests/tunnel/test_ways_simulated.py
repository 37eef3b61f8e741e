"""The ways to the peers and to the tunnels' far ends, on a kernel in memory and in virtual time."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from mcastd.links import Rule
from mcastd.tunnel.mtu import Carrier
from tests.fakes.clock import simulated, until
from tests.fakes.kernel import FakeKernel, FakeRoute
from tests.tunnel.agents import tunnel
from tests.tunnel.virtual import Host, peers, running

EVERYWHERE, FAR = IPv4Network("0.0.0.0/0"), IPv4Network("10.44.7.1/32")
LOCAL = (IPv4Interface("192.0.2.1/24"), None)
DEFAULT = FakeRoute(EVERYWHERE, "eth0")
INTO_IPSEC = FakeRoute(FAR, "ipsec0", 220)
RULE_220 = Rule(EVERYWHERE, 220, 220, 0)
ELSEWHERE = Rule(EVERYWHERE, 99, 100, 0)


def codes(host: Host) -> set[tuple[str, str]]:
    return {(problem.code, problem.subject) for problem in host.agent.problems()}


def in_user_space(kernel: FakeKernel) -> None:
    """charon does ESP in user space, and has another interface beside."""
    for name in ("ipsec0", "eth1"):
        kernel.make_link(name, "tun" if name == "ipsec0" else "veth", up=True)
    kernel.add_route(INTO_IPSEC)
    kernel.add_rule(RULE_220)
    kernel.add_route(FakeRoute(EVERYWHERE, "eth1", 99))


def without_default_route(kernel: FakeKernel) -> None:
    kernel.delete_route(DEFAULT)
    kernel.delete_route(INTO_IPSEC)


def in_a_vrf(name: str) -> Callable[[FakeKernel], None]:
    def enslave(kernel: FakeKernel) -> None:
        vrf = kernel.make_link("blue", "vrf", up=True)
        kernel.links[name].master = vrf.index
        kernel.notifications.report()

    return enslave


DAMAGE: dict[str, tuple[Callable[[FakeKernel], object], set[tuple[str, str]]]] = {
    "no address": (lambda kernel: kernel.delete_address("eth0", LOCAL), {("no_way", "dc")}),
    "no way": (without_default_route, {("no_way", "gre1")}),
    "the far endpoint on lo": (
        lambda kernel: kernel.add_address("lo", (IPv4Interface(FAR), None)), {("remote_is_local", "gre1")},
    ),
    "the peer on lo": (
        lambda kernel: kernel.add_address("lo", (IPv4Interface("192.0.2.2/32"), None)), {("remote_is_local", "dc")},
    ),
    "a rule": (lambda kernel: kernel.add_rule(ELSEWHERE), {("route_to_peer", "dc"), ("not_encrypted", "gre1")}),
    "no rule 220": (lambda kernel: kernel.delete_rule(RULE_220), {("rule_220_missing", "gre1")}),
    "no route in table 220": (lambda kernel: kernel.delete_route(INTO_IPSEC), {("not_encrypted", "gre1")}),
    "the interface below in a VRF": (in_a_vrf("eth0"), {("peer_in_vrf", "dc")}),
    "the tunnel in a VRF": (in_a_vrf("gre1"), {("tunnel_in_vrf", "gre1")}),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "expected"), DAMAGE.values(), ids=DAMAGE)
@simulated
async def test_what_leads_packets_elsewhere_is_a_problem_at_once(
    damage: Callable[[FakeKernel], object], expected: set[tuple[str, str]]
) -> None:
    async with running() as host:
        in_user_space(host.kernel)
        await host.want(tunnel(), peers=peers())
        await host.quiet()
        assert codes(host) == set()
        damage(host.kernel)
        before = host.changes
        assert await until(lambda: codes(host) == expected, "the problem") < 1
        assert host.changes > before
        assert host.view().up


@simulated
async def test_a_problem_ends_with_its_cause() -> None:
    async with running() as host:
        in_user_space(host.kernel)
        await host.want(tunnel(), peers=peers())
        for _ in range(2):
            host.kernel.add_rule(ELSEWHERE)
            await until(lambda: len(codes(host)) == 2, "the problems")
            host.kernel.delete_rule(ELSEWHERE)
            assert await until(lambda: codes(host) == set(), "none") < 1


@simulated
async def test_another_way_by_which_the_sas_are_negotiated_again_is_no_problem() -> None:
    """As the kernel does ESP here, a policy encrypts GRE on whatever interface."""
    async with running() as host:
        host.kernel.make_link("eth1", "veth", up=True)
        host.kernel.add_route(FakeRoute(EVERYWHERE, "eth1", 99))
        await host.want(tunnel(), peers=peers())
        host.kernel.add_rule(ELSEWHERE)
        await until(lambda: codes(host) == {("route_to_peer", "dc")}, "the problem")
        await host.want(tunnel(), peers=peers(), carrier=Carrier(up=True, up_count=2))
        assert codes(host) == set()
        host.kernel.delete_rule(ELSEWHERE)
        await host.quiet()
        assert codes(host) == set()  # our address is there


@simulated
async def test_another_way_by_which_the_peer_is_heard_for_minutes_is_no_problem() -> None:
    """As after a fail-over to another uplink, with the local address on lo; 210 s is how long joins outlive one."""
    heard = frozenset({"dc"})
    async with running() as host:
        host.kernel.make_link("eth1", "veth", up=True)
        host.kernel.add_route(FakeRoute(EVERYWHERE, "eth1", 99))
        await host.want(tunnel(), peers=peers(), heard=heard)
        host.kernel.add_rule(ELSEWHERE)
        assert await until(lambda: codes(host) == {("route_to_peer", "dc")}, "the problem") < 1
        await host.quiet(200.0)
        await host.want(tunnel(), peers=peers())  # silent for a moment: the time begins again
        await host.want(tunnel(), peers=peers(), heard=heard)
        assert 240.0 <= await until(lambda: codes(host) == set(), "none", seconds=400.0) <= 271.0
        host.kernel.delete_rule(ELSEWHERE)  # our address is there
        await host.quiet()
        assert codes(host) == set()
        host.kernel.add_rule(ELSEWHERE)
        await host.quiet()
        assert codes(host) == set()


@simulated
async def test_another_way_by_which_the_peer_is_not_heard_stays_a_problem() -> None:
    async with running() as host:
        host.kernel.make_link("eth1", "veth", up=True)
        host.kernel.add_route(FakeRoute(EVERYWHERE, "eth1", 99))
        await host.want(tunnel(), peers=peers(), heard=frozenset({"dr"}))
        host.kernel.add_rule(ELSEWHERE)
        await host.quiet(1000.0)
        assert codes(host) == {("route_to_peer", "dc")}


@simulated
async def test_gre_that_does_not_go_into_its_xfrm_interface_is_a_problem() -> None:
    async with running() as host:
        host.kernel.make_link("eth1", "veth", up=True)
        host.kernel.add_route(FakeRoute(EVERYWHERE, "eth1", 99))
        over = peers(mode="interface", interface="xfrm1", if_id=7)
        await host.want(tunnel(), peers=over, carrier=Carrier(up=True, up_count=1, mode="interface"))
        await host.quiet()
        assert codes(host) == set()
        host.kernel.add_rule(Rule(IPv4Network((IPv4Address("10.44.6.1"), 32)), 99, 100, 0))
        assert await until(lambda: codes(host) == {("not_encrypted", "gre1")}, "the problem") < 1
