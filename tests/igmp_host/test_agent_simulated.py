"""The agent over memberships in memory, in virtual time and without root."""

import asyncio
import contextlib
import errno
import time
from collections.abc import AsyncIterator
from ipaddress import IPv4Address

from mcastd.igmp_host.agent import IgmpHostAgent
from mcastd.igmp_host.desired import IgmpHostDesired, IgmpHostLink
from mcastd.membership import NONE, DesiredGroup
from mcastd.status import GroupStatus
from mcastd.wanted import APPLICATION, COMMAND, FILE, Wanted
from tests.fakes.clock import simulated
from tests.fakes.kernel import FakeKernel
from tests.fakes.membership_sockets import FakeMemberships
from tests.fakes.memory import MemoryLog
from tests.fakes.service_manager import FakeServiceManager
from tests.loops import looping

NAME, INDEX = "gre1", 7
GROUP, OTHER = IPv4Address("239.1.1.1"), IPv4Address("239.1.1.2")
SOURCE, SECOND = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
ANY = DesiredGroup(any_source=True)
LINK = IgmpHostLink(NAME, INDEX)


class Host:
    """What outlives a process."""

    def __init__(self) -> None:
        self.kernel = FakeMemberships()
        self.manager = FakeServiceManager()
        self.sysctls = FakeKernel().sysctls
        self.log = MemoryLog()


class Bench:
    """One process."""

    def __init__(self, host: Host) -> None:
        self.host, self.kernel = host, host.kernel
        self.changes = 0
        self.wanted = Wanted(time.monotonic)
        self.held = Wanted(time.monotonic)
        self.agent = IgmpHostAgent(
            wanted=self.wanted,
            held=self.held,
            sysctls=host.sysctls,
            store=host.manager.store(),
            log=host.log.logger,
            on_change=self._changed,
            open_socket=host.kernel.open,
            query=host.kernel.query,
        )

    def _changed(self) -> None:
        self.changes += 1

    async def want(self, *links: IgmpHostLink, tunnels: tuple[str, ...] = (NAME,)) -> None:
        self.agent.configure(IgmpHostDesired(links, tunnels))
        await self.agent.settled()

    def received(self, group: IPv4Address = GROUP, index: int = INDEX) -> DesiredGroup:
        return self.kernel.received(index, group)

    def groups(self) -> dict[str, GroupStatus]:
        return {group.group: group for group in self.agent.status(time.monotonic())}

    def problems(self) -> list[str]:
        return [problem.text for problem in self.agent.problems()]

    def die(self) -> None:
        """SIGKILL: the kernel closes what no other process has."""
        for name in list(self.agent._store._found):
            self.agent._store.take(name)
        for sock in self.kernel.sockets:
            with contextlib.suppress(OSError):
                sock.close()


@contextlib.asynccontextmanager
async def running(host: Host | None = None) -> AsyncIterator[Bench]:
    bench = Bench(host or Host())
    async with looping(bench.agent.run()):
        yield bench


@simulated
async def test_what_is_desired_is_joined_on_the_interface_and_left() -> None:
    async with running() as bench:
        bench.wanted.join(NAME, GROUP, None, FILE)
        bench.wanted.join(NAME, OTHER, SOURCE, COMMAND)
        await bench.want()
        assert bench.groups()["239.1.1.1"].problem_code == "tunnel_down"
        await bench.want(LINK)
        assert bench.received() == ANY
        assert bench.received(OTHER) == DesiredGroup(sources=frozenset({SOURCE}))
        assert {group.state for group in bench.groups().values()} == {"joined"}
        bench.wanted.leave(NAME, GROUP, None, FILE)
        bench.wanted.set_group(NAME, OTHER, "eth1", DesiredGroup(True, NONE, frozenset({SECOND})))
        await bench.agent.settled()
        assert bench.kernel.groups(INDEX) == {OTHER}
        assert bench.received(OTHER) == DesiredGroup(True, NONE, frozenset({SECOND}))
        assert bench.host.log.events() == ["igmp_joined", "igmp_left"]


