"""Every agent survives an error at every point where its coroutines wait, and everything is up again without help.

``tests.resumptions`` says what raises. The fault ``agents-raise-20`` does the same to a daemon in the lab.
"""

import asyncio

import pytest

from mcastd.system import capabilities
from tests.composed import Host, running
from tests.fakes import clock
from tests.fakes.clock import until
from tests.resumptions import Resumptions

NAMES = ["firewall", "ipsec", "tunnels", "keepalive", "follow", "pim", "streams"]


async def hellos(host: Host) -> None:
    """The neighbour at the other end of whatever PIM has open."""
    while True:
        if host.pim.opened and not host.router.closed:
            host.hello()
        await asyncio.sleep(20.0)


async def life(resumptions: Resumptions) -> int:
    """Start, a neighbour, joins, a rekeying, a link and an SA that another program takes down; then the stop.

    Returns the resumptions before the stop.
    """
    host = Host()
    asyncio.get_running_loop().set_task_factory(resumptions.factory)
    neighbor = asyncio.create_task(hellos(host))
    async with running(host=host) as process:

        def is_whole() -> bool:
            """Whether nothing is wrong but that an agent failed."""
            found = {problem.code for problem in process.agents.problems()}
            return found <= {"agent_failed"} and "gre1" in process.agents.tunnels.links() and process.joined()

        await until(is_whole, "all is up and joined")
        host.charon.rekey("dc-tun-gre")
        host.kernel.set_link("gre1", up=False)
        await asyncio.sleep(1.0)
        host.charon.delete()
        await asyncio.sleep(20.0)
        await until(is_whole, "all is up and joined again")
        count = resumptions.count
        assert host.log.events().count("agent_failed") == (resumptions.n > 0)
        await process.end()
    neighbor.cancel()
    assert host.is_empty()
    host.close()
    return count


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "missing", lambda: ())


@pytest.mark.parametrize("name", NAMES)
def test_an_error_at_any_resumption_is_survived(name: str) -> None:
    count = clock.run(life(Resumptions(name, 0)))
    assert count > 3
    failed = {}
    for n in range(2, count):
        try:
            clock.run(life(Resumptions(name, n)))
        except BaseException as error:
            failed[n] = repr(error)
    assert not failed
