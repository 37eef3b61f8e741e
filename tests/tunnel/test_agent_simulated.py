"""The tunnel agent on a kernel in memory, in virtual time: what ``test_agent`` shows on a real one, and the races."""

import asyncio
import contextlib
import errno
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any
from unittest import mock

import pytest

from mcastd.config.model import Config, Tunnel
from mcastd.errors import HostError
from mcastd.links import Xfrm
from mcastd.net.gre import GreHeader, GreOptions
from mcastd.tunnel.desired import gre
from mcastd.tunnel.mtu import Carrier
from tests.fakes.clock import simulated, until
from tests.fakes.kernel import FakeKernel, FakeLink, FakeRoute
from tests.tunnel.agents import UP, tunnel
from tests.tunnel.virtual import ESP, PEER, Host, peers, running

ENDPOINT = "10.44.6.1/32"
DOWN = Carrier(up=False, up_count=1)
RP_FILTER = "net/ipv4/conf/gre1/rp_filter"
OTHER = tunnel(
    name="gre2", local=IPv4Address("10.44.6.2"), remote=IPv4Address("10.44.7.2"),
    address=IPv4Interface("10.44.8.6/30"), peer_address=None,
)  # fmt: skip
FOREIGN = "an interface gre1 exists and mcastd did not make it; remove it, or choose a new name"
ADDRESSES = ("gre1", "addresses")
BOTH = pytest.mark.parametrize("in_kernel", [True, False], ids=["GRE of the kernel", "GRE in user space"])


# Coming up


@BOTH
@simulated
async def test_everything_of_a_tunnel_is_made_and_removed(in_kernel: bool) -> None:
    async with running(gre=in_kernel) as host:
        await host.want(tunnel())
        link, datapath = host.link(), "kernel" if in_kernel else "userspace"
        assert (link.kind, link.mtu, link.up, link.multicast) == ("gre" if in_kernel else "tun", 1476, True, True)
        assert (link.parameters, host.addresses()) == (gre(tunnel()) if in_kernel else None, ["10.44.4.6/30 10.44.4.5"])
        assert host.kernel.sysctls.read(RP_FILTER) == "2"
        assert host.kernel.loopback() == {ENDPOINT}
        view = host.view()
        assert (view.index, view.mtu, view.address, view.up, view.up_count) == (
            link.index, 1476, IPv4Address("10.44.4.6"), True, 1,
        )  # fmt: skip
        status = host.status()
        assert (status.state, status.mtu, status.problem, status.datapath) == ("up", 1476, None, datapath)
        assert status.mtu_reason == "GRE on a path of 1500"
        assert host.codes() == []
        assert host.log.events() == ["tunnel_up"] if in_kernel else ["gre_in_user_space", "tunnel_up"]
        assert host.ledger.copy() == {"link": {"gre1": datapath}, "endpoint": {ENDPOINT: "lo:mcastd"}}
        await host.close()
        assert host.kernel.names() == {"lo", "eth0"}
        assert host.kernel.loopback() == set()
        assert host.ledger.copy() == {}
        assert not host.manager.kept


@BOTH
@simulated
async def test_what_is_in_place_is_not_changed_again(in_kernel: bool) -> None:
    async with running(gre=in_kernel) as host:
        await host.want(tunnel())
        before = list(host.netlink.changed)
        await host.want(tunnel())
        await host.quiet()
        assert host.netlink.changed == before
        assert host.changes == 1


@simulated
async def test_a_datapath_of_the_kernel_without_gre_is_a_problem_and_tried_again() -> None:
    async with running(gre=False) as host:
        await host.want(tunnel(), datapath="kernel")
        assert (host.status().state, host.status().problem) == ("down", "gre1: this kernel has no GRE")
        assert host.codes() == ["tunnel gre1 is down"]
        assert host.made() == set()
        assert host.agent.links() == {}
        host.kernel.unsupported.clear()
        assert await host.until("up") < 1.1
        assert host.log.events() == ["tunnel_failed", "tunnel_up"]


@simulated
async def test_a_datapath_in_user_space_is_a_tun_whatever_the_kernel_has() -> None:
    async with running() as host:
        await host.want(tunnel(), datapath="userspace")
        assert (host.link().kind, host.status().datapath) == ("tun", "userspace")


@simulated
async def test_the_next_process_does_gre_as_the_one_before_did() -> None:
    """So that it need not make the link again where the kernel has got a module for GRE since."""
    async with running(gre=False) as host:
        await host.want(tunnel())
        index = host.link().index
        host.kernel.unsupported.clear()
        await host.next_process()
        await host.want(tunnel())
        assert (host.link().index, host.status().datapath) == (index, "userspace")


# The CHILD_SA


@BOTH
@simulated
async def test_the_link_waits_for_its_child_sa_and_then_stays_up(in_kernel: bool) -> None:
    async with running(gre=in_kernel) as host:
        await host.want(tunnel(), carrier=Carrier())
        assert (host.link().up, host.status().state, host.view().up_count) == (False, "waiting", 0)
        assert host.codes() == ["tunnel gre1 is waiting"]
        await host.want(tunnel())
        assert (host.link().up, host.status().state, host.view().up_count) == (True, "up", 1)
        assert host.changes == 2
        await host.want(tunnel(), carrier=DOWN)
        assert (host.link().up, host.status().state, host.view().up) == (True, "waiting", False)
        assert host.changes == 3
        assert [record["event"] for record in host.log.records if record["level"] != "debug"][-3:-1] == [
            "tunnel_created", "tunnel_up",
        ]  # fmt: skip


