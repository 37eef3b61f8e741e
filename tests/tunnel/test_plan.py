"""The plan against a small model of the host, which keeps the kernel's rules about addresses."""

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.config.model import Tunnel
from mcastd.links import Gre, Xfrm
from mcastd.net.gre import GreOptions
from mcastd.tunnel.plan import (
    AddAddress,
    AddEndpoint,
    AdoptLink,
    CreateLink,
    DeleteAddress,
    DeleteLink,
    Found,
    Pumped,
    Refuse,
    SetLink,
    SetRpFilter,
    Shape,
    Wanted,
    addresses,
    gre,
    plan,
)

TUNNEL = Tunnel(
    name="gre1",
    local=IPv4Address("10.44.6.1"),
    remote=IPv4Address("10.44.7.1"),
    address=IPv4Interface("10.44.4.6/30"),
    peer_address=IPv4Address("10.44.4.5"),
)


def wanted_of(tunnel: Tunnel, userspace: bool, mtu: int, up: bool, rp_filter: str | None) -> Wanted:
    shape = Pumped(gre(tunnel)) if userspace else gre(tunnel)
    return Wanted(tunnel.name, shape, mtu, up, tunnel.local, addresses(tunnel), rp_filter)


WANTED = wanted_of(TUNNEL, False, 1398, True, "2")
GRE = Gre(TUNNEL.local, TUNNEL.remote)
MATCHING = Found(
    exists=True,
    ours=True,
    shape=GRE,
    mtu=1398,
    up=True,
    multicast=True,
    addresses=((TUNNEL.address, TUNNEL.peer_address),),
    endpoint_present=True,
    rp_filter="2",
)


def changed(**what: Any) -> Wanted:
    return wanted_of(msgspec.structs.replace(TUNNEL, **what), False, 1398, True, "2")


def test_an_empty_host_gets_everything_in_an_order_that_works() -> None:
    assert plan(WANTED, Found()) == [
        AddEndpoint(IPv4Interface("10.44.6.1/32")),
        CreateLink(GRE),
        SetRpFilter("2"),
        AddAddress(TUNNEL.address, TUNNEL.peer_address),
        SetLink(1398, True, True),
    ]


def test_an_xfrm_interface_below_gre_has_no_address_and_no_endpoint() -> None:
    below = Wanted("ipsec1", Xfrm(7), 1422, True)
    assert plan(below, Found()) == [CreateLink(Xfrm(7)), SetLink(1422, True, True)]
    found = Found(exists=True, ours=True, shape=Xfrm(7), mtu=1422, up=True, multicast=True)
    assert plan(below, found) == []
    assert plan(below, replace(found, addresses=MATCHING.addresses)) == []
    assert plan(replace(below, shape=Xfrm(8)), found)[:2] == [DeleteLink(), CreateLink(Xfrm(8))]


def test_a_link_stays_down_until_its_child_is_up() -> None:
    waiting = replace(WANTED, up=False)
    assert plan(waiting, Found(endpoint_present=True))[-1] == SetLink(1398, True, None)
    assert plan(WANTED, replace(MATCHING, up=False)) == [SetLink(None, False, True)]


def test_a_link_once_up_stays_up_while_its_child_is_away() -> None:
    assert plan(replace(WANTED, up=False), MATCHING) == []


def test_nothing_to_do_is_nothing_done() -> None:
    assert plan(WANTED, MATCHING) == []


def test_what_an_earlier_life_left_is_adopted_and_not_made_anew() -> None:
    left = replace(MATCHING, shape=None, pump_left=True)
    wanted = replace(WANTED, shape=Pumped(GRE))
    assert plan(wanted, left) == [AdoptLink(GRE)]
    assert plan(wanted, replace(left, pump_left=False))[:2] == [DeleteLink(), CreateLink(Pumped(GRE))]
    assert plan(WANTED, left)[:2] == [DeleteLink(), CreateLink(GRE)]


