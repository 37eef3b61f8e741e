"""Connections and credentials that another program removes from charon, or replaces there, in virtual time."""

import asyncio

from mcastd.config.credentials import Certificates
from mcastd.ipsec.loader import LONGEST_PAUSE, LOOK, SOON
from tests.fakes.charon import WRONG_PSK, FakeCharon
from tests.fakes.clock import simulated, until
from tests.ipsec.charons import article, gre
from tests.ipsec.test_agent_simulated import CERTIFIED
from tests.ipsec.virtual import BOTH, GRE, Host, host, up

AT_ONCE = SOON + 0.5
KEY = "mcastd-dc"
REPLACED = "the connection or key of dc was replaced in charon by another program"
FOREIGN = {"remote_addrs": ["192.0.2.1"], "children": {"x": {"local_ts": ["10.0.0.0/8"], "remote_ts": ["0.0.0.0/0"]}}}


def repaired(subject: Host) -> list[str]:
    return [record["what"] for record in subject.log.records if record["event"] == "repaired"]


def is_complete(charon: FakeCharon) -> bool:
    return KEY in charon.shared and charon.conns.get("dc", {}).get("remote_addrs") == ["177.54.214.20"]


@simulated
async def test_a_key_that_another_program_unloads_is_loaded_again_and_nothing_goes_down() -> None:
    async with up() as subject:
        before = subject.charon.spis()
        subject.charon.swanctl_load_creds("ike-1")
        assert await until(lambda: is_complete(subject.charon)) < AT_ONCE
        assert repaired(subject) == ["the pre-shared key of dc was removed from charon by another program"]
        assert (subject.charon.spis(), subject.up_counts()) == (before, [1, 1])
        assert list(subject.charon.shared) == [KEY, "ike-1"]  # of equal keys charon takes the one loaded last


@simulated
async def test_cleared_credentials_of_which_charon_logs_nothing_are_loaded_again_within_a_look() -> None:
    async with up() as subject:
        subject.charon.clear_creds()
        assert await until(lambda: is_complete(subject.charon)) <= LOOK + 0.1
        assert repaired(subject) == ["the pre-shared key of dc was removed from charon by another program"]


@simulated
async def test_a_peer_that_ends_the_ike_sa_meanwhile_is_back_within_seconds() -> None:
    async with up() as subject:
        subject.charon.clear_creds()
        subject.charon.outcomes = dict.fromkeys(BOTH, WRONG_PSK)
        subject.charon.delete()
        await until(lambda: is_complete(subject.charon))
        subject.charon.outcomes = {}
        assert await until(lambda: subject.up(*BOTH)) < 2.0


@simulated
async def test_a_connection_that_another_program_unloads_or_replaces_is_loaded_again() -> None:
    async with up() as subject:
        subject.charon.swanctl_load_all()
        await until(lambda: is_complete(subject.charon))
        await subject.quiet(10.0)
        subject.charon.swanctl_load_all({"dc": FOREIGN})
        assert await until(lambda: is_complete(subject.charon)) < AT_ONCE
        await subject.quiet(10.0)
        assert repaired(subject) == [
            "the connection and the pre-shared key of dc were removed from charon by another program",
            f"the pre-shared key of dc was removed from charon by another program; {REPLACED}",
        ]
        subject.charon.conns["dc"] = FOREIGN  # nothing is logged
        assert await until(lambda: is_complete(subject.charon)) <= LOOK + 0.1
        assert repaired(subject)[2:] == [REPLACED]
        assert subject.up_counts() == [1, 1]


@simulated
async def test_a_connection_of_the_same_name_that_differs_in_its_proposals_alone_is_known_by_the_log() -> None:
    async with up() as subject:
        ours = subject.charon.conns["dc"]
        subject.charon.swanctl_load_all({"dc": {**ours, "proposals": ["aes128-sha1-modp1024"]}})
        subject.charon.shared[KEY] = {"id": KEY}
        await until(lambda: subject.charon.conns["dc"] == ours)
        assert repaired(subject) == [REPLACED]


@simulated
async def test_private_keys_and_certificates_are_loaded_again() -> None:
    peer, found = article(**CERTIFIED), Certificates(local=b"cert", key=b"one", authorities=(b"ca",))
    async with host(peer, certificates=found) as subject:
        await subject.both_up()
        charon = subject.charon
        charon.swanctl_load_creds()
        assert await until(lambda: bool(charon.keys)) < AT_ONCE
        await subject.quiet(10.0)
        charon.clear_creds()
        assert await until(lambda: bool(charon.keys) and charon.store == {b"cert"}) <= LOOK + 0.1
        await subject.quiet(10.0)
        charon.authorities.clear()
        assert await until(lambda: bool(charon.authorities)) <= LOOK + 0.1
        assert repaired(subject) == [
            "the private key of dc was removed from charon by another program",
            "the private key and the certificate of dc were removed from charon by another program",
            "the CA certificate of dc was removed from charon by another program",
        ]


@simulated
async def test_a_program_that_does_so_again_and_again_is_named_once_and_followed_ever_more_slowly() -> None:
    async with up() as subject:
        loads = len(subject.charon.asked("load-conn"))
        for _ in range(600):
            subject.charon.swanctl_load_all({"dc": FOREIGN})
            await asyncio.sleep(1.0)
        assert 600 / LONGEST_PAUSE <= len(subject.charon.asked("load-conn")) - loads < 25
        assert len(repaired(subject)) <= 600 / LONGEST_PAUSE + 5
        assert subject.log.events().count("changed_by_another_program") == 1
        (problem,) = [one for one in subject.agent.problems() if one.code == "removed_from_charon"]
        assert problem.subject == "dc"
        await until(lambda: is_complete(subject.charon))
        assert list(subject.agent.problems()) == []


