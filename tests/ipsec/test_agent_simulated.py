"""The agent on a simulated charon, in virtual time: what ``test_agent`` shows on a real one, and the races found."""

import asyncio
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from mcastd.config.credentials import Certificates
from mcastd.config.model import Peer
from mcastd.errors import ViciNoAnswer
from mcastd.ipsec.agent import AUDIT, REFRESH_TIMEOUT
from mcastd.ipsec.charon_health import GIVE_UP, unclear
from mcastd.ipsec.duplicate_sas import GRACE
from mcastd.ipsec.initiation import REPORT_AFTER
from mcastd.ipsec.ownership import AUTHORITY, CHILD, CONN, SHARED
from mcastd.ipsec.sas import Section
from mcastd.ipsec.state import ChildView, IpsecDesired
from mcastd.problems import Problem, ProblemCode
from tests import pcap
from tests.fakes.charon import HANG, OVERLAP, WRONG_PSK, WRONG_SELECTORS, Refusal
from tests.fakes.clock import simulated, until
from tests.fakes.memory import MemoryLedger
from tests.ipsec.charons import CLOUD, DC, article, gre, tcp
from tests.ipsec.virtual import BOTH, GRE, TCP, Host, host, up

CERTIFIED = {"psk_file": None, "local_cert": Path("cert"), "local_key": Path("key"), "ca_certs": (Path("ca"),)}
AGAIN = {"retry_min": 0.5, "retry_max": 2.0}


def now() -> float:
    return asyncio.get_running_loop().time()


# Coming up


@simulated
async def test_both_come_up_on_one_ike_sa_and_status_says_how() -> None:
    async with host() as subject:
        assert await until(lambda: subject.up(*BOTH)) < 1.0
        await subject.agent.settled()
        assert len(subject.charon.sas) == 1
        peer = subject.peer()
        assert (peer.state, peer.problem, peer.attempts) == ("up", None, 2)
        assert peer.proposal == "AES_CBC-256/HMAC_SHA2_256_128/MODP_2048"
        assert [child.state for child in peer.children] == ["up", "up"]
        view = subject.agent.children()[GRE]
        assert view == ChildView(True, 1, False, "AES_CBC", "HMAC_SHA2_256_128")
        assert list(subject.agent.problems()) == []
        assert subject.changes > 0
        assert subject.log.events("debug") == ["ike_sa_up", "child_sa_up", "child_sa_up"]
        assert all("took_ms" in record for record in subject.log.records)


@simulated
async def test_one_attempt_is_in_flight_until_the_ike_sa_is_up() -> None:
    async with host() as subject:
        subject.charon.peer_silent = True
        await subject.quiet(1.0)
        assert len(subject.charon.asked("initiate")) == 1
        assert subject.peer().state == "connecting"
        assert [problem.code for problem in subject.agent.problems()] == ["peer_down"]


@simulated
async def test_silence_is_reported_before_the_attempt_ends() -> None:
    async with host() as subject:
        subject.charon.peer_silent = True
        await until(lambda: subject.child().problem_code == "no_answer", seconds=REPORT_AFTER + 1)
        assert subject.peer().problem_code == "no_answer"
        assert subject.peer().state == "connecting"
        assert subject.log.events() == ["attempt_pending"]


@simulated
async def test_after_a_timeout_nothing_half_open_is_left_and_the_next_attempt_comes_by_back_off() -> None:
    async with host(article(initiate_timeout=5.0, **AGAIN)) as subject:
        subject.charon.peer_silent = True
        await until(lambda: subject.peer().state == "waiting", seconds=6.0)
        assert subject.charon.sas == []
        waiting = subject.child()
        assert (waiting.state, waiting.problem_code) == ("waiting", "no_answer")
        assert waiting.next_try_in is not None
        assert 0.0 < waiting.next_try_in <= 0.5
        subject.charon.peer_silent = False
        assert await until(lambda: subject.up(*BOTH)) < 1.0
        assert len(subject.charon.sas) == 1


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (WRONG_PSK, "psk_or_identity"),
        (WRONG_SELECTORS, "traffic_selectors"),
        (Refusal("something new"), "attempt_refused"),
    ],
)
@simulated
async def test_a_refusal_has_its_code_and_is_logged_once(outcome: Refusal, code: ProblemCode) -> None:
    async with host(article(children=(gre(),), **AGAIN)) as subject:
        subject.charon.outcomes[GRE] = outcome
        assert await until(lambda: subject.peer().attempts > 5, "many attempts") < 15.0
        assert subject.child().problem_code == code
        assert subject.log.events("debug").count("attempt_failed") == 1
        assert subject.log.events().count("attempt_failed") >= 5


@simulated
async def test_a_refused_child_hinders_no_other() -> None:
    async with host(article(**AGAIN)) as subject:
        subject.charon.outcomes[GRE] = WRONG_SELECTORS
        await until(lambda: subject.up(TCP) and subject.peer().attempts > 8)
        assert subject.charon.installed() == [TCP]
        assert subject.agent.children()[TCP].up_count == 1
        assert [problem.subject for problem in subject.agent.problems()] == [GRE]
        del subject.charon.outcomes[GRE]
        assert await until(lambda: subject.up(*BOTH)) <= 2.1


@simulated
async def test_where_the_ike_sa_fails_the_children_take_turns() -> None:
    async with host(article(**AGAIN)) as subject:
        subject.charon.outcomes = {GRE: WRONG_PSK, TCP: WRONG_PSK}
        await until(lambda: subject.peer().attempts == 4)
        assert [message["child"] for message in subject.charon.asked("initiate")] == [GRE, TCP, GRE, TCP]


