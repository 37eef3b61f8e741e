"""Machines behind an overlay, through all agents: each gets what it asks for, and nobody else does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from msgspec.structs import replace

from mcastd.cli.status_overlay import blocks
from mcastd.config.downstream import Overlay
from mcastd.config.model import Config
from mcastd.net.igmp import Leave, Message, Record, RecordType, Report, V3Report
from mcastd.net.vxlan import Forwarding, Replica
from mcastd.snapshot import Process as ProcessInfo
from mcastd.snapshot import build
from mcastd.system import capabilities
from tests.composed import ARTICLE, Host, Process, running
from tests.fakes.clock import simulated, until
from tests.fakes.streams import SOURCE

OWN, LOCAL = "10.99.0.1", ARTICLE.peers[0].local
OVERLAY = Overlay(
    name="vx0",
    from_=("gre1",),
    vni=7,
    local=LOCAL,
    address=IPv4Interface(f"{OWN}/24"),
    members=(IPv4Network("192.0.2.1"), IPv4Network("192.0.2.2"), IPv4Network("198.51.0.0/16")),
    query_interval=10.0,
    query_response_interval=2.0,
)
CONFIG = replace(ARTICLE, overlay=(OVERLAY,))
GROUP, OTHER, QUERIES = "239.1.7.1", "239.1.7.2", "224.0.0.1"


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "missing", lambda: ())


class Scene:
    """A process with an overlay."""

    def __init__(self, host: Host, process: Process) -> None:
        self.host = host
        self.process = process

    @property
    def index(self) -> int:
        return self.host.kernel.links["vx0"].index

    def reports(self, machine: int, kind: RecordType, group: str, *sources: str, endpoint: str | None = None) -> None:
        """A machine says what it wants, and the kernel learns by which endpoint it is reached."""
        record = Record(kind, IPv4Address(group), tuple(map(IPv4Address, sources)))
        self.says(machine, V3Report((record,)), endpoint)

    def says(self, machine: int, message: Message, endpoint: str | None = None) -> None:
        """Likewise, by any message."""
        address, mac = IPv4Address(f"10.99.0.{10 + machine}"), bytes((2, 0, 0, 0, 0, machine))
        self.host.vxlan.learns(self.index, mac, endpoint or f"192.0.2.{machine}")
        self.host.segments.macs[address.packed] = mac
        self.host.segments.opened[-1].message(address, message)

    def gets(self, group: str, source: str = SOURCE) -> set[str]:
        return self.host.vxlan.sends(self.index, group, source)

    def codes(self) -> set[str]:
        """The problems of overlays."""
        return {problem.code for problem in self.process.agents.overlay.problems()}


@asynccontextmanager
async def scene(config: Config = CONFIG, host: Host | None = None) -> AsyncIterator[Scene]:
    own = host or Host()
    async with running(config, own) as process:
        await until(lambda: "vx0" in own.kernel.links and own.kernel.links["vx0"].up, "the overlay")
        await until(lambda: bool(own.segments.opened), "IGMP")
        await asyncio.sleep(1.0)
        yield Scene(own, process)
    if host is None:
        own.close()


@simulated
async def test_each_machine_gets_what_it_asks_for_until_it_leaves() -> None:
    async with scene() as one:
        link = one.host.kernel.links["vx0"]
        assert (link.mtu, [str(own) for own, _ in link.addresses]) == (1450, [f"{OWN}/24"])
        assert one.gets(QUERIES) == {"192.0.2.1", "192.0.2.2"}
        assert one.gets(GROUP) == set()
        one.reports(1, RecordType.TO_EX, GROUP)
        took = await until(lambda: one.gets(GROUP) == {"192.0.2.1"}, "the entry", 1.0)
        assert took <= 0.01
        one.reports(2, RecordType.TO_EX, GROUP)
        assert await until(lambda: len(one.gets(GROUP)) == 2, "the other machine", 1.0) <= 0.01
        one.reports(3, RecordType.TO_EX, OTHER, endpoint="198.51.100.9")
        await until(lambda: one.gets(OTHER) == {"198.51.100.9"}, "a machine within a prefix", 1.0)
        assert one.gets(QUERIES) == {"192.0.2.1", "192.0.2.2", "198.51.100.9"}
        one.reports(1, RecordType.TO_IN, GROUP)
        assert await until(lambda: one.gets(GROUP) == {"192.0.2.2"}, "it has left", 1.0) <= 0.01


@simulated
async def test_what_a_machine_asks_for_is_joined_upstream_forwarded_and_shown() -> None:
    async with scene() as one:
        host, agents = one.host, one.process.agents
        for name in ("gre1", "vx0"):
            host.multicast.make(name, host.kernel.links[name].index)
        host.hello()
        one.reports(1, RecordType.TO_EX, GROUP)
        forwarded = partial(host.multicast.packet, SOURCE, GROUP, "gre1")
        await until(lambda: forwarded() == ["vx0"], "it is forwarded", 5.0)
        assert agents.wanted.is_wanted("gre1", None, IPv4Address(GROUP))
        assert "repaired" not in str(host.log.records)
        await agents.refresh()
        now = asyncio.get_running_loop().time()
        info = ProcessInfo(1, 2.0, "mcastd.toml", "", ())
        status = build(agents.snapshots(now, await agents.rows(now)), info, agents.judgement())
        (overlay,), (forward,) = status.overlay, status.forward
        assert (overlay.state, overlay.mode, overlay.groups, overlay.copies, overlay.asked) == ("up", "mdb", 1, 1, 2)
        (endpoint,) = overlay.endpoints
        assert (endpoint.endpoint, endpoint.names, endpoint.was_heard) == ("192.0.2.1", (GROUP,), True)
        assert (forward.name, forward.state, forward.groups) == ("vx0", "forwarding", 1)
        shown = "\n".join(str(block) for block in blocks(status.overlay, everything=False))
        assert "192.0.2.1 gets 1 group: 239.1.7.1" in shown


@simulated
async def test_machines_behind_one_endpoint_get_one_copy_and_sources_are_kept_apart() -> None:
    async with scene() as one:
        one.reports(1, RecordType.TO_EX, GROUP, endpoint="192.0.2.1")
        one.reports(2, RecordType.TO_IN, GROUP, SOURCE, endpoint="192.0.2.1")
        one.reports(3, RecordType.TO_IN, GROUP, SOURCE, endpoint="192.0.2.2")
        await asyncio.sleep(0.1)
        assert one.gets(GROUP) == {"192.0.2.1", "192.0.2.2"}
        assert one.gets(GROUP, "10.1.1.99") == {"192.0.2.1"}
        assert one.gets(GROUP, OWN) == {"192.0.2.1", "192.0.2.2"}  # our queries for the group
        one.reports(1, RecordType.TO_IN, GROUP)
        await asyncio.sleep(0.1)
        assert one.gets(GROUP, "10.1.1.99") == set()
        assert one.gets(GROUP) == {"192.0.2.1", "192.0.2.2"}


@simulated
async def test_of_two_hosts_behind_one_endpoint_one_may_leave_that_the_other_kept_quiet_for() -> None:
    """By IGMPv2 a host that hears another one's report sends none; it is asked when that one leaves."""
    group = IPv4Address(GROUP)
    async with scene() as one:
        for message in (Report(2, group), Leave(group)):
            one.says(1, message)
            await asyncio.sleep(0.5)
            assert one.gets(GROUP) == {"192.0.2.1"}
        one.says(2, Report(2, group), endpoint="192.0.2.1")
        await asyncio.sleep(10.0)
        assert one.gets(GROUP) == {"192.0.2.1"}
        one.says(2, Leave(group), endpoint="192.0.2.1")
        assert 2.0 < await until(lambda: one.gets(GROUP) == set(), "nobody answers", 5.0) < 2.2


