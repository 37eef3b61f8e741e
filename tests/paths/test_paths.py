"""Which tunnel carries a group: in simulated time."""

from collections.abc import Mapping
from ipaddress import IPv4Address
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.config.group_model import Paths as Settings
from mcastd.paths import _START, ByHand, Chosen, Order, Paths

AB = ("gre1", "gre2")
ORDER = Order(AB)
UP = None
DOWN = "CHILD_SA dc is down"


class World:
    """Paths with a clock."""

    def __init__(self, tunnels: tuple[str, ...] = AB, **settings: float) -> None:
        self.now = 1000.0
        self.paths = Paths()
        self.settings = Settings(**settings)  # type: ignore[arg-type]
        self.causes: dict[str, str | None] = {}
        self.moves: list[tuple[float, str | None, str, str]] = []
        self.silent: set[str] = set()
        self.groups = {IPv4Address("239.1.1.1")}
        self.configure(tunnels)

    def configure(self, *orders: tuple[str, ...]) -> None:
        """Take a file with these orders; ``update`` tells of the first one's tunnels."""
        self.order = Order(orders[0])
        self.causes |= {name: "not known yet" for order in orders for name in order if name not in self.causes}
        self.paths.configure(self.settings, orders, self.now, lambda order: order.group in self.groups)

    def update(self, after: float = 0.0, **causes: str | None) -> tuple[str, ...]:
        """Let time pass, as deadlines ask, then say what is up; returns the tunnels in use."""
        self.pass_to(self.now + after)
        self.causes |= causes
        self._update()
        return self.paths.chosen[self.order].tunnels

    def pass_to(self, end: float) -> None:
        at_once = 0
        while (deadline := self.paths.next_deadline()) <= end:
            at_once = at_once + 1 if deadline <= self.now else 0
            assert at_once < 4, "it is due for ever"
            self.now = max(self.now, deadline)
            self._update()
        self.now = end

    def _update(self) -> None:
        for change in self.paths.update(self.causes, self.now, self.silent):
            assert change.chosen == self.paths.chosen[change.order]
            if change.before is not None:
                self.moves.append((self.now, change.before, change.chosen.tunnel, change.chosen.why))


def test_the_first_that_is_alive_takes_the_place_of_a_dead_one_at_once() -> None:
    world = World()
    assert world.update(gre1=UP, gre2=UP) == ("gre1",)
    assert world.update(10.0, gre1=DOWN) == ("gre2",)
    assert world.moves == [(1010.0, "gre1", "gre2", f"gre1 is dead: {DOWN}")]
    assert world.update(1.0, gre2=DOWN) == ("gre2",), "both are dead"
    assert world.update(1.0, gre1=UP) == ("gre1",), "this one is alive; it need not wait"


def test_groups_move_back_after_the_hold_time_and_stay_on_both_for_the_overlap() -> None:
    world = World(hold=60.0, overlap=2.0)
    world.update(gre1=UP, gre2=UP)
    world.update(10.0, gre1=DOWN)
    assert world.update(100.0, gre1=UP) == ("gre2",)
    assert world.update(30.0, gre1=DOWN) == ("gre2",)
    assert world.update(1.0, gre1=UP) == ("gre2",), "the time begins again"
    assert world.update(59.9) == ("gre2",)
    assert world.update(0.2) == ("gre1", "gre2")
    assert world.update(1.8) == ("gre1", "gre2")
    assert world.update(0.2) == ("gre1",)
    assert world.paths.next_deadline() == inf


def test_a_tunnel_that_flaps_is_held_for_longer_each_time() -> None:
    world = World(hold=60.0)
    world.update(gre1=UP, gre2=UP)
    for _ in range(4):
        world.update(1.0, gre1=DOWN)
        world.update(1.0, gre1=UP)
        before = len(world.moves)
        began = world.now
        while len(world.moves) == before:
            world.pass_to(world.paths.next_deadline())
        assert world.moves[-1][1:3] == ("gre2", "gre1")
        waited = world.now - began
        world.update(3.0)
    assert waited == pytest.approx(60.0 * 8)
    world.update(1000.0, gre1=DOWN)  # it was up for longer than that
    world.update(1.0, gre1=UP)
    assert world.update(60.0) == ("gre1", "gre2")


def test_a_tunnel_that_dies_in_the_overlap_gives_way_to_the_one_that_is_still_joined() -> None:
    world = World(hold=60.0, overlap=2.0)
    world.update(gre1=UP, gre2=UP)
    world.update(1.0, gre1=DOWN)
    world.update(1.0, gre1=UP)
    assert world.update(60.0) == ("gre1", "gre2")
    assert world.update(1.0, gre1=DOWN) == ("gre2",)
    world = World(hold=60.0, overlap=2.0)
    world.update(gre1=UP, gre2=UP)
    world.update(1.0, gre1=DOWN)
    world.update(1.0, gre1=UP)
    world.update(60.0)
    assert world.update(1.0, gre2=DOWN) == ("gre1",)