@simulated
async def test_a_success_that_is_not_listed_is_a_failure() -> None:
    async with host(article(children=(gre(),))) as subject:
        genuine = subject.charon._install
        subject.charon._install = lambda ike, name, config: None  # type: ignore[method-assign]
        await until(lambda: subject.child().problem_code == "child_sa_down")
        subject.charon._install = genuine  # type: ignore[method-assign]
        await until(lambda: subject.up(GRE))


# Staying up


@simulated
async def test_a_deleted_child_comes_back_at_once_the_first_time() -> None:
    async with up() as subject:
        await subject.quiet(20.0)
        before = subject.charon.spis()
        subject.charon.delete(GRE)
        assert await until(lambda: subject.up_counts() == [2, 1] and subject.up(*BOTH)) < 0.2
        assert subject.charon.spis()[TCP] == before[TCP]
        subject.charon.delete(GRE)
        assert await until(lambda: subject.up_counts() == [3, 1] and subject.up(*BOTH)) > 0.9


@simulated
async def test_a_deleted_ike_sa_comes_back_with_all_children() -> None:
    async with up() as subject:
        subject.charon.delete()
        await until(lambda: subject.up_counts() == [2, 2] and subject.up(*BOTH))
        assert len(subject.charon.sas) == 1
        assert subject.log.events("debug")[3:6] == ["ike_sa_down", "child_sa_down", "child_sa_down"]


@simulated
async def test_a_lost_event_costs_no_more_than_an_audit() -> None:
    async with up() as subject:
        subject.charon.sas.clear()
        assert await until(lambda: subject.up_counts() == [2, 2] and subject.up(*BOTH)) <= AUDIT + 1.0


@simulated
async def test_a_rekeying_is_neither_a_loss_nor_a_duplicate() -> None:
    async with up() as subject:
        for _ in range(3):
            subject.charon.rekey(GRE)
            subject.charon.rekey_ike()
            await subject.quiet(OVERLAP + GRACE)
        assert (subject.up_counts(), subject.peer().attempts) == ([1, 1], 2)
        assert subject.charon.installed() == list(BOTH)
        assert "duplicate_sa_removed" not in subject.log.events()
        assert subject.charon.asked("terminate") == []


@simulated
async def test_duplicates_that_the_peer_makes_are_terminated_after_a_while() -> None:
    async with up() as subject:
        old = subject.charon.spis()
        subject.charon.peer_initiates("dc", *BOTH)
        await subject.quiet(GRACE - 0.1)
        assert len(subject.charon.installed()) == 4
        await subject.quiet(1.0)
        assert subject.charon.installed() == list(BOTH)
        assert len(subject.charon.sas) == 1
        assert not set(old.values()) & set(subject.charon.spis().values())
        assert subject.up_counts() == [1, 1]


@simulated
async def test_a_duplicate_child_is_terminated_alone_where_its_ike_sa_is_needed() -> None:
    async with up() as subject:
        subject.charon.peer_initiates("dc", GRE)
        await subject.quiet(GRACE + 1.0)
        assert subject.charon.installed() == list(BOTH)
        assert len(subject.charon.sas) == 2
        assert subject.up_counts() == [1, 1]


@simulated
async def test_a_connection_that_another_program_unloads_is_loaded_again() -> None:
    async with up() as subject:
        subject.charon.conns.clear()
        subject.charon.delete(GRE)
        await until(lambda: subject.up_counts() == [2, 1] and subject.up(*BOTH))
        assert len(subject.charon.asked("load-conn")) == 2


@simulated
async def test_what_a_refresh_finds_missing_is_established_at_once() -> None:
    async with up() as subject:
        subject.charon.sas.clear()
        await subject.agent.refresh()
        assert not subject.up(GRE)
        assert await until(lambda: subject.up(*BOTH)) < 0.5


# Restarts


@simulated
async def test_a_restarted_child_is_established_again_and_no_other() -> None:
    async with up() as subject:
        (before,) = subject.charon.sas
        spi = subject.charon.spis()
        subject.restart(GRE, 1)
        await until(lambda: subject.up_counts() == [2, 1] and subject.up(*BOTH))
        assert subject.charon.sas == [before]
        assert subject.charon.spis()[TCP] == spi[TCP]
        await subject.quiet(2 * AUDIT)
        assert subject.up_counts() == [2, 1]
        assert len(subject.charon.asked("terminate")) == 1


@simulated
async def test_each_other_number_is_another_restart() -> None:
    async with up() as subject:
        for count, number in enumerate((1, 2, 7, 3), 2):
            subject.restart(GRE, number)
            await until(lambda count=count: subject.up_counts() == [count, 1] and subject.up(*BOTH))  # type: ignore[misc]
            await subject.quiet(20.0)


@simulated
async def test_a_number_that_was_withdrawn_counts_from_the_start() -> None:
    async with up() as subject:
        subject.restart(GRE, 1)
        await until(lambda: subject.up_counts() == [2, 1] and subject.up(*BOTH))
        subject.change(restarts={})
        await subject.quiet(20.0)
        assert subject.up_counts() == [2, 1]
        subject.restart(GRE, 1)
        await until(lambda: subject.up_counts() == [3, 1] and subject.up(*BOTH))


@simulated
async def test_a_restart_takes_an_ike_sa_with_it_on_which_the_peer_does_not_answer() -> None:
    async with up() as subject:
        (before,) = subject.charon.sas
        subject.charon.peer_silent = True
        subject.restart(GRE, 1)
        await until(lambda: before not in subject.charon.sas, seconds=3.0)
        subject.charon.peer_silent = False
        await until(lambda: subject.up_counts() == [2, 2] and subject.up(*BOTH))


