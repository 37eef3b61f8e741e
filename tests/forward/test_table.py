"""VIFs and entries: their numbers, and what is changed of them, judged by a model of the kernel."""

from ipaddress import IPv4Address

import pytest

from mcastd.errors import HostError
from mcastd.forward import plan
from mcastd.forward.plan import Receiver
from mcastd.forward.table import AddEntry, AddVif, DeleteEntry, DeleteVif, Effect, Table
from mcastd.membership import DesiredGroup
from mcastd.net.mroute import ANY, MAX_VIFS, Entry, Key, drops_the_rest
from tests.fakes.mroute import FakeMulticast

GROUPS = tuple(IPv4Address("239.1.1.0") + number for number in range(10))
SOURCE = IPv4Address("10.0.0.1")


class Host:
    """A table and the kernel that it changes."""

    def __init__(self, *names: str) -> None:
        self.kernel = FakeMulticast(*names)
        self._socket = self.kernel.bare()
        self.table = Table(self.execute)
        self.table.begin({}, self.kernel.links)

    def execute(self, effect: Effect) -> None:
        match effect:
            case AddVif(number, index):
                self._socket.add_vif(number, index)
            case DeleteVif(number):
                self._socket.delete_vif(number)
            case AddEntry(entry):
                self._socket.add(entry)
            case DeleteEntry(entry):
                self._socket.delete(entry)

    def forward(self, group: IPv4Address, name: str = "eth1", tunnel: str = "gre1") -> bool:
        """A group is wanted behind an interface; returns whether there are VIFs for it."""
        numbers = [number for one in (name, tunnel) if (number := self.table.vif(one)) is not None]
        if len(numbers) < 2:
            return False
        receivers = [Receiver(numbers[0], 1, (numbers[1],), DesiredGroup(any_source=True))]
        self.table.match(group, plan.entries(group, receivers))
        return True

    def stop(self, group: IPv4Address) -> None:
        self.table.match(group, {})

    def changes(self) -> list[str]:
        found, self.kernel.changed = self.kernel.changed, []
        return found


def test_vifs_are_made_when_an_entry_needs_them_with_an_entry_that_drops_the_rest() -> None:
    host = Host("gre1", "gre2", "eth1", "eth2")
    assert host.changes() == []
    host.forward(GROUPS[0])
    vifs = ["add VIF 0", "add 0.0.0.0 0.0.0.0", "add VIF 1", "add 0.0.0.0 0.0.0.0"]
    assert host.changes() == [*vifs, f"add 0.0.0.0 {GROUPS[0]}"]
    assert host.kernel.packet("10.0.0.1", str(GROUPS[0]), "gre1") == ["eth1"]
    assert host.kernel.packet("10.0.0.1", str(GROUPS[1]), "gre1") == []
    assert host.kernel.asked == 0


def test_a_change_of_one_group_costs_one_entry_and_the_same_again_none() -> None:
    host = Host("gre1", "eth1")
    for group in GROUPS:
        host.forward(group)
    host.changes()
    host.forward(GROUPS[3])
    assert host.changes() == []
    host.stop(GROUPS[3])
    assert host.changes() == [f"delete 0.0.0.0 {GROUPS[3]}"]


def test_what_replaces_an_entry_is_added_before_it_is_deleted() -> None:
    host = Host("gre1", "eth1")
    host.forward(GROUPS[0])
    host.changes()
    entry = Entry(SOURCE, GROUPS[0], 1, ((0, 1),))
    host.table.match(GROUPS[0], {entry.key: entry})
    assert host.changes() == [f"add {SOURCE} {GROUPS[0]}", f"delete 0.0.0.0 {GROUPS[0]}"]


def test_an_interface_that_comes_back_gets_another_number_until_no_entry_names_the_old_one() -> None:
    host = Host("gre1", "eth1")
    for group in GROUPS[:2]:
        host.forward(group)
    old = host.table.number("eth1")
    host.kernel.delete("eth1")
    host.kernel.make("eth9")
    host.kernel.make("eth1")
    assert host.table.set_links(host.kernel.links)
    host.forward(GROUPS[2], "eth9")
    host.forward(GROUPS[0])
    assert host.kernel.packet("10.0.0.1", str(GROUPS[0]), "gre1") == ["eth1"]
    # Group 1 has not been planned yet; its entry in the kernel still names the number.
    assert host.kernel.packet("10.0.0.1", str(GROUPS[1]), "gre1") == []
    assert host.kernel.packet("10.0.0.1", str(GROUPS[2]), "gre1") == ["eth9"]
    assert old not in (host.table.number("eth1"), host.table.number("eth9"))
    host.stop(GROUPS[1])
    host.kernel.make("eth8")
    host.table.set_links(host.kernel.links)
    assert host.table.vif("eth8") == old