@pytest.mark.parametrize("shape", [GRE, Pumped(GRE), Xfrm(7), None])
def test_a_foreign_link_is_refused_and_nothing_else_is_done(shape: Shape | None) -> None:
    for found in (replace(MATCHING, ours=False, shape=shape), Found(exists=True, shape=shape)):
        (only,) = plan(WANTED, found)
        assert isinstance(only, Refuse)
        assert "gre1" in only.reason


@pytest.mark.parametrize(
    "what",
    [
        {"local": IPv4Address("10.44.6.2")},
        {"remote": IPv4Address("10.44.7.2")},
        {"gre": GreOptions(ttl=64)},
        {"gre": GreOptions(0)},
        {"gre": GreOptions(40)},
        {"gre": GreOptions(checksum=True)},
        {"gre": GreOptions(sequence=True)},
    ],
)
def test_what_cannot_change_in_place_makes_the_link_anew(what: dict[str, Any]) -> None:
    wanted = changed(**what)
    assert plan(wanted, MATCHING) == [
        DeleteLink(),
        CreateLink(wanted.shape),
        SetRpFilter("2"),
        AddAddress(TUNNEL.address, TUNNEL.peer_address),
        SetLink(1398, True, True),
    ]


def test_a_tun_without_its_pump_is_made_anew() -> None:
    left = replace(MATCHING, shape=None)
    wanted = replace(WANTED, shape=Pumped(GRE))
    assert plan(wanted, left)[:2] == [DeleteLink(), CreateLink(Pumped(GRE))]
    assert plan(wanted, replace(left, shape=Pumped(GRE))) == []
    assert plan(wanted, MATCHING)[:2] == [DeleteLink(), CreateLink(Pumped(GRE))]
    assert plan(wanted, replace(left, shape=Pumped(replace(GRE, options=GreOptions(40)))))[:2] == [
        DeleteLink(),
        CreateLink(Pumped(GRE)),
    ]


def test_a_change_of_peer_goes_the_only_way_that_the_kernel_takes() -> None:
    before, after = TUNNEL.peer_address, IPv4Address("10.44.4.4")
    assert plan(changed(peer_address=after), MATCHING) == [
        DeleteAddress(TUNNEL.address, before),
        AddAddress(TUNNEL.address, after),
    ]
    assert plan(changed(peer_address=None), MATCHING) == [
        DeleteAddress(TUNNEL.address, before),
        AddAddress(TUNNEL.address, None),
    ]


def test_the_new_address_is_there_before_the_old_one_goes() -> None:
    after = IPv4Interface("10.44.5.6/30")
    assert plan(changed(address=after, peer_address=None), MATCHING) == [
        AddAddress(after, None),
        DeleteAddress(TUNNEL.address, TUNNEL.peer_address),
    ]


def test_in_one_network_the_old_address_goes_first_or_it_would_take_the_new_one_along() -> None:
    after = IPv4Interface("10.44.4.5/30")
    assert plan(changed(address=after, peer_address=None), MATCHING) == [
        DeleteAddress(TUNNEL.address, TUNNEL.peer_address),
        AddAddress(after, None),
    ]


NEAR, FAR = IPv4Interface("10.44.4.5/30"), IPv4Interface("10.50.0.1/24")


def test_further_addresses_come_after_the_primary_one() -> None:
    wanted = changed(peer_address=None, addresses=(NEAR, FAR))
    assert [action for action in plan(wanted, Found()) if isinstance(action, AddAddress)] == [
        AddAddress(address, None) for address in (TUNNEL.address, NEAR, FAR)
    ]
    here = ((TUNNEL.address, None), (FAR, None), (NEAR, None))  # the kernel lists a secondary one of a subnet last
    assert plan(wanted, replace(MATCHING, addresses=here)) == []
    assert plan(changed(peer_address=None, addresses=(FAR,)), replace(MATCHING, addresses=here)) == [
        DeleteAddress(NEAR, None),
        AddAddress(TUNNEL.address, None),
    ]


