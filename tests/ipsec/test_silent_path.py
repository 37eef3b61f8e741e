"""A path that is silent, and a peer that does not answer: probes, and attempts, on a simulated charon."""

import asyncio

import pytest

from mcastd.ipsec.initiation import UNANSWERED
from mcastd.ipsec.probe import ANSWER_WITHIN, PAUSE
from tests.fakes.charon import HANG, WRONG_SELECTORS
from tests.fakes.clock import simulated, until
from tests.ipsec.charons import article, gre, tcp
from tests.ipsec.virtual import BOTH, GRE, TCP, Host, host, up

HOUR = 3600.0


def silent(subject: Host, number: int = 1) -> None:
    subject.change(probes={GRE: (number, "all streams of gre1 are silent")})


def heard(subject: Host) -> None:
    subject.change(probes={})


def log(subject: Host) -> list[str]:
    return [event for event in subject.log.events("debug") if event.startswith("child_sa_")]


# Probes


@simulated
async def test_a_peer_that_answers_is_asked_ever_more_rarely_and_nothing_breaks() -> None:
    async with up() as subject:
        silent(subject)
        await subject.quiet(PAUSE - 1.0)
        assert len(subject.charon.asked("rekey")) == 1
        await subject.quiet(5 * PAUSE)
        assert len(subject.charon.asked("rekey")) == 3  # and the next comes after 7 * PAUSE
        assert (subject.up_counts(), subject.charon.asked("terminate")) == ([1, 1], [])
        assert subject.charon.installed() == list(BOTH)
        assert log(subject)[2:] == ["child_sa_probed"]


@simulated
async def test_the_other_child_is_left_alone() -> None:
    async with up() as subject:
        before = subject.charon.spis()
        silent(subject)
        await until(lambda: subject.charon.spis().get(GRE, before[GRE]) != before[GRE])
        await subject.quiet(10.0)
        assert subject.charon.spis()[TCP] == before[TCP]


@simulated
async def test_a_peer_that_refuses_has_answered() -> None:
    async with up() as subject:
        subject.charon.outcomes[GRE] = WRONG_SELECTORS
        silent(subject)
        await subject.quiet(PAUSE)
        assert len(subject.charon.asked("rekey")) == 1
        assert subject.charon.asked("terminate") == []
        assert subject.up(*BOTH)


@simulated
async def test_packets_that_come_while_the_answer_does_not_keep_the_sa() -> None:
    async with up() as subject:
        subject.charon.peer_silent = True
        silent(subject)
        await subject.quiet(ANSWER_WITHIN - 1.0)
        heard(subject)
        await subject.quiet(20.0)
        assert subject.charon.asked("terminate") == []
        assert subject.up(*BOTH)


@pytest.mark.parametrize("away", [0.0, 1.0, 3.7, 6.0, 11.0, 30.0, 62.7, HOUR])
@simulated
async def test_a_peer_that_has_forgotten_all_is_reached_within_ten_seconds_of_its_return(away: float) -> None:
    async with up() as subject:
        subject.charon.peer_dies()
        returns = asyncio.get_running_loop().time() + away

        async def come_back() -> None:
            await asyncio.sleep(away)
            subject.charon.peer_silent = False

        back = asyncio.create_task(come_back())
        await subject.quiet(3.0)  # what it takes to see the silence
        silent(subject)
        await until(lambda: not subject.up(GRE))
        heard(subject)
        await back
        await until(lambda: subject.up_counts() == [2, 2] and subject.up(*BOTH), seconds=10.0)
        assert asyncio.get_running_loop().time() - returns < 10.0
        await subject.quiet()
        assert (len(subject.charon.sas), subject.charon.installed()) == (1, list(BOTH))
        assert subject.charon.concurrent == 1


# Attempts


@simulated
async def test_while_nothing_answers_a_request_leaves_every_few_seconds_and_two_are_never_in_flight() -> None:
    async with host() as subject:
        subject.charon.peer_silent = True
        await subject.quiet(HOUR)
        attempts = len(subject.charon.asked("initiate"))
        assert HOUR / (UNANSWERED + 2.0) <= attempts <= HOUR / UNANSWERED
        assert subject.charon.concurrent == 1
        assert len(subject.charon.sas) <= 1
        assert len(subject.log.events("debug")) < 10


