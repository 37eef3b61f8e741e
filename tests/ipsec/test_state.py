from math import inf
from random import Random
from typing import Any, Literal

import pytest

from mcastd.ipsec.messages import PeerWithKey
from mcastd.ipsec.sas import IkeSa, Section, ike_sas
from mcastd.ipsec.state import ChildView, PeerState
from mcastd.problems import Problem
from mcastd.status import ChildStatus, PeerStatus
from tests.ipsec.charons import CLOUD, DC, PSK, article, gre, tcp

GRE, TCP = "dc-tun-gre", "dc-tun-tcp"
SILENT = Problem("no_answer", GRE, "no answer")
GONE = Problem("charon_gone", "charon", "charon is gone")

CHILD: dict[str, Any] = {
    "name": b"dc-tun-gre",
    "uniqueid": b"3",
    "state": b"INSTALLED",
    "mode": b"TRANSPORT",
    "encap": b"yes",
    "spi-in": b"c68f3599",
    "spi-out": b"2fb517a3",
    "encr-alg": b"AES_GCM_16",
    "encr-keysize": b"256",
    "bytes-in": b"1",
    "packets-in": b"2",
    "bytes-out": b"3",
    "packets-out": b"4",
    "rekey-time": b"100",
    "install-time": b"10",
}
IKE: dict[str, Any] = {
    "uniqueid": b"7",
    "state": b"ESTABLISHED",
    "encr-alg": b"AES_CBC",
    "integ-alg": b"HMAC_SHA2_256_128",
    "dh-group": b"MODP_2048",
    "nat-local": b"yes",
    "established": b"20",
    "rekey-time": b"300",
    "reauth-time": b"900",
}


def state(**changes: Any) -> PeerState:
    return PeerState(PeerWithKey(article(**changes), PSK), Random(1))


def listed(*children: tuple[str, int, str], ike: str = "ESTABLISHED", name: str = "dc", number: int = 1) -> list[IkeSa]:
    sas: Section = {
        f"{child}-{n}": {"name": child.encode(), "uniqueid": str(n).encode(), "state": mode.encode()}
        for child, n, mode in children
    }
    return list(ike_sas({name: {"uniqueid": str(number).encode(), "state": ike.encode(), "child-sas": sas}}))


def detailed(**child: bytes) -> list[IkeSa]:
    changes = {key.replace("_", "-"): value for key, value in child.items()}
    return list(ike_sas({"dc": {**IKE, "child-sas": {"x": {**CHILD, **changes}}}}))


def update(peer: PeerState, sas: list[IkeSa], now: float) -> list[str | None]:
    """The names of what came up or went down; None is the IKE_SA."""
    return [None if child is None else child.desired.name for child in peer.update(tuple(sas), now)]


def names(peer: PeerState, now: float) -> list[str]:
    """What is due: one CHILD_SA, or none."""
    return [child.desired.name] if (child := peer.due(now)) is not None else []


def in_turn(peer: PeerState, now: float) -> list[str]:
    """All that are due, in the order in which they are tried."""
    before = {name: child.backoff.next_try for name, child in peer.children.items()}
    found = []
    while (child := peer.due(now)) is not None:
        found.append(child.desired.name)
        child.backoff.next_try = inf
    for name, next_try in before.items():
        peer.children[name].backoff.next_try = next_try
    return found


def number(peer: PeerState, child: str = GRE) -> int | None:
    sa = peer.children[child].sa
    return sa.uniqueid if sa is not None else None


# What is due


def test_one_child_is_tried_at_a_time_whether_or_not_the_ike_sa_is_up() -> None:
    peer = state()
    assert (names(peer, 0.0), peer.next_try()) == ([GRE], 0.0)
    peer.children[GRE].trying_since = 0.0
    assert (names(peer, 0.0), peer.next_try()) == ([], None)
    update(peer, listed(), 0.1)
    assert (names(peer, 0.1), peer.next_try()) == ([], None)
    peer.children[GRE].trying_since = None
    assert (names(peer, 0.1), peer.next_try()) == ([GRE], 0.1)
    update(peer, listed((GRE, 1, "INSTALLED")), 0.1)
    assert (names(peer, 0.1), peer.next_try()) == ([TCP], 0.1)