@simulated
async def test_a_restart_of_what_is_not_up_is_left_to_the_attempts() -> None:
    async with host(article(children=(gre(),), retry_min=30.0)) as subject:
        subject.charon.outcomes[GRE] = WRONG_SELECTORS
        await until(lambda: subject.child().state == "waiting")
        subject.restart(GRE, 1)
        subject.restart("unconfigured", 1)
        await subject.quiet()
        assert subject.charon.asked("terminate") == []
        del subject.charon.outcomes[GRE]
        await until(lambda: subject.up(GRE))
        await subject.quiet()
        assert subject.up_counts() == [1]


@simulated
async def test_a_restart_that_charon_did_not_take_is_asked_for_again() -> None:
    async with up() as subject:
        before = subject.charon.spis()
        genuine = subject.charon._terminate

        async def lost(*_: object) -> None:
            subject.charon._terminate = genuine  # type: ignore[method-assign]
            raise ViciNoAnswer("the command is lost")

        subject.charon._terminate = lost  # type: ignore[method-assign,assignment]
        subject.restart(GRE, 1)
        await until(lambda: subject.up(*BOTH) and subject.charon.spis().get(GRE, before[GRE]) != before[GRE])
        assert subject.charon.spis()[TCP] == before[TCP]
        assert subject.up_counts() == [2, 1]


# charon


@simulated
async def test_charon_may_start_late_crash_and_start_again() -> None:
    subject = Host()
    subject.charon.end()
    subject.configure(article())
    subject.start()
    await subject.agent.settled()
    assert subject.snapshot().charon == Problem(
        "charon_gone", "charon", "charon does not answer on /run/charon.vici: No such file or directory"
    )
    assert [problem.code for problem in subject.agent.problems()] == ["charon_gone", "peer_down"]
    assert subject.peer().problem_code == "charon_gone"
    subject.charon.start()
    assert await until(lambda: subject.up(*BOTH)) <= 1.5
    assert subject.snapshot().charon is None
    await subject.quiet()
    subject.charon.end(socket=True)
    assert await until(lambda: not subject.up(GRE) and not subject.up(TCP)) < 0.1
    assert subject.child().problem is None
    subject.charon.start()
    assert await until(lambda: subject.up(*BOTH)) <= 1.5
    assert subject.up_counts() == [2, 2]
    assert subject.log.events("debug") == [
        "charon_gone", "charon_connected", "ike_sa_up", "child_sa_up", "child_sa_up",
        "charon_gone", "ike_sa_down", "child_sa_down", "child_sa_down",
        "charon_connected", "ike_sa_up", "child_sa_up", "child_sa_up",
    ]  # fmt: skip
    await subject.kill()


@simulated
async def test_connections_that_break_are_opened_again_and_nothing_is_lost() -> None:
    async with up() as subject:
        before = subject.charon.spis()
        subject.charon.disconnect()
        await subject.quiet()
        assert subject.charon.spis() == before
        assert subject.up(*BOTH)
        assert subject.charon.asked("load-conn")[1:], "its connections are loaded once more"
        subject.charon.delete(GRE)
        assert await until(lambda: subject.up(*BOTH)) < 1.0


@pytest.mark.parametrize(
    ("spoiled", "words"),
    [
        ("-", "charon listed an SA that cannot be read (vici-value)"),
        ("frame", "charon sent what is not VICI (vici-element)"),
    ],
)
@simulated
async def test_a_listing_that_cannot_be_read_leaves_all_as_it_was_listed_last(spoiled: str, words: str) -> None:
    async with up() as subject:
        subject.log.records.clear()
        subject.charon.spoiled["list-sas"] = spoiled
        await subject.agent.refresh()
        await until(lambda: subject.snapshot().charon == unclear(words))
        subject.charon.delete(GRE)
        await subject.quiet(GIVE_UP * 2)
        assert subject.up(*BOTH)
        assert subject.log.events() == ["charon_unclear"]
        subject.charon.spoiled.clear()
        await until(lambda: subject.snapshot().charon is None and subject.up_counts() == [2, 1])
        assert "charon_connected" in subject.log.events()


@simulated
async def test_a_charon_that_hangs_is_unclear_and_in_the_end_gone() -> None:
    async with up() as subject:
        subject.charon.silent = True
        began = now()
        await subject.agent.refresh()
        assert now() - began == pytest.approx(REFRESH_TIMEOUT)
        assert subject.snapshot().charon == unclear("charon hangs, or is very busy")
        await subject.agent.refresh()
        await until(lambda: subject.snapshot().charon == unclear("charon did not answer within 5 s"))
        assert subject.up(*BOTH)
        took = await until(lambda: not subject.up(GRE))
        assert GIVE_UP - 1 <= took <= GIVE_UP + 8
        charon = subject.snapshot().charon
        assert charon is not None
        assert charon.code == "charon_gone"
        subject.charon.silent = False
        await until(lambda: subject.up(*BOTH))
        assert subject.peer().attempts == 2, "charon had kept its SAs, which are adopted"


@simulated
async def test_the_configuration_is_settled_although_charon_hangs() -> None:
    async with up() as subject:
        subject.charon.silent = True
        subject.configure(article(children=(gre(),)))
        began = now()
        await subject.agent.settled()
        assert now() - began < 15.0
        assert subject.up(GRE)
        subject.charon.silent = False
        await until(lambda: subject.charon.installed() == [GRE])


@simulated
async def test_a_refresh_without_charon_asks_nothing_and_two_at_once_ask_once() -> None:
    subject = Host()
    await subject.agent.refresh()
    async with up() as subject:
        asked = len(subject.charon.asked("list-sas"))
        await asyncio.gather(subject.agent.refresh(), subject.agent.refresh())
        assert len(subject.charon.asked("list-sas")) == asked + 1


@simulated
async def test_a_refresh_shows_new_counters() -> None:
    async with up() as subject:
        subject.charon.sas[0].children[0].packets_in = 7
        await subject.agent.refresh()
        assert (subject.child().packets_in, subject.child().bytes_in) == (7, 7 * 84)


