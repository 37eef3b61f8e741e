from types import SimpleNamespace
from typing import Any, cast

from xdist.remote import Producer

from tests import lanes


def test_a_machines_tests_are_one_unit_and_so_are_a_modules() -> None:
    assert lanes.unit("tests/lab/test_pim.py::test_join[uml]") == "uml"
    assert lanes.unit("tests/tunnel/test_gre.py::test_mtu[qemu]") == "qemu"
    assert lanes.unit("tests/lab/test_pim.py::test_join[300]") == "tests/lab/test_pim.py"
    assert lanes.unit("tests/lab/test_pim.py::test_join") == "tests/lab/test_pim.py"


def test_the_longest_units_begin_and_the_others_keep_their_order() -> None:
    names = ["tests/pim/test_a.py::b", "tests/lab/test_b.py::b", "tests/lab/test_b.py::a[uml]"]
    names += ["tests/pim/test_a.py::a", "tests/service/test_service.py::a"]
    items = [cast("Any", SimpleNamespace(nodeid=name)) for name in names]
    lanes.pytest_collection_modifyitems(items)
    assert [item.nodeid for item in items] == [names[4], names[2], names[1], names[0], names[3]]


class Lane:
    """What the scheduler sees of a worker, which ends as soon as it is told to."""

    def __init__(self, number: int) -> None:
        self.gateway = SimpleNamespace(id=f"gw{number}")
        self.given: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, indices: list[int]) -> None:
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def run(names: list[str]) -> list[list[str]]:
    """What each of three lanes runs, if each test takes as long as any."""
    config = SimpleNamespace(option=SimpleNamespace(loadscopereorder=False), getvalue=lambda _: ["3*popen"])
    scheduler = lanes.Lanes(cast("Any", config), Producer("lanes"))
    nodes = [Lane(number) for number in range(3)]
    for node in nodes:
        scheduler.add_node(cast("Any", node))
    for node in nodes:
        scheduler.add_node_collection(cast("Any", node), names)
    scheduler.schedule()
    done = [0, 0, 0]
    while scheduler.has_pending:
        for number, node in enumerate(nodes):
            if done[number] < len(node.given):
                done[number] += 1
                scheduler.mark_test_complete(cast("Any", node), node.given[done[number] - 1])
    assert all(node.shutting_down for node in nodes)
    return [[names[index] for index in node.given] for node in nodes]


def module(name: str, count: int) -> list[str]:
    return [f"{name}.py::test_{number}" for number in range(count)]


def test_the_last_lane_runs_what_waits_and_no_more() -> None:
    works = [module(f"tests/lab/test_{letter}", 8) for letter in "abc"]
    waiting = [module("tests/ipsec/test_agent", 4), module("tests/lab/test_failures", 4)]
    found = run([*works[0], *waiting[0], *works[1], *works[2], *waiting[1]])
    assert found[2] == [*waiting[0], *waiting[1]]
    assert sorted([*found[0], *found[1]]) == sorted([*works[0], *works[1], *works[2]])


def test_what_the_last_lane_does_not_come_to_the_others_run() -> None:
    waiting = [module(f"tests/ipsec/test_{letter}", 9) for letter in "abcd"]
    found = run([*module("tests/lab/test_a", 3), *(name for names in waiting for name in names)])
    assert all(found)
    assert sorted(name for names in found for name in names) == sorted(
        [*module("tests/lab/test_a", 3), *(name for names in waiting for name in names)]
    )


def test_without_any_that_wait_the_last_lane_ends() -> None:
    works = [module(f"tests/lab/test_{letter}", 4) for letter in "ab"]
    found = run([*works[0], *works[1]])
    assert found == [*works, []]
