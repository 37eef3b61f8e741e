"""What runs at every change costs the same whatever the number of joins: counted in calls, not in seconds."""

from collections.abc import Coroutine
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from mcastd.adapters import System
from mcastd.composition import Composition
from mcastd.config.model import Config, Daemon, Group, Pim, Tunnel
from mcastd.follow import scope
from mcastd.follow.settings import FollowedTunnel
from mcastd.handover import Handover
from mcastd.membership import DesiredGroup
from mcastd.pim.settings import PimDesired
from mcastd.wanted import APPLICATION, COMMAND, FILE, HOSTS
from tests.calls import calls
from tests.fakes.clock import simulated
from tests.fakes.memory import MemoryLog
from tests.loops import looping

TUNNEL = Tunnel(
    name="gre1", local=IPv4Address("10.44.6.1"), remote=IPv4Address("10.44.7.1"),
    address=IPv4Interface("10.44.4.6/30"), pim=Pim(),
)  # fmt: skip
FIRST = IPv4Address("239.1.0.0")


def finish(coroutine: Coroutine[object, None, object]) -> None:
    """Run what waits for nothing."""
    with suppress(StopIteration):
        coroutine.send(None)


async def no_memberships() -> dict[str, set[IPv4Address]]:
    """No socket has joined anything: what this host's have is not counted."""
    return {}


def want(agents: Composition, handover: Handover, by: str, group: IPv4Address) -> None:
    """One origin wants one group more."""
    if by == FILE:
        return  # it is in the configuration
    agents.wanted.join("gre1", group, None, by)
    if by == COMMAND:
        handover.joined(group, None, "gre1")
    elif by == "eth1":
        agents.downstream.set_group("eth1", group, HOSTS, DesiredGroup(any_source=True))


async def cost(folder: Path, joins: int, by: str) -> dict[str, int]:
    """The calls for what follows upon one more change."""
    folder.mkdir()
    log = MemoryLog().logger
    groups = tuple(Group(group=FIRST + n, tunnel="gre1") for n in range(joins)) if by == FILE else ()
    config = Config(daemon=Daemon(runtime_dir=folder), tunnels=(TUNNEL,), groups=groups)
    agents = Composition(config, lambda: None, log, Random(1), System(memberships=no_memberships))
    handover = Handover(folder, agents.pim, agents.wanted, log)
    async with looping(agents.pim.run()):
        agents.pim.configure(PimDesired((), ("gre1",)))
        agents.want_file()
        await agents.pim.settled()
        for n in range(joins):
            want(agents, handover, by, FIRST + n)
        assert agents.wanted.counts(("gre1",)) == {"gre1": joins}
        agents.configure()
        more = IPv4Address("239.255.0.1")

        def keep() -> None:
            handover.joined(more, None, "gre1")
            handover.remember()

        def leave() -> None:
            assert agents.wanted.leave("gre1", more, None, APPLICATION)
            agents.downstream.set_group("eth1", more, HOSTS, DesiredGroup())

        want(agents, handover, by, more)
        agents.problems()  # some of what it asks is asked once
        return {
            "summary": calls(lambda: agents.summary(agents.problems())),
            "handover": calls(keep),
            "wiring": calls(agents.configure),
            "join": calls(lambda: agents.wanted.join("gre1", more, None, APPLICATION)),
            "report": calls(lambda: finish(agents.group(more, 0.0))),
            "leave": calls(leave),
        }


@pytest.mark.parametrize("by", [FILE, COMMAND, APPLICATION, "eth1"])
@simulated
async def test_a_change_costs_the_same_with_1_and_with_10_000_joins(tmp_path: Path, by: str) -> None:
    one = await cost(tmp_path / "one", 1, by)
    many = await cost(tmp_path / "many", 10_000, by)
    assert many == one


def in_steps(joins: int) -> int:
    """The most calls at once while a reload gives all groups another tunnel."""
    tunnels = (TUNNEL, replace(TUNNEL, name="gre2"))
    before = tuple(Group(group=FIRST + n, tunnel="gre1") for n in range(joins))
    after = tuple(Group(group=FIRST + n, several=("gre2", "gre1")) for n in range(joins))
    agents = Composition(Config(tunnels=tunnels, groups=before), lambda: None, MemoryLog().logger, Random(1), System())
    agents.want_file()
    agents.config = replace(agents.config, groups=after)
    steps = agents.file_groups.wanting(agents.config)
    next(steps)  # takes the file, in some milliseconds
    most, pauses = 0, [0.0]
    while pauses:
        pauses.clear()
        most = max(most, calls(lambda: pauses.extend(islice(steps, 1))))
    assert agents.wanted.counts(("gre1", "gre2")) == {"gre1": 0, "gre2": joins}
    return most


@simulated
async def test_a_step_of_a_reload_costs_the_same_with_1_000_and_with_10_000_groups() -> None:
    assert in_steps(10_000) == in_steps(1_000)


def test_whether_applications_or_the_file_decide_on_a_group_costs_the_same_with_1_and_with_10_000_groups() -> None:
    def cost(groups: int) -> int:
        carried = frozenset(FIRST + n for n in range(groups))
        tunnel = FollowedTunnel("gre1", 7, TUNNEL.address.ip, carried=carried)
        return calls(lambda: scope.followed(tunnel, FIRST - 1, DesiredGroup(any_source=True)))

    assert cost(10_000) == cost(1)


def test_a_walk_is_seen() -> None:
    """The counting notices a loop over the joins, as the summary had one."""
    assert calls(lambda: sum(n > 0 for n in range(10_000))) > 10_000