@simulated
async def test_a_refresh_that_fails_for_a_reason_of_ours_raises() -> None:
    async with up() as subject:
        subject.charon.spoiled["list-sas"] = "frame"
        subject.charon._list_sas = lambda emit: 1 / 0  # type: ignore[method-assign,assignment]
        with pytest.raises(ZeroDivisionError):
            await subject.agent.refresh()
        with pytest.raises(ZeroDivisionError):
            await subject._task  # type: ignore[misc]
        subject._task = None


@simulated
async def test_a_refresh_under_way_ends_with_the_agent() -> None:
    async with up() as subject:
        subject.charon.silent = True
        await subject.agent.refresh()
        await subject.kill()
        refreshing = subject.agent._refreshing
        assert refreshing is not None
        await asyncio.wait({refreshing})
        await subject.agent.refresh()


@simulated
async def test_after_a_restart_of_charon_nothing_waits_for_its_back_off() -> None:
    async with host(article(children=(gre(),), retry_min=60.0)) as subject:
        subject.charon.outcomes[GRE] = WRONG_SELECTORS
        await until(lambda: subject.child().state == "waiting")
        subject.charon.end()
        await subject.quiet()
        subject.charon.outcomes.clear()
        subject.charon.start()
        assert await until(lambda: subject.up(GRE)) < 2.0


@simulated
async def test_a_charon_that_was_unclear_is_asked_for_nothing_before_its_time_and_reported_as_well() -> None:
    async with host(article(children=(gre(),), retry_min=60.0)) as subject:
        subject.charon.outcomes[GRE] = WRONG_SELECTORS
        await until(lambda: subject.child().state == "waiting")
        subject.charon.outcomes.clear()
        subject.charon.spoiled["list-sas"] = "frame"
        await subject.agent.refresh()
        await subject.quiet()
        changes = subject.changes
        subject.charon.spoiled.clear()
        await until(lambda: subject.snapshot().charon is None)
        assert subject.changes == changes + 1
        await subject.quiet(10.0)
        assert len(subject.charon.asked("initiate")) == 1


@simulated
async def test_a_reload_that_a_broken_connection_meets_is_settled_when_it_is_carried_out() -> None:
    async with up() as subject:
        subject.charon.spoiled["list-sas"] = "frame"
        subject.configure(article(children=(gre(),)))
        await until(lambda: subject.snapshot().charon is not None, seconds=0.1)
        subject.charon.spoiled.clear()
        await subject.agent.settled()
        assert list(subject.charon.conns["dc"]["children"]) == [GRE]


@simulated
async def test_without_peers_charon_is_no_problem() -> None:
    subject = Host()
    subject.charon.end()
    subject.configure()
    subject.start()
    await subject.agent.settled()
    assert subject.snapshot().charon is not None
    assert list(subject.agent.problems()) == []
    await subject.kill()


# Reload


@simulated
async def test_the_same_configuration_again_changes_nothing() -> None:
    async with up() as subject:
        asked = len(subject.charon.commands)
        subject.configure(article())
        await subject.agent.settled()
        await subject.quiet(1.0)
        assert len(subject.charon.commands) == asked


@simulated
async def test_what_stays_configured_keeps_its_back_off_when_something_else_changes() -> None:
    async with host(article(children=(gre(),), retry_min=60.0)) as subject:
        subject.charon.outcomes[GRE] = WRONG_SELECTORS
        await until(lambda: subject.child().state == "waiting")
        subject.change(replay_allowed=False)
        await subject.agent.settled()
        await subject.quiet(10.0)
        assert len(subject.charon.asked("initiate")) == 1


@simulated
async def test_an_empty_configuration_is_settled_when_what_was_loaded_before_is_gone() -> None:
    async with up() as subject:
        await subject.kill()
        subject.agent = subject.another_agent()
        subject.agent.configure(IpsecDesired())
        subject.start()
        await subject.agent.settled()
        assert (subject.charon.sas, subject.charon.conns) == ([], {})


@pytest.mark.parametrize(
    "after",
    [
        article(lifetime=7200.0, retry_max=30.0, reauthentication=True),
        msgspec.structs.replace(article(), psk_file=Path("/another")),
        article(children=(tcp(), gre(lifetime=600.0))),
    ],
)
@simulated
async def test_what_no_sa_depends_on_is_reloaded_without_touching_one(after: Peer) -> None:
    async with up() as subject:
        before = subject.charon.spis()
        subject.configure(after, psk=b"another")
        await subject.agent.settled()
        await subject.quiet()
        assert subject.charon.spis() == before
        assert subject.peer().attempts == 2
        assert subject.charon.shared["mcastd-dc"]["data"] == b"another"


@simulated
async def test_a_changed_child_is_made_again_and_no_other() -> None:
    async with up() as subject:
        before = subject.charon.spis()
        subject.configure(article(children=(gre(proposals=("aes128-sha256",)), tcp())))
        await subject.agent.settled()
        await until(lambda: subject.up_counts() == [2, 1] and subject.up(*BOTH))
        assert subject.charon.spis()[TCP] == before[TCP]


@simulated
async def test_a_changed_peer_is_made_again_with_all_its_children() -> None:
    async with up() as subject:
        before = subject.charon.spis()
        subject.configure(article(proposals=("aes128-sha256-modp2048",)))
        await subject.agent.settled()
        await until(lambda: subject.up_counts() == [2, 2] and subject.up(*BOTH))
        assert not set(before.values()) & set(subject.charon.spis().values())
        assert len(subject.charon.sas) == 1