@simulated
async def test_how_often_the_path_came_up_is_counted_also_between_two_looks() -> None:
    async with running() as host:
        for carrier, count in ((UP, 1), (UP, 1), (DOWN, 1), (Carrier(True, 2), 2), (Carrier(True, 3), 3), (DOWN, 3)):
            await host.want(tunnel(), carrier=carrier)
            assert (host.view().up, host.view().up_count) == (carrier.up, count)
        host.netlink.refused["addresses"] = errno.ENOBUFS
        await host.want(tunnel(), carrier=Carrier(True, 4))
        assert (host.view().up, host.view().up_count) == (False, 3)
        host.netlink.refused.clear()
        await host.want(tunnel(mtu=1300), carrier=Carrier(True, 4))
        assert host.view().up_count == 4


@simulated
async def test_without_a_child_sa_the_tunnel_is_up_at_once() -> None:
    async with running() as host:
        await host.want(tunnel(child=None), carrier=Carrier())
        assert (host.status().state, host.view().up_count) == ("up", 1)


@simulated
async def test_nothing_is_forwarded_in_user_space_from_the_moment_that_the_child_sa_is_down() -> None:
    packet = bytes.fromhex("45000014000000004011") + bytes(10)
    async with running(gre=False) as host:
        await host.want(tunnel(), carrier=Carrier())
        assert not host.pump().forwarding
        await host.want(tunnel())
        host.kernel.send_into("gre1", packet)
        await asyncio.sleep(0.01)
        assert host.kernel.sent == [(IPv4Address("10.44.6.1"), IPv4Address("10.44.7.1"), b"\0\0\x08\0" + packet)]
        host.configure(tunnel(), carrier=DOWN)
        assert not host.pump().forwarding
        host.kernel.send_into("gre1", packet)
        await host.agent.settled()
        assert len(host.kernel.sent) == 1
        assert host.status().dropped == {"child_down": 1}
        await host.want(tunnel(), carrier=Carrier(True, 2))
        host.kernel.delete_link("gre1")
        await until(host.is_up, "the link again")
        assert host.pump().forwarding


@simulated
async def test_what_gre_in_user_space_drops_is_lost_but_not_what_is_for_another_key() -> None:
    async with running(gre=False) as host:
        await host.want(tunnel(gre=GreOptions(key=1)))
        for packet in (b"\0", GreHeader(0x0800, key=2).encode(b"\x45" + bytes(19))):
            host.kernel.arrive(packet, IPv4Address("10.44.7.1"), IPv4Address("10.44.6.1"))
        await asyncio.sleep(0.01)
        one = {"interface/gre1/gre_short": 1, "interface/gre1/gre_key": 1, "interface/gre1/socket_full": 0}
        assert host.agent.lost() == one
        other = tunnel(name="gre2", gre=GreOptions(key=2), address=IPv4Interface("10.44.4.10/30"), peer_address=None)
        await host.want(tunnel(gre=GreOptions(key=1)), other)
        del one["interface/gre1/gre_key"]
        assert host.agent.lost() == {**one, "interface/gre2/socket_full": 0}


# MTU


@simulated
async def test_the_mtu_follows_what_is_negotiated_and_the_link_below() -> None:
    esp = Carrier(up=True, up_count=1, esp=ESP, remote=PEER)
    async with running() as host:
        await host.want(tunnel(), carrier=esp)
        assert host.link().mtu == 1398
        host.kernel.set_link("eth0", mtu=1400)
        assert await until(lambda: host.link().mtu == 1302, "the MTU of a path of 1400") < 0.2
        await host.agent.settled()
        assert host.status().mtu_reason == "ESP tunnel mode in UDP on a path of 1400"
        await host.want(tunnel(mtu=1300), carrier=esp)
        assert (host.link().mtu, host.status().mtu_reason) == (1300, "configured")


@simulated
async def test_the_mtu_of_gre_is_that_of_the_link_which_the_far_endpoint_is_behind() -> None:
    async with running() as host:
        host.kernel.make_link("ipsec0", "tun", mtu=1400, up=True)
        host.kernel.add_route(FakeRoute(IPv4Network("10.44.7.0/24"), "ipsec0"))
        await host.want(tunnel())
        assert (host.link().mtu, host.status().mtu_reason) == (1376, "GRE on ipsec0 of 1400")


@simulated
async def test_a_route_to_the_far_endpoint_through_the_tunnel_itself_does_not_count() -> None:
    """With a rule for the tunnel's own endpoint, it would become smaller at every look."""
    async with running() as host:
        everything = tunnel(routes=(IPv4Network("10.44.7.0/24"),), route_table=1000)
        await host.want(everything)
        for _ in range(3):
            host.kernel.notifications.report()
            await host.quiet(1.0)
        assert host.link().mtu == 1476