@simulated
async def test_many_sources_and_endpoints_are_few_entries() -> None:
    """They multiply, where all machines want every source and one names some."""
    config = replace(CONFIG, overlay=(replace(OVERLAY, members=(IPv4Network("198.51.0.0/16"),)),))
    async with scene(config) as one:
        for machine in range(1, 51):
            one.reports(machine, RecordType.TO_EX, GROUP, endpoint=f"198.51.100.{machine}")
        names = [f"100.15.{number}.1" for number in range(120)]
        one.reports(99, RecordType.TO_IN, GROUP, *names[:20], endpoint="198.51.100.99")
        await asyncio.sleep(1.0)
        assert len(one.gets(GROUP, "100.15.30.1")) == 50
        assert (len(one.gets(GROUP, names[0])), one.codes()) == (51, set())
        one.reports(99, RecordType.TO_IN, GROUP, *names, endpoint="198.51.100.99")
        await asyncio.sleep(1.0)
        assert len(one.host.vxlan.mdb[one.index]) == 51
        assert len(one.gets(GROUP, "100.15.200.1")) == 51  # also what it has not named
        assert one.codes() == {"overlay_not_exact"}
        one.reports(99, RecordType.TO_IN, GROUP, endpoint="198.51.100.99")
        await asyncio.sleep(1.0)
        assert (len(one.gets(GROUP)), one.codes()) == (50, set())


