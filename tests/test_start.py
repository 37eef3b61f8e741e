"""The start where the host refuses what it begins with: it is tried again, and nothing that stands is touched."""

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator

from mcastd.problems import Problem
from mcastd.start import Start
from tests.composed import Host, Process, peers
from tests.fakes.clock import simulated, until

REFUSED = Problem("start_failed", "host", "the start failed and is tried again: links: Operation not permitted")


@contextlib.asynccontextmanager
async def starting(host: Host) -> AsyncIterator[tuple[Process, Start]]:
    process = Process(host)
    process.agents.expect(peers(process.agents.config))
    start = Start(process.agents, host.log.logger, process.nudge)
    async with asyncio.TaskGroup() as group:
        reconciling = group.create_task(process.reconcile())
        beginning = group.create_task(start.run(group))
        yield process, start
        beginning.cancel()
        reconciling.cancel()
        process.agents.leave_standing()


@simulated
async def test_what_the_host_refuses_is_tried_again_after_one_to_sixty_seconds() -> None:
    host = Host()
    try:
        async with starting(host) as (process, start):
            host.netlink.refused["links"] = errno.EPERM
            await start.tried.wait()
            assert start.problem == REFUSED
            await asyncio.sleep(3600.0)
            assert 60 <= host.netlink.asked["links"] <= 70
            assert host.log.events() == ["start_failed"]
            assert (host.netlink.changed, host.nft.tables, host.charon.commands) == ([], {}, [])
            host.netlink.refused.clear()
            assert await until(process.is_up, "all is up") <= 61.0
            assert start.problem is None
    finally:
        host.close()


@simulated
async def test_nothing_that_a_previous_process_left_is_touched_before() -> None:
    host = Host()
    try:
        first = Process(host)
        first.start()
        await first.up()
        await first.end(leaves_standing=True)
        index, handle, sas = host.kernel.links["gre1"].index, host.nft.tables["mcastd"].handle, host.charon.spis()
        async with starting(host) as (process, start):
            host.netlink.refused["links"] = errno.EMFILE
            await start.tried.wait()
            await asyncio.sleep(600.0)
            assert (host.kernel.links["gre1"].index, host.nft.tables["mcastd"].handle) == (index, handle)
            host.netlink.refused.clear()
            await until(process.is_up, "all is up")
            assert (host.kernel.links["gre1"].index, host.charon.spis()) == (index, sas)
    finally:
        host.close()