def test_the_one_that_has_waited_longest_comes_first() -> None:
    peer = state()
    peer.children[GRE].backoff.next_try = 2.0
    peer.children[TCP].backoff.next_try = 1.0
    assert [names(peer, now) for now in (0.5, 1.0, 2.0)] == [[], [TCP], [TCP]]
    assert peer.next_try() == 1.0
    update(peer, listed(), 2.0)
    peer.children[GRE].backoff.next_try = 2.0
    peer.children[TCP].backoff.next_try = 1.0
    assert in_turn(peer, 2.0) == [TCP, GRE]


def test_without_an_ike_sa_the_others_wait_with_the_one_that_failed_and_then_take_their_turn() -> None:
    peer = state()
    peer.failed(peer.children[GRE], 0.0)
    assert names(peer, 0.5) == []
    assert peer.next_try() == 1.0
    assert names(peer, 1.0) == [TCP]


def test_a_child_that_fails_on_an_ike_sa_that_is_up_delays_no_other() -> None:
    peer = state()
    update(peer, listed(), 0.0)
    peer.failed(peer.children[GRE], 0.0)
    assert names(peer, 0.0) == [TCP]
    assert peer.next_try() == 0.0
    assert peer.hold_until == 0.0
    peer.failed(peer.children[TCP], 0.0)
    assert (names(peer, 0.5), peer.next_try()) == ([], 1.0)


def test_with_an_ike_sa_nothing_is_held_that_was_held_without() -> None:
    peer = state()
    peer.hold_until = 100.0
    assert (names(peer, 50.0), peer.next_try()) == ([], 100.0)
    update(peer, listed(), 50.0)
    assert (in_turn(peer, 50.0), peer.hold_until) == ([GRE, TCP], 50.0)


def test_when_the_ike_sa_comes_up_what_failed_for_the_want_of_it_is_due_at_once() -> None:
    peer = state()
    for child in peer.children.values():
        child.backoff.failed(0.0)
    trying = peer.children[TCP]
    trying.trying_since, before = 0.5, trying.backoff.next_try
    update(peer, listed(), 0.6)
    assert peer.children[GRE].backoff.next_try == 0.6
    assert trying.backoff.next_try == before, "the attempt in flight has a result of its own"
    trying.trying_since = None
    peer.children[GRE].backoff.failed(0.6)
    update(peer, listed(), 0.7)
    assert names(peer, 0.7) == [], "it was up already"


def test_nothing_is_due_that_is_up() -> None:
    peer = state()
    update(peer, listed((GRE, 1, "INSTALLED"), (TCP, 2, "INSTALLED")), 0.0)
    assert (names(peer, 0.0), peer.next_try()) == ([], None)


def test_after_a_restart_of_charon_all_is_tried_at_once() -> None:
    peer = state()
    for child in peer.children.values():
        peer.failed(child, 0.0)
        peer.failed(child, 0.0)
    peer.try_all(0.1)
    assert names(peer, 0.1) == [GRE]
    peer.failed(peer.children[GRE], 0.1)
    assert peer.hold_until == 1.1, "by the shortest back-off again"


# Listings


def test_coming_up_and_going_down_are_reported_once_and_counted() -> None:
    peer, up = state(), listed((GRE, 1, "INSTALLED"))
    assert update(peer, up, 0.0) == [None, GRE]
    assert update(peer, up, 1.0) == []
    assert update(peer, [], 2.0) == [None, GRE]
    assert peer.children[GRE].view() == ChildView(False, 1)
    update(peer, up, 3.0)
    assert peer.children[GRE].view().up_count == 2


def test_a_lost_child_is_due_at_once_and_then_by_its_back_off() -> None:
    peer = state()
    for now, due in ((0.0, [TCP, GRE]), (1.0, [TCP])):
        update(peer, listed((GRE, 1, "INSTALLED")), now)
        update(peer, listed(), now + 0.1)
        assert in_turn(peer, now + 0.1) == due