@simulated
async def test_a_link_that_grows_past_the_least_mtu_of_ipv6_stays_quiet() -> None:
    async with running() as host:
        await host.want(tunnel(mtu=1200))
        for mtu in (1400, 1200, 1280):
            await host.want(tunnel(mtu=mtu))
            assert (host.link().mtu, host.link().up) == (mtu, True)
        await host.want(tunnel(mtu=1200), carrier=DOWN)
        await host.want(tunnel(mtu=1400), carrier=DOWN)
        assert host.link().up


# Changes by other programs


@simulated
async def test_a_deleted_link_is_made_again() -> None:
    for in_kernel in (True, False):
        async with running(gre=in_kernel) as host:
            await host.want(tunnel())
            first = host.link().index
            for _ in range(2):
                host.kernel.delete_link("gre1")
                assert await until(host.is_up, "gre1 again") < 0.2
            await host.agent.settled()
            assert repaired(host) == [("gre1", "link")] * 2
            assert host.link().index != first
            assert host.addresses() == ["10.44.4.6/30 10.44.4.5"]
            assert await until(lambda: host.view().index == host.link().index, "the new index") < 0.2


DAMAGE: dict[str, tuple[Callable[[FakeKernel], object], tuple[str, str]]] = {
    "no address": (lambda kernel: kernel.delete_address("gre1", kernel.links["gre1"].addresses[0]), ADDRESSES),
    "another address": (lambda kernel: kernel.add_address("gre1", (IPv4Interface("10.99.0.1/24"), None)), ADDRESSES),
    "another MTU": (lambda kernel: kernel.set_link("gre1", mtu=1000), ("gre1", "MTU")),
    "no MULTICAST": (lambda kernel: kernel.set_link("gre1", multicast=False), ("gre1", "MULTICAST flag")),
    "down": (lambda kernel: kernel.set_link("gre1", up=False), ("gre1", "set up")),
    "no endpoint": (
        lambda kernel: kernel.delete_address("lo", (IPv4Interface(ENDPOINT), None)), ("lo", "address 10.44.6.1"),
    ),
    "strict": (lambda kernel: kernel.sysctls.change(RP_FILTER, "1"), ("gre1", "rp_filter")),
}  # fmt: skip


def repaired(host: Host) -> list[tuple[str, str]]:
    """What the log says of repairs: the thing's name, and what of it."""
    return [(one["subject"], one["what"]) for one in host.log.records if one["event"] == "repaired"]


@pytest.mark.parametrize(("damage", "what"), DAMAGE.values(), ids=DAMAGE)
@simulated
async def test_a_change_by_another_program_is_undone_and_logged(
    damage: Callable[[FakeKernel], object], what: tuple[str, str]
) -> None:
    def whole() -> object:
        link, rp_filter = host.link(), host.kernel.sysctls.read(RP_FILTER)
        return link.index, link.mtu, link.up, link.multicast, tuple(link.addresses), host.kernel.loopback(), rp_filter

    async with running() as host:
        await host.want(tunnel())
        before = whole()
        await host.quiet()
        assert host.changes == 1
        for _ in range(2):
            damage(host.kernel)
            assert whole() != before
            assert await until(lambda: whole() == before, "as it was") < 0.2
            await host.quiet()
        assert host.changes == 3
        assert repaired(host) == [what, what]


@simulated
async def test_what_the_configuration_changes_is_not_a_repair() -> None:
    async with running() as host:
        await host.want(tunnel(), carrier=DOWN)
        host.kernel.set_link("gre1", up=False)  # it may be, until the CHILD_SA is up
        for one in (tunnel(), tunnel(mtu=1300, address=IPv4Interface("10.44.4.6/29")), tunnel(rp_filter="strict")):
            await host.want(one)
            await host.quiet()
        await host.want(tunnel(local=IPv4Address("10.44.6.2")))
        await host.want()
        await host.want(tunnel())
        assert repaired(host) == []
        host.kernel.set_link("gre1", mtu=1000)
        await host.quiet()
        assert repaired(host) == [("gre1", "MTU")]


@simulated
async def test_a_link_that_another_program_sets_down_again_and_again_is_a_problem_within_seconds() -> None:
    async with running() as host:
        await host.want(tunnel())
        for _ in range(5):
            host.kernel.set_link("gre1", up=False)
            await host.quiet(0.5)
            assert host.is_up()
        assert [(one.code, one.subject) for one in host.history.problems()] == [("changed_by_another_program", "gre1")]
        assert repaired(host) == [("gre1", "set up")] * 3  # and one warning for all that follow
        await host.quiet(61)
        assert list(host.history.problems()) == []


@simulated
async def test_a_change_without_a_notification_is_found_within_half_a_minute() -> None:
    async with running() as host:
        await host.want(tunnel())
        await host.quiet(1.0)  # its own changes are reported as well
        host.kernel.sysctls.values[RP_FILTER] = "1"
        assert 20.0 < await until(lambda: host.kernel.sysctls.read(RP_FILTER) == "2", "loose again") < 31.0


