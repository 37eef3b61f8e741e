"""A transition is waited out where it may explain what is found, and only there."""

import asyncio
import time
from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from mcastd.tools.doctor.facts import Facts
from mcastd.tools.doctor.settle import settled, transition
from mcastd.tools.doctor.walk import walk
from tests.fakes.clock import simulated
from tests.tools.doctor.observed import child, facts, negotiated, peer, status


def told(uptime: float = 900.0, **changes: object) -> Facts:
    return facts(status=replace(status(**changes), uptime=uptime))


def carrying(**changes: object) -> Facts:
    return told(peers=(peer(children=(child(**changes),)),))


@pytest.mark.parametrize(
    ("observed", "reason"),
    [
        (told(), None),
        (facts(status=None), None),
        (told(9.0), "mcastd started 9 s ago"),
        (told(10.0), None),
        (told(peers=(peer(state="connecting"),)), "peer dc-tun is being connected"),
        (told(peers=(peer(state="connecting", problem="no", problem_code="no_answer"),)), None),
        (carrying(spi_in="77"), "CHILD_SA dc-tun-gre has just been established"),
        (carrying(uptime=2.9), "CHILD_SA dc-tun-gre has just been established"),
        (carrying(uptime=3.0), None),
        (carrying(state="connecting"), "CHILD_SA dc-tun-gre is being established"),
        (carrying(state="waiting", problem="no", problem_code="no_answer"), None),
    ],
)
def test_what_has_just_begun(observed: Facts, reason: str | None) -> None:
    assert transition(observed) == reason


CONNECTING = told(peers=(peer(state="connecting"),))


def observe(every: Iterable[Facts]) -> tuple[Facts, list[str], float]:
    """What is found in the end, what was waited for, and for how long."""
    waited: list[str] = []
    looks = iter(every)

    async def look() -> Facts:
        await asyncio.sleep(1.5)
        return next(looks)

    @simulated
    async def run() -> tuple[Facts, float]:
        began = time.monotonic()
        return await settled(look, waited.append), time.monotonic() - began

    found, took = run()
    return found, waited, took


def test_what_may_be_explained_by_a_transition_is_looked_at_again() -> None:
    found, waited, took = observe([CONNECTING, CONNECTING, told()])
    assert walk(found).healthy
    assert waited == ["peer dc-tun is being connected"] * 2
    assert took == pytest.approx(6.5)


def test_a_transition_without_end_is_reported() -> None:
    found, waited, took = observe([CONNECTING] * 9)
    assert [one.problem for one in walk(found).findings] == ["not_up"]
    assert len(waited) == 5
    assert took == pytest.approx(14.0)


@pytest.mark.parametrize(
    "observed",
    [
        told(3.0),
        negotiated("host_cannot"),
        negotiated("psk_or_identity", ike=True),
        facts(config_errors=("f:1: x",)),
        told(peers=(peer(),)),
    ],
    ids=["all well", "this side", "what they have answered", "the file", "nothing has begun"],
)
def test_nothing_is_waited_for_where_a_transition_explains_nothing(observed: Facts) -> None:
    assert observe([observed])[1] == []
