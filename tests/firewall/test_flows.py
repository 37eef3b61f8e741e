"""Which connections were not translated as the rules do it."""

from ipaddress import IPv4Address, IPv4Network
from typing import Any

from mcastd.config.model import Config
from mcastd.firewall.flows import new, translations
from mcastd.net.flow import Flow
from tests.firewall.test_rules import child, config

NATTED, INSIDE, OUTSIDE, SERVER = "10.45.8.17", "10.45.8.18", "192.168.1.5", "100.15.30.5"
TS: dict[str, Any] = {"local_ts": IPv4Network("10.45.8.16/28"), "remote_ts": IPv4Network("100.15.30.0/24")}
SNAT = config(child(**TS, snat=IPv4Address(NATTED)))
UDP, GRE = 17, 47


def is_missed(made: Config, source: str, answers_to: str, destination: str = SERVER, protocol: int = UDP) -> bool:
    flow = Flow(int(IPv4Address(source)), int(IPv4Address(destination)), int(IPv4Address(answers_to)), protocol)
    return any(one.misses(flow) for one in translations(made))


def test_what_snat_is_for_is_missed_unless_it_was_translated_so() -> None:
    assert is_missed(SNAT, OUTSIDE, OUTSIDE)
    assert is_missed(SNAT, OUTSIDE, "10.1.1.246")
    assert not is_missed(SNAT, OUTSIDE, NATTED)
    assert not is_missed(SNAT, OUTSIDE, OUTSIDE, "100.15.31.5")


def test_what_is_inside_keeps_its_source() -> None:
    assert is_missed(SNAT, INSIDE, "10.1.1.246")
    assert not is_missed(SNAT, INSIDE, INSIDE)
    assert not is_missed(config(child(**TS), guard=False), INSIDE, "10.1.1.246")


def test_sources_may_be_chosen() -> None:
    chosen = config(child(**TS, snat=IPv4Address(NATTED), snat_from=(IPv4Network("192.168.1.0/24"),)))
    assert is_missed(chosen, OUTSIDE, OUTSIDE)
    assert not is_missed(chosen, "192.168.2.5", "192.168.2.5")
    within = config(child(**TS, snat=IPv4Address(NATTED), snat_from=(IPv4Network(f"{INSIDE}/32"),)))
    assert is_missed(within, INSIDE, INSIDE)
    assert not is_missed(within, INSIDE, NATTED)


def test_the_peer_and_other_protocols_than_those_of_the_selectors_are_left_alone() -> None:
    around = config(child(**TS | {"remote_ts": IPv4Network("177.54.0.0/16")}, snat=IPv4Address(NATTED)))
    assert is_missed(around, OUTSIDE, OUTSIDE, "177.54.214.21")
    assert not is_missed(around, OUTSIDE, OUTSIDE, "177.54.214.20")
    only_gre = config(child(**TS, protocol="gre"))
    assert is_missed(only_gre, INSIDE, OUTSIDE, protocol=GRE)
    assert not is_missed(only_gre, INSIDE, OUTSIDE, protocol=UDP)


def test_where_selectors_mean_nothing_no_connection_is_missed() -> None:
    everything = IPv4Network("0.0.0.0/0")
    bound = child(mode="interface", if_id=7, local_ts=everything, remote_ts=everything, snat=IPv4Address(NATTED))
    assert list(translations(config(bound))) == []


def test_new_is_what_was_not_there_and_was_not_counted_before() -> None:
    wanted = tuple(translations(SNAT))
    assert new(wanted, (), {}) == wanted
    assert new(wanted, wanted, {}) == ()
    assert new(wanted, (), {"snat-c": (0, 0)}) == ()
    assert new(wanted, (), {"snat-d": (0, 0)}) == wanted
    other = tuple(translations(config(child(**TS, snat=IPv4Address("10.45.8.20")))))
    assert new(other, wanted, {}) == other[:1]
