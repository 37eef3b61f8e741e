"""What each agent should do, from the configuration and what is up: without asyncio, without root."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import pytest
from msgspec.structs import replace

from mcastd import wiring
from mcastd.config.model import Child, Config, Feed, Firewall, Group, Peer, Pim, RpRange, Streams, Tunnel
from mcastd.config.proposals import esp_of_proposal
from mcastd.file_groups import collect
from mcastd.firewall.rules import FirewallDesired, table
from mcastd.igmp_host.desired import IgmpHostDesired, IgmpHostLink
from mcastd.ipsec.messages import PeerWithKey
from mcastd.ipsec.state import ChildView
from mcastd.membership import GroupSource
from mcastd.meter.desired import MeterDesired
from mcastd.streams.desired import ChildArrival, TunnelArrival
from mcastd.tunnel.desired import LinkView
from mcastd.wanted import Rps
from mcastd.wiring import Inputs, Up

CHILD = Child(
    name="dc-gre", local_ts=IPv4Network("10.44.6.1/32"), remote_ts=IPv4Network("10.44.7.1/32"),
    proposals=("aes256-sha256-modp2048", "aes256gcm16-modp2048"),
)  # fmt: skip
PEER = Peer(
    name="dc", local=IPv4Address("10.1.1.246"), remote=IPv4Address("177.54.214.20"), local_id="222.45.67.1",
    remote_id="177.54.214.20", proposals=("aes256-sha256-modp2048",), children=(CHILD,),
)  # fmt: skip
TUNNEL = Tunnel(
    name="gre1", local=IPv4Address("10.44.6.1"), remote=IPv4Address("10.44.7.1"),
    address=IPv4Interface("10.44.4.6/30"), child="dc-gre", pim=Pim(),
)  # fmt: skip
GROUPS = (Group(group=IPv4Address("239.1.1.1"), tunnel="gre1"),)
CONFIG = Config(peers=(PEER,), tunnels=(TUNNEL,), groups=GROUPS)
VIEW = ChildView(True, 3, True, "AES_GCM_16")
LINK = LinkView(7, 1398, IPv4Address("10.44.4.6"), True, 2, (IPv4Address("10.44.4.9"),))
ALL_UP = Up(guard_in_place=True, children={"dc-gre": VIEW}, links={"gre1": LINK})


def inputs(config: Config = CONFIG, **up: Any) -> Inputs:
    return Inputs(config, (PeerWithKey(PEER, b"secret"),), replace(ALL_UP, **up))


def config(**changes: Any) -> Config:
    return replace(CONFIG, **changes)


@pytest.mark.parametrize(
    ("upstream", "encapsulation", "guard", "expected"),
    [
        ("pim", "gre", True, (True, False)),
        ("pim", "none", True, (True, True)),
        ("pim", "none", False, (True, False)),
        ("igmp", "gre", True, (False, False)),
        ("igmp", "none", True, (False, False)),
        ("none", "gre", True, (True, False)),
        ("none", "none", True, (True, True)),
    ],
)
def test_where_applications_are_held_to_igmpv3_and_their_reports_logged(
    upstream: Any, encapsulation: Any, guard: bool, expected: tuple[bool, bool]
) -> None:
    """The kernel's IGMP stays ours unless the far end is to hear it; without GRE our rule drops it unseen."""
    pim = Pim() if upstream == "pim" else None
    tunnel = replace(TUNNEL, encapsulation=encapsulation, upstream=upstream, pim=pim)
    (found,) = wiring.follow(inputs(config(tunnels=(tunnel,), firewall=Firewall(guard=guard)))).tunnels
    assert (found.igmpv3, found.reports_logged) == expected


def test_the_firewall_depends_on_the_configuration_alone() -> None:
    leaving = Config()
    assert wiring.firewall(Inputs(CONFIG, (), Up(), leaving)) == FirewallDesired(CONFIG, leaving)
    # Of what is up it only counts what is dropped.
    assert wiring.firewall(inputs()) == FirewallDesired(CONFIG, None)
    assert wiring.firewall(inputs()).up == frozenset({"dc-gre"})