@simulated
async def test_a_removed_child_and_then_a_removed_peer_go() -> None:
    async with up() as subject:
        subject.configure(article(children=(gre(),)))
        await subject.agent.settled()
        assert subject.charon.installed() == [GRE]
        assert TCP not in subject.agent.children()
        assert list(subject.ledger.entries(CHILD)) == [f"dc/{GRE}"]
        subject.configure(article())
        await until(lambda: subject.up(*BOTH))
        assert subject.up_counts() == [1, 1]
        subject.configure()
        await subject.agent.settled()
        assert (subject.charon.sas, subject.charon.conns, subject.charon.shared) == ([], {}, {})
        assert subject.ledger.copy() == {}
        assert "peers_removed" in subject.log.events()


@pytest.mark.parametrize(
    "before",
    [
        article(remote=IPv4Address("177.54.214.21"), initiate_timeout=120.0),
        article(children=(gre(remote_ts=IPv4Network("10.44.9.1/32")), tcp()), initiate_timeout=120.0),
        article(initiate_timeout=120.0),
    ],
    ids=["another address", "another child", "a timeout"],
)
@simulated
async def test_a_repaired_file_does_not_wait_for_the_attempt_that_hangs(before: Peer) -> None:
    async with host(before) as subject:
        subject.charon.peer_silent = True
        await until(lambda: subject.peer().state == "connecting")
        await subject.quiet(1.0)
        subject.charon.peer_silent = False
        subject.configure(article())
        assert await until(lambda: subject.up(*BOTH)) < 3.0
        await subject.quiet()
        assert len(subject.charon.sas) == 1
        assert subject.charon.installed() == list(BOTH)


@simulated
async def test_a_child_that_changes_while_it_is_tried_does_not_come_up_as_it_was() -> None:
    async with host(article(children=(gre(),))) as subject:
        await until(lambda: subject.up(GRE))
        subject.charon.outcomes[TCP] = HANG
        subject.configure(article(initiate_timeout=5.0))
        await until(lambda: subject.child(TCP).state == "connecting")
        await subject.quiet(1.2)  # between two retransmissions
        changed = tcp(remote_ts=IPv4Network("100.15.31.0/24"))
        subject.charon.outcomes.clear()
        subject.configure(article(children=(gre(), changed)))
        await subject.agent.settled()
        await until(lambda: subject.up(*BOTH))
        await subject.quiet()
        (selectors,) = {
            child.config["remote_ts"][0] for ike in subject.charon.sas for child in ike.children if child.name == TCP
        }
        assert selectors == "100.15.31.0/24"
        assert subject.up_counts()[0] == 1


@simulated
async def test_a_reload_while_a_child_is_tried_leaves_the_ike_sa_and_the_others_alone() -> None:
    async with host() as subject:
        subject.charon.outcomes[TCP] = HANG
        await until(lambda: subject.up(GRE))
        await subject.quiet(1.0)
        (ike,) = subject.charon.sas
        subject.configure(article(lifetime=7200.0))
        await subject.agent.settled()
        subject.charon.outcomes.clear()
        await until(lambda: subject.up(*BOTH))
        assert (subject.charon.sas, subject.up_counts()) == ([ike], [1, 1])


@simulated
async def test_a_child_removed_while_it_is_tried_goes_when_it_comes_up() -> None:
    async with host() as subject:
        subject.charon.outcomes[TCP] = HANG
        await until(lambda: subject.up(GRE))
        await subject.quiet(1.0)
        subject.configure(article(children=(gre(),)))
        await subject.agent.settled()
        subject.charon.outcomes.clear()
        await until(lambda: subject.charon.installed() == list(BOTH))
        assert await until(lambda: subject.charon.installed() == [GRE]) < 0.2


@simulated
async def test_a_reload_that_comes_during_a_look_is_acted_on_before_it_counts_as_settled() -> None:
    async with up() as subject:
        looking = asyncio.create_task(subject.agent.refresh())
        subject.charon.delete(GRE)
        await asyncio.sleep(0.005)  # the loop lists
        subject.configure(article(children=(gre(),)))
        await subject.agent.settled()
        await looking
        assert TCP not in subject.charon.conns["dc"]["children"]


# What another program has, or refuses


@simulated
async def test_a_connection_of_another_program_is_not_touched() -> None:
    subject = Host()
    theirs = {"version": "2", "children": {}, "rekey_time": "0s", "reauth_time": "0s", "encap": "no"}
    subject.charon.conns["dc"] = theirs
    ike = subject.charon.peer_initiates("dc")
    subject.configure(article())
    subject.start()
    await subject.agent.settled()
    assert (subject.peer().state, subject.peer().problem_code) == ("down", "connection_not_ours")
    await subject.quiet(2 * AUDIT)
    assert subject.log.events() == ["peer_not_loaded"]
    await subject.kill()
    await subject.agent.close()
    assert (subject.charon.conns, subject.charon.sas) == ({"dc": theirs}, [ike])


@simulated
async def test_it_is_loaded_when_the_other_program_has_unloaded_its_own() -> None:
    subject = Host()
    subject.charon.conns["dc"] = {}
    subject.configure(article())
    subject.start()
    await subject.agent.settled()
    await subject.quiet(10.0)
    assert len(subject.charon.asked("list-conns")) == 1
    subject.charon.conns.clear()
    assert await until(lambda: subject.up(*BOTH)) <= AUDIT + 1.0
    assert subject.peer().problem is None
    await subject.kill()


@simulated
async def test_a_connection_that_charon_refuses_is_a_problem_and_loaded_when_it_is_accepted() -> None:
    async with host() as subject:
        subject.charon.refused["load-conn"] = "invalid value for: proposals"
        await subject.agent.settled()
        assert (subject.peer().problem, subject.peer().problem_code) == (
            "charon refused the connection: invalid value for: proposals", "charon_refused",
        )  # fmt: skip
        await subject.quiet(10.0)
        assert len(subject.charon.asked("load-conn")) == 1
        subject.charon.refused.clear()
        assert await until(lambda: subject.up(*BOTH)) <= AUDIT + 1.0