def test_groups_leave_a_silent_tunnel_and_try_it_again_without_leaving_the_other() -> None:
    world = World(hold=60.0, overlap=2.0, max_silence=5.0)
    world.update(gre1=UP, gre2=UP)
    world.silent = {"gre1"}
    assert world.update(4.9) == ("gre1",), "it has been in use for less than that"
    assert world.update(0.2) == ("gre2",)
    assert world.moves[-1][3] == "nothing has arrived on gre1 for 5s"
    world.silent = {"gre1", "gre2"}
    assert world.update(30.0) == ("gre2",), "gre1 was silent as well"
    world.silent = {"gre1"}
    assert world.update(30.0) == ("gre1", "gre2")
    assert world.update(5.0) == ("gre2",), "it is silent still, and the other one was never left"
    assert world.update(100.0) == ("gre2",), "the next attempt waits for longer"
    assert world.update(20.0) == ("gre1", "gre2")
    world.silent = set()
    assert world.update(10.0) == ("gre1",)


def test_after_a_start_tunnels_have_time_to_come_up() -> None:
    world = World()
    assert world.update(gre2=UP) == ("gre1",)
    assert world.update(_START - 0.1) == ("gre1",)
    assert world.update(0.1) == ("gre2",)
    assert world.moves[-1][3] == "gre1 is dead: not known yet"
    world = World()
    world.update(gre2=UP)
    assert world.update(1.0, gre1=UP) == ("gre1",)
    assert world.update(0.0, gre1=DOWN) == ("gre2",), "it was up, and is dead"


def test_the_next_process_begins_where_the_previous_one_was() -> None:
    paths = Paths()
    paths.inherit({ORDER: Chosen("gre2", 900.0, "gre1 is dead: x", moves=3)}, {}, 1000.0)
    paths.configure(Settings(hold=60.0), (AB,), 1000.0, lambda _: True)
    assert paths.update({"gre1": UP, "gre2": "not known yet"}, 1000.1) == []
    assert paths.update({"gre1": UP, "gre2": UP}, 1000.2) == []
    assert paths.joined(AB, IPv4Address("239.1.1.1")) == ("gre2",)
    (change,) = paths.update({"gre1": UP, "gre2": UP}, 1060.1)
    assert (change.before, change.chosen.tunnels, change.chosen.moves) == ("gre2", ("gre1", "gre2"), 4)


def test_what_the_previous_process_was_leaving_is_left_by_the_next_one() -> None:
    paths = Paths()
    paths.inherit({ORDER: Chosen("gre1", 900.0, "x", "gre2", 902.0)}, {}, 1000.0)
    paths.configure(Settings(), (AB,), 1000.0, lambda _: True)
    assert paths.update({"gre1": "not known yet", "gre2": "not known yet"}, 1000.1) == []
    assert paths.update({"gre1": UP, "gre2": UP}, 1000.5) == []
    (change,) = paths.update({"gre1": UP, "gre2": UP}, 1000.0 + _START)
    assert (change.before, change.chosen.tunnels) == (None, ("gre1",))


def test_by_hand_a_tunnel_comes_first_for_as_long_as_was_said() -> None:
    world = World(hold=60.0, overlap=2.0)
    world.update(gre1=UP, gre2=UP)
    world.update(100.0)
    change = world.paths.use(ORDER, ByHand("gre2", world.now + 600.0), world.now)
    assert change is not None
    assert (change.before, change.chosen.tunnels, change.chosen.why) == ("gre1", ("gre2", "gre1"), "by hand")
    assert world.update(2.0) == ("gre2",)
    assert world.update(10.0, gre2=DOWN) == ("gre1",), "what is dead carries nothing, whatever was said"
    assert world.update(1.0, gre2=UP) == ("gre1",)
    assert world.update(60.0) == ("gre2", "gre1")
    assert world.update(500.0) == ("gre2",)
    assert world.update(30.0) == ("gre1",), "its time is over"
    assert world.paths.by_hand == {}


def test_by_hand_without_a_time_until_it_is_ended() -> None:
    world = World(hold=60.0, overlap=0.0)
    world.update(gre1=UP, gre2=UP)
    world.paths.use(ORDER, ByHand("gre2"), world.now)
    assert world.update(1e6) == ("gre2",)
    assert world.paths.use(ORDER, ByHand("gre2"), world.now) is None
    world.paths.use(ORDER, None, world.now)
    assert world.update() == ("gre1",)


