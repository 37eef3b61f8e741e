"""Every agent survives an error at every place where its coroutines wait, and everything is up again without help.

``tests.resumptions`` says what raises. The fault ``agents-raise-20`` does the same to a daemon in the lab.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest
from msgspec.structs import replace

from mcastd.config.downstream import Forward
from mcastd.net.igmp import Record, RecordType, V3Report
from mcastd.system import capabilities
from tests.composed import ARTICLE, Host, running
from tests.fakes import clock
from tests.fakes.clock import until
from tests.fakes.streams import SOURCE
from tests.overlay.test_agent_simulated import CONFIG, Scene
from tests.resumptions import AGENTS, Place, Resumptions

FORWARD = Forward(name="eth1", from_=("gre1",), query_interval=10.0, query_response_interval=2.0)
GROUP, BEHIND, FOLLOWED, NAMED = map(IPv4Address, ("239.1.1.1", "239.1.7.1", "239.1.7.2", "239.1.7.3"))
MACHINE = IPv4Address("192.168.1.20")


async def neighbors(host: Host) -> None:
    """The router at the other end of whatever PIM has open, and a machine on the segment behind this host."""
    while True:
        if host.pim.opened and not host.router.closed:
            host.hello()
        if host.segments.opened and not host.segments.opened[-1].closed:
            host.segments.opened[-1].message(MACHINE, V3Report((Record(RecordType.IS_EX, BEHIND),)))
        await asyncio.sleep(20.0)


def chosen(places: Sequence[Place]) -> list[int]:
    """Of each place where a coroutine waits the first time, one in the middle and the last: the numbers that raise.

    The very first resumption is the start of the supervisor itself.
    """
    times = defaultdict[Place, list[int]](list)
    for n, place in enumerate(places, 1):
        times[place].append(n)
    return sorted({at[one] for at in times.values() for one in (0, len(at) // 2, -1)} - {1})


async def life(resumptions: Resumptions, receivers: bool, file: Path | None = None) -> None:
    """Start, neighbours, joins, a rekeying, a link and an SA that another program takes down; then the stop.

    A group is joined for the file and, with ``receivers``, one for a machine behind the host and one for an
    application, and with ``file`` one that a members file names. Resumptions after the stop has begun do not count.
    """
    host = Host()
    if receivers:
        host.kernel.make_link("eth1", None, up=True)
        host.kernel.add_address("eth1", (IPv4Interface("192.168.1.1/24"), None))
        host.multicast.make("eth1", host.kernel.links["eth1"].index)
    asyncio.get_running_loop().set_task_factory(resumptions.factory)
    neighbor = asyncio.create_task(neighbors(host))
    wanted = {GROUP, BEHIND, FOLLOWED}
    forwarding = replace(ARTICLE, forward=(replace(FORWARD, members_file=file),))
    if file is not None:
        file.write_text(f'{{"schema": 1, "groups": [{{"group": "{NAMED}"}}]}}')
        wanted.add(NAMED)
    async with running(forwarding if receivers else ARTICLE, host) as process:

        def is_whole() -> bool:
            """Whether nothing is wrong but that an agent failed."""
            found = {problem.code for problem in process.agents.problems()}
            up = found <= {"agent_failed"} and "gre1" in process.agents.tunnels.links() and process.joined()
            return up and (not receivers or receive())

        def receive() -> bool:
            forwarded = host.multicast.packet(SOURCE, str(BEHIND), "gre1") == ["eth1"]
            return forwarded and set(process.agents.wanted.of("gre1").groups()) == wanted

        if receivers:
            await until(lambda: "gre1" in host.kernel.links, "the link")
            host.multicast.make("gre1", host.kernel.links["gre1"].index)
            host.applications.join(str(FOLLOWED), ifindex=host.kernel.links["gre1"].index)
        await until(is_whole, "all is up and joined", step=0.25)
        if file is not None:
            file.write_text(file.read_text())
        host.charon.rekey("dc-tun-gre")
        host.kernel.set_link("gre1", up=False)
        await asyncio.sleep(1.0)
        host.charon.delete()
        await asyncio.sleep(20.0)
        await until(is_whole, "all is up and joined again", step=0.25)
        resumptions.ends = True
        assert host.log.events().count("agent_failed") == (resumptions.n > 0)
        await process.end()
    neighbor.cancel()
    if receivers:
        assert host.multicast.table == {}
        host.kernel.delete_link("eth1")
    assert host.is_empty()
    host.close()


async def life_of_an_overlay(resumptions: Resumptions) -> None:
    """The device, a machine that asks for a group again and again, and the device that another program takes down."""
    host = Host()
    asyncio.get_running_loop().set_task_factory(resumptions.factory)
    async with running(CONFIG, host) as process:
        overlay = Scene(host, process)

        async def machine() -> None:
            while True:
                if "vx0" in host.kernel.links and host.segments.opened and not host.segments.opened[-1].closed:
                    overlay.reports(1, RecordType.IS_EX, str(BEHIND))
                await asyncio.sleep(5.0)

        def is_whole() -> bool:
            found = {problem.code for problem in process.agents.problems()}
            up = "vx0" in host.kernel.links and host.kernel.links["vx0"].up
            return (
                up
                and not any(code.startswith("overlay") for code in found)
                and overlay.gets(str(BEHIND)) == {"192.0.2.1"}
            )

        asking = asyncio.create_task(machine())
        await until(is_whole, "the machine gets its group", step=0.25)
        host.kernel.set_link("vx0", up=False)
        await asyncio.sleep(40.0)  # longer than between two audits
        await until(is_whole, "the machine gets its group again", step=0.25)
        resumptions.ends = True
        assert host.log.events().count("agent_failed") == (resumptions.n > 0)
        await process.end()
    asking.cancel()
    assert host.is_empty()
    host.close()


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "missing", lambda: ())


@pytest.mark.parametrize("name", sorted({*AGENTS} - {"igmp_host", "meter", "metrics"}))  # those are idle here
def test_an_error_at_any_resumption_is_survived(name: str, tmp_path: Path) -> None:
    receivers = name in ("follow", "igmp", "forward", "members")
    file = tmp_path / "members.json" if name == "members" else None

    def run(n: int) -> Resumptions:
        found = Resumptions(name, n)
        clock.run(life_of_an_overlay(found) if name == "overlay" else life(found, receivers, file))
        return found

    counted = run(0)
    assert counted.count > 3
    failed = {}
    for n in chosen(counted.places):
        try:
            run(n)
        except BaseException as error:
            failed[n] = repr(error)
    assert not failed