def test_the_primary_address_is_the_links_first() -> None:
    swapped = changed(address=FAR, peer_address=None, addresses=(TUNNEL.address,))
    assert plan(swapped, replace(MATCHING, addresses=((TUNNEL.address, None), (FAR, None)))) == [
        DeleteAddress(TUNNEL.address, None),
        AddAddress(TUNNEL.address, None),
    ]
    assert plan(swapped, replace(MATCHING, addresses=((TUNNEL.address, None),))) == [
        DeleteAddress(TUNNEL.address, None),
        AddAddress(FAR, None),
        AddAddress(TUNNEL.address, None),
    ]


def test_each_difference_alone_is_one_action() -> None:
    assert plan(replace(WANTED, mtu=1376), MATCHING) == [SetLink(1376, False, None)]
    assert plan(WANTED, replace(MATCHING, multicast=False)) == [SetLink(None, True, None)]
    assert plan(WANTED, replace(MATCHING, rp_filter="1")) == [SetRpFilter("2")]
    assert plan(replace(WANTED, rp_filter=None), replace(MATCHING, rp_filter="1")) == []
    assert plan(WANTED, replace(MATCHING, endpoint_present=False)) == [AddEndpoint(IPv4Interface("10.44.6.1/32"))]


Entry = tuple[IPv4Interface, IPv4Address | None]


def subnet(entry: Entry) -> object:
    """What the kernel compares to call an address secondary: the mask, and the network of the far end."""
    own, peer = entry
    return IPv4Interface(f"{peer or own.ip}/{own.network.prefixlen}").network


@dataclass
class Host:
    """One link and the loopback, and how the kernel treats changes of them."""

    found: Found
    addresses: list[Entry] = field(default_factory=list)

    def apply(self, wanted: Wanted, actions: list[Any]) -> None:
        for action in actions:
            found = self.found
            match action:
                case AddEndpoint(address):
                    assert not found.endpoint_present
                    assert wanted.endpoint is not None
                    assert address == IPv4Interface(wanted.endpoint)
                    self.found = replace(found, endpoint_present=True)
                case DeleteLink():
                    assert found.exists
                    assert found.ours
                    self.addresses = []
                    self.found = Found(endpoint_present=found.endpoint_present)
                case CreateLink(shape):
                    assert not found.exists
                    assert found.endpoint_present  # a raw socket is bound to it
                    self.found = created(shape, found)
                case AdoptLink(gre):
                    assert found.shape is None
                    assert found.pump_left
                    self.found = replace(found, shape=Pumped(gre), pump_left=False)
                case AddAddress(address, peer):
                    assert found.exists
                    self.add((address, peer))
                case DeleteAddress(address, peer):
                    self.delete((address, peer))
                case SetRpFilter(value):
                    assert found.exists
                    self.found = replace(found, rp_filter=value)
                case SetLink(mtu, multicast, up):
                    self.found = replace(
                        found,
                        mtu=found.mtu if mtu is None else mtu,
                        multicast=found.multicast or multicast,
                        up=found.up if up is None else up,
                    )
                case _:
                    raise AssertionError(action)
        self.found = replace(self.found, addresses=tuple(self.addresses))

    def add(self, entry: Entry) -> None:
        same = [old for old in self.addresses if old[0].ip == entry[0].ip and subnet(old) == subnet(entry)]
        assert same in ([], [entry]), "EEXIST, and the peer stays as it was"
        self.addresses += [] if same else [entry]

    def delete(self, entry: Entry) -> None:
        if entry not in self.addresses:
            return
        primary = next(old for old in self.addresses if subnet(old) == subnet(entry)) == entry
        self.addresses = [
            old for old in self.addresses if old != entry and not (primary and subnet(old) == subnet(entry))
        ]


