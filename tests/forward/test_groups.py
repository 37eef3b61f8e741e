"""What one group more costs, whatever the number of others: counted in calls, not in seconds."""

from functools import partial
from ipaddress import IPv4Address

import pytest

from mcastd import membership
from mcastd.forward.desired import ForwardDesired, ForwardTunnel
from mcastd.forward.groups import Groups
from mcastd.forward.table import Table
from mcastd.membership import DesiredGroup
from mcastd.wanted import COMMAND, HOSTS, Wanted
from tests.calls import calls
from tests.forward.hosts import ANY_SOURCE, NOTHING, SOURCE, behind, only
from tests.forward.test_table import Host

FIRST, MORE = IPv4Address("239.4.0.0"), IPv4Address("239.9.9.9")


def cost(others: int, desired: DesiredGroup) -> list[int]:
    """The calls for a group that is asked for, asked for again, and left, beside others."""
    host = Host("gre1", "eth1")
    wanted, downstream = (Wanted(lambda: 0.0) for _ in range(2))
    groups = Groups(Table(host.execute), wanted, downstream, lambda: None)
    groups.table.begin({}, host.kernel.links)
    groups.configure(ForwardDesired((behind(max_groups=20_000),), {"gre1": ForwardTunnel(1)}, frozenset({"eth1"})))
    for number in range(others):
        downstream.set_group("eth1", FIRST + number, HOSTS, ANY_SOURCE)
    while groups.plan(100):
        pass
    assert len(wanted.of("gre1")) == others

    def changed(now: DesiredGroup) -> None:
        downstream.set_group("eth1", MORE, HOSTS, now)
        assert not groups.plan(100)

    return [calls(partial(changed, now)) for now in (desired, desired, NOTHING)]


@pytest.mark.parametrize("desired", [ANY_SOURCE, only(SOURCE)])
def test_a_group_costs_the_same_beside_1_and_beside_5_000_others(desired: DesiredGroup) -> None:
    assert cost(5000, desired) == cost(1, desired)


def test_what_a_tunnel_had_no_room_for_is_joined_when_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host("gre1", "eth1")
    wanted, downstream = (Wanted(lambda: 0.0) for _ in range(2))
    groups = Groups(Table(host.execute), wanted, downstream, lambda: None)
    groups.table.begin({}, host.kernel.links)
    groups.configure(ForwardDesired((behind(),), {"gre1": ForwardTunnel(1)}, frozenset({"eth1"})))
    wanted.join("gre1", FIRST, None, COMMAND)
    downstream.set_group("eth1", MORE, HOSTS, only(SOURCE))
    groups.plan(100)
    monkeypatch.setattr(membership, "MAX_JOINS", 2)
    downstream.join("eth1", MORE, None, HOSTS)
    groups.plan(100)
    assert (list(groups.refused), wanted.of("gre1").desired(MORE)) == ([MORE], only(SOURCE))
    groups.retry()
    groups.plan(100)
    assert list(groups.refused) == [MORE]
    wanted.leave("gre1", FIRST, None, COMMAND)
    groups.retry()
    groups.plan(100)
    assert (groups.refused, wanted.of("gre1").desired(MORE)) == ({}, DesiredGroup(True, frozenset({SOURCE})))
    monkeypatch.setattr(membership, "MAX_JOINS", 3)
    wanted.join("gre1", FIRST, None, COMMAND)
    downstream.join("eth1", MORE, SOURCE + 1, HOSTS)
    groups.plan(100)
    assert list(groups.refused) == [MORE]
    downstream.set_group("eth1", MORE, HOSTS, NOTHING)
    groups.plan(100)
    assert (groups.refused, wanted.of("gre1").groups()) == ({}, [FIRST])
