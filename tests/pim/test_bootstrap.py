"""Bootstrap messages as one link's machine takes them: from whom, when, and what becomes of the joins (RFC 5059)."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

import pytest
from msgspec.structs import replace

from mcastd.pim.effects import BootstrapRouterChanged, Effect, RpSetChanged
from mcastd.pim.messages import Bootstrap, RpEntry, RpRangeEntry
from mcastd.pim.packet import ALL_PIM_ROUTERS, GroupSet, SourceEntry
from mcastd.pim.router import Router
from tests.pim.encoders import encode_bootstrap
from tests.pim.machine import GROUP, NOW, OTHER, OTHER_RP, dropped, hello, join_prunes, started
from tests.simulator.world import EVERY_ROUTER, LEAF, NAME, RP, UPSTREAM, WantedRouter, with_pim


def bootstrap(no_forward: bool = False, rp: IPv4Address = OTHER_RP) -> bytes:
    entry = RpRangeEntry(IPv4Network("224.0.0.0/4"), 1, (RpEntry(rp, 150, 0),))
    return encode_bootstrap(Bootstrap(1, 30, 64, OTHER, (entry,)), no_forward)


def learning() -> WantedRouter:
    return started(with_pim(bootstrap=True, rp=(), join_repeats=0, accept_neighbors=EVERY_ROUTER), GROUP)


def test_bootstrap_from_rpf_is_believed_and_the_joins_follow() -> None:
    router = learning()
    hello(router)
    effects = router.received(NAME, UPSTREAM, ALL_PIM_ROUTERS, bootstrap(), NOW + 1)
    assert BootstrapRouterChanged(NAME, OTHER, 64) in effects
    assert RpSetChanged(NAME, 1, (OTHER_RP,)) in effects
    assert join_prunes(effects)[0].groups == (GroupSet(GROUP, (SourceEntry(OTHER_RP, 7),)),)
    assert router.received(NAME, UPSTREAM, ALL_PIM_ROUTERS, bootstrap(), NOW + 2) == []
    moved = router.received(NAME, UPSTREAM, ALL_PIM_ROUTERS, bootstrap(rp=RP), NOW + 3)
    assert join_prunes(moved)[0].groups == (GroupSet(GROUP, (SourceEntry(RP, 7),)),)
    late: list[Effect] = []
    for n in range(2000):
        late += router.advance(NOW + 3 + n)
    assert any(message.groups == (GroupSet(GROUP, (), (SourceEntry(RP, 7),)),) for message in join_prunes(late))
    assert BootstrapRouterChanged(NAME, None, None) in late


def from_nobody(router: Router) -> list[Effect]:
    return router.received(NAME, IPv4Address("10.44.4.99"), ALL_PIM_ROUTERS, bootstrap(), NOW)


def from_another(router: Router) -> list[Effect]:
    return router.received(NAME, OTHER, ALL_PIM_ROUTERS, bootstrap(), NOW)


def unicast_late(router: Router) -> list[Effect]:
    return router.received(NAME, UPSTREAM, LEAF, bootstrap(), NOW + 61)


def no_forward_late(router: Router) -> list[Effect]:
    return router.received(NAME, UPSTREAM, ALL_PIM_ROUTERS, bootstrap(no_forward=True), NOW + 61)


def to_somebody_else(router: Router) -> list[Effect]:
    return router.received(NAME, UPSTREAM, OTHER, bootstrap(), NOW)


@pytest.mark.parametrize(
    ("arrive", "reason"),
    [
        (from_nobody, "not_a_neighbor"),
        (from_another, "bootstrap_rpf"),
        (unicast_late, "bootstrap_late"),
        (no_forward_late, "bootstrap_late"),
        (to_somebody_else, "destination"),
    ],
)
def test_bootstrap_from_elsewhere_is_not_believed(arrive: Callable[[Router], list[Effect]], reason: str) -> None:
    router = learning()
    hello(router)
    hello(router, OTHER)
    arrive(router)
    assert dropped(router) == {reason: 1}
    assert router.interfaces[NAME].rps.rp(GROUP) is None


@pytest.mark.parametrize(("destination", "no_forward"), [(LEAF, False), (ALL_PIM_ROUTERS, True)])
def test_a_neighbor_may_tell_us_at_once_when_we_start(destination: IPv4Address, no_forward: bool) -> None:
    router = learning()
    hello(router, OTHER)
    router.received(NAME, OTHER, destination, bootstrap(no_forward), NOW + 1)
    assert router.interfaces[NAME].rps.rp(GROUP) == OTHER_RP


@pytest.mark.parametrize(("destination", "no_forward"), [(LEAF, False), (OTHER, False), (ALL_PIM_ROUTERS, True)])
def test_all_fragments_of_what_a_neighbor_tells_us_at_once_are_taken(
    destination: IPv4Address, no_forward: bool
) -> None:
    own = replace(with_pim(bootstrap=True, rp=(), join_repeats=0, accept_neighbors=EVERY_ROUTER), secondary=(OTHER,))
    router = started(own, GROUP)
    hello(router)
    for n, rp in enumerate((OTHER_RP, RP)):
        entry = RpRangeEntry(IPv4Network("224.0.0.0/4"), 2, (RpEntry(rp, 150, n),))
        data = encode_bootstrap(Bootstrap(1, 30, 64, OTHER, (entry,)), no_forward)
        router.received(NAME, UPSTREAM, destination, data, NOW + 1)
    assert router.interfaces[NAME].rps.rp(GROUP) == OTHER_RP
    another = encode_bootstrap(Bootstrap(2, 30, 64, OTHER, ()), no_forward)
    router.received(NAME, UPSTREAM, destination, another, NOW + 1)
    assert dropped(router) == {"bootstrap_late": 1}


def test_static_wins_over_bootstrap_unless_it_is_told_otherwise() -> None:
    for preference, expected in (("static", RP), ("bootstrap", OTHER_RP)):
        router = started(with_pim(bootstrap=True, rp_preference=(preference,)), GROUP)
        hello(router)
        router.received(NAME, UPSTREAM, ALL_PIM_ROUTERS, bootstrap(), NOW + 1)
        assert router.interfaces[NAME].rps.rp(GROUP) == expected
