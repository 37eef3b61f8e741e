"""The walk: each problem is found at its hop, what is no fault is not, and what is said beside it."""

import dataclasses
from ipaddress import IPv4Address
from typing import get_args

import pytest
from msgspec.structs import replace

from mcastd.config.digest import digest
from mcastd.errors import ConfigProblem
from mcastd.links import NextHop
from mcastd.net.gre import GreOptions
from mcastd.problems import ProblemCode
from mcastd.status import (
    HistoryStatus,
    KeepaliveStatus,
    PimStatus,
    RouteStatus,
    Status,
)
from mcastd.tools.doctor.facts import (
    Downstream,
    Esp,
    Facts,
    Multicast,
    Probe,
    Stream,
    Wire,
)
from mcastd.tools.doctor.firewall import Rule
from mcastd.tools.doctor.proc import UdpSocket
from mcastd.tools.doctor.walk import HOPS, walk
from tests.tools.doctor.cases import CASES
from tests.tools.doctor.observed import (
    GATEWAY,
    GROUP,
    HOST,
    PEER,
    PORT,
    REMOTE,
    SILENT,
    SOURCE,
    STREAM,
    child,
    config,
    facts,
    flowed,
    forwarded,
    gre_seen,
    guard,
    keepalive,
    overdue,
    peer,
    reported,
    seen,
    status,
    tunnel,
    unforwarded,
    wire,
    without_gre,
)


def literals(of: object) -> list[ProblemCode]:
    """The values of a Literal, also of one made of others."""
    return list(get_args(of))


def test_a_healthy_path_passes_every_hop() -> None:
    found = walk(facts())
    assert found.finding is None
    assert found.well == tuple(HOPS)
    assert found.notes == ()


@pytest.mark.parametrize("case", CASES)
def test_each_problem_is_found(case: str) -> None:
    problem, broken = CASES[case]
    found = walk(broken)
    assert found.finding is not None
    assert found.finding.problem == problem
    assert found.finding.hop == tuple(HOPS)[len(found.well)]


def test_what_the_guard_held_back_before_the_children_were_up_is_no_fault() -> None:
    held = status(firewall=guard(leaks_out=7, leaks_in=7))
    assert walk(facts(before=held, status=held)).finding is None


def test_a_quiet_child_is_no_fault_while_the_feed_comes() -> None:
    assert walk(facts(status=status(peers=(peer(children=(child(packets_in=100),)),)))).finding is None


def test_esp_that_passes_as_it_should_is_no_fault() -> None:
    assert walk(flowed(1500, 9)).finding is None


def test_more_esp_than_was_looked_at_is_not_compared() -> None:
    much = Wire({1: Esp(PEER, 20_000)}, complete=False)
    assert walk(flowed(10, 9, wire_in=much, wire_out=Wire(complete=False))).finding is None


def test_esp_of_others_with_the_same_peer_is_no_fault_beside_ours() -> None:
    both = Wire({1: Esp(PEER, 10), 9: Esp(PEER, 500)})
    assert walk(flowed(10, 9, wire_in=both)).finding is None


def test_some_loss_hides_no_other_fault() -> None:
    lossy = overdue(peers=(peer(children=(child(packets_in=1500),)),))
    found = walk(facts(status=lossy, wire_in=wire(1, 1400, missing=100), tunnels={"gre1": seen(**SILENT)}))
    assert [one.problem for one in found.findings] == ["silent", "lost_on_the_way"]


def test_esp_of_an_sa_that_is_being_replaced_is_no_fault() -> None:
    assert walk(flowed(0, 9, wire_in=wire(7, 1500))).finding is None


def test_children_that_were_made_anew_are_not_compared() -> None:
    renewed = status(peers=(peer(children=(child(spi_in="5", spi_out="6", packets_in=0),)),))
    assert walk(facts(status=renewed, wire_in=wire(5, 900))).finding is None


def test_a_neighbor_that_is_still_waited_for_is_no_fault() -> None:
    found = walk(facts(status=status(tunnels=(tunnel(pim=PimStatus(running=True)),))))
    assert found.finding is None
    assert [note.hop for note in found.notes] == ["neighbor"]


def test_the_configuration_that_the_daemon_has_is_no_fault() -> None:
    assert walk(facts(status=status(config_digest=digest(config())))).finding is None


def test_a_group_that_was_joined_during_the_look_is_not_judged() -> None:
    young = tuple(replace(group, uptime=1.0) for group in status().groups)
    found = walk(facts(status=status(groups=young), tunnels={"gre1": seen(**SILENT)}))
    assert found.finding is None
    assert [note.hop for note in found.notes] == ["packets_on_the_tunnel"]


def test_what_is_odd_but_carries_is_a_note() -> None:
    stopped = KeepaliveStatus(reply=True, answered=9, last_age=40.0, stopped=True)
    few = wire(1, 1500, missing=2)
    told = status(tunnels=(tunnel(keepalive=stopped),), peers=(peer(children=(child(packets_in=1600),)),))
    found = walk(facts(status=told, wire_in=few, multicast_routers=frozenset({"gre1"})))
    assert found.finding is None
    assert [note.hop for note in found.notes] == ["keepalives", "neighbor", "loss"]


