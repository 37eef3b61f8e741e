"""What is kept of Auto-RP: for its holdtime, bounded, and in which order it decides."""

from ipaddress import IPv4Address, IPv4Network
from math import inf

import pytest

from mcastd.errors import DecodeError
from mcastd.pim.auto_rp_cache import MAX_MAPPINGS, AutoRpCache
from mcastd.pim.auto_rp_packet import AutoRp, AutoRpEntry, AutoRpGroups, AutoRpType

AGENT, ONE, OTHER = (IPv4Address(f"10.1.1.{n}") for n in (9, 1, 2))
GROUP = IPv4Address("239.1.2.3")
ALL, NARROW = IPv4Network("224.0.0.0/4"), IPv4Network("239.1.0.0/16")


def saying(
    rp: IPv4Address,
    groups: IPv4Network = ALL,
    *,
    kind: AutoRpType = AutoRpType.MAPPING,
    negative: bool = False,
    holdtime: int = 181,
) -> AutoRp:
    return AutoRp(kind, holdtime, (AutoRpEntry(rp, (AutoRpGroups(groups, negative),)),))


def test_a_mapping_holds_for_its_holdtime_from_when_it_was_last_received() -> None:
    cache = AutoRpCache()
    assert cache.received(saying(ONE), AGENT, 0.0)
    assert not cache.received(saying(ONE), AGENT, 60.0)
    assert cache.next_deadline() == 241.0
    assert not cache.expire(240.0)
    assert cache.rp(GROUP) == ONE
    assert cache.expire(241.0)
    assert (cache.rp(GROUP), cache.mappings(), cache.next_deadline()) == (None, [], inf)


def test_a_holdtime_of_zero_never_expires() -> None:
    cache = AutoRpCache()
    cache.received(saying(ONE, holdtime=0), AGENT, 0.0)
    assert cache.next_deadline() == inf


def test_the_longest_range_of_a_mapping_agent_decides_and_announcements_do_not() -> None:
    cache = AutoRpCache()
    cache.received(saying(OTHER, NARROW, kind=AutoRpType.ANNOUNCEMENT), OTHER, 0.0)
    assert cache.rp(GROUP) is None
    cache.received(saying(ONE), AGENT, 1.0)
    assert cache.rp(GROUP) == ONE
    cache.received(saying(OTHER, NARROW), AGENT, 2.0)
    assert cache.rp(GROUP) == OTHER
    assert cache.rps() == (ONE, OTHER)


def test_a_message_replaces_what_its_sender_said_of_the_range() -> None:
    cache = AutoRpCache()
    cache.received(saying(OTHER), AGENT, 0.0)
    assert cache.received(saying(ONE), AGENT, 60.0)
    assert cache.rp(GROUP) == ONE
    assert len(cache.mappings()) == 1


def test_of_two_mapping_agents_the_one_with_the_highest_address_decides_whoever_was_last() -> None:
    cache = AutoRpCache()
    for now in (0.0, 60.0):
        cache.received(saying(ONE), AGENT, now)
        cache.received(saying(OTHER), AGENT - 1, now + 1)
        assert cache.rp(GROUP) == ONE
    cache.expire(241.0)
    assert cache.rp(GROUP) == OTHER


def test_a_negative_range_has_no_rendezvous_point() -> None:
    cache = AutoRpCache()
    cache.received(saying(ONE), AGENT, 0.0)
    assert cache.received(saying(ONE, NARROW, negative=True), AGENT, 0.0)
    assert cache.rp(GROUP) is None
    assert cache.rp(IPv4Address("239.2.0.1")) == ONE
    assert cache.rps() == (ONE,)


def test_only_accepted_mapping_agents_decide() -> None:
    cache = AutoRpCache()
    cache.received(saying(ONE), AGENT, 0.0)
    cache.received(saying(ONE, kind=AutoRpType.ANNOUNCEMENT), ONE, 0.0)
    cache.accept((IPv4Network("10.1.1.2/32"),))
    assert cache.rp(GROUP) is None
    assert [mapping.sender for mapping in cache.mappings()] == [ONE]
    with pytest.raises(DecodeError, match=r"^auto_rp_agent$"):
        cache.received(saying(ONE), AGENT, 1.0)
    assert cache.received(saying(ONE), OTHER, 1.0)
    assert cache.rp(GROUP) == ONE


def test_a_flood_is_bounded_and_what_was_known_is_refreshed_meanwhile() -> None:
    cache = AutoRpCache()
    cache.received(saying(ONE), AGENT, 0.0)
    refused = 0
    for n in range(2 * MAX_MAPPINGS):
        try:
            cache.received(saying(ONE, NARROW), AGENT + n, 1.0)
        except DecodeError as error:
            assert error.reason == "too_many_auto_rps"  # noqa: PT017
            refused += 1
    assert (len(cache.mappings()), refused) == (MAX_MAPPINGS, MAX_MAPPINGS + 1)
    ranges = (AutoRpGroups(IPv4Network("239.9.0.0/16")), AutoRpGroups(ALL))
    with pytest.raises(DecodeError, match=r"^too_many_auto_rps$"):
        cache.received(AutoRp(AutoRpType.MAPPING, 181, (AutoRpEntry(ONE, ranges),)), AGENT, 100.0)
    cache.expire(200.0)
    assert cache.rp(GROUP) == ONE