@simulated
async def test_a_change_during_a_look_is_noticed() -> None:
    async with running() as host:
        await host.want(tunnel())
        # By then the agent has read the link.
        host.netlink.meanwhile["addresses"] = lambda: host.kernel.set_link("gre1", mtu=1000)
        assert await until(lambda: host.link().mtu == 1000, "the change") < 0.2
        assert await until(lambda: host.link().mtu == 1476, "as it was") < 0.2


@simulated
async def test_a_change_before_the_first_look_is_noticed() -> None:
    async with running() as host:
        await host.want(tunnel())
        await host.next_process()
        host.netlink.meanwhile["addresses"] = lambda: host.kernel.set_link("gre1", mtu=1000)
        await host.want(tunnel())
        assert await until(lambda: host.link().mtu == 1476, "as it was") < 0.2


@pytest.mark.parametrize("kind", ["veth", "bridge", "gre", "tun"])
@simulated
async def test_a_link_that_mcastd_did_not_make_is_refused_and_untouched(kind: str) -> None:
    async with running() as host:
        theirs = host.kernel.make_link("gre1", kind)
        before = shown(theirs), host.kernel.loopback()
        await host.want(tunnel())
        assert (host.status().state, host.status().problem) == ("down", FOREIGN)
        assert host.agent.links() == {}
        await host.quiet()
        assert host.log.events() == ["tunnel_failed"]
        assert (shown(host.link()), host.kernel.loopback()) == before
        assert host.netlink.changed == []
        host.kernel.delete_link("gre1")
        assert await host.until("up") < 1.1
        assert host.status().problem is None
        await host.want()
        assert "gre1" not in host.kernel.names()


@simulated
async def test_a_link_that_another_program_puts_in_the_place_of_ours_is_theirs() -> None:
    async with running() as host:
        await host.want(tunnel())
        await host.end()
        host.kernel.delete_link("gre1")
        host.kernel.make_link("gre1", "bridge")
        await host.next_process()
        await host.want(tunnel())
        assert host.status().problem == FOREIGN
        await host.close()
        assert host.link().kind == "bridge"
        assert host.kernel.loopback() == set()
        assert host.ledger.copy() == {}


# Endpoints and addresses of SNAT


@simulated
async def test_an_endpoint_that_is_an_address_of_the_host_stays_where_it_is() -> None:
    async with running() as host:
        host.kernel.add_address("eth0", (IPv4Interface("10.44.6.1/24"), None))
        await host.want(tunnel())
        assert host.status().state == "up"
        assert host.kernel.loopback() == set()
        await host.close()
        assert "10.44.6.1/24" in host.addresses("eth0")


@simulated
async def test_an_address_for_two_uses_stays_until_neither_is_left() -> None:
    async with running() as host:

        async def on_loopback(*tunnels: Tunnel, snat: tuple[str, ...]) -> set[str]:
            await host.want(*tunnels, peers=peers(*snat))
            return host.kernel.loopback()

        assert await on_loopback(snat=("10.45.8.17",)) == {"10.45.8.17/32"}
        assert await on_loopback(tunnel(), snat=("10.44.6.1",)) == {ENDPOINT}
        assert await on_loopback(tunnel(), snat=()) == {ENDPOINT}
        assert await on_loopback(snat=("10.44.6.1",)) == {ENDPOINT}
        host.kernel.delete_address("lo", (IPv4Interface(ENDPOINT), None))
        assert await until(lambda: host.kernel.loopback() == {ENDPOINT}, "the address again") < 0.2
        assert await on_loopback(snat=()) == set()
        host.kernel.add_address("eth0", (IPv4Interface("10.45.8.17/32"), None))
        assert await on_loopback(snat=("10.45.8.17",)) == set()
        await host.close()
        assert "10.45.8.17/32" in host.addresses("eth0")


@simulated
async def test_a_loopback_address_that_is_refused_is_logged_and_stops_nothing_else() -> None:
    async with running() as host:
        host.netlink.refused["add"] = errno.EPERM
        await host.want(peers=peers("10.45.8.17"))
        assert host.log.events() == ["address_not_added"]
        host.netlink.refused.clear()
        await host.want(tunnel(), peers=peers("10.45.8.17"))
        assert host.kernel.loopback() == {ENDPOINT, "10.45.8.17/32"}
        host.netlink.refused["delete"] = errno.EPERM
        await host.want(tunnel())
        assert host.log.events()[-1] == "endpoint_not_removed"
        host.netlink.refused.clear()
        await host.quiet()
        assert host.kernel.loopback() == {ENDPOINT}


# Reload


@BOTH
@simulated
async def test_a_reload_moves_addresses_and_removes_what_is_no_longer_configured(in_kernel: bool) -> None:
    async with running(gre=in_kernel) as host:
        await host.want(tunnel(), OTHER)
        index = host.link().index
        for own, peer in (("10.44.4.5/30", "10.44.4.6"), ("10.44.5.6/30", None), ("10.44.5.6/30", "10.44.5.5")):
            far = IPv4Address(peer) if peer else None
            await host.want(tunnel(address=IPv4Interface(own), peer_address=far), OTHER)
            assert host.addresses() == [f"{own} {peer}" if peer else own]
        more = tuple(IPv4Interface(text) for text in ("10.50.0.1/24", "10.44.5.5/30"))
        await host.want(tunnel(address=IPv4Interface("10.44.5.6/30"), peer_address=None, addresses=more), OTHER)
        assert host.addresses() == ["10.44.5.6/30", "10.50.0.1/24", "10.44.5.5/30"]
        assert host.view().secondary == tuple(one.ip for one in more)
        assert host.link().index == index
        ups = host.view().up_count
        await host.want(tunnel(local=IPv4Address("10.44.6.9")), OTHER)
        assert (host.link().index, host.view().up_count) == (index, ups + 1)
        assert host.kernel.loopback() == {"10.44.6.9/32", "10.44.6.2/32"}
        await host.want()
        assert host.kernel.names() == {"lo", "eth0"}
        assert host.kernel.loopback() == set()
        assert (host.agent.status(0.0), host.agent.links()) == ({}, {})