def test_a_far_end_that_answers_no_echo_is_no_fault() -> None:
    assert walk(flowed(1500, 2, tunnels={"gre1": seen(probe=Probe(1398))})).finding is None


def test_more_packets_than_were_looked_at_leave_no_stream_silent() -> None:
    other = Stream(IPv4Address("239.9.9.9"), SOURCE, PORT)
    found = walk(facts(tunnels={"gre1": seen(arrived=Multicast({other: 20_000}, capped=True))}))
    assert found.finding is None


def test_fragments_are_a_note() -> None:
    found = walk(facts(tunnels={"gre1": seen(arrived=Multicast({STREAM: 1500}, fragments=12))}))
    assert found.finding is None
    assert [note.hop for note in found.notes] == ["mtu"]
    assert "12 fragments" in found.notes[0].text


def test_notes_on_strongswans_settings_are_charons() -> None:
    noted = (
        ConfigProblem("mcastd.toml", 3, "daemon.strongswan_conf", "make_before_break is not on"),
        ConfigProblem("mcastd.toml", 9, "tunnels.gre1.child", "GRE goes in the clear"),
    )
    found = walk(facts(config_notes=noted))
    assert found.finding is None
    assert [(note.hop, note.text) for note in found.notes] == [
        ("configuration", "mcastd.toml:9: tunnels.gre1.child: GRE goes in the clear"),
        ("charon", "make_before_break is not on"),
    ]


def test_a_sequence_number_that_is_not_expected_is_no_fault_and_one_that_is_missing_is() -> None:
    def problem(*, expected: bool, sent: bool) -> str:
        had = config()
        found = walk(
            facts(
                config=replace(had, tunnels=(replace(had.tunnels[0], gre=GreOptions(sequence=expected)),)),
                status=status(),
                tunnels={"gre1": seen(received=0)},
                gre_seen={gre_seen(sequence=0 if sent else None): 2},
            )
        ).finding
        assert found is not None
        return found.saw if found.problem == "gre_options" else found.problem

    assert problem(expected=False, sent=True) == "gre_dropped_here"
    assert problem(expected=True, sent=True) == "gre_dropped_here"
    missing = problem(expected=True, sent=False)
    assert missing.endswith("has no sequence numbers, unlike tunnel gre1")


TAKEN = status(tunnels=(tunnel(routes=(RouteStatus(prefix="239.0.0.0/8", table=254, state="taken"),)),))


def test_a_route_of_others_is_a_note() -> None:
    found = walk(facts(status=TAKEN))
    assert found.finding is None
    assert [note.hop for note in found.notes] == ["packets_at_an_application"]
    assert "leads 239.0.0.0/8 elsewhere than to gre1" in found.notes[0].text


@pytest.mark.parametrize(
    ("told", "way", "words"),
    [
        (TAKEN, "eth0", "has joined it on eth0; a route of another program leads 239.0.0.0/8 to eth0"),
        (TAKEN, None, "has joined it on eth0; a route of another program leads 239.0.0.0/8 elsewhere"),
        (status(), "eth0", "has joined it on eth0; the route to it leads to eth0"),
        (status(), "gre1", "has joined it on eth0"),
    ],
)
def test_an_application_on_another_interface_is_told_what_led_it_there(
    told: Status, way: str | None, words: str
) -> None:
    joined = {"eth0": frozenset({GROUP})}
    found = walk(facts(status=told, memberships=joined, tunnels={"gre1": seen(route_to={SOURCE: "eth0", GROUP: way})}))
    assert found.finding is not None
    assert found.finding.problem == "wrong_interface"
    assert found.finding.saw.endswith(words)


LEAKING = {"before": status(), "status": status(firewall=guard(leaks_out=4))}
NAT_T = UdpSocket(IPv4Address(0), 4500, 0, 9, 98)


@pytest.mark.parametrize(
    ("seen_", "words"),
    [
        (facts(**LEAKING, tunnels={"gre1": seen(route_to={REMOTE: "eth0"})}), "; the route to 10.44.7.1 is by eth0"),
        (facts(**LEAKING, tunnels={"gre1": seen(route_to={REMOTE: None})}), "; there is no route to 10.44.7.1"),
        (
            facts(**LEAKING, tunnels={"gre1": seen(route_to={REMOTE: "lo"})}),
            "; 10.44.7.1 is an address of this host",
        ),
        (
            flowed(9, 9, wire_out=Wire(), counters={"Xfrm.OutNoStates": 9, "Xfrm.InNoStates": 3}),
            "no ESP left this host; the kernel counted 9 XfrmOutNoStates",
        ),
        (
            flowed(0, 9, wire_in=wire(1, 99), counters={"Xfrm.InStateProtoError": 99, "Xfrm.OutError": 2}),
            "0 were decrypted; the kernel counted 99 XfrmInStateProtoError",
        ),
        (
            flowed(0, 9, wire_in=wire(1, 99), sockets=(NAT_T,)),
            "0 were decrypted; charon's socket was full for 98",
        ),
    ],
)
def test_what_was_seen_beside_it_is_told(seen_: Facts, words: str) -> None:
    found = walk(seen_).finding
    assert found is not None
    assert found.saw.endswith(words)