def test_one_that_was_up_for_long_begins_its_back_off_again() -> None:
    peer = state()
    update(peer, listed((GRE, 1, "INSTALLED")), 0.0)
    update(peer, listed(), 0.1)
    update(peer, listed((GRE, 2, "INSTALLED")), 0.2)
    update(peer, listed(), 20.0)
    assert in_turn(peer, 20.0) == [TCP, GRE]


def test_during_a_rekeying_the_child_stays_up_on_the_one_that_is_installed() -> None:
    peer = state()
    update(peer, listed((GRE, 1, "INSTALLED")), 0.0)
    assert update(peer, listed((GRE, 1, "REKEYED"), (GRE, 2, "INSTALLED")), 1.0) == []
    assert number(peer) == 2
    update(peer, listed((GRE, 9, "REKEYED"), (GRE, 2, "INSTALLED")), 1.0)
    assert number(peer) == 2, "rather than one that is replaced"
    update(peer, listed((GRE, 2, "INSTALLED"), (GRE, 3, "INSTALLED")), 1.0)
    assert number(peer) == 3, "the newest"
    update(peer, listed((GRE, 4, "REKEYING"), (GRE, 3, "REKEYED")), 1.0)
    assert number(peer) == 4
    assert update(peer, listed((GRE, 1, "DELETING"), (GRE, 2, "INSTALLED")), 2.0) == []


@pytest.mark.parametrize("mode", ["CREATED", "ROUTED", "INSTALLING", "DELETING", "DELETED", "RETRYING", "DESTROYING"])
def test_in_other_states_a_child_is_not_up(mode: str) -> None:
    peer = state()
    assert update(peer, listed((GRE, 1, mode)), 0.0) == [None]


@pytest.mark.parametrize("ike", ["DELETING", "CONNECTING", "CREATED", "DESTROYING"])
def test_a_half_open_or_ending_ike_sa_carries_nothing(ike: str) -> None:
    assert update(state(), listed((GRE, 1, "INSTALLED"), ike=ike), 0.0) == []


def test_the_newest_ike_sa_that_is_up_counts() -> None:
    peer = state()
    sas = [*listed(number=2), *listed(number=3, ike="CONNECTING"), *listed(number=1)]
    update(peer, sas, 0.0)
    assert peer.sa is not None
    assert peer.sa.uniqueid == 2


def test_sas_of_other_connections_are_not_looked_at() -> None:
    assert update(state(), listed((GRE, 1, "INSTALLED"), name="another"), 0.0) == []


def test_what_comes_up_has_no_problem_any_more() -> None:
    peer = state()
    peer.problem = peer.children[GRE].problem = peer.children[TCP].problem = GONE
    update(peer, listed((GRE, 1, "INSTALLED")), 0.0)
    problems = [peer.problem, *(child.problem for child in peer.children.values())]
    assert problems == [None, None, GONE]
    peer.problem = peer.children[GRE].problem = SILENT
    update(peer, listed((GRE, 1, "INSTALLED")), 1.0)
    assert (peer.problem, peer.children[GRE].problem) == (SILENT, SILENT), "it was up already"


def test_the_view_of_a_child_that_is_up() -> None:
    peer = state()
    update(peer, detailed(integ_alg=b"X"), 100.0)
    assert peer.children[GRE].view() == ChildView(True, 1, True, "AES_GCM_16", "X")
    update(peer, detailed(encap=b"no"), 100.0)
    assert not peer.children[GRE].view().encap


# Configurations


def test_a_reload_keeps_what_is_up_and_tries_the_rest_at_once() -> None:
    peer = state()
    update(peer, listed((GRE, 1, "INSTALLED")), 0.0)
    peer.failed(peer.children[TCP], 0.0)
    before = peer.children[GRE].backoff.next_try = 77.0
    peer.configure(PeerWithKey(article(), b"another"), 0.5)
    assert names(peer, 0.5) == [TCP]
    assert peer.children[GRE].view().up_count == 1
    assert peer.children[GRE].backoff.next_try == before
    assert (peer.load_retry_at, peer.hold_until) == (0.5, 0.5)
    peer.configure(PeerWithKey(article(children=(gre(),)), b"another"), 0.5)
    assert list(peer.children) == [GRE]


