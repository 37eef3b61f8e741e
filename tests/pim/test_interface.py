"""One link's machine: what it accepts, what it refuses and counts, and what it says in which order."""

from ipaddress import IPv4Address, IPv4Network
from random import Random

import pytest
from msgspec.structs import replace

from mcastd.config.downstream import MAX_JOINS
from mcastd.config.model import Group, RpRange
from mcastd.errors import McastdError
from mcastd.pim.effects import Effect, Joined, NeighborDown, NeighborUp, Pruned
from mcastd.pim.messages import (
    Assert,
    Bootstrap,
    CandidateRpAdvertisement,
    RegisterStop,
    decode_register_stop,
    encode_register_stop,
)
from mcastd.pim.neighbor import MAX_ADDRESSES, MAX_NEIGHBORS
from mcastd.pim.packet import (
    ALL_PIM_ROUTERS,
    GroupSet,
    Hello,
    JoinPrune,
    MessageType,
    SourceEntry,
    decode_hello,
    encode_hello,
    unseal,
)
from mcastd.pim.report import pim_status
from tests.pim.encoders import encode_assert, encode_bootstrap, encode_candidate_rp, encode_join_prune, seal
from tests.pim.machine import (
    GROUP,
    NOW,
    OTHER,
    OTHER_RP,
    SOURCE,
    SSM_GROUP,
    dropped,
    hello,
    join_prunes,
    sends,
    started,
)
from tests.simulator.world import EVERY_ROUTER, LEAF, NAME, RP, UPSTREAM, WantedRouter, settings, statuses, with_pim


def test_our_hello_says_everything() -> None:
    own = replace(with_pim(dr_priority=3), secondary=(IPv4Address("10.1.1.246"),))
    first = sends(WantedRouter(Random(1)).want((own,), (), NOW))[0]
    said = decode_hello(unseal(first.payload)[1])
    assert (said.holdtime, said.dr_priority, said.addresses) == (105, 3, (IPv4Address("10.1.1.246"),))
    assert said.lan_prune_delay is not None
    assert (said.lan_prune_delay.propagation_delay, said.lan_prune_delay.override_interval) == (0.5, 2.5)
    assert said.generation_id is not None


def test_generation_ids_are_random_and_others_when_the_interface_starts_again() -> None:
    router = started()
    before = router.interfaces[NAME].generation_id
    router.want((settings(),), (), NOW + 1)
    router.relink(NAME, NOW + 2)
    assert router.interfaces[NAME].generation_id == before
    router.want((), (), NOW + 3)
    router.want((settings(),), (), NOW + 4)
    assert router.interfaces[NAME].generation_id != before
    assert WantedRouter(Random(2)).want((settings(),), (), NOW) != WantedRouter(Random(3)).want((settings(),), (), NOW)


def test_the_upstream_neighbor_is_named_by_its_primary_address() -> None:
    router = started(with_pim(neighbor=IPv4Address("10.44.7.1")))
    hello(router, addresses=(IPv4Address("10.44.7.1"),))
    effects = router.join(GROUP, None, NAME, "test", NOW)
    assert [message.upstream for message in join_prunes(effects)] == [UPSTREAM]


def test_own_packets_are_ignored() -> None:
    router = started(replace(settings(), secondary=(OTHER,)))
    for address in (LEAF, OTHER):
        assert hello(router, address) == []
    status = pim_status(router, NAME, True, {}, NOW)
    assert (status.neighbors, status.dropped) == ((), {})


def test_only_accepted_neighbors_are_heard() -> None:
    router = started(with_pim(accept_neighbors=(IPv4Network("10.44.4.7/32"),)))
    hello(router, IPv4Address("10.44.4.9"))
    hello(router, OTHER)
    hello(router, UPSTREAM)  # configured: accepted without being listed
    status = pim_status(router, NAME, True, {}, NOW)
    assert [neighbor.address for neighbor in status.neighbors] == [str(OTHER), str(UPSTREAM)]
    assert status.dropped == {"neighbor_not_accepted": 1}