@pytest.mark.parametrize(
    "well",
    [
        facts(status=status(tunnels=keepalive(child_down=4)), before=status(tunnels=keepalive(child_down=4))),
        facts(tunnels={"gre1": seen(delivered={STREAM: 1200})}),
        flowed(99, 9, wire_in=Wire({1: Esp(PEER, 120, 0, 0)}, complete=False)),
    ],
    ids=["keepalives before the child was up", "most is delivered", "more on the wire than was looked at"],
)
def test_what_is_no_fault(well: Facts) -> None:
    assert walk(well).finding is None


@pytest.mark.parametrize("code", literals(ProblemCode))
def test_something_is_broken_as_long_as_status_has_a_problem(code: ProblemCode) -> None:
    assert walk(reported(code)).finding is not None


def test_what_was_repaired_is_a_note_and_what_began_once_is_none() -> None:
    told = (
        HistoryStatus("repaired", "gre1", "link set up", 12, 3.0),
        HistoryStatus("began", "gre1", "tunnel_down", 4, 5.0),
        HistoryStatus("ended", "gre1", "tunnel_down", 4, 4.0),
        HistoryStatus("began", "dc", "peer_down", 1, 900.0),
    )
    found = walk(facts(status=status(history=told)))
    assert found.finding is None
    assert [note.text for note in found.notes] == [
        "gre1: link set up was repaired 12 times in the last hour, the last time 3 s ago",
        "tunnel_down of gre1 began 4 times in the last hour, the last time 5 s ago",
    ]


def test_a_route_by_another_interface_is_no_fault_while_packets_come() -> None:
    elsewhere = {"routes": {PEER: NextHop("eth1", GATEWAY)}, "addresses": {HOST: "eth0"}}
    assert walk(flowed(1500, 9, **elsewhere)).finding is None


def test_a_chain_with_policy_drop_is_named_where_packets_are_lost_here() -> None:
    lost = facts(tunnels={"gre1": seen(delivered={})}, rules=(Rule("nft", "inet another input", frozenset({"input"})),))
    found = walk(lost).finding
    assert found is not None
    assert found.problem == "dropped_here"
    assert found.saw.endswith(
        "0 of them were delivered; the policy of inet another input (nft: `nft -a list chain inet another input`) "
        "may drop them, which is not counted"
    )


def test_a_path_without_gre_needs_nothing_of_gre() -> None:
    assert walk(without_gre()).finding is None


def test_a_path_without_gre_needs_xfrm_interfaces() -> None:
    lacking = dataclasses.replace(without_gre(), lacks=frozenset({"xfrm_interface"}))
    found = walk(lacking)
    assert found.finding is not None
    assert found.finding.saw == "this host has no XFRM interfaces (module xfrm_interface)"


def test_mss_clamping_alone_needs_nft() -> None:
    had = without_gre()
    assert had.config is not None
    peer = had.config.peers[0]
    clamped = replace(peer, children=(replace(peer.children[0], mss=None),))
    found = walk(dataclasses.replace(had, config=replace(had.config, peers=(clamped,))))
    assert found.finding is not None
    assert found.finding.saw == "this host has no program nft (package nftables)"


def test_what_is_forwarded_needs_no_application_here_and_mcastd_is_no_other_multicast_router() -> None:
    found = walk(forwarded())
    assert found.finding is None
    assert found.notes == ()


def test_what_may_be_fragmented_or_was_not_looked_at_whole_is_not_judged_by_the_mtu() -> None:
    assert walk(forwarded(whole=1500, mtu=1400)).finding is None
    capped = {"eth1": Downstream(1500, Multicast(capped=True))}
    assert walk(forwarded(downstream=capped)).finding is None


def test_another_multicast_router_is_named() -> None:
    finding = walk(unforwarded("multicast_routing_taken", "forward", ("pimd (17)",))).finding
    assert finding is not None
    assert "pimd (17)" in finding.saw


def test_a_full_table_of_connections_is_named_where_packets_are_lost_here() -> None:
    found = walk(facts(tunnels={"gre1": seen(delivered={})}, conntrack=(9, 9))).finding
    assert found is not None
    assert "nf_conntrack is full (9 of 9)" in found.saw
    assert "nf_conntrack" not in walk(facts(tunnels={"gre1": seen(delivered={})}, conntrack=(8, 9))).findings[0].saw


@pytest.mark.parametrize(("age", "found"), [(0.5, "changed_by_another_program"), (14.0, "silent")])
def test_what_another_program_has_changed_explains_others_while_it_goes_on(age: float, found: str) -> None:
    had = overdue()
    changing = replace(had.problems[0], code="changed_by_another_program")
    told = replace(
        had, problems=(*had.problems, changing), history=(HistoryStatus("repaired", "gre1", "MTU", 38, age),)
    )
    walked = walk(facts(status=told, tunnels={"gre1": seen(**SILENT)}))
    assert [one.problem for one in walked.findings] == [found]
