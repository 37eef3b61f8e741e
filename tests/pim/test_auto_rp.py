"""Auto-RP as one link's machine uses it: whose messages count, and what becomes of the joins."""

import struct
from ipaddress import IPv4Address, IPv4Network
from random import Random

import pytest

from mcastd.config.model import Group, RpSource
from mcastd.pim.auto_rp_packet import AutoRp, AutoRpEntry, AutoRpGroups, AutoRpType
from mcastd.pim.effects import AutoRpChanged, Effect, Joined, Pruned
from mcastd.pim.messages import Bootstrap, RpEntry, RpRangeEntry
from mcastd.pim.packet import ALL_PIM_ROUTERS, GroupSet, SourceEntry
from mcastd.pim.report import pim_status
from tests.pim.encoders import encode_auto_rp, encode_bootstrap
from tests.pim.machine import GROUP, NOW, OTHER, OTHER_RP, SSM_GROUP, dropped, hello, join_prunes, started
from tests.simulator.world import NAME, RP, UPSTREAM, WantedRouter, statuses, with_pim

AGENT = IPv4Address("10.1.1.9")
ALL = IPv4Network("224.0.0.0/4")


def mapping(
    rp: IPv4Address = OTHER_RP, groups: IPv4Network = ALL, negative: bool = False, holdtime: int = 181
) -> bytes:
    entry = AutoRpEntry(rp, (AutoRpGroups(groups, negative),))
    message = encode_auto_rp(AutoRp(AutoRpType.MAPPING, holdtime, (entry,)))
    return struct.pack("!HHHH", 496, 496, 8 + len(message), 0) + message


def using(**changes: object) -> WantedRouter:
    return started(
        with_pim(**{"auto_rp": True, "rp": (), "join_repeats": 0, "static_neighbor": True, **changes}), GROUP
    )


def joined(effects: list[Effect]) -> list[GroupSet]:
    return [entry for message in join_prunes(effects) for entry in message.groups]


def test_a_mapping_is_joined_at_once_and_moves_the_joins_when_it_changes() -> None:
    router = using()
    assert statuses(router, NOW)[0].problem == f"no rendezvous point for {GROUP}"
    effects = router.auto_rp_received(NAME, AGENT, mapping(), NOW + 1)
    assert AutoRpChanged(NAME, 1, (OTHER_RP,)) in effects
    assert joined(effects) == [GroupSet(GROUP, (SourceEntry(OTHER_RP, 7),))]
    assert router.auto_rp_received(NAME, AGENT, mapping(), NOW + 20) == []
    assert joined(router.auto_rp_received(NAME, AGENT, mapping(RP), NOW + 51)) == [
        GroupSet(GROUP, (SourceEntry(RP, 7),))
    ]
    status = statuses(router, NOW + 52)[0]
    assert (status.state, status.rp, status.problem) == ("joined", str(RP), None)
    (shown,) = pim_status(router, NAME, True, {}, NOW + 52).auto_rp
    assert (shown.groups, shown.rp, shown.kind, shown.used, shown.expires_in) == (
        str(ALL),
        str(RP),
        "mapping",
        True,
        180.0,
    )


def test_what_auto_rp_had_is_pruned_when_its_time_is_over() -> None:
    router = using()
    router.auto_rp_received(NAME, AGENT, mapping(holdtime=30), NOW + 1)
    assert router.interfaces[NAME].next_deadline() <= NOW + 31
    effects = router.advance(NOW + 31)
    assert joined(effects) == [GroupSet(GROUP, (), (SourceEntry(OTHER_RP, 7),))]
    assert AutoRpChanged(NAME, 0, ()) in effects
    assert [type(effect) for effect in effects if isinstance(effect, Joined | Pruned)] == [Pruned]


def test_a_negative_range_is_not_joined() -> None:
    router = using()
    router.auto_rp_received(NAME, AGENT, mapping(), NOW + 1)
    effects = router.auto_rp_received(NAME, AGENT, mapping(groups=IPv4Network("239.1.0.0/16"), negative=True), NOW + 2)
    assert joined(effects) == [GroupSet(GROUP, (), (SourceEntry(OTHER_RP, 7),))]