def test_a_reload_changes_the_bounds_of_the_back_off_and_what_is_desired() -> None:
    peer = state()
    peer.configure(PeerWithKey(article(retry_min=30.0, retry_max=30.0, children=(gre(lifetime=9.0),)), PSK), 0.0)
    peer.failed(peer.children[GRE], 0.0)
    assert peer.children[GRE].backoff.next_try == 30.0
    assert peer.children[GRE].desired.lifetime == 9.0
    peer.configure(PeerWithKey(article(retry_min=30.0, retry_max=40.0, children=(tcp(),)), PSK), 5.0)
    assert names(peer, 5.0) == [TCP]
    peer.failed(peer.children[TCP], 5.0)
    assert peer.children[TCP].backoff.next_try == 35.0


def test_it_is_loaded_when_charon_has_what_is_desired() -> None:
    peer = state()
    loaded = [peer.is_loaded]
    peer.loaded = peer.desired
    loaded.append(peer.is_loaded)
    peer.configure(PeerWithKey(article(), b"another"), 0.0)
    assert [*loaded, peer.is_loaded] == [False, True, False]


# Status and problems


def test_the_status_of_what_is_up_is_that_of_the_last_listing() -> None:
    peer = state(children=(gre(protocol="gre", replay_window=64), tcp()))
    update(peer, detailed(use_in=b"2"), 100.0)
    peer.attempts = 3
    up, down = peer.status(104.0, 101.0).children
    assert peer.status(104.0, 101.0) == PeerStatus(
        name="dc", state="up", local=CLOUD, remote=DC, local_id=CLOUD, remote_id=DC, nat_local=True, nat_remote=False,
        proposal="AES_CBC/HMAC_SHA2_256_128/MODP_2048", uptime=24.0, rekey_in=297.0, reauth_in=897.0, attempts=3,
        children=(up, down),
    )  # fmt: skip
    assert up == ChildStatus(
        name=GRE, state="up", local_ts="10.44.6.1/32", remote_ts="10.44.7.1/32", proposal="AES_GCM_16-256", encap=True,
        mode="transport", spi_in="c68f3599", spi_out="2fb517a3", bytes_in=1, packets_in=2, bytes_out=3, packets_out=4,
        last_in_age=5.0, uptime=14.0, rekey_in=97.0, protocol="gre", replay_window=64,
    )  # fmt: skip
    assert down == ChildStatus(name=TCP, state="down", local_ts="10.45.8.16/28", remote_ts="100.15.30.0/24")


def test_a_time_that_is_over_is_zero() -> None:
    peer = state()
    update(peer, detailed(), 100.0)
    status = peer.status(2000.0, 100.0)
    assert (status.rekey_in, status.reauth_in, status.children[0].rekey_in) == (0.0, 0.0, 0.0)
    update(peer, detailed(rekey_time=b"-7"), 100.0)
    assert peer.status(100.0, 100.0).children[0].rekey_in == 0.0


def test_a_child_on_an_xfrm_interface_shows_that_as_its_mode() -> None:
    peer = state(children=(gre(mode="interface", if_id=31),))
    assert peer.status(0.0, 0.0).children[0].if_id == 31
    update(peer, detailed(if_id_in=b"0000001e"), 0.0)
    (child,) = peer.status(0.0, 0.0).children
    assert (child.mode, child.if_id) == ("interface", 30)


def test_status_says_what_is_waited_for() -> None:
    peer = state()
    child = peer.children[GRE]
    child.trying_since = 0.0
    assert [peer.status(0.0, 0.0).state, child.state(0.0)] == ["connecting", "connecting"]
    child.trying_since, child.problem = None, SILENT
    peer.failed(child, 0.0)
    status = peer.status(0.25, 0.0)
    assert (status.state, status.problem, status.problem_code) == ("waiting", "no answer", "no_answer")
    waiting, idle = status.children
    assert (waiting.state, waiting.next_try_in, waiting.problem_code) == ("waiting", 0.75, "no_answer")
    assert (idle.state, idle.next_try_in, idle.problem) == ("down", None, None)
    child.trying_since = 0.5
    assert peer.status(0.5, 0.0).children[0].next_try_in is None
    child.trying_since = None
    assert [peer.status(1.0, 0.0).state, child.state(1.0)] == ["down", "down"]