@simulated
async def test_a_peer_that_has_answered_once_is_given_its_time() -> None:
    async with host(article(children=(gre(),))) as subject:
        subject.charon.outcomes[GRE] = HANG
        await subject.quiet(14.0)
        assert len(subject.charon.asked("initiate")) == 1


@simulated
async def test_a_refusal_is_still_followed_by_growing_pauses() -> None:
    async with host(article(children=(gre(),))) as subject:
        subject.charon.outcomes[GRE] = WRONG_SELECTORS
        await subject.quiet(HOUR)
        assert len(subject.charon.asked("initiate")) < HOUR / 30.0


# An IKE_SA that does not answer


@simulated
async def test_an_ike_sa_that_refused_a_child_and_fell_silent_is_terminated_before_charon_gives_it_up() -> None:
    """strongSwan 5.9.8 crashes when it gives up such an IKE_SA and the peer answers the next."""
    async with host() as subject:
        subject.charon.outcomes = {GRE: WRONG_SELECTORS, TCP: WRONG_SELECTORS}
        await subject.quiet(100.0)
        subject.charon.outcomes.clear()
        subject.charon.peer_dies()
        took = await until(lambda: not any(ike.state == "ESTABLISHED" for ike in subject.charon.sas))
        assert took < 60.0 + 16.0 + 1.0  # the longest pause, and the time limit of an attempt
        assert subject.charon.most_waiting == 1
        assert "ike_sa_unanswered" in {subject.child(name).problem_code for name in BOTH}
        subject.charon.peer_silent = False
        await until(lambda: subject.up(*BOTH), seconds=10.0)
        await subject.quiet()
        assert (len(subject.charon.sas), subject.charon.installed()) == (1, list(BOTH))


@simulated
async def test_no_more_than_one_request_waits_behind_one_that_is_not_answered() -> None:
    children = (gre(), tcp(), gre(name="third"), gre(name="fourth"))
    async with host(article(children=children)) as subject:
        await until(lambda: subject.up(*BOTH, "third", "fourth"))
        subject.charon.delete(GRE, TCP, "fourth")
        (ike,) = subject.charon.sas
        ike.tasks.append("IKE_DPD")  # a request of charon's own, without an answer
        subject.charon.peer_dies()
        await until(lambda: ike not in subject.charon.sas)
        assert subject.charon.most_waiting == 2


@simulated
async def test_a_child_that_the_peer_ignores_costs_the_others_less_and_less() -> None:
    """Each time charon would give up the IKE_SA as well, in up to 165 s."""
    async with host() as subject:
        subject.charon.outcomes[TCP] = HANG
        await subject.quiet(HOUR)
        assert subject.child(TCP).problem_code == "ike_sa_unanswered"
        (first, second), later = subject.up_counts(), subject.charon.asked("initiate")
        assert (first <= 9, second) == (True, 0)
        await subject.quiet(10 * HOUR)
        assert subject.up_counts()[0] - first <= 10
        assert len(subject.charon.asked("initiate")) - len(later) <= 20
        assert subject.up(GRE)


@simulated
async def test_a_child_that_the_peer_ignored_before_it_was_restarted_is_tried_at_once() -> None:
    async with host() as subject:
        subject.charon.outcomes[TCP] = HANG
        await subject.quiet(HOUR)
        subject.charon.peer_dies()
        subject.charon.delete()
        await subject.quiet(60.0)
        subject.charon.outcomes.clear()
        subject.charon.peer_silent = False
        await until(lambda: subject.up(*BOTH), seconds=10.0)


@simulated
async def test_a_reload_tries_what_the_peer_has_ignored_at_once() -> None:
    async with host() as subject:
        subject.charon.outcomes[TCP] = HANG
        await subject.quiet(HOUR)
        subject.charon.outcomes.clear()
        subject.configure(article(children=(gre(), tcp(lifetime=1234.0))))
        await until(lambda: subject.up(*BOTH), seconds=2.0)