@BOTH
@pytest.mark.parametrize(
    "change",
    [
        {"remote": IPv4Address("10.44.7.2")},
        {"gre": GreOptions(ttl=64)},
        {"gre": GreOptions(0)},
        {"gre": GreOptions(40)},
        {"gre": GreOptions(checksum=True)},
        {"gre": GreOptions(sequence=True)},
    ],
    ids=str,
)
@simulated
async def test_parameters_of_gre_change_the_link_in_place(in_kernel: bool, change: dict[str, Any]) -> None:
    async with running(gre=in_kernel) as host:
        await host.want(tunnel())
        index, ups = host.link().index, host.view().up_count
        await host.want(tunnel(**change))
        assert (host.link().index == index, host.status().state) == (True, "up")
        assert (host.view().up_count, host.view().mtu) == (ups + 1, host.link().mtu)
        if in_kernel:
            assert host.link().parameters == gre(tunnel(**change))
        else:
            assert host.pump().gre == gre(tunnel(**change))
            assert len(host.agent.pumps) == 1


@simulated
async def test_a_link_whose_parameters_the_kernel_does_not_change_is_made_again() -> None:
    async with running(gre=True) as host:
        await host.want(tunnel())
        index = host.link().index
        host.netlink.refused["change_link"] = errno.EINVAL
        await host.want(tunnel(remote=IPv4Address("10.44.7.2")))
        assert (host.link().index == index, host.status().state) == (False, "up")


@simulated
async def test_a_tunnel_that_gets_another_name_takes_over_its_endpoints() -> None:
    """The kernel refuses two GRE links with the same ends and key."""
    async with running() as host:
        await host.want(tunnel())
        await host.want(tunnel(name="gre9"))
        assert (host.made(), host.status("gre9").state) == ({"gre9"}, "up")


@simulated
async def test_a_configuration_that_comes_while_another_is_applied_wins() -> None:
    async with running() as host:
        host.netlink.meanwhile["add_link"] = lambda: host.configure(OTHER)
        await host.want(tunnel(), OTHER)
        await host.agent.settled()
        assert host.made() == {"gre2"}
        assert host.kernel.loopback() == {"10.44.6.2/32"}
        assert set(host.agent.links()) == {"gre2"}
        await host.close()
        assert host.kernel.loopback() == set()


@simulated
async def test_a_pass_works_on_one_configuration_also_if_it_is_replaced_meanwhile() -> None:
    """Without the CHILD_SA that the XFRM interface belongs to, the pass would fail, and with it the daemon."""
    alone = tunnel(name="ipsec1", encapsulation="none", local=IPv4Address("192.0.2.1"), remote=PEER)
    async with running() as host:
        host.netlink.meanwhile["link_towards"] = lambda: host.configure()
        host.configure(alone, carrier=ESP_UP, peers=peers(mode="interface", if_id=7))
        await host.quiet(1.0)
        assert (host.made(), host.agent.status(0.0), host.ledger.copy()) == (set(), {}, {})


# What the host refuses


@pytest.mark.parametrize("operation", ["link", "addresses", "add_link", "add", "set_link"])
@simulated
async def test_what_the_host_refuses_is_a_problem_until_it_works(operation: str) -> None:
    async with running() as host:
        host.netlink.refused[operation] = errno.EPERM
        await host.want(tunnel())
        assert host.status().state == "down"
        assert (host.status().problem or "").endswith(": Operation not permitted")
        await host.quiet(10.0)
        assert [event for event in host.log.events() if event != "tunnel_removed"] == ["tunnel_failed"]
        host.netlink.refused.clear()
        assert await host.until("up") < 1.1
        assert (host.status().problem, host.codes()) == (None, [])


@simulated
async def test_without_a_descriptor_for_netlink_the_agent_waits_for_one() -> None:
    async with running() as host:
        host.netlink.refused["open"] = errno.EMFILE
        await host.want(tunnel())
        await until(lambda: "netlink: Too many open files" in host.codes()[-1], "the problem")
        await host.quiet(10.0)
        del host.netlink.refused["open"]
        assert await host.until("up") < 1.2
        assert host.codes() == []


