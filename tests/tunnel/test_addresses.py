"""The plan of a link's addresses against the kernel's rules about them, as the model of the kernel has them."""

from ipaddress import IPv4Address, IPv4Interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.tunnel.addresses import AddressPlan, Entry, plan
from tests.fakes.kernel import FakeKernel
from tests.tunnel.agents import tunnel

PRIMARY: Entry = (tunnel().address, tunnel().peer_address)
PLAIN: Entry = (tunnel().address, None)
NEAR: Entry = (IPv4Interface("10.44.4.5/30"), None)
FAR: Entry = (IPv4Interface("10.50.0.1/24"), None)
OTHER: Entry = (IPv4Interface("10.44.5.6/30"), None)


def test_nothing_to_do_is_nothing_done() -> None:
    assert plan((PRIMARY,), (PRIMARY,)) == AddressPlan((), (), ())
    # The kernel lists a secondary address of a subnet last.
    assert plan((PLAIN, NEAR, FAR), (PLAIN, FAR, NEAR)) == AddressPlan((), (), ())


@pytest.mark.parametrize("peer", [IPv4Address("10.44.4.4"), None])
def test_a_change_of_the_far_end_goes_the_only_way_that_the_kernel_takes(peer: IPv4Address | None) -> None:
    changed = (PRIMARY[0], peer)
    assert plan((changed,), (PRIMARY,)) == AddressPlan((PRIMARY,), (changed,), ())


def test_the_new_address_is_there_before_the_old_one_goes() -> None:
    assert plan((OTHER,), (PRIMARY,)) == AddressPlan((), (OTHER,), (PRIMARY,))


def test_in_one_network_the_old_address_goes_first_or_it_would_take_the_new_one_along() -> None:
    assert plan((NEAR,), (PRIMARY,)) == AddressPlan((PRIMARY,), (NEAR,), ())
    assert plan((PLAIN, FAR), (PLAIN, FAR, NEAR)) == AddressPlan((NEAR,), (PLAIN,), ())


def test_the_primary_address_is_the_links_first() -> None:
    assert plan((FAR, PLAIN), (PLAIN, FAR)) == AddressPlan((PLAIN,), (PLAIN,), ())
    assert plan((FAR, PLAIN), (PLAIN,)) == AddressPlan((PLAIN,), (FAR, PLAIN), ())


INTERFACES = st.sampled_from(
    [IPv4Interface(text) for text in ("10.44.4.5/30", "10.44.4.6/30", "10.44.4.6/29", "10.44.5.6/30")]
)
PEERS = st.none() | st.sampled_from([IPv4Address("10.44.4.5"), IPv4Address("10.44.4.6"), IPv4Address("192.0.2.1")])
FURTHER = st.sampled_from(
    [IPv4Interface(text) for text in ("10.44.4.2/29", "10.44.4.1/30", "10.60.0.1/24", "10.60.0.2/32")]
)
DESIRED = st.builds(
    lambda primary, further: (primary, *((one, None) for one in further)),
    st.tuples(INTERFACES, PEERS),
    st.lists(FURTHER, unique=True, max_size=3),
)


@given(st.lists(st.tuples(INTERFACES, PEERS) | st.tuples(FURTHER, st.none()), max_size=5), DESIRED, DESIRED)
def test_the_plan_reaches_the_desired_addresses_and_then_does_nothing(
    found: list[Entry], first: tuple[Entry, ...], second: tuple[Entry, ...]
) -> None:
    kernel = FakeKernel()
    link = kernel.make_link("gre1", "gre")
    for entry in found:
        add(kernel, entry)
    for desired in (first, second, first):
        changes = plan(desired, link.addresses)
        for entry in changes.delete_first:
            delete(kernel, entry)
        for entry in changes.add:
            add(kernel, entry)
            assert entry in link.addresses, "EEXIST, and the far end stays as it was"
        for entry in changes.delete_last:
            delete(kernel, entry)
        assert set(link.addresses) == set(desired)
        assert link.addresses[0] == desired[0]
        assert plan(desired, link.addresses) == AddressPlan((), (), ())


def add(kernel: FakeKernel, entry: Entry) -> None:
    """Unless the kernel takes it for one that is there."""
    try:
        kernel.add_address("gre1", entry)
    except FileExistsError:
        return


def delete(kernel: FakeKernel, entry: Entry) -> None:
    """Unless the kernel has deleted it with another."""
    if entry in kernel.links["gre1"].addresses:
        kernel.delete_address("gre1", entry)
