"""Renewals that failed while the old SA stands, from the lines that strongSwan 5.9.8 logs."""

from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from mcastd.ipsec.messages import PeerWithKey
from mcastd.ipsec.renewals import LOG_MARKS, Failure, Renewals
from mcastd.ipsec.sas import ChildSa, IkeSa
from mcastd.ipsec.state import PeerState
from tests.fakes.charon import WRONG_PSK, WRONG_SELECTORS
from tests.fakes.clock import simulated, until
from tests.ipsec.charons import PSK, article
from tests.ipsec.virtual import BOTH, Host, host, up

HOUR = 3600.0
GRE, TCP = "dc-tun-gre", "dc-tun-tcp"
OLD = IkeSa(
    name="dc",
    uniqueid=7,
    state="ESTABLISHED",
    established=9000,
    child_sas={
        "a": ChildSa(name=GRE, uniqueid=12, state="INSTALLED", spi_in="467e8cd6", life_time=2993),
        "b": ChildSa(name=TCP, uniqueid=13, state="INSTALLED", spi_in="a6e78427", life_time=2906),
    },
)
NEW = replace(OLD, uniqueid=8, established=0)
REAUTH_REFUSED = (
    (7, "reauthenticating IKE_SA dc[7]"),
    (8, "received AUTHENTICATION_FAILED notify error"),
)
PFS_REFUSED = (
    (7, "establishing CHILD_SA dc-tun-gre{14} reqid 2"),
    (7, "generating CREATE_CHILD_SA request 3 [ N(REKEY_SA) SA No KE TSi TSr ]"),
    (7, "received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built"),
    (7, "failed to establish CHILD_SA, keeping IKE_SA"),
    (7, "CHILD_SA rekeying failed, trying again in 15 seconds"),
)
SELECTORS_REFUSED = (*PFS_REFUSED[:2], (7, "received TS_UNACCEPTABLE notify, no CHILD_SA built"), PFS_REFUSED[-1])
IKE_REFUSED = (
    (7, "generating CREATE_CHILD_SA request 3 [ SA No KE ]"),
    (7, "received NO_PROPOSAL_CHOSEN notify error"),
    (7, "IKE_SA rekeying failed, trying again in 15 seconds"),
)


class World:
    """A peer that is up, and its renewals."""

    def __init__(self, **changes: Any) -> None:
        self.peers = {"dc": PeerState(PeerWithKey(article(**changes), PSK), Random(1))}
        self.renewals = Renewals()
        self.failures: list[Failure] = []
        self.listed(OLD)

    def listed(self, *sas: IkeSa) -> None:
        self.peers["dc"].update(sas, 0.0)
        self.failures += self.renewals.update(sas, self.peers)

    def logged(self, *lines: tuple[int, str], name: str = "dc") -> bool:
        """Whether one of them asks for a listing."""
        asked = False
        for number, text in lines:
            if any(mark in text.encode() for mark in LOG_MARKS):
                said = {"ikesa-name": name.encode(), "ikesa-uniqueid": str(number).encode(), "msg": text.encode()}
                asked |= self.renewals.on_log(said, self.peers)  # type: ignore[arg-type]
        return asked

    def problems(self, passed: float = 0.0) -> list[tuple[str, str, str]]:
        return [(one.code, one.subject, one.text) for one in self.renewals.problems(self.peers, passed)]


@pytest.mark.parametrize(
    ("lines", "code", "subject", "words"),
    [
        (
            REAUTH_REFUSED,
            "reauth_failed",
            "dc",
            "the reauthentication of the IKE_SA with dc failed, and the old one ends within 90 min: "
            "AUTHENTICATION_FAILED: the PSK or an identity differs",
        ),
        (
            PFS_REFUSED,
            "rekey_failed",
            GRE,
            "the rekeying of the CHILD_SA dc-tun-gre failed, and the old one ends within 50 min: "
            "NO_PROPOSAL_CHOSEN: 177.54.214.20 does not accept our ESP proposal of dc-tun-gre: aes256-sha256-modp2048",
        ),
        (
            SELECTORS_REFUSED,
            "rekey_failed",
            GRE,
            "the rekeying of the CHILD_SA dc-tun-gre failed, and the old one ends within 50 min: TS_UNACCEPTABLE: ",
        ),
        (
            IKE_REFUSED,
            "rekey_failed",
            "dc",
            "the rekeying of the IKE_SA with dc failed, and the old one ends within 90 min: "
            "NO_PROPOSAL_CHOSEN: 177.54.214.20 does not accept our IKE proposal: aes256-sha256-modp2048",
        ),
    ],
    ids=["reauthentication", "proposal", "selectors", "IKE_SA"],
)
def test_a_failure_is_a_problem_with_charons_reason_and_the_time_left(
    lines: tuple[tuple[int, str], ...], code: str, subject: str, words: str
) -> None:
    world = World()
    assert world.problems() == []
    assert world.logged(*lines)
    world.listed(OLD)
    ((found, whose, text),) = world.problems()
    assert (found, whose) == (code, subject)
    assert text.startswith(words)
    assert len(world.failures) == 1


