import ast
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from xdist.remote import Producer

from tests import lanes

PROJECT = Path(__file__).parents[1]


def test_a_machines_tests_are_a_unit_and_so_are_a_modules() -> None:
    assert lanes.unit("tests/lab/test_pim.py::test_join[uml]") == "uml lab"
    assert lanes.unit("tests/tunnel/test_gre.py::test_mtu[qemu]") == "qemu other"
    assert lanes.unit("tests/lab/test_pim.py::test_join[300]") == "tests/lab/test_pim.py"
    assert lanes.unit("tests/lab/test_pim.py::test_join") == "tests/lab/test_pim.py"


def test_the_longest_units_begin_and_the_others_keep_their_order() -> None:
    names = ["tests/pim/test_a.py::b", "tests/lab/test_b.py::b", "tests/lab/test_b.py::a[uml]"]
    names += ["tests/pim/test_a.py::a", "tests/service/test_service.py::a"]
    items = [cast("Any", SimpleNamespace(nodeid=name)) for name in names]
    lanes.pytest_collection_modifyitems(items)
    assert [item.nodeid for item in items] == [names[4], names[2], names[1], names[0], names[3]]


def test_what_is_marked_in_a_module_is_a_unit_of_its_own_but_for_what_runs_in_a_machine() -> None:
    test = "tests/lab/test_restart.py::test_a_successor_adopts_everything_and_nothing_is_lost"
    assert lanes.unit(f"{test}[crash]") == "tests/lab/test_restart.py alone"
    assert lanes.unit(f"{test}[crash][uml]") == "uml lab"
    assert lanes.unit("tests/lab/test_restart.py::test_another[crash]") == "tests/lab/test_restart.py"


class Lane:
    """What the scheduler sees of a worker, which keeps its last test until it is given more or shut down."""

    def __init__(self, number: int) -> None:
        self.gateway = SimpleNamespace(id=f"gw{number}")
        self.given: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, indices: list[int]) -> None:
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True

    def can_run(self, done: int) -> bool:
        return done + (not self.shutting_down) < len(self.given)


def run(names: list[str]) -> tuple[list[list[str]], list[set[str]]]:
    """What each of three lanes runs, and what they run at the same time, if each test takes as long as any other."""
    config = SimpleNamespace(option=SimpleNamespace(loadscopereorder=False), getvalue=lambda _: ["3*popen"])
    scheduler = lanes.Lanes(cast("Any", config), Producer("lanes"))
    nodes = [Lane(number) for number in range(3)]
    for node in nodes:
        scheduler.add_node(cast("Any", node))
    for node in nodes:
        scheduler.add_node_collection(cast("Any", node), names)
    scheduler.schedule()
    done, together = [0, 0, 0], []
    while scheduler.has_pending:
        now = [number for number, node in enumerate(nodes) if node.can_run(done[number])]
        assert now, "the session hangs"
        together.append({names[nodes[number].given[done[number]]] for number in now})
        for number in now:
            done[number] += 1
            scheduler.mark_test_complete(cast("Any", nodes[number]), nodes[number].given[done[number] - 1])
            if scheduler.tests_finished:
                for node in nodes:
                    node.shutdown()
    assert all(node.shutting_down for node in nodes)
    return [[names[index] for index in node.given] for node in nodes], together


def module(name: str, count: int) -> list[str]:
    return [f"{name}.py::test_{number}" for number in range(count)]


def marked(name: str, count: int) -> list[str]:
    """Tests with the marker ``alone``, where the fixture ``_marked`` is used."""
    return [f"{name}.py::test_alone[{number}]" for number in range(count)]


@pytest.fixture
def _marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "alone", lambda _: {"test_alone"})


def test_the_last_lane_begins_with_what_waits_and_the_others_with_what_works() -> None:
    works = [module(f"tests/lab/test_{letter}", 8) for letter in "abc"]
    waiting = [module("tests/ipsec/test_agent", 4), module("tests/lab/test_failures", 4)]
    found, _ = run([*works[0], *waiting[0], *works[1], *works[2], *waiting[1]])
    assert found[2] == [*waiting[0], *waiting[1]]
    assert sorted([*found[0], *found[1]]) == sorted([*works[0], *works[1], *works[2]])