def test_with_a_configured_neighbor_no_other_is_heard() -> None:
    router = started()
    for n in range(64):
        hello(router, IPv4Address("10.44.4.128") + n, generation_id=n + 2)
    hello(router, UPSTREAM)
    hello(router, OTHER, generation_id=99, addresses=(UPSTREAM,))
    assert [neighbor.address for neighbor in router.interfaces[NAME].neighbors.all()] == [UPSTREAM]
    assert dropped(router) == {"neighbor_not_accepted": 65}


def test_a_neighbor_that_is_configured_by_a_secondary_address_keeps_it_while_it_is_up() -> None:
    router = started(with_pim(neighbor=IPv4Address("10.44.7.1")))
    for source, generation_id in ((UPSTREAM, 1), (OTHER, 2), (UPSTREAM, 3)):
        hello(router, source, generation_id=generation_id, addresses=(IPv4Address("10.44.7.1"),))
    assert [neighbor.address for neighbor in router.interfaces[NAME].neighbors.all()] == [UPSTREAM]
    assert dropped(router) == {"neighbor_not_accepted": 1}
    hello(router, OTHER, generation_id=3, addresses=(IPv4Address("10.44.7.1"), UPSTREAM))  # renumbered
    assert [neighbor.address for neighbor in router.interfaces[NAME].neighbors.all()] == [OTHER]
    router.advance(NOW + 105)
    hello(router, UPSTREAM, NOW + 106, generation_id=4, addresses=(IPv4Address("10.44.7.1"),))
    assert [neighbor.address for neighbor in router.interfaces[NAME].neighbors.all()] == [UPSTREAM]


def test_a_flood_of_neighbors_stays_bounded_and_the_configured_one_gets_in() -> None:
    router = started(with_pim(accept_neighbors=EVERY_ROUTER))
    for n in range(500):
        hello(router, IPv4Address("10.50.0.0") + n, NOW + n / 1000)
    hello(router, UPSTREAM, NOW + 1)
    assert len(router.interfaces[NAME].neighbors) == MAX_NEIGHBORS + 1
    assert dropped(router) == {"too_many_neighbors": 500 - MAX_NEIGHBORS}


def test_of_many_secondary_addresses_the_first_are_kept() -> None:
    router = started()
    hello(router, addresses=tuple(IPv4Address("10.50.0.0") + n for n in range(5000)))
    known = router.interfaces[NAME].neighbors.get(UPSTREAM)
    assert known is not None
    assert known.hello.addresses == tuple(IPv4Address("10.50.0.0") + n for n in range(MAX_ADDRESSES))
    assert dropped(router) == {"too_many_addresses": 1}


@pytest.mark.parametrize("source", ["0.0.0.0", "224.0.0.13", "239.1.2.3"])
def test_nobody_can_be_a_neighbor_from_no_address_or_a_group(source: str) -> None:
    router = started()
    hello(router, IPv4Address(source))
    assert dropped(router) == {"source_address": 1}
    assert len(router.interfaces[NAME].neighbors) == 0


def test_a_neighbor_that_restarts_over_and_over_is_answered_once_a_second() -> None:
    router = started(None, GROUP)
    sent = 0
    for n in range(1000):
        sent += len(sends(hello(router, now=NOW + 10 + n / 100, generation_id=n)))
    assert sent <= 4 * 11  # a Hello and a Join a second for 10 s, each repeated once before the next


def test_goodbye_is_heard() -> None:
    router = started()
    assert NeighborUp(NAME, UPSTREAM, 1) in hello(router)
    assert hello(router, holdtime=0) == [NeighborDown(NAME, UPSTREAM, "goodbye received")]


def test_joins_and_leaves_close_together_share_a_message() -> None:
    router = started()
    first = router.join(GROUP, None, NAME, "test", NOW + 1)
    assert len(join_prunes(first)) == 1
    later: list[Effect] = []
    for n in range(50):
        later += router.join(GROUP + 1 + n, None, NAME, "test", NOW + 1 + n / 10000)
    later += router.leave(GROUP + 1, None, NAME, "test", NOW + 1.006)
    assert join_prunes(later) == []
    deadline = router.next_deadline()
    merged = join_prunes(router.advance(deadline))
    assert len(merged) == 1
    assert len(merged[0].groups) == 49