@simulated
async def test_nothing_is_said_of_what_was_removed_from_a_peer_that_is_configured_no_more() -> None:
    async with up() as subject:

        def codes() -> list[str]:
            return [problem.code for problem in subject.agent.problems()]

        ours = subject.charon.conns["dc"]
        subject.charon.conns["theirs"] = {**ours, "children": {"x": ours["children"][GRE]}}
        while "removed_from_charon" not in codes():
            subject.charon.swanctl_load_all({"dc": FOREIGN, "theirs": subject.charon.conns["theirs"]})
            await asyncio.sleep(1.0)
        assert "foreign_connection" in codes()
        subject.configure(article(name="other", children=(gre(name="third"),)))
        assert not {"removed_from_charon", "foreign_connection"} & set(codes())
        await until(lambda: subject.up("third"))
        await subject.quiet(2 * LOOK)
        assert "foreign_connection" in codes()
        assert {problem.subject for problem in subject.agent.problems()} == {"third"}


@simulated
async def test_a_reload_while_something_is_loaded_leaves_nothing_of_the_peer_before() -> None:
    subject = Host()
    subject.configure(article())
    subject.start()
    await until(lambda: bool(subject.charon.asked("load-conn")))
    subject.configure(article(name="other"))
    await until(lambda: subject.up(*BOTH))
    await subject.quiet(2 * LOOK)
    assert subject.agent._loader._loaded.keys() == {"other"}
    await subject.kill()


@simulated
async def test_a_program_that_does_so_every_minute_is_followed_at_once() -> None:
    async with up() as subject:
        for _ in range(20):
            subject.charon.swanctl_load_creds()
            assert await until(lambda: is_complete(subject.charon)) < AT_ONCE
            await asyncio.sleep(60.0)


@simulated
async def test_nothing_is_loaded_while_charon_has_all_that_was_loaded() -> None:
    async with up() as subject:
        commands = subject.charon.commands
        del commands[:]
        await subject.quiet(3600.0)
        assert {name for name, _ in commands} == {"list-sas", "list-conns", "get-shared"}
        assert len(commands) <= 3 * 3600 / LOOK + 3
        assert repaired(subject) == []


@simulated
async def test_charon_s_own_restart_is_no_repair() -> None:
    async with up() as subject:
        subject.charon.end()
        await subject.quiet()
        subject.charon.start()
        await subject.both_up()
        assert repaired(subject) == []


@simulated
async def test_a_failed_authentication_loads_ours_again_before_anything_is_blamed() -> None:
    async with host() as subject:
        subject.charon.outcomes = dict.fromkeys(BOTH, WRONG_PSK)
        subject.charon.swanctl_load_creds("ike-1", "ike-2")
        await until(lambda: subject.peer().attempts == 2)
        assert subject.peer().problem is None
        assert len(subject.charon.asked("load-shared")) == 2
        await until(lambda: subject.peer().problem is not None)
        assert (subject.peer().problem_code, subject.peer().attempts) == ("psk_or_identity", 2)
        assert "other programs (ike-1, ike-2), but does not say for which identities" in str(subject.peer().problem)
        assert subject.log.events().count("peer_not_loaded") == 0
        subject.charon.outcomes = {}
        await subject.both_up()
        assert next(iter(subject.charon.shared)) == KEY


@simulated
async def test_a_key_loaded_after_ours_for_the_same_identities_costs_one_attempt() -> None:
    async with up() as subject:
        charon = subject.charon

        def is_accepted() -> bool:
            return next(iter(charon.shared)) == KEY

        charon._load_shared({"id": "ike-1", "owners": ["222.45.67.1", "177.54.214.20"]})
        charon.outcomes = dict.fromkeys(BOTH, WRONG_PSK)
        charon.delete()
        await until(is_accepted)
        charon.outcomes = {}
        assert await until(lambda: subject.up(*BOTH)) < 0.5
        assert "attempt_failed" not in subject.log.events(without="debug")


@simulated
async def test_a_peer_with_one_child_is_tried_again_without_a_pause_as_well() -> None:
    async with host(article(children=(gre(),), retry_min=30.0)) as subject:
        subject.charon.outcomes[GRE] = WRONG_PSK
        await until(lambda: subject.peer().attempts == 1)
        assert await until(lambda: subject.peer().attempts == 2) < 0.5
        await subject.quiet(25.0)
        assert subject.peer().attempts == 2, "the second failure counts"


@simulated
async def test_a_foreign_connection_and_its_sa_are_named_while_they_are_there() -> None:
    def named(subject: Host) -> list[str]:
        return [problem.code for problem in subject.agent.problems() if problem.subject == GRE]

    async with up() as subject:
        ours = subject.charon.conns["dc"]
        subject.charon.conns["theirs"] = {**ours, "children": {"x": ours["children"][GRE]}}
        assert await until(lambda: named(subject) == ["foreign_connection"]) <= LOOK + 0.1
        subject.charon.peer_initiates("theirs", "x")
        assert await until(lambda: named(subject) == ["foreign_connection", "foreign_sa"]) <= LOOK + 0.1
        del subject.charon.conns["theirs"]
        subject.charon.sas = [ike for ike in subject.charon.sas if ike.name == "dc"]
        assert await until(lambda: named(subject) == []) <= LOOK + 0.1
        assert subject.up_counts() == [1, 1]
