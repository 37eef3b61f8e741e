"""What runs at every change costs the same whatever the number of joins: counted in calls, not in seconds."""

import sys
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from random import Random
from types import FrameType

import pytest

from mcastd.composition import Composition
from mcastd.config.model import Config, Daemon, Group, Pim, Tunnel
from mcastd.handover import Handover
from mcastd.pim.settings import PimDesired
from mcastd.wanted import COMMAND
from tests.fakes.clock import simulated
from tests.fakes.memory import MemoryLog
from tests.loops import looping

TUNNEL = Tunnel(
    name="gre1", local=IPv4Address("10.44.6.1"), remote=IPv4Address("10.44.7.1"),
    address=IPv4Interface("10.44.4.6/30"), pim=Pim(),
)  # fmt: skip
FIRST = IPv4Address("239.1.0.0")


def calls(act: Callable[[], object]) -> int:
    """How many functions are called, and generators resumed, while ``act`` runs."""
    count = 0

    def profile(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        act()
    finally:
        sys.setprofile(None)
    return count


async def cost(folder: Path, joins: int, *, by_command: bool) -> tuple[int, int, int]:
    """The calls for the summary, for keeping what a restart needs, and for wiring, each after one more change."""
    folder.mkdir()
    log = MemoryLog().logger
    groups = () if by_command else tuple(Group(group=FIRST + n, tunnel="gre1") for n in range(joins))
    config = Config(daemon=Daemon(runtime_dir=folder), tunnels=(TUNNEL,), groups=groups)
    agents = Composition(config, lambda: None, log, Random(1))
    handover = Handover(folder, agents.pim, agents.wanted, log)
    async with looping(agents.pim.run()):
        agents.pim.configure(PimDesired((), ("gre1",)))
        agents.want_file()
        await agents.pim.settled()
        for n in range(joins if by_command else 0):
            agents.wanted.join("gre1", FIRST + n, None, COMMAND)
            handover.joined(FIRST + n, None, "gre1")
        assert agents.wanted.counts(("gre1",)) == {"gre1": joins}
        agents.configure()

        def one_more() -> None:
            handover.joined(IPv4Address("239.255.0.1"), None, "gre1")
            handover.remember()

        return calls(lambda: agents.summary(agents.problems())), calls(one_more), calls(agents.configure)


@pytest.mark.parametrize("by_command", [False, True], ids=["by the file", "by command"])
@simulated
async def test_a_change_costs_the_same_with_1_and_with_10_000_joins(tmp_path: Path, by_command: bool) -> None:
    one = await cost(tmp_path / "one", 1, by_command=by_command)
    many = await cost(tmp_path / "many", 10_000, by_command=by_command)
    assert many == one


def test_a_walk_is_seen() -> None:
    """The counting notices a loop over the joins, as the summary had one."""
    assert calls(lambda: sum(n > 0 for n in range(10_000))) > 10_000
