"""A restarted daemon among other queriers, through all agents: it takes over when it can forward, and not before."""

import asyncio

import pytest

from mcastd.net.igmp import Query, RecordType
from mcastd.system import capabilities
from tests.composed import Host, running
from tests.fakes.clock import simulated, until
from tests.fakes.igmp_transport import FakeTransport
from tests.igmp.elections import queriers
from tests.test_receivers import CONFIG, GROUP, ROUTER, scene

THEIRS = Query(3, 2.0, robustness=2, interval=10.0)


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "missing", lambda: ())


async def restarted(host: Host) -> FakeTransport:
    """The interface of the next process."""
    opened = len(host.segments.opened)
    await until(lambda: len(host.segments.opened) > opened, "the interface")
    return host.segments.opened[-1]


@simulated
async def test_the_lower_address_sends_no_query_until_its_streams_arrive() -> None:
    host = Host()
    async with scene(host=host) as one:
        one.joins(RecordType.TO_EX, GROUP)
        await asyncio.sleep(1.0)
    host.streams.stop()
    async with running(CONFIG, host) as process:
        wire = await restarted(host)
        for _ in range(4):
            wire.message(ROUTER, THEIRS)
            await asyncio.sleep(5.0)
            assert wire.queries() == []
        assert queriers(process.agents.igmp) == {"eth1": False}
        assert process.agents.wanted.is_wanted("gre1", None, GROUP)
        host.streams.arrives(str(GROUP))
        took = await until(lambda: queriers(process.agents.igmp) == {"eth1": True}, "the election", 5.0)
        assert took < 5.0  # hosts have had the time to answer the other one's queries
        assert len(wire.queries()) == 1
    host.close()


@simulated
async def test_with_streams_that_arrive_hosts_are_asked_within_seconds() -> None:
    host = Host()
    async with scene(host=host) as one:
        one.joins(RecordType.TO_EX, GROUP)
        host.streams.arrives(str(GROUP))
        await asyncio.sleep(3.0)
    async with running(CONFIG, host) as process:
        wire = await restarted(host)
        assert await until(lambda: wire.queries() != [], "a query") < 3.0
        assert process.agents.wanted.is_wanted("gre1", None, GROUP)
    host.close()