@pytest.mark.parametrize(
    ("guard", "in_place", "allowed"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_early_esp_is_replayed_only_behind_the_guard(guard: bool, in_place: bool, allowed: bool) -> None:
    desired = wiring.ipsec(inputs(config(firewall=Firewall(guard=guard)), guard_in_place=in_place))
    assert desired.replay_allowed is allowed
    assert desired.peers == (PeerWithKey(PEER, b"secret"),)


def test_a_dead_path_restarts_the_child_sa_that_carries_it() -> None:
    assert wiring.ipsec(inputs()).restarts == {}
    assert wiring.ipsec(inputs(dead_paths={"gre1": 0, "gre9": 4})).restarts == {}
    restarts = wiring.ipsec(inputs(dead_paths={"gre1": 2})).restarts
    assert restarts == {"dc-gre": (2, "the path of gre1 is dead")}
    bare = config(tunnels=(replace(TUNNEL, child=None),))
    assert wiring.ipsec(inputs(bare, dead_paths={"gre1": 2})).restarts == {}


QUIET, HEARD = ChildArrival(seen=True, quiet=True), ChildArrival(seen=True, quiet=False, receiving=True)


def test_what_decrypts_packets_is_up_without_charon() -> None:
    assert wiring.ipsec(inputs()).receiving == frozenset()
    assert wiring.ipsec(inputs(decrypted={"dc-gre": HEARD, "other": QUIET})).receiving == {"dc-gre"}
    tcp = replace(CHILD, name="dc-tcp")
    both = config(peers=(replace(PEER, children=(CHILD, tcp)), replace(PEER, name="dr", children=())))
    assert wiring.ipsec(inputs(both, decrypted={"dc-gre": HEARD})).receiving == {"dc-gre", "dc-tcp"}
    assert wiring.ipsec(inputs(both, decrypted={"dc-gre": QUIET})).receiving == frozenset()
    tunnels = replace(both, tunnels=(TUNNEL, replace(TUNNEL, name="gre2", child="dc-tcp")))
    assert wiring.ipsec(inputs(tunnels, decrypted={"dc-gre": HEARD})).receiving == {"dc-gre"}


@pytest.mark.parametrize(
    ("up", "found"),
    [
        ({"keepalives_arriving": frozenset({"gre1"})}, {"dc-gre"}),
        ({"keepalives_arriving": frozenset({"gre9"})}, set()),
        ({"arrivals": {"gre1": TunnelArrival(receiving=True)}}, {"dc-gre"}),
        ({"arrivals": {"gre1": TunnelArrival(silences=3)}}, set()),
    ],
)
def test_what_arrives_by_a_tunnel_was_decrypted_also_where_that_is_not_counted(
    up: dict[str, Any], found: set[str]
) -> None:
    assert wiring.ipsec(inputs(decrypted={"dc-gre": ChildArrival()}, **up)).receiving == found
    assert wiring.ipsec(inputs(config(tunnels=(replace(TUNNEL, child=None),)), **up)).receiving == set()


def test_pim_is_asked_to_do_nothing_else_while_nothing_changes() -> None:
    class Agent:
        def has_arrived(self, tunnel: str, _source: IPv4Address | None, _group: IPv4Address) -> bool:
            return tunnel == "gre1"

    agent = Agent()
    desired = wiring.pim(inputs(has_arrived=agent.has_arrived))
    assert desired == wiring.pim(inputs(has_arrived=agent.has_arrived))
    has_arrived = desired.interfaces[0].has_arrived
    assert has_arrived is not None
    assert has_arrived(None, GROUPS[0].group)
    without = wiring.pim(inputs())
    assert without.interfaces[0].has_arrived is None, "it is not known"
    assert without != desired


def test_a_peer_is_heard_while_its_packets_are_decrypted_and_no_keepalives_have_stopped() -> None:
    def heard(**up: Any) -> frozenset[str]:
        return wiring.tunnels(inputs(both, **up)).heard

    both = config(peers=(PEER, replace(PEER, name="dr", children=(replace(CHILD, name="dr-gre"),))))
    assert heard() == frozenset()
    assert heard(decrypted={"dc-gre": HEARD, "dr-gre": QUIET}) == {PEER.name}
    assert heard(decrypted={"dc-gre": HEARD, "dr-gre": HEARD}) == {PEER.name, "dr"}
    stopped = frozenset({"gre1"})
    assert heard(decrypted={"dc-gre": HEARD, "dr-gre": HEARD}, keepalives_stopped=stopped) == {"dr"}


@pytest.mark.parametrize(
    ("signs", "probe"),
    [
        ({}, None),
        ({"arrivals": {"gre1": TunnelArrival(all_silent=False, silences=7)}}, None),
        ({"arrivals": {"gre1": TunnelArrival(all_silent=True, silences=7)}}, (7, "all streams of gre1 are silent")),
        ({"keepalives_stopped": frozenset({"gre1"})}, (0, "the far end's keepalives on gre1 have stopped")),
        ({"hello_overdue": frozenset({"gre1"})}, (0, "the Hello of the PIM neighbour on gre1 is overdue")),
        ({"hello_overdue": frozenset({"gre9"}), "arrivals": {"gre9": TunnelArrival(all_silent=True)}}, None),
    ],
)
def test_a_silent_path_is_probed_where_the_child_sa_is_quiet_too(signs: dict[str, Any], probe: Any) -> None:
    expected = {} if probe is None else {"dc-gre": probe}
    assert wiring.ipsec(inputs(decrypted={"dc-gre": QUIET}, **signs)).probes == expected
    for child in (HEARD, ChildArrival(), ChildArrival(seen=False, quiet=True)):
        assert wiring.ipsec(inputs(decrypted={"dc-gre": child}, **signs)).probes == {}
    assert wiring.ipsec(inputs(**signs)).probes == {}
    bare = config(tunnels=(replace(TUNNEL, child=None),))
    assert wiring.ipsec(inputs(bare, decrypted={"dc-gre": QUIET}, **signs)).probes == {}


def test_two_tunnels_through_a_child_sa_count_their_silences_together() -> None:
    both = config(tunnels=(TUNNEL, replace(TUNNEL, name="gre2")))
    arrivals = {"gre1": TunnelArrival(all_silent=True, silences=2), "gre2": TunnelArrival(all_silent=True, silences=3)}
    probes = wiring.ipsec(inputs(both, decrypted={"dc-gre": QUIET}, arrivals=arrivals)).probes
    assert probes == {"dc-gre": (5, "all streams of gre2 are silent")}


def test_a_carrier_has_the_negotiated_algorithms() -> None:
    carrier = wiring.tunnels(inputs()).carriers["dc-gre"]
    (gcm,) = esp_of_proposal("aes256gcm16-modp2048")
    assert (carrier.up, carrier.up_count, carrier.esp, carrier.encap) == (True, 3, gcm, True)
    assert (carrier.mode, carrier.remote) == ("tunnel", PEER.remote)
    unknown = wiring.tunnels(inputs(children={"dc-gre": replace(VIEW, encr_alg=None, encap=False)})).carriers["dc-gre"]
    (cbc,) = esp_of_proposal("aes256-sha256-modp2048")
    assert (unknown.esp, unknown.encap) == (cbc, False)


@pytest.mark.parametrize(
    ("up", "count"),
    [
        ({"children": {}}, 0),
        ({"children": {"dc-gre": replace(VIEW, up=False)}}, 3),
        ({"guard_in_place": False}, 3),
    ],
    ids=["unknown", "down", "no guard"],
)
def test_a_carrier_that_is_down_is_as_configured_with_the_most_overhead(up: dict[str, Any], count: int) -> None:
    carrier = wiring.tunnels(inputs(**up)).carriers["dc-gre"]
    (cbc,) = esp_of_proposal("aes256-sha256-modp2048")
    assert (carrier.up, carrier.up_count, carrier.esp, carrier.encap) == (False, count, cbc, True)


def test_only_a_tunnel_that_needs_the_guard_waits_for_it() -> None:
    other = replace(CHILD, name="dc-tcp")
    both = config(peers=(replace(PEER, children=(CHILD, other)),))
    views = {"dc-gre": VIEW, "dc-tcp": VIEW}
    carriers = wiring.tunnels(inputs(both, guard_in_place=False, children=views)).carriers
    assert {name: carrier.up for name, carrier in carriers.items()} == {"dc-gre": False, "dc-tcp": True}
    standing = table(both)
    assert wiring.tunnels(inputs(both, guard_in_place=False, standing=standing)).carriers["dc-gre"].up
    unguarded = config(firewall=Firewall(guard=False))
    assert wiring.tunnels(inputs(unguarded, guard_in_place=False)).carriers["dc-gre"].up


def test_keepalives_follow_the_link_of_each_gre_tunnel() -> None:
    straight = replace(TUNNEL, name="xfrm1", encapsulation="none")
    desired = wiring.keepalive(inputs(config(tunnels=(TUNNEL, straight))))
    assert [(one.tunnel.name, one.present, one.up) for one in desired] == [("gre1", True, True)]
    for links, expected in (
        ({}, (False, False)),
        ({"gre1": replace(LINK, up=False)}, (True, False)),
    ):
        (one,) = wiring.keepalive(inputs(links=links))
        assert (one.present, one.up) == expected


def test_in_transport_mode_keepalives_know_the_public_address_too() -> None:
    transport = config(peers=(replace(PEER, children=(replace(CHILD, mode="transport"),)),))
    (one,) = wiring.keepalive(inputs(transport))
    assert one.endpoints.also == (IPv4Address("222.45.67.1"),)
    (one,) = wiring.keepalive(inputs())
    assert one.endpoints.also == ()


def test_pim_runs_on_a_path_that_has_been_up_and_keeps_its_state_while_it_is_down() -> None:
    (interface,) = wiring.pim(inputs()).interfaces
    assert (interface.name, interface.ifindex, interface.mtu) == ("gre1", 7, 1398)
    assert (interface.address, interface.secondary) == (LINK.address, LINK.secondary)
    assert (interface.up, interface.up_count) == (True, 2)
    (interface,) = wiring.pim(inputs(links={"gre1": replace(LINK, up=False)})).interfaces
    assert (interface.up, interface.up_count) == (False, 2)
    assert wiring.pim(inputs(links={"gre1": replace(LINK, up=False, up_count=0)})).interfaces == ()
    assert wiring.pim(inputs(links={})).interfaces == ()
    assert wiring.pim(inputs(config(tunnels=(replace(TUNNEL, pim=None),)))).interfaces == ()


def test_what_the_file_desires_is_by_tunnel() -> None:
    group, source = IPv4Address("232.1.1.1"), IPv4Address("10.9.0.1")
    found: dict[str, list[GroupSource]] = {"gre1": []}
    collect(found, Group(group=group, tunnel="gre2", sources=(source, source + 1)), ("gre2",))
    collect(found, Group(group=group, several=("gre1", "gre2")), ("gre1", "gre2"))
    assert found == {"gre1": [(group, None)], "gre2": [(group, source), (group, source + 1), (group, None)]}


def test_pim_knows_which_tunnels_are_to_have_it_before_they_are_up() -> None:
    both = config(tunnels=(TUNNEL, replace(TUNNEL, name="gre2", pim=None)))
    assert wiring.pim(inputs(both, links={})).tunnels == ("gre1",)


def test_groups_are_joined_by_igmp_where_the_interface_exists_and_pim_is_not_spoken() -> None:
    by_igmp = config(tunnels=(replace(TUNNEL, pim=None, upstream="igmp"),))
    arrivals = {"gre1": TunnelArrival(silences=4)}
    desired = wiring.igmp_host(inputs(by_igmp, arrivals=arrivals))
    assert desired == IgmpHostDesired((IgmpHostLink("gre1", 7, up_count=2, silences=4),), ("gre1",))
    assert wiring.igmp_host(inputs(by_igmp, links={})) == IgmpHostDesired((), ("gre1",))
    assert wiring.igmp_host(inputs()) == IgmpHostDesired()
    assert wiring.pim(inputs(by_igmp)).interfaces == ()


def test_forwarding_knows_where_a_group_has_a_rendezvous_point() -> None:
    group, ranges = IPv4Address("239.1.1.1"), IPv4Network("239.2.0.0/16")
    pim = Pim(rp=(RpRange(address=IPv4Address("10.9.9.9"), groups=(ranges,)),))
    by_igmp = replace(TUNNEL, name="gre2", pim=None, upstream="igmp")
    both = config(tunnels=(replace(TUNNEL, pim=pim), by_igmp))
    up = {"rp_changes": {"gre1": 3}, "has_rp": lambda name, of: name == "gre1" and of == group}
    found = wiring.forward(inputs(both, **up)).tunnels
    assert found["gre1"].rps == Rps(needed=True, ranges=(ranges,), changes=3)
    assert found["gre1"].rps.has(group)
    assert not found["gre1"].rps.has(group + 1)
    assert not found["gre2"].rps.needed


def test_the_meter_measures_what_exists() -> None:
    feeds = (Feed(label="a", groups=(IPv4Network("239.1.1.1/32"),)),)
    assert wiring.meter(inputs(config(feeds=feeds))) == MeterDesired(True, {"gre1": 7}, feeds)
    assert not wiring.meter(inputs(config(streams=Streams(meter="off")))).enabled