@pytest.mark.parametrize("lines", [REAUTH_REFUSED, PFS_REFUSED, IKE_REFUSED])
def test_it_lasts_and_is_reported_once_however_often_charon_tries_again(lines: tuple[tuple[int, str], ...]) -> None:
    world = World()
    for _ in range(5):
        world.logged(*lines)
        world.listed(OLD)
        world.listed(OLD)
    assert (len(world.failures), len(world.problems())) == (1, 1)


def test_another_reason_is_reported_again() -> None:
    world = World()
    for lines in (PFS_REFUSED, SELECTORS_REFUSED):
        world.logged(*lines)
        world.listed(OLD)
    assert len(world.failures) == 2
    assert "TS_UNACCEPTABLE" in world.problems()[0][2]


def renewed(name: str) -> IkeSa:
    children = {
        key: replace(child, uniqueid=20) if child.name == name else child for key, child in OLD.child_sas.items()
    }
    return replace(OLD, child_sas=children)


@pytest.mark.parametrize(
    ("lines", "later"),
    [
        (REAUTH_REFUSED, (NEW,)),
        (REAUTH_REFUSED, ()),
        (PFS_REFUSED, (renewed(GRE),)),
        (PFS_REFUSED, (replace(OLD, child_sas={}),)),
        (IKE_REFUSED, (NEW,)),
    ],
)
def test_it_is_over_when_a_later_one_succeeds_or_the_old_one_ends(
    lines: tuple[tuple[int, str], ...], later: tuple[IkeSa, ...]
) -> None:
    world = World()
    world.logged(*lines)
    world.listed(OLD)
    world.listed(*later)
    assert world.problems() == []


def test_the_renewal_of_another_child_changes_nothing() -> None:
    world = World()
    world.logged(*PFS_REFUSED)
    world.listed(OLD)
    world.listed(renewed(TCP))
    assert [subject for _, subject, _ in world.problems()] == [GRE]


def test_a_reauthentication_under_way_has_not_failed() -> None:
    world = World()
    assert not world.logged(REAUTH_REFUSED[0])
    world.listed(OLD)
    world.listed(OLD, replace(NEW, state="CONNECTING", child_sas={}))
    assert world.logged(REAUTH_REFUSED[1])
    world.listed(OLD, replace(NEW, state="CONNECTING", child_sas={}))
    assert world.problems() == []
    assert world.renewals.next_deadline(3.0) == 4.0
    world.listed(OLD)
    assert [code for code, _, _ in world.problems()] == ["reauth_failed"]
    assert world.renewals.next_deadline(4.0) is None


def test_a_peer_that_does_not_answer_the_new_ike_sa_is_a_reason_too() -> None:
    world = World()
    world.logged(REAUTH_REFUSED[0], (8, "establishing IKE_SA failed, peer not responding"))
    world.listed(OLD)
    assert [code for code, _, _ in world.problems()] == ["reauth_failed"]


def test_a_reauthentication_that_succeeds_leaves_nothing() -> None:
    world = World()
    world.logged(REAUTH_REFUSED[0])
    world.listed(NEW)
    world.logged((9, "received AUTHENTICATION_FAILED notify error"))
    world.listed(NEW)
    assert world.problems() == []


def test_an_attempt_that_is_refused_is_no_renewal() -> None:
    world = World()
    world.logged(*PFS_REFUSED[:4], (9, "received AUTHENTICATION_FAILED notify error"))
    world.listed(OLD)
    assert world.problems() == []