def test_one_group_by_hand_is_as_the_others_again_when_that_ends() -> None:
    world = World(hold=60.0, overlap=2.0)
    world.update(gre1=UP, gre2=UP)
    world.update(100.0)
    group, other = IPv4Address("239.1.1.1"), IPv4Address("239.1.1.2")
    world.paths.use(Order(AB, group), ByHand("gre2", world.now + 60.0), world.now)
    assert (world.paths.joined(AB, group), world.paths.joined(AB, other)) == (("gre2", "gre1"), ("gre1",))
    world.update(50.0)
    assert world.paths.joined(AB, group) == ("gre2",)
    world.update(20.0)
    assert world.paths.joined(AB, group) == ("gre1",)
    world.update()
    assert list(world.paths.chosen) == [ORDER]


def test_a_file_that_only_sorts_the_tunnels_moves_nothing_at_once() -> None:
    world = World(hold=60.0)
    world.update(gre1=UP, gre2=UP)
    world.update(100.0)
    world.configure(("gre2", "gre1"))
    assert world.paths.chosen[world.order].tunnel == "gre1"
    assert world.update() == ("gre2", "gre1")


def test_a_file_with_a_tunnel_more_or_less_goes_on_where_groups_are() -> None:
    world = World(hold=60.0)
    world.update(gre1=UP, gre2=UP)
    world.update(1.0, gre1=DOWN)
    world.paths.use(ORDER, ByHand("gre2"), world.now)
    world.configure(("gre3", "gre1", "gre2"))
    assert world.update(gre3=UP) == ("gre2",)
    assert world.paths.by_hand == {world.order: ByHand("gre2")}
    world.paths.use(world.order, None, world.now)
    assert world.update(59.0) == ("gre2",)
    assert world.update(1.0) == ("gre3", "gre2")
    world.configure(("gre1", "gre3"))
    assert world.update() == ("gre3",), "gre2 is not one of them any more"


def test_a_new_order_begins_with_a_tunnel_that_is_up() -> None:
    world = World(("gre1", "gre4"))
    world.update(gre1=UP, gre2=DOWN, gre3=UP, gre4=UP)
    world.configure(("gre2", "gre3"), ("gre1", "gre4"))
    assert world.update() == ("gre3",)
    assert world.moves == []
    world.configure(("gre1", "gre3"))
    assert world.update() == ("gre1",)


def test_what_was_said_of_one_group_ends_with_it() -> None:
    world = World()
    world.update(gre1=UP, gre2=UP)
    (group,) = world.groups
    world.paths.use(Order(AB, group), ByHand("gre2"), world.now)
    world.configure(AB)
    assert Order(AB, group) in world.paths.chosen
    world.groups.clear()
    world.configure(AB)
    assert (list(world.paths.chosen), world.paths.by_hand) == ([ORDER], {})


def test_when_both_die_in_an_overlap_nothing_is_due_for_ever() -> None:
    world = World(hold=60.0, overlap=2.0)
    world.update(gre1=UP, gre2=UP)
    world.paths.use(ORDER, ByHand("gre2"), world.now)
    assert world.update(1.0, gre1=DOWN, gre2=DOWN) == ("gre2",)
    assert world.update(100.0) == ("gre2",)


def test_a_tunnel_that_is_not_silent_any_more_is_as_any_other() -> None:
    world = World(hold=60.0, overlap=2.0, max_silence=5.0)
    world.update(gre1=UP, gre2=UP)
    world.silent = {"gre1"}
    assert world.update(6.0) == ("gre2",)
    world.silent = set()
    assert world.update(60.0) == ("gre1", "gre2")
    assert world.update(6.0) == ("gre1", "gre2"), "it may be silent still"
    assert world.update(10.0) == ("gre1",)
    world.update(600.0, gre1=DOWN)
    world.update(1.0, gre1=UP)
    assert world.update(60.0) == ("gre1", "gre2")
    assert world.update(2.0) == ("gre1",)


@given(
    st.lists(
        st.tuples(st.floats(0.0, 100.0), st.sampled_from(["a", "b", "c"]), st.sampled_from([UP, DOWN])), max_size=40
    ),
    st.floats(0.0, 60.0), st.floats(0.0, 5.0),
)  # fmt: skip
def test_whatever_happens_a_tunnel_that_is_alive_is_in_use_if_there_is_one(
    events: list[tuple[float, str, str | None]], hold: float, overlap: float
) -> None:
    world = World(("a", "b", "c"), hold=hold, overlap=overlap)
    for after, name, cause in events:
        world.update(after, **{name: cause})
        chosen = world.paths.chosen[world.order]
        alive: Mapping[str, str | None] = {name: one for name, one in world.causes.items() if one is None}
        is_starting = world.now < 1000.0 + _START
        assert not alive or chosen.tunnel in alive or is_starting
        assert chosen.leaving is None or chosen.leaving in alive
        assert chosen.leaving != chosen.tunnel
    world.pass_to(world.now + (hold * 40 + overlap + _START) * 3)
    first = next((name for name in world.order.tunnels if world.causes[name] is None), None)
    assert first is None or world.paths.chosen[world.order].tunnels == (first,)
    for (at, *_), (later, *_) in zip(world.moves, world.moves[1:], strict=False):
        assert later >= at
