"""Twenty processes in a row, each handing over or killed, with files that change: nothing is lost, nothing is left."""

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from msgspec.structs import replace

from mcastd.handover import Handover
from mcastd.system import capabilities
from mcastd.wanted import COMMAND
from tests.composed import ARTICLE, Host, Process
from tests.fakes.clock import simulated, until

GROUP = IPv4Address("239.1.1.77")
GRE1 = ARTICLE.tunnels[0]
CONFIGURATIONS = (
    ARTICLE,
    replace(ARTICLE, tunnels=(replace(GRE1, routes=(IPv4Network("239.0.0.0/8"),), route_table=1000),)),
    replace(ARTICLE, tunnels=(replace(GRE1, remote=IPv4Address("10.44.7.9")),)),
    replace(ARTICLE, tunnels=(replace(GRE1, local=IPv4Address("10.44.6.9")),)),
    replace(ARTICLE, tunnels=(replace(GRE1, mtu=1300),), groups=()),
)


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "missing", lambda: ())


def inherited(host: Host, folder: Path, number: int) -> tuple[Process, Handover]:
    process = Process(host, CONFIGURATIONS[number % len(CONFIGURATIONS)])
    handover = Handover(folder, process.agents.pim, process.agents.wanted, host.log.logger)
    handover.inherit(["gre1"])
    return process, handover


@pytest.mark.parametrize("changes", [False, True], ids=["the same file", "files that change"])
@pytest.mark.parametrize("kernel", [True, False], ids=["GRE of the kernel", "GRE in user space"])
@simulated
async def test_nothing_is_lost_and_nothing_is_left(tmp_path: Path, kernel: bool, changes: bool) -> None:
    host = Host()
    host.kernel.unsupported = set() if kernel else {"gre"}
    seen = set()
    try:
        for number in range(20):
            process, handover = inherited(host, tmp_path, number if changes else 0)
            process.start()
            if number == 0:
                process.agents.wanted.join("gre1", GROUP, None, COMMAND)
                handover.joined(GROUP, None, "gre1")
            if number % 3 == 2:  # killed before it has done anything
                await process.end(leaves_standing=True)
                continue
            await until(lambda process=process: bool(process.agents.tunnels.links()), "the tunnel")  # type: ignore[misc]
            await until(lambda process=process: process.agents.pim.state().generation_ids != {}, "PIM")  # type: ignore[misc]
            handover.remember()
            seen |= {(host.kernel.links["gre1"].index, *process.agents.pim.state().generation_ids.items())}
            assert ("gre1", GROUP, None) in set(process.agents.wanted.of_origin(COMMAND))
            await process.end(leaves_standing=True)
        assert changes or len(seen) == 1, "one link and one Generation ID all the time"
        assert host.charon.asked("initiate") == host.charon.asked("initiate")[:2], "of the first process alone"
        process, handover = inherited(host, tmp_path, 0)
        process.start()
        await until(lambda: process.agents.tunnels.links() != {}, "the last one")
        await process.end()
        handover.forget()
        assert host.is_empty()
        assert (host.kernel.rules(), list(tmp_path.iterdir())) == ([], [])
    finally:
        host.close()