@pytest.mark.parametrize("operation", ["link", "addresses", "link_towards", "is_local", "routes", "sysctls"])
@simulated
async def test_a_look_that_fails_leaves_the_tunnel_up_and_is_a_problem_until_one_succeeds(operation: str) -> None:
    async with running() as host:
        await host.want(tunnel(routes=(IPv4Network("239.0.0.0/8"),)), peers=peers())
        before = host.agent.links()
        host.netlink.refused[operation] = errno.ENOBUFS
        host.kernel.sysctls.unreadable = operation == "sysctls"
        host.kernel.notifications.report()
        await until(lambda: bool(host.codes()), "the problem")
        await host.quiet(10.0)
        assert {problem.code for problem in host.agent.problems()} == {"reconcile_failed"}
        assert host.agent.links() == before
        host.netlink.refused.clear()
        host.kernel.sysctls.unreadable = False
        assert await until(lambda: not host.codes(), "none") < 1.2
        assert host.agent.links() == before


@simulated
async def test_a_tun_that_cannot_be_polled_is_a_problem_and_made_again() -> None:
    async with running(gre=False) as host:
        with mock.patch.object(
            asyncio.get_running_loop(), "add_reader", side_effect=OSError(errno.ENOMEM, "no memory")
        ):
            await host.want(tunnel())
        assert host.status().problem == "gre1: its descriptors cannot be polled: no memory"
        assert await host.until("up") < 1.2


@simulated
async def test_a_refused_value_is_a_problem_and_another_one_works() -> None:
    async with running() as host:
        await host.want(tunnel(mtu=40))
        assert (host.status().problem, host.status().state) == ("link gre1: Invalid argument", "down")
        await host.want(tunnel(mtu=1300))
        assert host.status().state == "up"


@simulated
async def test_a_sysctl_that_is_refused_says_what_to_do() -> None:
    async with running() as host:
        host.kernel.sysctls.refused.add(RP_FILTER)
        await host.want(tunnel())
        assert host.status().problem == (
            f'sysctl {RP_FILTER} = 2: Read-only file system; set it before, in conf/default, or have rp_filter = "keep"'
        )
        await host.want(tunnel(rp_filter="keep"))
        assert host.status().state == "up"
        assert host.kernel.sysctls.read(RP_FILTER) == "0"


@simulated
async def test_one_tunnel_that_is_refused_does_not_stop_the_other() -> None:
    async with running() as host:
        host.kernel.make_link("gre1", "bridge")
        await host.want(tunnel(), OTHER)
        assert (host.status("gre1").state, host.status("gre2").state) == ("down", "up")


@simulated
async def test_without_room_for_the_ledger_a_tunnel_that_was_deleted_is_made_again() -> None:
    async with running() as host:
        await host.want(tunnel())
        host.ledger.full = True
        host.kernel.delete_link("gre1")
        assert await host.until("up") < 0.2
        assert host.status().problem is None


@simulated
async def test_without_a_route_user_space_waits_for_one_and_makes_no_link_that_would_be_a_change() -> None:
    async with running(gre=False) as host:
        host.kernel.delete_route(FakeRoute(IPv4Network("0.0.0.0/0"), "eth0"))
        await host.want(tunnel())
        problem = "gre1: no GRE socket from 10.44.6.1 to 10.44.7.1: Network is unreachable"
        assert host.status().problem == problem
        before = host.kernel.make_link("probe", "bridge").index
        await host.quiet(10.0)
        host.kernel.delete_link("probe")
        assert host.kernel.make_link("probe", "bridge").index == before + 1
        assert host.log.events() == ["gre_in_user_space", "tunnel_failed"]
        assert host.ledger.copy() == {"endpoint": {ENDPOINT: "lo:mcastd"}}
        host.kernel.add_route(FakeRoute(IPv4Network("0.0.0.0/0"), "eth0"))
        assert await host.until("up") < 0.2


@pytest.mark.parametrize("operation", ["disable_ipv6_addresses", "set_link"])
@simulated
async def test_a_link_that_was_not_finished_is_finished_before_it_is_set_up(operation: str) -> None:
    async with running() as host:
        host.netlink.refused[operation] = errno.EPERM
        await host.want(tunnel())
        link = host.link()
        assert (link.up, link.alias, link.ipv6_disabled) == (False, "", operation == "set_link")
        host.netlink.refused.clear()
        assert await host.until("up") < 1.1
        assert (host.link() is link, link.alias, link.ipv6_disabled) == (True, "made by mcastd", True)


@pytest.mark.parametrize("operation", ["disable_ipv6_addresses", "set_link"])
@simulated
async def test_a_link_that_is_deleted_while_it_is_set_up_is_made_again(operation: str) -> None:
    async with running() as host:
        host.netlink.meanwhile[operation] = lambda: host.kernel.delete_link("gre1")
        await host.want(tunnel())
        assert host.status().problem == "link gre1: No such device"
        assert await host.until("up") < 1.1


# One process after another


@simulated
async def test_after_a_crash_the_kernels_link_is_adopted_and_at_the_end_removed() -> None:
    async with running() as host:
        await host.want(tunnel())
        index = host.link().index
        await host.next_process()
        await host.want(tunnel())
        assert (host.link().index, host.status().state) == (index, "up")
        assert host.netlink.changed == []
        await host.close()
        assert host.kernel.names() == {"lo", "eth0"}
        assert (host.kernel.loopback(), host.ledger.copy()) == (set(), {})


PACKET = bytes.fromhex("45000014000000004011") + bytes(10)