def test_one_more_among_ten_thousand_is_one_message() -> None:
    router = started(None, *(IPv4Address("239.0.0.0") + n for n in range(10_000)))
    for n in range(1, 200):
        router.advance(NOW + n)
    effects = router.join(IPv4Address("239.200.0.1"), None, NAME, "test", NOW + 200)
    assert [len(message.groups) for message in join_prunes(effects)] == [1]


def test_a_large_refresh_is_paced() -> None:
    router = started(None, *(IPv4Address("239.0.0.0") + n for n in range(10_000)))
    now, bursts, total = NOW, [], 0
    while (deadline := router.next_deadline()) < NOW + 0.3:
        now = deadline
        count = len(join_prunes(router.advance(now)))
        bursts.append(count)
        total += count
    assert total == -(-10_000 // 68) - 8  # the first 8 left inside configure()
    assert max(bursts) <= 16


def test_a_group_without_a_rendezvous_point_waits_for_one() -> None:
    router = started(with_pim(rp=()), GROUP)
    assert statuses(router, NOW)[0].problem == f"no rendezvous point for {GROUP}"
    effects = router.want((settings(),), (Group(group=GROUP, tunnel=NAME),), NOW + 1)
    assert [event.entries[0].rp for event in effects if isinstance(event, Joined)] == [RP]
    assert statuses(router, NOW + 1)[0].state == "joined"


def test_an_rp_change_joins_the_new_one_without_a_prune_of_the_old() -> None:
    router = started(None, GROUP)
    other = with_pim(rp=(RpRange(address=OTHER_RP),))
    effects = router.want((other,), (Group(group=GROUP, tunnel=NAME),), NOW + 5)
    expected = GroupSet(GROUP, (SourceEntry(OTHER_RP, 7),))
    assert [message.groups for message in join_prunes(effects)] == [(expected,)]


def test_a_new_configured_neighbor_gets_the_joins_and_the_old_one_prunes() -> None:
    router = started(None, GROUP)
    hello(router)
    effects = router.want((with_pim(neighbor=OTHER),), (Group(group=GROUP, tunnel=NAME),), NOW + 5)
    found = join_prunes(effects)
    assert [message.upstream for message in found] == [UPSTREAM, OTHER]
    assert found[0].groups[0].pruned == (SourceEntry(RP, 7),)
    assert found[1].groups[0].joined == (SourceEntry(RP, 7),)
    assert [type(effect) for effect in effects if isinstance(effect, Joined | Pruned)] == [Pruned, Joined]


def test_more_joins_than_are_kept_are_refused_and_counted() -> None:
    router = started(None, *(IPv4Address("239.0.0.0") + n for n in range(MAX_JOINS)))
    with pytest.raises(McastdError, match="is the most"):
        router.join(IPv4Address("239.200.0.1"), None, NAME, "command", NOW)
    assert dropped(router) == {"too_many_joins": 1}
    assert len(statuses(router, NOW)) == MAX_JOINS


def test_source_lists_that_change_send_the_difference() -> None:
    own = with_pim(join_repeats=0)
    router = started(own)
    for n in range(3):
        router.join(SSM_GROUP, SOURCE + n, NAME, "file", NOW + n)
    wanted = Group(group=SSM_GROUP, tunnel=NAME, sources=(SOURCE + 1, SOURCE + 9))
    effects = router.want((own,), (wanted,), NOW + 10)
    (message,) = join_prunes(effects)
    assert message.groups[0].joined == (SourceEntry(SOURCE + 9),)
    assert message.groups[0].pruned == (SourceEntry(SOURCE), SourceEntry(SOURCE + 2))


def test_joins_are_remembered_while_the_interface_is_away() -> None:
    router = WantedRouter(Random(1))
    assert router.join(GROUP, None, NAME, "command", NOW) == []
    assert statuses(router, NOW)[0].problem == f"tunnel {NAME} is down"
    assert len(join_prunes(router.want((settings(),), (), NOW + 1))) == 1
    router.want((), (), NOW + 2)
    assert len(join_prunes(router.want((settings(),), (), NOW + 3))) == 1


def test_a_neighbor_that_is_never_heard_is_a_problem_unless_it_is_static() -> None:
    for static, state in ((False, "not joined"), (True, "joined")):
        router = started(with_pim(static_neighbor=static), GROUP)
        assert statuses(router, NOW + 1)[0].state == "joined"
        assert statuses(router, NOW + 30)[0].state == state


def register(group: str = "239.1.2.3", header: int = 0x45, length: int = 28, flags: int = 0) -> bytes:
    inner = bytes([header, 0]) + length.to_bytes(2) + bytes(8) + SOURCE.packed + IPv4Address(group).packed + bytes(8)
    return seal(MessageType.REGISTER, bytes([flags, 0, 0, 0]) + inner, covered=8)


def test_a_register_is_answered_by_register_stop_at_a_bounded_rate() -> None:
    router = started()
    (answer,) = sends(router.received(NAME, OTHER, LEAF, register(), NOW))
    assert answer.destination == OTHER
    assert decode_register_stop(unseal(answer.payload)[1]) == RegisterStop(GROUP, SOURCE)
    router.advance(NOW + 1)
    answers = [sends(router.received(NAME, OTHER, LEAF, register(), NOW + 1 + n / 2000)) for n in range(100)]
    assert sum(map(len, answers)) == 1
    assert dropped(router) == {"register_rate": 99}
    null = sends(router.received(NAME, OTHER, LEAF, register(flags=0x40, length=0), NOW + 5))
    assert [send.kind for send in null].count(MessageType.REGISTER_STOP) == 1


def test_a_register_to_a_secondary_address_is_answered() -> None:
    router = started(replace(settings(), secondary=(OTHER_RP,)))
    assert [send.destination for send in sends(router.received(NAME, OTHER, OTHER_RP, register(), NOW))] == [OTHER]


STRANGERS: list[tuple[bytes, str]] = [
    (register("10.1.2.3"), "register_inner"),
    (register(header=0x65), "register_inner"),
    (register(header=0x44), "register_inner"),
    (register(header=0x4F), "register_inner"),
    (register(length=2000), "register_inner"),
    (seal(1, bytes(4), covered=8), "register_inner"),
    (seal(1, bytes(3)), "truncated"),
    (encode_register_stop(RegisterStop(GROUP, SOURCE)), "register_stop_unasked"),
    (seal(2, b"\1\0\0\x20"), "truncated"),
    (seal(5, bytes.fromhex("0100 0020 ef010203 0100 0a09")), "truncated"),
    (encode_join_prune(JoinPrune(LEAF, 210, ()), MessageType.GRAFT), "dense_mode"),
    (encode_join_prune(JoinPrune(LEAF, 210, ()), MessageType.GRAFT_ACK), "dense_mode"),
    (seal(6, b"\1"), "truncated"),
    (seal(9, b""), "dense_mode"),
    (encode_candidate_rp(CandidateRpAdvertisement(0, 150, OTHER_RP)), "not_a_bootstrap_router"),
    (seal(8, b"\x05\0\0\0\1\0\1\2\3\4"), "truncated"),
    (seal(10, b""), "unexpected_type"),
    (seal(15, b"whatever"), "unexpected_type"),
    (encode_join_prune(JoinPrune(UPSTREAM, 210, ())), "not_a_neighbor"),
    (encode_bootstrap(Bootstrap(1, 30, 64, OTHER)), "bootstrap_off"),
    (b"", "short"),
    (b"\x20\0\xdf", "short"),
    (b"\x10\0\xef\xff", "version"),
    (b"\x20\0\0\0", "checksum"),
]


@pytest.mark.parametrize(("data", "reason"), STRANGERS)
def test_what_is_not_for_a_leaf_is_counted_by_reason(data: bytes, reason: str) -> None:
    router = started()
    assert router.received(NAME, OTHER, LEAF, data, NOW) == []
    assert dropped(router) == {reason: 1}


def test_a_join_that_wants_us_to_forward_is_counted() -> None:
    router = started(with_pim(accept_neighbors=EVERY_ROUTER))
    hello(router, OTHER)
    router.received(NAME, OTHER, ALL_PIM_ROUTERS, encode_join_prune(JoinPrune(LEAF, 210, ())), NOW)
    assert dropped(router) == {"join_for_us": 1}


@pytest.mark.parametrize(("source", "is_star"), [("0.0.0.0", True), ("10.9.0.1", False)])
def test_an_assert_is_counted_and_changes_nothing(source: str, is_star: bool) -> None:
    router = started(with_pim(join_repeats=0, accept_neighbors=EVERY_ROUTER), GROUP)
    hello(router)
    hello(router, OTHER)
    router.advance(NOW + 2)
    data = encode_assert(Assert(GROUP, IPv4Address(source), is_star, 1, 1))
    assert router.received(NAME, OTHER, ALL_PIM_ROUTERS, data, NOW + 2) == []
    assert dropped(router) == {"assert_not_followed": 1}
    assert statuses(router, NOW + 3)[0].upstream == str(UPSTREAM)


def test_joins_of_others_change_nothing() -> None:
    router = started(with_pim(join_repeats=0, accept_neighbors=EVERY_ROUTER), GROUP)
    hello(router, holdtime=0xFFFF)
    hello(router, OTHER, holdtime=0xFFFF)
    refresh = NOW + 60
    for entry in (GroupSet(GROUP, (SourceEntry(RP, 7),)), GroupSet(GROUP, (), (SourceEntry(RP, 7),))):
        data = encode_join_prune(JoinPrune(UPSTREAM, 210, (entry,)))
        assert join_prunes(router.received(NAME, OTHER, ALL_PIM_ROUTERS, data, NOW + 30)) == []
    assert dropped(router) == {}
    assert len(join_prunes(router.advance(refresh))) == 1


def test_without_a_configured_neighbor_the_first_one_is_joined_and_then_the_next() -> None:
    router = started(with_pim(neighbor=None, join_repeats=0), GROUP)
    first = hello(router, OTHER, NOW + 1)
    assert [message.upstream for message in join_prunes(first)] == [OTHER]
    second = hello(router, UPSTREAM, NOW + 2, dr_priority=100)
    assert join_prunes(second) == []
    assert [send.kind for send in sends(second)] == [MessageType.HELLO]
    after = hello(router, OTHER, NOW + 3, holdtime=0)
    assert [(message.upstream, message.groups) for message in join_prunes(after)] == [
        (UPSTREAM, (GroupSet(GROUP, (SourceEntry(RP, 7),)),))
    ]


def test_a_flood_of_new_neighbors_is_answered_by_a_hello_a_second() -> None:
    router = started(with_pim(join_repeats=0, accept_neighbors=EVERY_ROUTER))
    hello(router)
    router.advance(NOW + 5)
    sent: list[Effect] = []
    for n in range(1000):
        sent += hello(router, IPv4Address("10.50.0.0") + n % 50, NOW + 5 + n / 100, holdtime=0 if n % 2 else 105)
    assert 1 <= len(sends(sent)) <= 12


def test_a_hello_to_our_own_address_is_refused() -> None:
    router = started()
    router.received(NAME, OTHER, LEAF, encode_hello(Hello()), NOW)
    assert dropped(router) == {"destination": 1}


def test_closing_prunes_everything_and_is_paced() -> None:
    router = started(None, *(IPv4Address("239.0.0.0") + n for n in range(10_000)))
    while router.next_deadline() <= NOW:
        router.advance(NOW)
    effects, now = router.close(NOW + 100), NOW + 100
    while (deadline := router.next_deadline()) < NOW + 101:
        now = deadline
        effects += router.advance(now)
    assert sum(len(entry.pruned) for message in join_prunes(effects) for entry in message.groups) == 10_000
    last = sends(effects)[-1]
    assert decode_hello(unseal(last.payload)[1]).holdtime == 0
    assert now - NOW - 100 < 0.3
