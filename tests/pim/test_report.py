"""What status shows of PIM: every field of a neighbour, of an interface and of a join."""

from ipaddress import IPv4Address
from random import Random

import pytest
from msgspec.structs import replace

from mcastd.config.model import Group
from mcastd.pim.report import pim_status
from mcastd.pim.router import Router
from mcastd.status import GroupStatus, NeighborStatus, PimStatus
from tests.pim.machine import GROUP, NOW, OTHER, SOURCE, SSM_GROUP, hello, started
from tests.simulator.world import EVERY_ROUTER, NAME, RP, UPSTREAM, WantedRouter, statuses, with_pim

QUIET = with_pim(join_repeats=0)


def shown(router: Router, now: float) -> PimStatus:
    return pim_status(router, NAME, True, {}, now)


def test_a_neighbor_is_shown_with_its_ages_and_options() -> None:
    router = started(QUIET)
    hello(router, now=NOW + 2, addresses=(OTHER,), dr_priority=7)
    hello(router, now=NOW + 32, addresses=(OTHER,), dr_priority=7)
    assert shown(router, NOW + 40).neighbors == (
        NeighborStatus(
            address=str(UPSTREAM),
            uptime=38.0,
            expires_in=97.0,
            generation_id=1,
            dr_priority=7,
            secondary_addresses=(str(OTHER),),
            static=False,
        ),
    )


def test_a_neighbor_that_never_expires_and_one_that_restarted() -> None:
    router = started(QUIET)
    hello(router, now=NOW + 1, holdtime=0xFFFF)
    hello(router, now=NOW + 9, holdtime=0xFFFF, generation_id=2)
    (neighbor,) = shown(router, NOW + 10).neighbors
    assert (neighbor.expires_in, neighbor.uptime, neighbor.generation_id) == (None, 1.0, 2)


def test_a_static_neighbor_is_shown_unless_it_is_known_by_any_address() -> None:
    router = started(with_pim(static_neighbor=True, accept_neighbors=EVERY_ROUTER))
    static = NeighborStatus(address=str(UPSTREAM), uptime=5.0, expires_in=None, static=True)
    assert shown(router, NOW + 5).neighbors == (static,)
    hello(router, OTHER, NOW + 6)
    assert [(one.address, one.static) for one in shown(router, NOW + 7).neighbors] == [
        (str(OTHER), False),
        (str(UPSTREAM), True),
    ]
    hello(router, OTHER, NOW + 8, addresses=(UPSTREAM,))
    assert [(one.address, one.static) for one in shown(router, NOW + 9).neighbors] == [(str(OTHER), False)]
    hello(router, UPSTREAM, NOW + 10)
    assert [(one.address, one.static) for one in shown(router, NOW + 11).neighbors][-1] == (str(UPSTREAM), True)
    assert shown(started(QUIET), NOW + 5).neighbors == ()  # configured, but not static


def test_counters_of_the_machine_and_of_the_host_are_shown_together() -> None:
    router = started(QUIET, GROUP)
    router.received(NAME, UPSTREAM, IPv4Address("224.0.0.13"), b"", NOW)
    status = pim_status(router, NAME, True, {"enobufs": 2}, NOW, "No buffer space available")
    assert status == PimStatus(
        running=True,
        problem="No buffer space available",
        problem_code="pim_send_failed",
        generation_id=router.interfaces[NAME].generation_id,
        sent={"hello": 1, "join_prune": 1},
        dropped={"short": 1, "enobufs": 2},
    )
    assert pim_status(router, NAME, False, {}, NOW).running is False
    assert pim_status(router, NAME, True, {}, NOW).problem_code is None


def test_an_interface_that_does_not_run_shows_why() -> None:
    router = WantedRouter(Random(1))
    expected = PimStatus(running=False, problem="no", problem_code="pim_send_failed", dropped={"enodev": 1})
    assert pim_status(router, NAME, True, {"enodev": 1}, NOW, "no") == expected
    assert pim_status(router, NAME, True, {}, NOW) == PimStatus(running=False)