def test_the_problem_of_a_peer_is_its_own_or_without_an_ike_sa_that_of_a_child() -> None:
    peer = state()
    peer.children[TCP].problem = SILENT
    assert peer.status(0.0, 0.0).problem_code == "no_answer"
    peer.problem = GONE
    assert (peer.status(0.0, 0.0).problem, peer.status(0.0, 0.0).problem_code) == ("charon is gone", "charon_gone")
    update(peer, listed(), 0.0)
    status = peer.status(0.0, 0.0)
    assert (status.problem, status.problem_code, status.children[1].problem) == (None, None, "no answer")


def test_problems_are_the_peer_or_else_its_children() -> None:
    peer = state()
    assert list(peer.problems(0.0)) == [Problem("peer_down", "dc", "peer dc is down")]
    peer.children[GRE].trying_since = 0.0
    assert [problem.text for problem in peer.problems(0.0)] == ["peer dc is connecting"]
    peer.children[GRE].trying_since = None
    update(peer, listed((TCP, 1, "INSTALLED")), 0.0)
    peer.failed(peer.children[GRE], 0.0)
    assert list(peer.problems(0.0)) == [Problem("child_sa_down", GRE, f"child {GRE} is waiting")]
    update(peer, listed((TCP, 1, "INSTALLED"), (GRE, 2, "INSTALLED")), 0.0)
    assert list(peer.problems(0.0)) == []


# Lifetimes


def lifetimes(peer: PeerState, established: int, rekey: int, installed: int, life: int) -> list[str]:
    child: Section = {**CHILD, "install-time": str(installed).encode(), "life-time": str(life).encode()}
    times = {"established": str(established).encode(), "rekey-time": str(rekey).encode()}
    ike: Section = {"uniqueid": b"1", "state": b"ESTABLISHED", **times, "child-sas": {"x": child}}
    peer.update(ike_sas({"dc": ike}), 0.0)
    return peer.notes()


@pytest.mark.parametrize("version", [2, 1])
def test_lifetimes_that_the_file_does_not_have_are_noted_but_in_ikev1_where_they_may_be_the_peer_s(
    version: Literal[1, 2],
) -> None:
    """There, the shorter of both sides' counts."""
    noted = [note.partition(",")[0] for note in lifetimes(state(version=version), 10, 100, 10, 110)]
    ike = "peers.dc.lifetime: the IKE_SA that is up has another one"
    child = "peers.dc.children.dc-tun-gre.lifetime: the CHILD_SA that is up has 2m"
    assert noted == ([ike, child] if version == 2 else [])


def test_lifetimes_as_in_the_file_are_not_noted() -> None:
    peer = state(lifetime=1000.0, children=(gre(lifetime=600.0), tcp()))
    assert peer.notes() == []
    assert lifetimes(peer, 100, 780, 100, 500) == []
    assert len(lifetimes(peer, 100, 500, 100, 500)) == 1
    assert len(lifetimes(peer, 100, 780, 100, 400)) == 1


def test_an_ike_sa_that_ended_is_counted_unless_it_comes_again_or_it_was_from_here() -> None:
    peer = state()
    update(peer, [], 0.0)
    update(peer, listed(), 1.0)
    update(peer, listed(ike="DELETING"), 2.0)
    update(peer, listed(ike="CONNECTING", number=2), 3.0)  # charon reauthenticates
    update(peer, listed(number=2), 4.0)
    assert peer.losses == 0
    update(peer, listed(ike="DELETING", number=2), 5.0)
    assert peer.losses == 0
    update(peer, [], 6.0)
    update(peer, [], 7.0)
    assert peer.losses == 1
    update(peer, listed(number=3), 8.0)
    peer.is_ended_here = True
    update(peer, [], 9.0)
    update(peer, listed(number=4), 10.0)
    assert peer.losses == 1
    peer.update((), 11.0, charon_gone=True)
    assert peer.losses == 1
    update(peer, listed(number=5), 12.0)
    update(peer, [], 13.0)
    assert peer.losses == 2