def test_a_source_specific_group_has_no_rp() -> None:
    router = using()
    router.auto_rp_received(NAME, AGENT, mapping(), NOW + 1)
    assert router.interfaces[NAME].rps.rp(SSM_GROUP) is None


def test_mapping_agents_that_are_not_accepted_are_counted() -> None:
    router = using(auto_rp_agents=(IPv4Network("10.1.1.8/32"),))
    assert router.auto_rp_received(NAME, AGENT, mapping(), NOW + 1) == []
    assert dropped(router) == {"auto_rp_agent": 1}
    assert joined(router.auto_rp_received(NAME, AGENT - 1, mapping(), NOW + 2)) != []


def test_without_auto_rp_it_is_shown_and_not_used() -> None:
    router = using(auto_rp=False)
    effects = router.auto_rp_received(NAME, AGENT, mapping(), NOW + 1)
    assert effects == [AutoRpChanged(NAME, 1, (OTHER_RP,))]
    (status,) = statuses(router, NOW + 2)
    hint = f"Auto-RP has {OTHER_RP}: set auto_rp = true, or configure it as rp"
    assert (status.state, status.problem) == ("not joined", f"no rendezvous point for {GROUP}; {hint}")
    assert not pim_status(router, NAME, True, {}, NOW + 2).auto_rp[0].used


def test_turning_it_on_and_off_moves_the_joins() -> None:
    router = using(auto_rp=False)
    router.auto_rp_received(NAME, AGENT, mapping(), NOW + 1)
    groups = (Group(group=GROUP, tunnel=NAME),)
    on = with_pim(auto_rp=True, rp=(), join_repeats=0)
    assert joined(router.want((on,), groups, NOW + 2)) == [GroupSet(GROUP, (SourceEntry(OTHER_RP, 7),))]
    off = with_pim(rp=(), join_repeats=0)
    assert joined(router.want((off,), groups, NOW + 3)) == [GroupSet(GROUP, (), (SourceEntry(OTHER_RP, 7),))]


BOOTSTRAP_RP, AUTO_RP = IPv4Address("100.15.30.1"), IPv4Address("100.15.30.2")


@pytest.mark.parametrize(
    ("preference", "expected"),
    [
        (("static",), RP),
        (("bootstrap",), BOOTSTRAP_RP),
        (("auto_rp",), AUTO_RP),
        (("auto_rp", "bootstrap"), AUTO_RP),
        (("bootstrap", "auto_rp", "static"), BOOTSTRAP_RP),
    ],
)
def test_which_of_three_sources_wins_is_configured(preference: tuple[RpSource, ...], expected: IPv4Address) -> None:
    router = started(with_pim(bootstrap=True, auto_rp=True, rp_preference=preference), GROUP)
    hello(router)
    entry = RpRangeEntry(ALL, 1, (RpEntry(BOOTSTRAP_RP, 150, 0),))
    bootstrap = encode_bootstrap(Bootstrap(1, 30, 64, OTHER, (entry,)))
    router.received(NAME, UPSTREAM, ALL_PIM_ROUTERS, bootstrap, NOW + 1)
    router.auto_rp_received(NAME, AGENT, mapping(AUTO_RP), NOW + 1)
    assert router.interfaces[NAME].rps.rp(GROUP) == expected


@pytest.mark.parametrize(
    ("preference", "expected"),
    [(("static",), BOOTSTRAP_RP), (("auto_rp",), AUTO_RP), (("static", "auto_rp"), AUTO_RP)],
)
def test_where_the_preferred_source_has_none_the_next_one_is_asked(
    preference: tuple[RpSource, ...], expected: IPv4Address
) -> None:
    router = WantedRouter(Random(1))
    router.want((with_pim(bootstrap=True, auto_rp=True, rp=(), rp_preference=preference),), (), NOW)
    hello(router)
    entry = RpRangeEntry(ALL, 1, (RpEntry(BOOTSTRAP_RP, 150, 0),))
    bootstrap = encode_bootstrap(Bootstrap(1, 30, 64, OTHER, (entry,)))
    router.received(NAME, UPSTREAM, ALL_PIM_ROUTERS, bootstrap, NOW + 1)
    router.auto_rp_received(NAME, AGENT, mapping(AUTO_RP), NOW + 1)
    assert router.interfaces[NAME].rps.rp(GROUP) == expected