def test_a_join_is_shown_with_its_ages_rp_and_upstream() -> None:
    router = started(QUIET, GROUP)
    hello(router, now=NOW + 0.5)
    router.join(SSM_GROUP, SOURCE, NAME, "command", NOW + 20)
    assert statuses(router, NOW + 30) == (
        GroupStatus(
            group=str(GROUP), source=None, tunnel=NAME, tunnels=(NAME,), state="joined", rp=str(RP),
            upstream=str(UPSTREAM), origins=("file",), uptime=30.0, next_join_in=30.0,
        ),
        GroupStatus(
            group=str(SSM_GROUP), source=str(SOURCE), tunnel=NAME, tunnels=(NAME,), state="joined",
            upstream=str(UPSTREAM), origins=("command",), uptime=10.0, next_join_in=30.0,
        ),
    )  # fmt: skip


def test_the_next_join_of_a_new_group_is_its_repetition() -> None:
    router = started(None, GROUP)
    assert statuses(router, NOW + 0.1)[0].next_join_in == pytest.approx(0.3)


def test_a_join_without_a_rendezvous_point_or_a_neighbor_says_so() -> None:
    router = started(with_pim(rp=(), neighbor=None, join_repeats=0), GROUP)
    router.join(SSM_GROUP, SOURCE, NAME, "command", NOW)
    star, pair = statuses(router, NOW + 1)
    assert star == GroupStatus(
        group=str(GROUP), source=None, tunnel=NAME, tunnels=(NAME,), state="not joined", origins=("file",),
        problem=f"no rendezvous point for {GROUP}", problem_code="rp_missing",
    )  # fmt: skip
    assert (pair.problem, pair.problem_code) == ("no Hello of a PIM neighbor has been received", "pim_neighbor_missing")
    assert (pair.upstream, pair.uptime, pair.next_join_in) == (None, None, None)


@pytest.mark.parametrize(
    ("after", "static", "heard", "state"),
    [
        (5.9, False, False, "joined"),
        (6.0, False, False, "not joined"),
        (6.0, True, False, "joined"),
        (6.0, False, True, "joined"),
    ],
)
def test_a_configured_neighbor_has_six_seconds_for_its_first_hello(
    after: float, static: bool, heard: bool, state: str
) -> None:
    router = started(with_pim(static_neighbor=static, join_repeats=0), GROUP)
    if heard:
        hello(router, now=NOW + 1)
    (status,) = statuses(router, NOW + after)
    assert status.state == state
    assert router.joined(NAME, NOW + after) == (state == "joined")
    if state != "joined":
        assert (status.problem, status.problem_code) == (
            f"no Hello of the PIM neighbor {UPSTREAM} has been received",
            "pim_neighbor_missing",
        )
        assert status.uptime == after  # the Join has been sent all the same


def test_a_join_on_an_interface_that_does_not_run_and_on_one_that_does() -> None:
    router = started(QUIET)
    groups = (Group(group=GROUP, tunnel=NAME), Group(group=GROUP, tunnel="gre2"))
    router.want((QUIET,), groups, NOW)
    hello(router, now=NOW + 1)
    first, second = statuses(router, NOW + 2)
    assert (first.tunnel, first.tunnels, first.state) == (NAME, (NAME, "gre2"), "joined")
    assert second == GroupStatus(
        group=str(GROUP), source=None, tunnel="gre2", tunnels=(NAME, "gre2"), state="not joined", origins=("file",),
        problem="tunnel gre2 is down", problem_code="tunnel_down",
    )  # fmt: skip
    assert router.joined("gre2", NOW + 2) == 0


def test_nothing_counts_as_joined_while_the_path_is_down() -> None:
    router = started(QUIET, GROUP)
    hello(router, now=NOW + 1)
    assert router.joined(NAME, NOW + 2) == 1
    router.want((replace(QUIET, up=False),), (Group(group=GROUP, tunnel=NAME),), NOW + 3)
    assert router.joined(NAME, NOW + 4) == 0
