from mcastd.history import History
from mcastd.problems import Problem
from mcastd.status import HistoryStatus
from tests.fakes.memory import MemoryLog

DOWN = Problem("tunnel_down", "gre1", "tunnel gre1 is down")
UNJOINED = Problem("joins_not_joined", "gre1", "1 of 2 joins not joined on gre1")


class Scene:
    """A history and its clock."""

    def __init__(self) -> None:
        self.now = 5000.0
        self.log = MemoryLog()
        self.history = History(self.log.logger, lambda: self.now)
        self.history.observe([])

    def flap(self, problem: Problem, times: int, every: float) -> None:
        for _ in range(times):
            self.history.observe([problem])
            self.history.observe([])
            self.now += every

    def codes(self) -> list[tuple[str, str]]:
        return [(problem.code, problem.subject) for problem in self.history.problems()]


def test_a_problem_has_its_beginning_until_it_ends() -> None:
    scene = Scene()
    scene.history.observe([DOWN])
    scene.now += 7
    # Another text is the same problem.
    scene.history.observe([Problem("tunnel_down", "gre1", "tunnel gre1 is waiting"), UNJOINED])
    assert (scene.history.since(DOWN), scene.history.since(UNJOINED)) == (5000.0, 5007.0)
    scene.history.observe([UNJOINED])
    scene.now += 1
    scene.history.observe([DOWN, UNJOINED])
    assert (scene.history.since(DOWN), scene.history.since(UNJOINED)) == (5008.0, 5007.0)


def test_the_last_hour_is_shown_with_counts_the_most_recent_first() -> None:
    scene = Scene()
    scene.history.repaired("gre1", "MTU")
    scene.flap(DOWN, times=2, every=1800.0)
    scene.now -= 1.0
    assert scene.history.status() == (
        HistoryStatus("ended", "gre1", "tunnel_down", 2, 3599.0 - 1800.0),
        HistoryStatus("began", "gre1", "tunnel_down", 2, 3599.0 - 1800.0),
        HistoryStatus("repaired", "gre1", "MTU", 1, 3599.0),
    )
    scene.now += 1.0
    assert [entry.count for entry in scene.history.status()] == [1, 1]
    scene.now += 1800.0
    assert scene.history.status() == ()


def test_what_begins_three_times_within_a_minute_flaps() -> None:
    scene = Scene()
    scene.flap(DOWN, times=2, every=20.0)
    assert scene.codes() == []
    scene.flap(DOWN, times=1, every=19.0)
    assert scene.codes() == [("flapping", "gre1")]
    scene.now += 1.0
    assert scene.codes() == []


def test_what_is_down_at_the_start_has_not_gone_down() -> None:
    scene = Scene()
    scene.history = History(scene.log.logger, lambda: scene.now)
    scene.history.observe([DOWN])
    assert scene.history.since(DOWN) == 5000.0
    scene.flap(DOWN, times=3, every=10.0)
    assert [(entry.event, entry.count) for entry in scene.history.status()] == [("ended", 3), ("began", 2)]
    assert scene.codes() == []


def test_joins_that_come_and_go_do_not_flap() -> None:
    scene = Scene()
    scene.flap(UNJOINED, times=10, every=1.0)
    assert scene.codes() == []


def test_repairs_are_logged_one_by_one_and_then_as_one_warning() -> None:
    scene = Scene()
    for what in ("set up again", "MTU", "set up again", "set up again", "MTU", "MTU"):
        scene.history.repaired("gre1", what)
        scene.now += 5.0
    scene.history.repaired("mcastd", "nftables table")
    logged = [(record["event"], record["subject"], record["level"]) for record in scene.log.records]
    assert logged == [
        *[("repaired", "gre1", "warning")] * 3,
        ("changed_by_another_program", "gre1", "warning"),
        ("repaired", "mcastd", "warning"),
    ]
    assert scene.codes() == [("changed_by_another_program", "gre1")]
    scene.now += 60.0
    assert scene.codes() == []
    scene.history.repaired("gre1", "MTU")
    assert scene.log.records[-1]["event"] == "repaired"


def test_the_history_is_bounded() -> None:
    scene = Scene()
    for n in range(2000):
        scene.history.repaired(f"gre{n}", "MTU")
        scene.history.repaired("gre", "MTU")
    assert len(scene.history.status()) == 500
    assert (scene.history.status()[0].subject, scene.history.status()[0].count) == ("gre", 100)