def test_the_last_lane_goes_on_with_what_works_but_for_machines() -> None:
    machines = [f"tests/lab/test_a.py::test_{number}[{kind}]" for kind in ("uml", "qemu") for number in range(8)]
    machines += module("tests/vm/test_machine", 4)
    works = [module(f"tests/lab/test_{letter}", 6) for letter in "bcd"]
    found, _ = run([*machines, *works[0], *module("tests/ipsec/test_agent", 4), *works[1], *works[2]])
    assert found[2][:4] == module("tests/ipsec/test_agent", 4)
    assert set(found[2][4:]) <= {name for names in works for name in names}
    assert len(found[2]) > 4


def test_what_the_last_lane_does_not_come_to_the_others_run() -> None:
    waiting = [module(f"tests/ipsec/test_{letter}", 9) for letter in "abcd"]
    found, _ = run([*module("tests/lab/test_a", 3), *(name for names in waiting for name in names)])
    assert all(found)
    assert sorted(name for names in found for name in names) == sorted(
        [*module("tests/lab/test_a", 3), *(name for names in waiting for name in names)]
    )


def test_without_any_that_wait_the_last_lane_ends() -> None:
    works = [module(f"tests/lab/test_{letter}", 4) for letter in "ab"]
    found, _ = run([*works[0], *works[1]])
    assert found == [*works, []]


@pytest.mark.usefixtures("_marked")
def test_what_allows_no_loss_runs_when_no_other_lane_does() -> None:
    service = [module(f"tests/service/test_{letter}", 5) for letter in "ab"]
    works = [module(f"tests/lab/test_{letter}", 8) for letter in "ab"]
    waiting = module("tests/ipsec/test_agent", 20)
    alone = [marked(f"tests/lab/test_{letter}", 4) for letter in "bc"]
    names = [name for names in (*service, *alone, *works, waiting) for name in names]
    quiet = {name for names in service for name in names}
    found, together = run(names)
    assert sorted(name for lane in found for name in lane) == sorted(names)
    assert [lane[:5] for lane in found[:2]] == service
    for tests in together:
        phases = {lanes.phase(lanes.unit(name)) for name in tests}
        assert len(tests) == 1 or lanes.Phase.ALONE not in phases
        # The worker's last tests of a module are not what takes its time.
        service_works = any(name in quiet and name.endswith(("_0", "_1", "_2")) for name in tests)
        assert not service_works or tests <= {*quiet, *waiting}
    assert any(tests & quiet and tests & {*waiting} for tests in together)


@pytest.mark.usefixtures("_marked")
def test_only_what_allows_no_loss_is_run_all_the_same() -> None:
    names = [*marked("tests/lab/test_a", 3), *marked("tests/lab/test_b", 3)]
    found, together = run(names)
    assert found == [names, [], []]
    assert all(len(tests) == 1 for tests in together)


def test_every_test_of_the_lab_that_allows_no_loss_runs_alone() -> None:
    asserts = re.compile(r"(?m)assert .*\blost\b.* == (0$|\(0, 0)")
    count = 0
    for path in sorted((PROJECT / "tests/lab").glob("test_*.py")):
        text = path.read_text()
        functions = [each for each in ast.parse(text).body if isinstance(each, ast.FunctionDef)]
        found = {one.name for one in functions if asserts.search(ast.get_source_segment(text, one) or "")}
        # Those that call one of them as well, and those that call these.
        while more := {one.name for one in functions if found & names_in(one)} - found:
            found |= more
        tests = {name for name in found if name.startswith("test_")}
        count += len(tests)
        assert tests <= lanes.alone(str(path.relative_to(PROJECT)))
    assert count > 15


def names_in(function: ast.FunctionDef) -> set[str]:
    return {each.id for each in ast.walk(function) if isinstance(each, ast.Name)}