@simulated
async def test_a_reload_that_charon_refuses_is_no_problem_any_more_when_it_is_accepted() -> None:
    async with up() as subject:
        subject.charon.refused["load-conn"] = "busy"
        subject.configure(article(lifetime=7200.0))
        await subject.agent.settled()
        assert (subject.peer().state, subject.peer().problem_code) == ("up", "charon_refused")
        subject.charon.refused.clear()
        assert await until(lambda: subject.peer().problem is None) <= AUDIT + 1.0
        assert subject.up_counts() == [1, 1]


@simulated
async def test_without_room_for_the_ledger_connections_are_found_again_by_their_marks() -> None:
    async with host() as subject:
        subject.ledger.full = True
        await until(lambda: subject.up(*BOTH))
        before = subject.charon.spis()
        subject.ledger = MemoryLedger()
        await subject.next_process(article())
        await until(lambda: subject.up(*BOTH))
        await subject.quiet()
        assert (subject.charon.spis(), subject.peer().attempts) == (before, 0)
        assert "inherited_by_mark" in subject.log.events()
        await subject.kill()
        await subject.agent.close()
        assert (subject.charon.conns, subject.charon.shared, subject.charon.sas) == ({}, {}, [])


@simulated
async def test_a_connection_found_by_its_mark_whose_peer_is_elsewhere_is_made_again() -> None:
    async with up() as subject:
        subject.ledger = MemoryLedger()
        await subject.next_process(replace(article(), remote=IPv4Address("177.54.214.21")))
        await until(lambda: {sa.config["remote_addrs"][0] for sa in subject.charon.sas} == {"177.54.214.21"})
        await until(lambda: subject.up(*BOTH))


@simulated
async def test_a_peer_that_is_configured_no_more_is_found_by_its_mark_and_removed() -> None:
    async with up() as subject:
        subject.ledger = MemoryLedger()
        await subject.next_process()
        await until(lambda: not subject.charon.conns, "unloaded")
        assert (subject.charon.shared, subject.charon.sas) == ({}, [])


@simulated
async def test_with_a_whole_ledger_the_connections_of_another_mcastd_are_left_alone() -> None:
    async with up() as subject:
        charon = subject.charon
        charon.conns["other"] = {**charon.conns["dc"], "remote_addrs": ["198.51.100.1"]}
        charon.shared["mcastd-other"] = {"id": "mcastd-other"}
        charon.peer_initiates("other", GRE)
        await subject.next_process(article())
        await until(lambda: subject.up(*BOTH))
        await subject.quiet()
        assert "inherited_by_mark" not in subject.log.events()
        await subject.kill()
        await subject.agent.close()
        assert (list(charon.conns), list(charon.shared)) == (["other"], ["mcastd-other"])
        assert [sa.name for sa in charon.sas] == ["other"]


@simulated
async def test_what_a_full_ledger_could_not_take_is_found_by_its_mark_if_it_is_configured() -> None:
    peers = (article(), article(name="other", remote=IPv4Address("198.51.100.1"), children=(gre(name="third"),)))
    async with up(*peers[:1]) as subject:
        before = subject.ledger.copy()
        subject.configure(*peers)
        await until(lambda: subject.up(*BOTH, "third"))
        spis = subject.charon.spis()
        subject.ledger = MemoryLedger(before)
        await subject.next_process(*peers)
        await until(lambda: subject.up(*BOTH, "third"))
        await subject.quiet()
        assert subject.charon.spis() == spis
        assert "inherited_by_mark" in subject.log.events()


@simulated
async def test_a_ledger_that_names_another_programs_connection_does_not_have_it_removed() -> None:
    async with up() as subject:
        theirs = {**subject.charon.conns["dc"], "remote_addrs": ["198.51.100.1"]}
        subject.charon.conns["theirs"] = theirs
        subject.charon.peer_initiates("theirs", GRE)
        subject.ledger.remember(CONN, "theirs", subject.ledger.entries(CONN)["dc"])
        await subject.next_process(article())
        await until(lambda: subject.up(*BOTH))
        await subject.quiet()
        await subject.kill()
        await subject.agent.close()
        assert (list(subject.charon.conns), [sa.name for sa in subject.charon.sas]) == (["theirs"], ["theirs"])
        assert subject.ledger.copy() == {}


@simulated
async def test_charon_without_the_commands_that_list_credentials_is_used_as_well() -> None:
    async with host() as subject:
        subject.charon.refused = {"get-shared": "unknown command", "get-authorities": "unknown command"}
        await until(lambda: subject.up(*BOTH))
        await subject.kill()
        await subject.agent.close()
        assert subject.charon.conns == {}


# Processes that follow each other, and the teardown


@simulated
async def test_what_is_up_is_adopted_by_the_next_process() -> None:
    async with up() as subject:
        before = subject.charon.spis()
        subject.log.records.clear()
        await subject.next_process(article())
        await until(lambda: subject.up(*BOTH))
        await subject.quiet()
        assert (subject.charon.spis(), subject.peer().attempts) == (before, 0)
        assert [record.get("adopted") for record in subject.log.records] == [True, True, True]


@simulated
async def test_the_next_process_makes_again_only_what_its_file_changes() -> None:
    async with up() as subject:
        before = subject.charon.spis()
        await subject.next_process(article(children=(gre(proposals=("aes128-sha256",)), tcp())))
        await until(lambda: subject.up(*BOTH) and subject.peer().attempts == 1)
        assert subject.charon.spis()[TCP] == before[TCP]


@simulated
async def test_peers_that_the_next_process_does_not_have_go_also_if_it_has_none() -> None:
    async with up() as subject:
        await subject.next_process()
        await subject.agent.settled()
        assert (subject.charon.sas, subject.charon.conns, subject.ledger.copy()) == ([], {}, {})


