"""When drops of the guard are a problem, in simulated time."""

from ipaddress import IPv4Address

from mcastd.config.model import Config
from mcastd.firewall.guard_drops import GuardDrops
from tests.firewall.test_rules import child, config, tunnel

OUT, CHILD = "leak-out-10.44.7.1", "leak-child-c"
CONFIG = config(child(), tunnels=(tunnel(),))
UP = frozenset({"c"})


class Watch:
    """Counters that are read each second."""

    def __init__(self, configured: Config = CONFIG, up: frozenset[str] = UP) -> None:
        self.now = 100.0
        self.counts = {OUT: 7, CHILD: 7}
        self.drops = GuardDrops()
        self.drops.expect(self.now, configured, up)
        self.config = configured

    def seconds(self, number: int, *dropped: str) -> None:
        """Time passes, each second with a drop of these counters."""
        for _ in range(number):
            self.now += 1.0
            for counter in dropped:
                self.counts[counter] += 1
            self.drops.counted(self.now, self.counts)

    def up(self, *names: str) -> None:
        self.drops.expect(self.now, self.config, frozenset(names))

    def found(self) -> list[tuple[str, str]]:
        return [(problem.code, problem.subject) for problem in self.drops.problems()]


def test_a_dropped_packet_of_a_tunnel_whose_sa_is_up_is_a_problem_for_half_a_minute() -> None:
    watch = Watch()
    watch.seconds(5)
    assert watch.found() == []
    watch.seconds(1, OUT)
    assert watch.found() == [("guard_drops", "gre1")]
    watch.seconds(29)
    assert watch.found() == [("guard_drops", "gre1")]
    watch.seconds(1)
    assert watch.found() == []


def test_what_is_dropped_while_the_sa_is_down_or_comes_up_is_normal() -> None:
    watch = Watch(up=frozenset())
    watch.seconds(60, OUT, CHILD)
    watch.up("c")
    watch.seconds(2, OUT, CHILD)
    assert watch.found() == []
    watch.seconds(60)
    watch.up()
    watch.seconds(60, OUT, CHILD)
    assert watch.found() == []


def test_the_first_reading_says_nothing_of_what_came_before() -> None:
    watch = Watch()
    watch.now += 60.0
    watch.seconds(1, OUT)
    assert watch.found() == []


def test_another_establishment_ends_it() -> None:
    watch = Watch()
    watch.seconds(5)
    watch.seconds(1, OUT)
    watch.up()
    assert watch.found() == []
    watch.up("c")
    watch.seconds(10)
    assert watch.found() == []


def test_of_a_child_it_counts_when_it_goes_on() -> None:
    watch = Watch()
    watch.seconds(5)
    watch.seconds(1, CHILD)
    watch.seconds(40)
    assert watch.found() == []
    watch.seconds(3, CHILD)
    assert watch.found() == []
    watch.seconds(1, CHILD)
    assert watch.found() == [("guard_drops", "c")]


def test_tunnels_with_one_remote_share_a_counter_which_says_nothing_while_one_is_down() -> None:
    both = config(child(), child("d"), tunnels=(tunnel(), tunnel("gre2", local=IPv4Address("10.44.6.2"), child="d")))
    watch = Watch(both)
    watch.seconds(5)
    watch.seconds(1, OUT)
    assert watch.found() == []
    watch.up("c", "d")
    watch.seconds(5)
    watch.seconds(1, OUT)
    assert watch.found() == [("guard_drops", "gre1"), ("guard_drops", "gre2")]


def test_without_the_guard_and_after_a_change_of_the_table_nothing_is_concluded() -> None:
    watch = Watch(config(child(), tunnels=(tunnel(),), guard=False))
    watch.seconds(5)
    watch.seconds(5, OUT, CHILD)
    assert watch.found() == []
    watch = Watch()
    watch.seconds(5)
    before = watch.counts.copy()
    watch.counts.clear()  # the table is gone, until it is restored with its counters
    watch.seconds(1)
    watch.counts |= before
    watch.seconds(5)
    assert watch.found() == []