@simulated
async def test_what_only_applications_desire_is_theirs() -> None:
    async with running() as bench:
        bench.wanted.join(NAME, GROUP, None, APPLICATION)
        bench.wanted.join(NAME, OTHER, None, APPLICATION)
        bench.wanted.join(NAME, OTHER, SOURCE, FILE)
        await bench.want(LINK)
        assert bench.kernel.groups(INDEX) == {OTHER}
        assert bench.received(OTHER) == DesiredGroup(sources=frozenset({SOURCE}))
        assert {group.state for group in bench.groups().values()} == {"joined"}


@simulated
async def test_its_sockets_are_known_with_their_filters_and_those_of_the_previous_process() -> None:
    host = Host()
    many = frozenset(IPv4Address("10.0.1.0") + number for number in range(15))
    async with running(host) as bench:
        bench.wanted.set_group(NAME, GROUP, FILE, DesiredGroup(sources=many))
        bench.wanted.join(NAME, OTHER, None, APPLICATION)
        await bench.want(LINK)
        first = bench.agent.filters(NAME, GROUP)
        assert [len(one.sources) for one in first] == [10, 5]
        assert frozenset.union(*(one.sources for one in first)) == many
        assert bench.agent.filters(NAME, OTHER) == bench.agent.filters("gre2", GROUP) == ()
    bench.die()
    async with running(host) as bench:
        bench.wanted.set_group(NAME, GROUP, FILE, DesiredGroup(sources=many))
        assert bench.agent.filters(NAME, GROUP) == first
        await bench.want(LINK)
        assert bench.agent.filters(NAME, GROUP) == first + first
        assert bench.agent.filters(NAME, OTHER) == ()
        await asyncio.sleep(61.0)
        assert bench.agent.filters(NAME, GROUP) == first


@simulated
async def test_groups_of_other_tunnels_are_not_joined() -> None:
    async with running() as bench:
        bench.wanted.join("gre2", GROUP, None, FILE)
        await bench.want(LINK)
        assert bench.kernel.sockets == []


@simulated
async def test_10_000_groups_are_joined_in_slices() -> None:
    async with running() as bench:
        many = [IPv4Address("239.2.0.0") + number for number in range(10_000)]
        bench.wanted.replace(NAME, FILE, [(group, None) for group in many])
        most = 0
        bench.agent.configure(IgmpHostDesired((LINK,), (NAME,)))
        while bench.kernel.calls < 10_500:
            before = bench.kernel.calls
            await asyncio.sleep(0)
            most = max(most, bench.kernel.calls - before)
        await bench.agent.settled()
        assert most <= 60
        assert len(bench.kernel.sockets) == 500
        (line,) = bench.host.log.records
        assert line["groups"].endswith("and 9980 more")


@simulated
async def test_an_interface_that_was_made_again_is_joined_again() -> None:
    async with running() as bench:
        bench.wanted.join(NAME, GROUP, None, FILE)
        await bench.want(LINK)
        await bench.want(IgmpHostLink(NAME, INDEX + 1))
        assert bench.received(index=INDEX + 1) == ANY
        assert bench.received(index=INDEX) == DesiredGroup()
        await bench.want()
        assert bench.kernel.open_sockets() == []
        assert bench.host.manager.kept == {}


@simulated
async def test_when_the_path_comes_up_the_kernel_reports_everything_twice() -> None:
    async with running() as bench:
        await bench.want(LINK)
        assert bench.kernel.reports == []
        await bench.want(IgmpHostLink(NAME, INDEX, up_count=2))
        assert bench.kernel.reports == [INDEX]
        await asyncio.sleep(1.5)
        assert bench.kernel.reports == [INDEX, INDEX]
        await bench.want(IgmpHostLink(NAME, INDEX, up_count=2, silences=1))
        assert len(bench.kernel.reports) == 3
        await asyncio.sleep(60.0)
        assert len(bench.kernel.reports) == 4


