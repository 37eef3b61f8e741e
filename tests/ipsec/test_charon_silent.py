"""A charon that does not answer, for however long, takes down no CHILD_SA that decrypts packets."""

import asyncio
from collections.abc import Callable
from typing import Final

import pytest

from mcastd.ipsec.charon import COMMAND_TIMEOUT
from mcastd.ipsec.charon_health import GIVE_UP, surviving
from mcastd.ipsec.sas import ChildSa, IkeSa
from tests.fakes.clock import simulated, until
from tests.ipsec.virtual import BOTH, GRE, TCP, Host, up

HOUR: Final = 3600.0


def receiving(subject: Host, *names: str) -> None:
    subject.change(receiving=frozenset(names))


def codes(subject: Host) -> set[tuple[str, str]]:
    return {(problem.code, problem.subject) for problem in subject.agent.problems()}


def hangs(subject: Host) -> None:
    subject.charon.silent = True


def is_garbled(subject: Host) -> None:
    subject.charon.spoiled["list-sas"] = "frame"


def ends(subject: Host) -> None:
    subject.charon.end()


def ends_and_leaves_its_socket(subject: Host) -> None:
    subject.charon.end(socket=True)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (hangs, "charon_gone"),
        (is_garbled, "charon_unclear"),
        (ends, "charon_gone"),
        (ends_and_leaves_its_socket, "charon_gone"),
    ],
)
@simulated
async def test_for_an_hour_what_receives_stays_up_and_status_names_charon(
    fault: Callable[[Host], None], code: str
) -> None:
    async with up() as subject:
        receiving(subject, *BOTH)
        await subject.quiet()
        before = subject.agent.children()
        fault(subject)
        subject.agent.wake.set()
        for _ in range(int(HOUR)):
            await asyncio.sleep(1.0)
            assert subject.agent.children() == before
        assert codes(subject) == {(code, "charon")}
        assert subject.log.events("info").count("child_sa_down") == 0


@simulated
async def test_what_does_not_receive_goes_down_when_charon_has_been_silent_for_long() -> None:
    async with up() as subject:
        receiving(subject, GRE)
        await subject.quiet()
        hangs(subject)
        subject.agent.wake.set()
        took = await until(lambda: not subject.up(TCP))
        assert GIVE_UP <= took <= GIVE_UP + 2 * COMMAND_TIMEOUT
        assert subject.up(GRE)
        assert codes(subject) == {("charon_gone", "charon"), ("child_sa_down", TCP)}


@simulated
async def test_what_stops_receiving_goes_down_and_what_receives_again_comes_back() -> None:
    async with up() as subject:
        receiving(subject, GRE)
        await subject.quiet()
        subject.charon.end()
        await until(lambda: not subject.up(TCP))
        receiving(subject)
        assert await until(lambda: not subject.up(GRE)) <= 1.1
        receiving(subject, GRE)
        assert await until(lambda: subject.up(GRE)) <= 1.1


@simulated
async def test_a_charon_that_answers_again_has_lost_nothing() -> None:
    async with up() as subject:
        receiving(subject, *BOTH)
        await subject.quiet()
        hangs(subject)
        await asyncio.sleep(HOUR)
        subject.charon.silent = False
        await until(lambda: not codes(subject))
        await subject.quiet(60.0)
        assert (subject.up_counts(), subject.peer().attempts) == ([1, 1], 2)


@simulated
async def test_a_charon_that_was_started_again_has_nothing_up_and_all_is_established_again() -> None:
    async with up() as subject:
        receiving(subject, *BOTH)
        await subject.quiet()
        subject.charon.end()
        await subject.quiet()
        assert subject.up(*BOTH)
        subject.charon.start()
        await until(lambda: subject.up_counts() == [2, 2] and subject.up(*BOTH), seconds=3.0)
        assert codes(subject) == set()


def test_an_ike_sa_without_a_child_that_receives_does_not_survive() -> None:
    gre, tcp = ChildSa(name=GRE, state="INSTALLED"), ChildSa(name=TCP, state="INSTALLED")
    first, second = IkeSa(name="dc", child_sas={"a": gre, "b": tcp}), IkeSa(name="dr", child_sas={"c": tcp})
    assert surviving((first, second), {GRE}) == (IkeSa(name="dc", child_sas={"a": gre}),)
    assert surviving((first, second), {TCP}) == (IkeSa(name="dc", child_sas={"b": tcp}), second)
    assert surviving((first, second), set()) == ()