def test_the_same_interfaces_change_nothing() -> None:
    host = Host("gre1", "eth1")
    host.forward(GROUPS[0])
    assert not host.table.set_links(dict(host.kernel.links))


def test_32_interfaces_that_are_used_leave_none_for_another_until_one_is_no_longer_used() -> None:
    names = [f"eth{number}" for number in range(MAX_VIFS + 5)]
    host = Host("gre1", *names)
    assert all(host.forward(group, name) for group, name in zip(range_of(31), names, strict=False))
    assert not host.forward(IPv4Address("239.9.9.9"), names[31])
    assert host.table.full == {names[31]}
    host.table.take_freed()
    host.stop(IPv4Address("239.2.0.3"))
    assert host.table.take_freed()
    assert host.forward(IPv4Address("239.9.9.9"), names[31])
    assert host.kernel.packet("10.0.0.1", "239.9.9.9", "gre1") == [names[31]]
    assert host.kernel.packet("10.0.0.1", "239.2.0.3", "gre1") == []
    assert host.table.number(names[3]) is None


def range_of(count: int) -> list[IPv4Address]:
    return [IPv4Address("239.2.0.0") + number for number in range(count)]


def test_a_vif_that_is_needed_for_the_same_entry_is_not_given_to_another_interface() -> None:
    names = [f"eth{number}" for number in range(MAX_VIFS)]
    host = Host("gre1", "gre2", *names)
    for group, name in zip(range_of(30), names, strict=False):
        host.forward(group, name)
    number = host.table.vif(names[30])
    assert number is not None
    assert host.table.vif("gre2", {number}) is None
    assert host.table.vif("gre2") == number


def test_a_table_that_begins_with_what_the_kernel_has_changes_what_differs_only() -> None:
    host = Host("gre1", "eth1", "eth2")
    host.forward(GROUPS[0])
    host.forward(GROUPS[1], "eth2")
    kernel = host.kernel
    host.changes()
    entries = list(kernel.table.values())
    host.table.begin(dict(kernel.vifs_by_number), {name: kernel.links[name] for name in ("gre1", "eth1")})
    for entry in entries:
        host.table.take(entry)
    vif = kernel.links["eth2"]
    assert vif not in kernel.vifs_by_number.values()
    host.changes()
    host.forward(GROUPS[0])
    assert host.changes() == []
    assert set(host.table.groups()) == set(GROUPS[:2])
    host.stop(GROUPS[1])
    assert host.changes() == [f"delete 0.0.0.0 {GROUPS[1]}"]


def test_entries_whose_parent_is_gone_are_deleted_by_every_number_that_it_may_have_had() -> None:
    host = Host("gre1", "eth1")
    host.forward(GROUPS[0])
    entry = Entry(SOURCE, GROUPS[0], 1, ((0, 1),))
    host.execute(AddEntry(entry))
    host.kernel.delete("gre1")
    kernel = host.kernel
    reported = [one if one.parent == 0 else one._replace(parent=-1) for one in kernel.table.values()]
    host.table.begin(dict(kernel.vifs_by_number), kernel.links)
    for one in reported:
        host.table.take(one)
    assert list(kernel.table) == [drops_the_rest(0).key]
    assert not host.table.groups()


def test_what_another_program_changed_is_corrected_by_the_next_plan() -> None:
    host = Host("gre1", "eth1")
    host.forward(GROUPS[0])
    key = Key(ANY, GROUPS[0], 1)
    del host.kernel.table[key]
    host.table.correct(key, None)
    host.forward(GROUPS[0])
    assert host.kernel.packet("10.0.0.1", str(GROUPS[0]), "gre1") == ["eth1"]
    foreign = Entry(SOURCE, GROUPS[5], 0, ((1, 1),))
    host.execute(AddEntry(foreign))
    host.table.correct(foreign.key, foreign)
    host.stop(GROUPS[5])
    assert foreign.key not in host.kernel.table
    drop = drops_the_rest(0)
    del host.kernel.table[drop.key]
    host.table.correct(drop.key, None)
    assert drop.key in host.kernel.table
    host.table.correct(Key(ANY, ANY, 7), drops_the_rest(7))
    assert host.changes()[-1] == "delete 0.0.0.0 0.0.0.0"


def test_what_the_kernel_refuses_is_not_taken_for_done() -> None:
    host = Host("gre1", "eth1")
    host.kernel.refuses = 12
    with pytest.raises(HostError):
        host.forward(GROUPS[0])
    assert host.table.number("eth1") is None
    host.kernel.refuses = None
    assert host.forward(GROUPS[0])