def test_in_ikev1_a_child_that_stays_rekeying_was_refused() -> None:
    world = World(version=1)
    rekeying = replace(OLD.child_sas["a"], state="REKEYING")
    waiting = replace(OLD, child_sas={"a": rekeying}, tasks_active=("QUICK_MODE",))
    world.logged((7, "generating QUICK_MODE request 903330234 [ HASH SA No KE ID ID ]"))
    world.listed(waiting)
    assert world.problems() == []
    world.logged((7, "received NO_PROPOSAL_CHOSEN error notify"))
    world.listed(replace(waiting, tasks_active=()))
    ((code, subject, text),) = world.problems()
    assert (code, subject) == ("rekey_failed", GRE)
    assert "does not accept our ESP proposal" in text


def test_the_time_left_passes_and_a_peer_that_is_removed_takes_its_failures_along() -> None:
    world = World()
    world.logged(*PFS_REFUSED)
    world.listed(OLD)
    assert "ends within 20 min" in world.problems(passed=1800.0)[0][2]
    assert "ends within 1 min" in world.problems(passed=9000.0)[0][2]
    world.peers.clear()
    assert world.problems() == []
    assert not world.logged(*PFS_REFUSED)


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"ikesa-name": b"dc", "msg": b"CHILD_SA rekeying failed"},
        {"ikesa-name": b"dc", "ikesa-uniqueid": b"x", "msg": b"CHILD_SA rekeying failed"},
        {"ikesa-name": [b"dc"], "ikesa-uniqueid": b"7", "msg": b"CHILD_SA rekeying failed"},
        {"ikesa-name": b"other", "ikesa-uniqueid": b"7", "msg": b"CHILD_SA rekeying failed"},
    ],
)
def test_lines_that_are_not_about_a_peer_are_left_out(message: Any) -> None:
    world = World()
    assert not world.renewals.on_log(message, world.peers)
    world.listed(OLD)
    assert world.problems() == []


def test_a_failure_line_without_a_beginning_is_the_ike_sas() -> None:
    world = World()
    world.logged(PFS_REFUSED[-1])
    world.listed(OLD)
    ((code, subject, text),) = world.problems()
    assert (code, subject) == ("rekey_failed", "dc")
    assert text.endswith("CHILD_SA rekeying failed, trying again in 15 seconds")


# The agent on a simulated charon


def codes(subject: Host) -> list[tuple[str, str]]:
    return [(problem.code, problem.subject) for problem in subject.agent.problems()]


@simulated
async def test_a_reauthentication_that_fails_is_a_problem_and_a_line_until_one_succeeds() -> None:
    async with up() as subject:
        subject.charon.outcomes = {GRE: WRONG_PSK, TCP: WRONG_PSK}
        changes = subject.changes
        assert not await subject.charon.reauthenticate()
        await until(lambda: codes(subject) == [("reauth_failed", "dc")], seconds=2.0)
        assert subject.changes > changes
        assert subject.up(*BOTH)
        await subject.quiet(HOUR)
        assert subject.log.events("info").count("reauth_failed") == 1
        assert codes(subject) == [("reauth_failed", "dc")]
        subject.charon.outcomes.clear()
        changes = subject.changes
        assert await subject.charon.reauthenticate()
        await until(lambda: codes(subject) == [], seconds=2.0)
        assert subject.changes > changes
        assert subject.up_counts() == [1, 1]


@simulated
async def test_a_rekeying_that_fails_is_a_problem_until_one_succeeds() -> None:
    async with up() as subject:
        subject.charon.outcomes[GRE] = WRONG_SELECTORS
        for _ in range(3):
            subject.charon._rekey({"ike": "dc", "child": GRE})
            await until(lambda: codes(subject) == [("rekey_failed", GRE)], seconds=2.0)
            await subject.quiet(15.0)
        assert subject.log.events("info") == ["rekey_failed"]
        subject.charon.outcomes.clear()
        subject.charon._rekey({"ike": "dc", "child": GRE})
        await until(lambda: codes(subject) == [], seconds=2.0)
        assert subject.up_counts() == [1, 1]


@simulated
async def test_refused_attempts_are_no_renewals_that_failed() -> None:
    async with up() as subject:
        subject.charon.outcomes[GRE] = WRONG_SELECTORS
        subject.charon.delete(GRE)
        await subject.quiet(HOUR)
        assert codes(subject) == [("child_sa_down", GRE)]


@simulated
async def test_a_charon_without_a_log_event_is_used_all_the_same() -> None:
    async with host() as subject:
        subject.charon.unknown_events.add("log")
        assert await until(lambda: subject.up(*BOTH)) < 1.0