def created(shape: Shape | None, before: Found) -> Found:
    kernel = isinstance(shape, Gre)
    return Found(
        exists=True,
        ours=True,
        shape=shape,
        mtu=1476 if kernel else 1500,
        up=False,
        multicast=not kernel,
        endpoint_present=before.endpoint_present,
        rp_filter="0",
    )


INTERFACES = st.sampled_from(
    [IPv4Interface(text) for text in ("10.44.4.5/30", "10.44.4.6/30", "10.44.4.6/29", "10.44.5.6/30")]
)
PEERS = st.none() | st.sampled_from([IPv4Address("10.44.4.5"), IPv4Address("10.44.4.6"), IPv4Address("192.0.2.1")])
ENDS = st.sampled_from([IPv4Address("10.44.6.1"), IPv4Address("10.44.7.1")])
FURTHER_ONE = st.sampled_from(
    [IPv4Interface(text) for text in ("10.44.4.2/29", "10.44.4.1/30", "10.60.0.1/24", "10.60.0.2/32")]
)
FURTHER = st.lists(FURTHER_ONE, unique=True, max_size=3).map(tuple)
KEYS = st.none() | st.sampled_from((0, 40))
WANTS = st.builds(
    wanted_of,
    tunnel=st.builds(
        Tunnel, name=st.just("gre1"), local=ENDS, remote=ENDS, address=INTERFACES, peer_address=PEERS,
        addresses=FURTHER, gre=st.builds(GreOptions, KEYS, st.booleans(), st.booleans(), st.sampled_from((64, 255))),
    ),
    userspace=st.booleans(),
    mtu=st.sampled_from((1376, 1398, 1476)),
    up=st.booleans(),
    rp_filter=st.none() | st.sampled_from(("1", "2")),
)  # fmt: skip

SHAPES = WANTS.map(lambda wanted: wanted.shape)


def uniquely(entries: list[Entry]) -> list[Entry]:
    """No two that the kernel would take for the same."""
    kept: list[Entry] = []
    for entry in entries:
        if all(old[0].ip != entry[0].ip or subnet(old) != subnet(entry) for old in kept):
            kept.append(entry)
    return kept


@st.composite
def hosts(draw: st.DrawFn) -> Host:
    if not draw(st.booleans()):
        return Host(Found(endpoint_present=draw(st.booleans())))
    link = created(draw(st.none() | SHAPES), Found(endpoint_present=draw(st.booleans())))
    addresses = uniquely(draw(st.lists(st.tuples(INTERFACES, PEERS) | st.tuples(FURTHER_ONE, st.none()), max_size=5)))
    found = replace(
        link,
        pump_left=draw(st.booleans()),
        mtu=draw(st.sampled_from((1376, 1398, 1500))),
        up=draw(st.booleans()),
        multicast=draw(st.booleans()),
        rp_filter=draw(st.none() | st.sampled_from(("0", "1", "2"))),
        addresses=tuple(addresses),
    )
    return Host(found, addresses)


@given(hosts(), WANTS)
def test_the_plan_reaches_what_is_wanted_and_then_does_nothing(host: Host, wanted: Wanted) -> None:
    was_up = host.found.up
    before = host.found
    host.apply(wanted, plan(wanted, before))
    assert plan(wanted, host.found) == []
    found = host.found
    assert found.exists
    assert found.endpoint_present
    assert found.addresses[0] == wanted.addresses[0]
    assert set(found.addresses) == set(wanted.addresses)
    assert (found.mtu, found.multicast) == (wanted.mtu, True)
    assert found.rp_filter == (wanted.rp_filter or found.rp_filter)
    assert found.shape == wanted.shape
    if wanted.up:
        assert found.up
    elif not was_up:
        assert not found.up


@given(hosts(), WANTS, WANTS)
def test_every_reload_is_the_same_code(host: Host, first: Wanted, second: Wanted) -> None:
    for wanted in (first, second, first):
        host.found = replace(host.found, endpoint_present=False)
        host.apply(wanted, plan(wanted, host.found))
        assert plan(wanted, host.found) == []