@simulated
async def test_a_machine_that_is_gone_is_pruned_within_the_membership_time() -> None:
    async with scene() as one:
        for _ in range(5):
            one.reports(1, RecordType.TO_EX, GROUP)
            await asyncio.sleep(10.0)
        one.reports(2, RecordType.TO_EX, GROUP)
        vanished = asyncio.get_running_loop().time()
        while len(one.gets(GROUP)) != 1:
            one.reports(1, RecordType.TO_EX, GROUP)
            await asyncio.sleep(0.5)
        assert asyncio.get_running_loop().time() - vanished < 25.0  # 2 * 10 s + 2 * 2 s
        assert one.gets(GROUP) == {"192.0.2.1"}


@simulated
async def test_a_stranger_gets_nothing_and_is_named() -> None:
    async with scene() as one:
        one.reports(1, RecordType.TO_EX, GROUP, endpoint="203.0.113.66")
        await asyncio.sleep(1.0)
        assert one.gets(GROUP) == set()
        assert one.gets(QUERIES) == {"192.0.2.1", "192.0.2.2"}
        assert one.codes() == {"overlay_unreachable"}


@simulated
async def test_the_next_process_takes_everything_over_and_a_reload_loses_nothing() -> None:
    host = Host()
    async with scene(host=host) as one:
        index = one.index
        one.reports(1, RecordType.TO_EX, GROUP)
        one.reports(2, RecordType.TO_EX, OTHER)
        await asyncio.sleep(20.0)
        await one.process.apply(replace(CONFIG, overlay=(replace(OVERLAY, max_groups=17),)))
        assert one.gets(GROUP) == {"192.0.2.1"}
        assert not [change for change in host.vxlan.changes if change.startswith("remove")]
    async with scene(host=host) as one:
        assert one.index == index
        one.reports(2, RecordType.IS_EX, OTHER)
        for _ in range(3):
            assert one.gets(GROUP) == {"192.0.2.1"}  # it has time to say again what it wants
            one.reports(2, RecordType.IS_EX, OTHER)
            await asyncio.sleep(1.0)
        await until(lambda: one.gets(GROUP) == set(), "nobody wants it any more", 60.0)
        assert one.gets(OTHER) == {"192.0.2.2"}
        await one.process.apply(ARTICLE)
        assert "vx0" not in host.kernel.links
    host.close()


@simulated
async def test_with_many_groups_a_reload_removes_none_of_them() -> None:
    async with scene() as one:
        groups = [f"239.1.8.{number}" for number in range(50)]
        for group in groups:
            one.reports(1, RecordType.TO_EX, group)
        await asyncio.sleep(10.0)  # all have had the time to say what they want
        await one.process.apply(replace(CONFIG, overlay=(replace(OVERLAY, max_groups=170),)))
        assert all(one.gets(group) == {"192.0.2.1"} for group in groups)
        assert not [change for change in one.host.vxlan.changes if change.startswith("remove")]


