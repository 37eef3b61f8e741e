"""Who wants what, on which interface: counted by origin, and told to those who listen."""

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd import membership
from mcastd.config.model import SSM_RANGE
from mcastd.errors import McastdError
from mcastd.membership import DesiredGroup, GroupSource
from mcastd.wanted import APPLICATION, COMMAND, FILE, Wanted, require_joinable

GROUP, OTHER = IPv4Address("239.1.1.1"), IPv4Address("239.1.1.2")
S1, S2 = IPv4Address("10.9.0.1"), IPv4Address("10.9.0.2")
NONE: frozenset[IPv4Address] = frozenset()


class Listened(Wanted):
    """With a clock, and what listeners were called with."""

    def __init__(self) -> None:
        self.now = 0.0
        self.heard: list[tuple[str, tuple[IPv4Address, ...]]] = []
        super().__init__(lambda: self.now)
        self.listen(self._hear)

    def _hear(self, name: str, groups: Sequence[IPv4Address]) -> None:
        self.heard.append((name, tuple(groups)))

    def take(self) -> list[tuple[str, tuple[IPv4Address, ...]]]:
        heard, self.heard = self.heard, []
        return heard


@pytest.mark.parametrize(
    ("group", "source", "text"),
    [
        ("232.1.2.3", None, "name the source"),
        ("224.0.0.5", None, "link-local"),
        ("10.1.2.3", None, "not a multicast group"),
        ("239.1.2.3", "239.1.2.4", "cannot be a source"),
        ("239.1.2.3", "0.0.0.0", "cannot be a source"),
    ],
)
def test_what_cannot_be_joined_is_refused_in_words(group: str, source: str | None, text: str) -> None:
    with pytest.raises(McastdError, match=text):
        require_joinable(IPv4Address(group), IPv4Address(source) if source else None, (SSM_RANGE,))


def test_listeners_hear_of_each_change_and_of_nothing_else() -> None:
    wanted = Listened()
    wanted.join("gre1", GROUP, None, FILE)
    wanted.join("gre1", GROUP, None, FILE)
    wanted.join("gre1", GROUP, None, COMMAND)
    assert wanted.take() == [("gre1", (GROUP,))] * 2
    assert not wanted.leave("gre2", GROUP, None, COMMAND)
    assert wanted.leave("gre1", GROUP, None, COMMAND)
    assert wanted.take() == [("gre1", (GROUP,))]
    wanted.replace("gre1", FILE, [(GROUP, None)])
    assert wanted.take() == []
    wanted.replace("gre1", FILE, [(OTHER, S1)])
    assert wanted.take() == [("gre1", (OTHER,)), ("gre1", (GROUP,))]


def test_a_group_of_an_origin_is_set_at_once() -> None:
    wanted = Listened()
    wanted.set_group("eth1", GROUP, "hosts", DesiredGroup(True, frozenset({S1}), frozenset({S2})))
    assert wanted.of("eth1").desired(GROUP) == DesiredGroup(True, frozenset({S1}), frozenset({S2}))
    wanted.set_group("eth1", GROUP, "hosts", DesiredGroup(True, frozenset({S1}), frozenset({S2})))
    assert wanted.take() == [("eth1", (GROUP,))]
    wanted.set_group("eth1", GROUP, "hosts", DesiredGroup(True, frozenset({S1})))
    assert wanted.of("eth1").desired(GROUP) == DesiredGroup(True, frozenset({S1}))
    wanted.set_group("eth1", GROUP, "hosts", DesiredGroup(sources=frozenset({S2})))
    assert wanted.of("eth1").entries() == [(GROUP, S2, ("hosts",))]
    wanted.set_group("eth1", GROUP, "static", DesiredGroup(True))
    wanted.set_group("eth1", GROUP, "hosts", DesiredGroup())
    assert wanted.of("eth1").entries() == [(GROUP, None, ("static",))]
    assert len(wanted.take()) == 4


def test_what_is_too_much_of_one_group_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "MAX_JOINS", 2)
    wanted = Listened()
    wanted.set_group("eth1", GROUP, "hosts", DesiredGroup(sources=frozenset({S1, S2})))
    wanted.take()
    with pytest.raises(McastdError, match="is the most"):
        wanted.set_group("eth1", GROUP, "hosts", DesiredGroup(True, frozenset({S1, S2})))
    assert (wanted.of("eth1").desired(GROUP), wanted.take()) == (DesiredGroup(sources=frozenset({S1, S2})), [])
    assert wanted.of("eth1").refused == 1
    wanted.set_group("eth1", GROUP, "hosts", DesiredGroup(True, frozenset({S2})))


def test_since_when_is_of_those_that_want_it_now() -> None:
    wanted = Listened()
    assert wanted.since("gre1", GROUP) is None
    for now, origin in ((1.0, FILE), (2.0, APPLICATION), (3.0, FILE)):
        wanted.now = now
        wanted.join("gre1", GROUP, None, origin)
    assert wanted.since("gre1", GROUP) == 1.0
    assert wanted.of("gre1").since(GROUP, None, APPLICATION) == 2.0
    wanted.leave("gre1", GROUP, None, FILE)
    assert wanted.since("gre1", GROUP) == 2.0
    wanted.leave("gre1", GROUP, None, APPLICATION)
    assert wanted.since("gre1", GROUP) is None