@simulated
async def test_what_cannot_be_joined_is_a_problem_and_is_tried_again() -> None:
    async with running() as bench:
        bench.wanted.join(NAME, GROUP, None, FILE)
        bench.wanted.join(NAME, OTHER, None, FILE)
        bench.kernel.error = errno.ENOBUFS
        await bench.want(LINK)
        assert bench.problems() == ["2 groups not joined on gre1: No buffer space available"]
        assert bench.groups()["239.1.1.1"].problem_code == "igmp_join_failed"
        assert bench.changes == 1
        bench.kernel.error = None
        await asyncio.sleep(15.0)
        assert bench.problems() == []
        assert bench.received() == ANY
        assert bench.changes == 2
        assert bench.host.log.events() == ["igmp_join_failed", "igmp_joined"]


@simulated
async def test_an_error_of_the_host_is_not_asked_for_with_each_group() -> None:
    async with running() as bench:
        bench.wanted.replace(NAME, FILE, [(GROUP + number, None) for number in range(500)])
        bench.kernel.error = errno.ENODEV
        await bench.want(LINK)
        assert bench.kernel.calls == 1
        assert bench.problems() == ["500 groups not joined on gre1: No such device"]
        bench.wanted.replace(NAME, FILE, [])
        bench.kernel.error = None
        await bench.agent.settled()
        assert bench.problems() == []


@simulated
async def test_after_a_crash_the_groups_stay_joined_and_the_inherited_sockets_are_closed_later() -> None:
    host = Host()
    async with running(host) as bench:
        bench.wanted.join(NAME, GROUP, None, FILE)
        bench.wanted.join(NAME, OTHER, None, "eth1")
        await bench.want(LINK)
        assert len(host.manager.kept) == 1
    bench.die()
    assert bench.kernel.groups(INDEX) == {GROUP, OTHER}
    async with running(host) as successor:
        successor.wanted.join(NAME, GROUP, None, FILE)
        await successor.want(LINK)
        # What machines behind this host desire is not known yet.
        assert successor.kernel.groups(INDEX) == {GROUP, OTHER}
        successor.wanted.join(NAME, OTHER, None, "eth1")
        await asyncio.sleep(61.0)
        assert successor.kernel.groups(INDEX) == {GROUP, OTHER}
        assert len(successor.kernel.open_sockets()) == 1
        assert list(host.manager.kept) == ["igmp-gre1-2"]
        await successor.agent.close()
    assert host.kernel.open_sockets() == []
    assert host.manager.kept == {}


@simulated
async def test_inherited_sockets_of_a_tunnel_that_is_gone_are_closed() -> None:
    host = Host()
    async with running(host) as bench:
        bench.wanted.join(NAME, GROUP, None, FILE)
        await bench.want(LINK)
    bench.die()
    async with running(host) as successor:
        await successor.want(tunnels=("gre2",))
        assert host.kernel.open_sockets() == []


@simulated
async def test_a_stop_leaves_everything_and_gives_the_kernel_time_to_report_it() -> None:
    async with running() as bench:
        bench.wanted.join(NAME, GROUP, None, FILE)
        await bench.want(LINK)
    before = time.monotonic()
    await bench.agent.close()
    assert bench.kernel.open_sockets() == []
    assert time.monotonic() - before > 0.04
    await bench.agent.close()


@simulated
async def test_limits_of_the_kernel_are_those_of_the_sysctls() -> None:
    host = Host()
    host.sysctls.values["net/ipv4/igmp_max_memberships"] = "3"
    async with running(host) as bench:
        bench.wanted.replace(NAME, FILE, [(GROUP + number, None) for number in range(6)])
        await bench.want(LINK)
        assert [len(sock.groups) for sock in bench.kernel.sockets] == [3, 3]