@simulated
async def test_in_user_space_the_next_process_continues_and_loses_nothing() -> None:
    numbered = tunnel(gre=GreOptions(sequence=True))
    near, far = numbered.local, numbered.remote
    async with running(gre=False) as host:
        await host.want(numbered)
        index = host.link().index
        for _ in range(3):
            host.kernel.send_into("gre1", PACKET)
        await asyncio.sleep(0.01)
        await host.kill()
        host.kernel.arrive(numbered.gre.header(0x0800, 0).encode(PACKET), far, near)
        assert host.kernel.names() == {"lo", "eth0", "gre1"}
        await host.next_process()
        await host.want(numbered)
        assert (host.link().index, host.status().state) == (index, "up")
        await asyncio.sleep(0.01)
        assert host.link().received == [PACKET]
        host.kernel.send_into("gre1", PACKET)
        await asyncio.sleep(0.01)
        assert [int.from_bytes(packet[4:8], "big") for *_, packet in host.kernel.sent] == [0, 1, 2, 3]
        await host.close()
        assert host.kernel.names() == {"lo", "eth0"}
        assert not host.manager.kept


@simulated
async def test_a_tun_that_went_with_its_process_is_made_again() -> None:
    async with running(gre=False) as host:
        await host.want(tunnel())
        await host.kill()
        host.manager.close()
        assert host.kernel.names() == {"lo", "eth0"}
        await host.next_process()
        await host.want(tunnel())
        assert host.status().state == "up"
        assert host.ledger.copy() == {"link": {"gre1": "userspace"}, "endpoint": {ENDPOINT: "lo:mcastd"}}


@simulated
async def test_a_tun_that_is_inherited_for_other_ends_is_used_on_with_another_socket() -> None:
    async with running(gre=False) as host:
        await host.want(tunnel())
        index = host.link().index
        await host.next_process()
        await host.want(tunnel(local=IPv4Address("10.44.6.9")))
        assert (host.link().index, host.status().state) == (index, "up")
        host.kernel.arrive(b"\0\0\x08\0" + PACKET, IPv4Address("10.44.7.1"), IPv4Address("10.44.6.9"))
        await asyncio.sleep(0.01)
        assert host.link().received == [PACKET]


@simulated
async def test_inherited_descriptors_that_cannot_be_used_are_closed() -> None:
    async with running(gre=False) as host:
        await host.want(tunnel())
        await host.kill()
        host.kernel.delete_route(FakeRoute(IPv4Network("0.0.0.0/0"), "eth0"))
        await host.next_process()
        await host.want(tunnel())
        assert "Network is unreachable" in (host.status().problem or "")
        assert host.agent.pumps == {}


@simulated
async def test_a_datapath_that_the_next_process_does_not_have_makes_the_link_again() -> None:
    async with running(gre=False) as host:
        await host.want(tunnel())
        index = host.link().index
        host.kernel.unsupported.clear()
        await host.next_process()
        await host.want(tunnel(), datapath="kernel")
        assert (host.link().index == index, host.link().kind) == (False, "gre")
        assert not host.manager.kept


@simulated
async def test_gre_that_the_file_no_longer_has_goes_before_anything_else() -> None:
    """The kernel sends through it by itself, and only the previous process's nftables table guards it."""
    async with running() as host:
        await host.want(tunnel(), OTHER, peers=peers(mode="interface", if_id=7, interface="ipsec1"))
        assert host.made() == {"gre1", "gre2", "ipsec1"}
        await host.kill()
        host._load()
        changed = tunnel(remote=IPv4Address("10.44.7.9"))
        await host.agent.inherit(Config(tunnels=(changed, OTHER)))
        assert host.made() == {"gre2", "ipsec1"}
        assert host.log.records[-1]["event"] == "tunnel_removed"
        host.netlink.refused["delete_link"] = errno.EPERM
        with pytest.raises(HostError, match="link gre2: Operation not permitted"):
            await host.agent.inherit(Config())
        assert "gre2" in host.ledger.entries("link")


# The end


@simulated
async def test_one_refusal_at_the_end_does_not_stop_the_rest_and_stays_in_the_ledger() -> None:
    async with running() as host:
        await host.want(tunnel(), OTHER)
        await host.end()
        host.netlink.refused["delete_link"] = errno.EBUSY
        await host.agent.close()
        assert host.kernel.loopback() == set()
        assert host.log.events()[-2:] == ["tunnel_not_removed", "tunnel_not_removed"]
        assert set(host.ledger.copy()) == {"link"}
        host.netlink.refused.clear()
        await host.agent.close()
        assert host.ledger.copy() == {}


@simulated
async def test_a_tun_that_the_service_manager_closes_meanwhile_is_removed_without_an_error() -> None:
    """Its descriptor is in the store as well: the interface goes when the service manager closes it, a moment later."""
    async with running(gre=False) as host:
        host.manager.lag = 0.001
        await host.want(tunnel())
        await host.end()
        host.netlink.meanwhile["delete_link"] = host.kernel.names  # by then it is closed
        await host.agent.close()
        assert host.kernel.names() == {"lo", "eth0"}
        assert host.log.events()[-1] == "tunnel_removed"
        assert host.ledger.copy() == {}