def test_thousands_of_groups_are_replaced_in_steps() -> None:
    found, groups, heard = Listened(), [GROUP + number for number in range(1000)], list[IPv4Address]()
    for step, entries in ((found.adding, [(group, None) for group in groups]), (found.keeping, [])):
        for count in step(FILE, {"gre1": entries}):
            assert count == sum(len(changed) for _, changed in found.heard) <= 100
            assert len(found.of("gre1")) % 500 == 0
            heard += [group for _, changed in found.take() for group in changed]
    assert heard == groups * 2


def test_what_is_wanted_already_is_left_as_it_is() -> None:
    found = Listened()
    found.join("gre1", GROUP, None, FILE, frozenset({S1}))
    found.take()
    found.replace("gre1", FILE, [(GROUP, None)])
    assert found.take() == []
    assert found.of("gre1").excluded(GROUP, FILE) == {S1}


def test_what_is_wanted_is_counted_and_found() -> None:
    wanted = Listened()
    wanted.join("gre1", GROUP, S1, FILE)
    wanted.join("gre2", OTHER, None, COMMAND)
    assert wanted.counts(("gre1", "gre2", "gre3")) == {"gre1": 1, "gre2": 1, "gre3": 0}
    assert wanted.of_origin(COMMAND) == (("gre2", OTHER, None),)
    assert wanted.is_wanted("gre1", S1, GROUP)
    assert wanted.is_wanted("gre2", S1, OTHER)
    assert not wanted.is_wanted("gre1", S2, GROUP)
    assert not wanted.is_wanted("gre1", None, GROUP)
    assert not wanted.is_wanted("gre3", None, GROUP)
    for refused in (DesiredGroup(True), DesiredGroup(sources=frozenset({S1}))):
        with pytest.raises(McastdError, match="link-local"):
            wanted.set_group("gre1", IPv4Address("224.0.0.9"), FILE, refused)


NAMES, ORIGINS = st.sampled_from(("gre1", "eth1")), st.sampled_from((FILE, "eth1"))
GROUPS, SOURCES = st.sampled_from((GROUP, OTHER)), st.sampled_from((S1, S2))
SETS = st.frozensets(SOURCES)
ENTRIES = st.tuples(GROUPS, st.none() | SOURCES)
CHANGES = st.one_of(
    st.tuples(st.just("join"), NAMES, ORIGINS, ENTRIES, SETS),
    st.tuples(st.just("leave"), NAMES, ORIGINS, ENTRIES),
    st.tuples(st.just("set"), NAMES, ORIGINS, GROUPS, st.builds(DesiredGroup, st.booleans(), SETS, SETS)),
    st.tuples(st.just("replace"), NAMES, ORIGINS, st.lists(ENTRIES, unique=True)),
)
Model = dict[tuple[str, str, GroupSource], frozenset[IPv4Address]]
"""By interface, origin and entry, what it excludes."""


def change(model: Model, what: str, name: str, origin: str, *how: Any) -> Model:
    """The model after a change."""
    if what == "join":
        entry, excluded = how
        return model | {(name, origin, entry): NONE if entry[1] else excluded}
    if what == "leave":
        return {key: value for key, value in model.items() if key != (name, origin, how[0])}
    if what == "set":
        group, desired = how
        kept = {key: value for key, value in model.items() if (*key[:2], key[2][0]) != (name, origin, group)}
        kept |= {(name, origin, (group, source)): NONE for source in desired.sources}
        star = {(name, origin, (group, None)): desired.excluded}
        return kept | star if desired.any_source else kept
    of_others = {key: value for key, value in model.items() if key[:2] != (name, origin)}
    return of_others | {(name, origin, entry): model.get((name, origin, entry), NONE) for entry in how[0]}


def act(wanted: Wanted, what: str, name: str, origin: str, *how: Any) -> None:
    """The same change of what is tested."""
    match what:
        case "join":
            (group, source), excluded = how
            wanted.join(name, group, source, origin, excluded)
        case "leave":
            ((group, source),) = how
            wanted.leave(name, group, source, origin)
        case "set":
            wanted.set_group(name, how[0], origin, how[1])
        case _:
            wanted.replace(name, origin, how[0])


def expected(model: Model, name: str, group: IPv4Address) -> DesiredGroup:
    """What all origins together desire."""
    of_group = {key: value for key, value in model.items() if key[0] == name and key[2][0] == group}
    stars = [excluded for key, excluded in of_group.items() if key[2][1] is None]
    sources = frozenset(key[2][1] for key in of_group if key[2][1] is not None)
    return DesiredGroup(bool(stars), sources, frozenset.intersection(*stars) - sources if stars else NONE)


@given(st.lists(CHANGES, max_size=30))
def test_it_agrees_with_a_plain_model(changes: list[tuple[Any, ...]]) -> None:
    wanted, model = Listened(), Model()
    for one in changes:
        before, model = model, change(model, *one)
        act(wanted, *one)
        changed = {(key[0], key[2][0]) for key in before.keys() | model.keys() if before.get(key) != model.get(key)}
        assert {(name, group) for name, groups in wanted.take() for group in groups} == changed
        for on in ("gre1", "eth1"):
            table = wanted.of(on)
            entries = {(key[2], key[1]) for key in model if key[0] == on}
            assert {((group, source), by) for group, source, all_ in table.entries() for by in all_} == entries
            assert len(table) == len({entry for entry, _ in entries})
            for group in (GROUP, OTHER):
                assert table.desired(group) == expected(model, on, group)
