from random import Random
from typing import Any, Literal

import pytest

from mcastd.ipsec.messages import PeerWithKey
from mcastd.ipsec.sas import IkeSa, Section, ike_sas
from mcastd.ipsec.state import PeerState
from mcastd.problems import Problem
from tests.ipsec.charons import PSK, article, gre


def state() -> PeerState:
    return PeerState(PeerWithKey(article(), PSK), Random(1))


def listed(*children: tuple[str, int, str], ike: str = "ESTABLISHED") -> tuple[IkeSa, ...]:
    sas: Section = {}
    for name, number, mode in children:
        sas[f"{name}-{number}"] = {"name": name.encode(), "uniqueid": str(number).encode(), "state": mode.encode()}
    return ike_sas({"dc": {"uniqueid": b"1", "state": ike.encode(), "child-sas": sas}})


def names(peer: PeerState, now: float) -> list[str]:
    return [child.desired.name for child in peer.due(now)]


def test_one_child_is_tried_until_the_ike_sa_is_up_and_then_all() -> None:
    peer = state()
    assert names(peer, 0.0) == ["dc-tun-gre"]
    peer.children["dc-tun-gre"].trying_since = 0.0
    assert names(peer, 0.0) == []
    peer.update(listed(), 0.1)
    assert names(peer, 0.1) == ["dc-tun-tcp"]


def test_without_an_ike_sa_the_others_wait_with_the_one_that_failed_and_then_take_their_turn() -> None:
    peer = state()
    peer.failed(peer.children["dc-tun-gre"], 0.0)
    assert names(peer, 0.5) == []
    assert peer.next_try(0.5) == 1.0
    assert names(peer, 1.0) == ["dc-tun-tcp"]


def test_a_child_that_fails_on_an_ike_sa_that_is_up_delays_no_other() -> None:
    peer = state()
    peer.update(listed(), 0.0)
    peer.failed(peer.children["dc-tun-gre"], 0.0)
    assert names(peer, 0.0) == ["dc-tun-tcp"]


def test_coming_up_and_going_down_are_reported_once_and_counted() -> None:
    peer, up = state(), listed(("dc-tun-gre", 1, "INSTALLED"))
    first = peer.update(up, 0.0)
    child = peer.children["dc-tun-gre"]
    assert (first, child.view().up, peer.sa is not None) == ([None, child], True, True)
    assert peer.update(up, 1.0) == []
    assert (peer.update((), 2.0), child.view().up, peer.sa) == ([None, child], False, None)
    peer.update(up, 3.0)
    assert peer.children["dc-tun-gre"].view().up_count == 2


def test_during_a_rekey_the_child_stays_up_on_the_one_that_is_installed() -> None:
    peer = state()
    peer.update(listed(("dc-tun-gre", 1, "INSTALLED")), 0.0)
    assert peer.update(listed(("dc-tun-gre", 1, "REKEYED"), ("dc-tun-gre", 2, "INSTALLED")), 1.0) == []
    assert peer.update(listed(("dc-tun-gre", 1, "DELETING"), ("dc-tun-gre", 2, "INSTALLED")), 2.0) == []
    sa = peer.children["dc-tun-gre"].sa
    assert sa is not None
    assert sa.uniqueid == 2


def test_a_half_open_or_ending_ike_sa_carries_nothing() -> None:
    peer = state()
    assert peer.update(listed(("dc-tun-gre", 1, "INSTALLED"), ike="DELETING"), 0.0) == []
    assert peer.update(listed(ike="CONNECTING"), 0.0) == []


def test_status_says_what_is_waited_for() -> None:
    peer = state()
    child = peer.children["dc-tun-gre"]
    child.trying_since = 0.0
    assert peer.status(0.0, 0.0).state == "connecting"
    child.trying_since, child.problem = None, Problem("no_answer", "dc-tun-gre", "no answer")
    peer.failed(child, 0.0)
    status = peer.status(0.25, 0.0)
    assert (status.state, status.problem, status.problem_code) == ("waiting", "no answer", "no_answer")
    assert status.children[0].next_try_in == 0.75


def test_a_reload_keeps_what_is_up_and_tries_the_rest_at_once() -> None:
    peer = state()
    peer.update(listed(("dc-tun-gre", 1, "INSTALLED")), 0.0)
    peer.failed(peer.children["dc-tun-tcp"], 0.0)
    peer.configure(PeerWithKey(article(), b"another"), 0.5)
    assert names(peer, 0.5) == ["dc-tun-tcp"]
    assert peer.children["dc-tun-gre"].view().up_count == 1
    peer.configure(PeerWithKey(article(children=(gre(),)), b"another"), 0.5)
    assert list(peer.children) == ["dc-tun-gre"]


@pytest.mark.parametrize("version", [2, 1])
def test_lifetimes_that_the_file_does_not_have_are_noted_but_in_ikev1_where_they_may_be_the_peer_s(
    version: Literal[1, 2],
) -> None:
    """There, the shorter of both sides' counts."""
    peer = PeerState(PeerWithKey(article(version=version), b"psk"), Random(1))
    child: dict[str, Any] = {"name": b"dc-tun-gre", "uniqueid": b"1", "state": b"INSTALLED"}
    times = {"install-time": b"10", "life-time": b"110"}
    ike: dict[str, Any] = {"uniqueid": b"1", "state": b"ESTABLISHED", "established": b"10", "rekey-time": b"100"}
    peer.update(ike_sas({"dc": {**ike, "child-sas": {"x": {**child, **times}}}}), 0.0)
    noted = [note.partition(":")[0] for note in peer.notes()]
    assert noted == (["peers.dc.lifetime", "peers.dc.children.dc-tun-gre.lifetime"] if version == 2 else [])