@simulated
async def test_a_teardown_leaves_charon_and_the_ledger_empty() -> None:
    async with up() as subject:
        await subject.kill()
        await subject.agent.close()
        charon = subject.charon
        assert (charon.sas, charon.conns, charon.shared, subject.ledger.copy()) == ([], {}, {}, {})
        assert charon.asked("terminate")[0]["force"] == "no", "so that the peer receives a DELETE"


@simulated
async def test_a_teardown_ends_in_time_without_an_answer_of_the_peer() -> None:
    async with up() as subject:
        subject.charon.peer_silent = True
        await subject.kill()
        began = now()
        await subject.agent.close()
        assert now() - began < 3.0
        assert (subject.charon.sas, subject.ledger.copy()) == ([], {})


@simulated
async def test_a_teardown_without_charon_clears_the_ledger_and_with_one_that_refuses_keeps_it() -> None:
    async with up() as subject:
        subject.charon.end(socket=True)
        await subject.kill()
        await subject.agent.close()
        assert subject.ledger.copy() != {}
        assert "charon_teardown_failed" in subject.log.events()
        subject.charon.end()
        await subject.agent.close()
        assert subject.ledger.copy() == {}


@simulated
async def test_a_teardown_with_a_charon_that_hangs_gives_up_in_time() -> None:
    async with up() as subject:
        subject.charon.silent = True
        await subject.kill()
        began = now()
        await subject.agent.close()
        assert now() - began < 3.0
        assert subject.log.records[-1]["reason"] == "it takes too long"


@simulated
async def test_a_teardown_ends_the_attempts() -> None:
    async with host() as subject:
        subject.charon.peer_silent = True
        await subject.quiet(1.0)
        await subject.kill()
        await subject.agent.close()
        assert (subject.charon.sas, subject.charon.conns) == ([], {})


# Certificates


def certificates(name: str, *, authorities: tuple[bytes, ...] = (b"ca",), remote: bytes | None = None) -> Certificates:
    return Certificates(local=b"cert", key=name.encode(), remote=remote, authorities=authorities)


@simulated
async def test_certificates_are_loaded_rotated_and_unloaded() -> None:
    peer = article(**CERTIFIED)
    async with host(peer, certificates=certificates("one")) as subject:
        await until(lambda: subject.up(*BOTH))
        await subject.quiet()
        charon, before = subject.charon, subject.charon.spis()
        assert (list(charon.keys), list(charon.authorities), charon.shared) == (["key-of-one"], ["mcastd-dc-1"], {})
        subject.configure(peer, certificates=certificates("two", authorities=(b"ca", b"another")))
        await subject.agent.settled()
        assert (list(charon.keys), list(charon.authorities)) == (["key-of-two"], ["mcastd-dc-1", "mcastd-dc-2"])
        assert charon.spis() == before
        subject.configure(peer, certificates=certificates("two", authorities=(), remote=b"theirs"))
        await subject.agent.settled()
        assert (charon.authorities, subject.ledger.entries(AUTHORITY)) == ({}, {})
        assert [message["data"] for message in charon.certificates] == [b"theirs"]
        subject.configure(article())
        await until(lambda: subject.up_counts() == [2, 2] and subject.up(*BOTH))
        assert (charon.keys, list(charon.shared), list(subject.ledger.entries(SHARED))) == ({}, *[["mcastd-dc"]] * 2)
        subject.configure(peer, certificates=certificates("one"))
        await until(lambda: subject.up_counts() == [3, 3] and subject.up(*BOTH))
        assert (list(charon.keys), charon.shared, subject.ledger.entries(SHARED)) == (["key-of-one"], {}, {})
        await subject.kill()
        await subject.agent.close()
        assert (charon.keys, charon.authorities, subject.ledger.copy()) == ({}, {}, {})


@simulated
async def test_a_key_that_another_program_loaded_stays() -> None:
    subject = Host()
    subject.charon.keys["key-of-one"] = b"one"
    subject.configure(article(**CERTIFIED), certificates=certificates("one"))
    subject.start()
    await until(lambda: subject.up(*BOTH))
    await subject.kill()
    await subject.agent.close()
    assert list(subject.charon.keys) == ["key-of-one"]


@simulated
async def test_a_key_that_two_peers_have_stays_while_one_of_them_does() -> None:
    first = article(children=(gre(),), **CERTIFIED)
    second = article(name="dr", remote=IPv4Address("177.54.214.30"), children=(tcp(),), **CERTIFIED)
    async with host(first, second, certificates=certificates("one")) as subject:
        await until(lambda: subject.up(*BOTH))
        subject.configure(second, certificates=certificates("one"))
        await subject.agent.settled()
        assert list(subject.charon.keys) == ["key-of-one"]
        assert list(subject.charon.conns) == ["dr"]
        subject.configure()
        await subject.agent.settled()
        assert subject.charon.keys == {}


# Several peers


@simulated
async def test_a_silent_peer_hinders_no_other() -> None:
    other = article(name="dr", remote=IPv4Address("177.54.214.30"), children=(tcp(),))
    async with host(article(children=(gre(),)), other) as subject:
        subject.charon.outcomes[GRE] = HANG
        assert await until(lambda: subject.up(TCP)) < 1.0
        assert not subject.up(GRE)
        assert [problem.subject for problem in subject.agent.problems()] == ["dc"]