@pytest.mark.parametrize("by", ["the service manager", "another program"])
@simulated
async def test_whenever_the_tun_goes_at_the_end_nothing_is_left_and_nothing_fails(by: str) -> None:
    """Before, between and after any two requests of the teardown, each of which takes half a millisecond."""
    for step in range(24):
        async with running(gre=False) as host:
            await host.want(tunnel(routes=(IPv4Network("239.0.0.0/8"),), route_table=1000))
            await host.end()
            host.manager.lag = 0.02 if by == "another program" else step * 0.00025
            if by == "another program":
                asyncio.get_running_loop().call_later(step * 0.00025, suppressed(host.kernel.delete_link), "gre1")
            began = time.monotonic()
            await host.agent.close()
            assert time.monotonic() - began < 24 * 0.00025
            await host.quiet(1.0)
            assert host.kernel.names() == {"lo", "eth0"}
            assert (host.kernel.loopback(), host.ledger.copy(), host.manager.kept) == (set(), {}, {})
            assert host.log.events()[-1] == "tunnel_removed"
            assert all(record["level"] == "info" for record in host.log.records)


def suppressed(function: Callable[[str], object]) -> Callable[[str], None]:
    """Without an error, where there is nothing to do any more."""

    def call(name: str) -> None:
        with contextlib.suppress(OSError):
            function(name)

    return call


@simulated
async def test_without_anything_to_do_the_end_is_a_no_op() -> None:
    host = Host()
    await host.agent.close()
    assert host.netlink.changed == []
    assert host.log.events() == []


# XFRM interfaces


INTERFACE = peers(mode="interface", if_id=7, interface="ipsec1")
ESP_UP = Carrier(True, 1, ESP, "interface", False, PEER)


@simulated
async def test_an_xfrm_interface_below_gre_is_up_before_its_child_sa_and_leads_gre_into_it() -> None:
    async with running() as host:
        await host.want(tunnel(), carrier=Carrier(mode="interface"), peers=INTERFACE)
        below = host.link("ipsec1")
        assert (below.kind, below.parameters, below.up, below.addresses) == ("xfrm", Xfrm(7), True, [])
        assert host.kernel.through("ipsec1") == {"10.44.7.1/32"}
        assert (host.status().state, host.link().up) == ("waiting", False)
        await host.want(tunnel(), carrier=ESP_UP, peers=INTERFACE)
        assert (below.mtu, host.link().mtu, host.status().state) == (1438, 1414, "up")
        host.kernel.delete_link("ipsec1")
        again = await until(lambda: host.kernel.through("ipsec1") == {"10.44.7.1/32"}, "it is back")
        assert again < 0.2
        await host.close()
        deleted = [change for change in host.netlink.changed if change.startswith("delete_link")]
        assert deleted == ["delete_link link gre1", "delete_link link ipsec1"]
        assert host.ledger.copy() == {}


@simulated
async def test_an_xfrm_interface_whose_routes_are_taken_is_a_problem_of_its_tunnel() -> None:
    async with running() as host:
        theirs = FakeRoute(IPv4Network("10.44.7.1/32"), "eth0")
        host.kernel.add_route(theirs)
        await host.want(tunnel(), carrier=ESP_UP, peers=INTERFACE)
        problem = "ipsec1: a route that is not mcastd's leads 10.44.7.1/32 elsewhere; remove it"
        assert (host.status().state, host.status().problem) == ("down", problem)
        assert host.log.events() == ["reconcile_failed", "tunnel_failed"]
        host.kernel.delete_route(theirs)
        assert await host.until("up") < 1.1
        await host.want(tunnel())
        assert host.made() == {"gre1"}


@simulated
async def test_a_kernel_without_xfrm_interfaces_is_a_problem_of_the_tunnel() -> None:
    async with running(xfrm=False) as host:
        await host.want(tunnel(), carrier=ESP_UP, peers=INTERFACE)
        assert host.status().problem == "ipsec1: this kernel has no XFRM interfaces"
        alone = tunnel(name="ipsec1", encapsulation="none")
        await host.want(alone, carrier=ESP_UP, peers=peers(mode="interface", if_id=7))
        assert host.status("ipsec1").problem == "ipsec1: this kernel has no XFRM interfaces"
        assert host.made() == set()


@simulated
async def test_without_gre_the_tunnel_is_the_xfrm_interface() -> None:
    alone = tunnel(name="ipsec1", encapsulation="none", local=IPv4Address("192.0.2.1"), remote=PEER)
    async with running() as host:
        await host.want(alone, carrier=ESP_UP, peers=peers(mode="interface", if_id=7))
        status = host.status("ipsec1")
        assert (status.state, status.datapath, status.encapsulation) == ("up", "kernel", "none")
        assert (status.mtu, status.mtu_reason) == (1438, "ESP tunnel mode on a path of 1500")
        assert (host.link("ipsec1").parameters, host.kernel.loopback()) == (Xfrm(7), set())
        await host.want(alone, carrier=ESP_UP, peers=peers(mode="interface", if_id=8))
        assert host.link("ipsec1").parameters == Xfrm(8)


def shown(link: FakeLink) -> object:
    return link.shown(), link.addresses, link.alias
