"""A page of all agents together, on one host in memory."""

import time
from pathlib import Path

import pytest

from mcastd.commands import Commands
from mcastd.handover import Handover
from mcastd.metrics.page import Kept, Page
from mcastd.metrics.shown import shown
from mcastd.snapshot import Process as ProcessInfo
from mcastd.snapshot import build
from mcastd.status import Status
from mcastd.system import capabilities
from tests.composed import Process, running
from tests.fakes.clock import simulated, until
from tests.metrics.samples import of


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "missing", lambda: ())


async def page(process: Process, folder: Path, kept: Kept) -> Page:
    agents = process.agents

    async def status() -> Status:
        now = time.monotonic()
        info = ProcessInfo(1, 2.0, "mcastd.toml", "abc", ())
        return build(agents.snapshots(now, await agents.rows(now)), info, agents.judgement())

    async def reload() -> str:
        return ""

    commands = Commands(agents, Handover(folder, agents.pim, agents.wanted, process.host.log.logger), reload, status)
    scrape = await commands.scrape()
    found = Page(shown(agents.config), kept, scrape.clock)
    for steps in (found.add_status(scrape.status), found.add_report(scrape.report)):
        for _ in steps:
            pass
    for part in scrape.streams:
        found.add_streams(part)
    found.end(scrape.report)
    return found


@simulated
async def test_what_is_up_and_what_arrives(tmp_path: Path) -> None:
    async with running() as process:
        kept = Kept()
        await process.up()
        process.host.hello()
        await until(process.joined, "joined")
        found = await page(process, tmp_path, kept)
        assert of("mcastd_tunnel_up", found) == ['{tunnel="gre1"} 1']
        assert of("mcastd_pim_neighbors", found) == ['{tunnel="gre1"} 1']
        assert of("mcastd_group_joined", found) == ['{tunnel="gre1",group="239.1.1.1",source="",feed=""} 1']
        (packets,) = of("mcastd_stream_packets_total", found)
        assert int(packets.split()[-1]) > 0
        assert of("mcastd_charon_up", found) == [" 1"]
        assert of("mcastd_problems", found) == [" 0"]
        process.host.charon.peer_silent = True
        process.host.charon.delete()
        await until(lambda: "tunnel gre1 is waiting" in process.problems(), "the tunnel waits")
        found = await page(process, tmp_path, kept)
        assert of("mcastd_tunnel_up", found) == ['{tunnel="gre1"} 0']
        assert of("mcastd_charon_up", found) == [" 1"]
        assert of("mcastd_group_joined", found) == ['{tunnel="gre1",group="239.1.1.1",source="",feed=""} 0']