@simulated
async def test_peers_are_terminated_each_for_itself() -> None:
    first = article(children=(gre(),), initiate_timeout=2.0, retry_min=9.0)
    second = article(name="dr", remote=IPv4Address("177.54.214.30"), children=(tcp(),), initiate_timeout=4.0)
    async with host(first, second) as subject:
        subject.charon.peer_silent = True
        await subject.quiet(3.0)
        assert [(ike.name, ike.state) for ike in subject.charon.sas] == [("dr", "CONNECTING")]
        subject.charon.peer_silent = False
        await until(lambda: subject.up(*BOTH))
        await subject.quiet()
        asked = len(subject.charon.asked("terminate"))
        subject.configure(first, article(name="dr", remote=second.remote, children=(tcp(), gre(name="new"))))
        await until(lambda: subject.up(*BOTH, "new"))
        await subject.quiet()
        assert len(subject.charon.asked("terminate")) == asked
        assert subject.up_counts() == [1, 1, 1]


# ESP that arrives before its keys


def esp(spi: int, number: int = 1, source: str = DC) -> bytes:
    inside = spi.to_bytes(4) + number.to_bytes(4) + b"ciphertext"
    return pcap.ipv4(inside, IPv4Address(source), IPv4Address(CLOUD), protocol=50)


def next_spi(subject: Host) -> int:
    return max(subject.charon.spis().values()) + 1


@simulated
async def test_early_esp_of_a_rekeyed_child_is_replayed_once() -> None:
    async with up() as subject:
        spi = next_spi(subject)
        assert subject.esp.arrive(esp(spi, 1), esp(spi, 2), esp(spi + 1), esp(spi, 3, source=CLOUD))
        subject.charon.rekey(GRE)
        await subject.quiet()
        assert subject.esp.replayed == [esp(spi, 1), esp(spi, 2)]
        assert subject.charon.spis()[GRE] == spi


@simulated
async def test_early_esp_of_a_new_child_is_replayed() -> None:
    async with up() as subject:
        spi = next_spi(subject)
        subject.charon.delete(GRE)
        assert subject.esp.arrive(esp(spi))
        await until(lambda: subject.up_counts() == [2, 1] and subject.up(*BOTH))
        assert subject.esp.replayed == [esp(spi)]


@simulated
async def test_esp_of_listed_spis_is_not_captured() -> None:
    async with up() as subject:
        spi = subject.charon.spis()[GRE]
        subject.esp.arrive(esp(spi))
        await subject.quiet(0.1)
        subject.charon.event("child-updown", keys_of(GRE, spi))
        await subject.quiet(0.1)
        assert subject.esp.replayed == []


def keys_of(child: str, spi: int, peer: str = "dc") -> Section:
    return {"up": b"yes", peer: {"child-sas": {child: {"name": child.encode(), "spi-in": f"{spi:08x}".encode()}}}}


@pytest.mark.parametrize(
    ("peer", "child"),
    [("dc", "without a window"), ("dc", "unconfigured"), ("another", GRE)],
)
@simulated
async def test_nothing_is_replayed_without_a_replay_window_or_for_sas_that_are_not_configured(
    peer: str, child: str
) -> None:
    async with up(article(children=(gre(), tcp(), gre(name="without a window", replay_window=0)))) as subject:
        spi = next_spi(subject) + 7
        subject.esp.arrive(esp(spi))
        subject.charon.event("child-updown", keys_of(child, spi, peer))
        await subject.quiet(0.1)
        assert subject.esp.replayed == []
        subject.charon.event("child-updown", keys_of(GRE, spi))
        await subject.quiet(0.1)
        assert subject.esp.replayed == [esp(spi)]


@simulated
async def test_while_a_window_is_being_turned_off_nothing_is_replayed() -> None:
    """The SA may have been made with either configuration."""
    async with up() as subject:
        spi = next_spi(subject)
        subject.charon.refused["load-conn"] = "busy"
        subject.configure(article(children=(gre(replay_window=0), tcp())))
        subject.esp.arrive(esp(spi))
        subject.charon.event("child-updown", keys_of(GRE, spi))
        await subject.quiet(0.1)
        assert subject.esp.replayed == []


@simulated
async def test_nothing_is_captured_without_permission_or_without_charon() -> None:
    async with up() as subject:
        subject.change(replay_allowed=False)
        await subject.agent.settled()
        assert not subject.esp.arrive(esp(1))
        spi = next_spi(subject)
        subject.charon.rekey(GRE)
        await subject.quiet()
        subject.change(replay_allowed=True)
        await subject.agent.settled()
        assert subject.esp.arrive(esp(spi + 1))
        subject.charon.end()
        await subject.quiet(0.1)
        assert not subject.esp.arrive(esp(spi + 1))
        assert subject.esp.replayed == []


@pytest.mark.parametrize("message", [{"dc": {"child-sas": {"x": {"spi-in": b"-"}}}}, {"dc": {}}, {"dc": b"?"}])
@simulated
async def test_an_event_that_cannot_be_read_ends_nothing(message: Section) -> None:
    async with up() as subject:
        subject.charon.event("child-updown", {"up": b"yes", **message})
        spi = next_spi(subject)
        subject.esp.arrive(esp(spi))
        subject.charon.rekey(GRE)
        await subject.quiet()
        assert subject.esp.replayed == [esp(spi)]
        assert subject.snapshot().charon is None


# Lifetimes


@simulated
async def test_lifetimes_that_an_sa_was_not_made_with_are_noted_until_it_is_another() -> None:
    async with up() as subject:
        assert subject.snapshot().notes == ()
        subject.configure(article(lifetime=7200.0, children=(gre(lifetime=600.0), tcp())))
        await subject.agent.settled()
        assert [note.partition(":")[0] for note in subject.snapshot().notes] == [
            "peers.dc.lifetime", "peers.dc.children.dc-tun-gre.lifetime",
        ]  # fmt: skip
        subject.charon.delete()
        await until(lambda: subject.up_counts() == [2, 2] and subject.up(*BOTH))
        assert subject.snapshot().notes == ()
