"""What is kept of Auto-RP: as long as it holds, bounded, and in which order it is gone by."""

from ipaddress import IPv4Address, IPv4Network
from math import inf

import pytest

from mcastd.errors import DecodeError
from mcastd.pim.autorp import AutoRp, AutoRpEntry, AutoRpGroups, AutoRpType
from mcastd.pim.mapping import MAX_MAPPINGS, MappingCache

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


def said(cache: MappingCache) -> IPv4Address | None:
    found = cache.rp(GROUP)
    return None if found is None else found.rp


def test_it_holds_for_its_holdtime_from_when_it_was_last_heard() -> None:
    cache = MappingCache()
    assert cache.received(saying(ONE), AGENT, 0.0)
    assert not cache.received(saying(ONE), AGENT, 60.0)
    assert cache.next_deadline() == 241.0
    assert not cache.expire(240.0)
    assert said(cache) == ONE
    assert cache.expire(241.0)
    assert (said(cache), cache.all(), cache.next_deadline()) == (None, {}, inf)


def test_a_holdtime_of_zero_is_for_ever() -> None:
    cache = MappingCache()
    cache.received(saying(ONE, holdtime=0), AGENT, 0.0)
    assert cache.next_deadline() == inf


def test_the_mapping_agents_word_goes_before_a_candidates_and_a_longer_range_before_both_of_a_kind() -> None:
    cache = MappingCache()
    cache.received(saying(OTHER, NARROW, kind=AutoRpType.ANNOUNCEMENT), OTHER, 0.0)
    assert said(cache) == OTHER
    cache.received(saying(ONE), AGENT, 1.0)
    assert said(cache) == ONE
    cache.received(saying(OTHER, NARROW), AGENT, 2.0)
    assert said(cache) == OTHER
    assert cache.rps() == (ONE, OTHER)


def test_of_one_range_the_last_word_counts() -> None:
    cache = MappingCache()
    cache.received(saying(OTHER), AGENT, 0.0)
    cache.received(saying(ONE), AGENT, 60.0)
    assert said(cache) == ONE


def test_a_negative_range_has_no_rendezvous_point() -> None:
    cache = MappingCache()
    cache.received(saying(ONE), AGENT, 0.0)
    cache.received(saying(ONE, NARROW, negative=True), AGENT, 0.0)
    assert said(cache) is None
    assert cache.rp(IPv4Address("239.2.0.1")) is not None


def test_a_flood_is_bounded_and_what_was_known_is_refreshed_meanwhile() -> None:
    cache = MappingCache()
    cache.received(saying(ONE), AGENT, 0.0)
    refused = 0
    for n in range(2 * MAX_MAPPINGS):
        try:
            cache.received(saying(ONE + n, NARROW), AGENT, 1.0)
        except DecodeError as error:
            assert error.reason == "too_many_auto_rps"  # noqa: PT017
            refused += 1
    assert (len(cache.all()), refused) == (MAX_MAPPINGS, MAX_MAPPINGS + 1)
    ranges = (AutoRpGroups(IPv4Network("239.9.0.0/16")), AutoRpGroups(ALL))
    with pytest.raises(DecodeError, match=r"^too_many_auto_rps$"):
        cache.received(AutoRp(AutoRpType.MAPPING, 181, (AutoRpEntry(ONE, ranges),)), AGENT, 100.0)
    assert said(cache) is not None
    cache.expire(200.0)
    assert said(cache) == ONE