@simulated
async def test_who_is_no_member_any_more_gets_nothing_from_the_reload_on() -> None:
    async with scene() as one:
        one.reports(1, RecordType.TO_EX, GROUP)
        one.reports(2, RecordType.TO_EX, GROUP)
        await until(lambda: len(one.gets(GROUP)) == 2, "both get it", 1.0)
        await one.process.apply(replace(CONFIG, overlay=(replace(OVERLAY, members=OVERLAY.members[1:]),)))
        assert one.gets(GROUP) == one.gets(QUERIES) == {"192.0.2.2"}
        assert "ip saddr != { 192.0.2.2/32, 198.51.0.0/16 }" in "".join(one.host.nft.tables["mcastd"].rules)
        assert "repaired" not in str(one.host.log.records)


@simulated
async def test_what_another_program_changes_is_repaired() -> None:
    async with scene() as one:
        await asyncio.sleep(30.0)
        one.reports(1, RecordType.TO_EX, GROUP)
        await asyncio.sleep(20.0)
        stranger = IPv4Address("203.0.113.66")
        one.host.vxlan.mdb[one.index] = {Replica(IPv4Address(GROUP), None, stranger)}
        one.host.vxlan.fdb[one.index].add(Forwarding(bytes(6), stranger))
        one.reports(1, RecordType.IS_EX, GROUP)
        await asyncio.sleep(21.0)
        assert one.gets(GROUP) == {"192.0.2.1"}
        assert one.gets("239.9.9.9") == set()
        assert "repaired" in str(one.host.log.records)


@pytest.mark.parametrize("kind", ["mac", "flood"])
@simulated
async def test_a_kernel_without_mdb(kind: str) -> None:
    host = Host()
    host.vxlan.kind = kind
    async with scene(host=host) as one:
        one.reports(1, RecordType.TO_EX, GROUP)
        await asyncio.sleep(1.0)
        assert one.gets(GROUP) >= {"192.0.2.1"}
        assert one.gets(QUERIES) == {"192.0.2.1", "192.0.2.2"}
        assert one.gets(OTHER) == (set() if kind == "mac" else one.gets(QUERIES))
        assert one.codes() == (set() if kind == "mac" else {"overlay_not_exact"})
    host.close()


@simulated
async def test_while_its_table_is_missing_it_counts_as_down_and_nothing_changes() -> None:
    """As a tunnel does: what is set up stays, and the copies go on."""
    async with scene() as one:
        one.reports(1, RecordType.TO_EX, GROUP)
        await until(lambda: one.gets(GROUP) == {"192.0.2.1"}, "the entry", 1.0)
        one.host.nft.refuses = "no nftables"
        one.host.nft.delete("mcastd")
        await until(lambda: "overlay_failed" in one.codes(), "the problem", 5.0)
        one.reports(2, RecordType.TO_EX, GROUP)
        await asyncio.sleep(5.0)
        assert (one.gets(GROUP), one.host.kernel.links["vx0"].up) == ({"192.0.2.1"}, True)
        one.host.nft.refuses = None
        await until(lambda: len(one.gets(GROUP)) == 2, "it is in place again", 10.0)
        assert not one.codes()


@simulated
async def test_without_its_table_it_stays_down_and_is_taken_down_with_the_rest() -> None:
    host = Host()
    host.nft.refuses = "no nftables"
    async with running(CONFIG, host) as process:
        await asyncio.sleep(5.0)
        assert not host.kernel.links["vx0"].up
        host.nft.refuses = None
        await until(lambda: host.kernel.links["vx0"].up, "the overlay", 10.0)
        await process.end()
        assert host.is_empty()
    host.close()


@simulated
async def test_an_interface_that_is_down_is_a_problem_and_the_entries_stay() -> None:
    async with scene() as one:
        one.reports(1, RecordType.TO_EX, GROUP)
        await until(lambda: one.gets(GROUP) == {"192.0.2.1"}, "the entry", 1.0)
        kernel, overlay = one.host.kernel, one.process.agents.overlay
        kernel.set_link("eth0", up=False)
        await until(lambda: bool(list(overlay.problems())), "the problem", 2.0)
        (problem,) = overlay.problems()
        assert (problem.code, problem.text) == (
            "overlay_failed",
            f"overlay vx0: eth0, which has {LOCAL}, is down: nothing passes",
        )
        kernel.set_link("eth0", up=True)
        await until(lambda: not list(overlay.problems()), "the interface", 2.0)
        assert one.gets(GROUP) == {"192.0.2.1"}
