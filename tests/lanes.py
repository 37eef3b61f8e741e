"""Lanes: the workers of a session, side by side, of which each takes a whole module, or a part of what a machine runs.

There is one more than there are processors, the last: it begins with modules whose tests wait rather than work, and
goes on with others, but for machines, which work all the time. A session has three phases:

    quiet     the service in a machine with one processor of its own, in as many lanes as there are processors; beside
              it only what waits, in the last lane
    general   most tests, in all lanes; a lane that has no more of the service's begins with them
    alone     tests with the marker ``alone``, which allow no loss, in one lane, when the others have ended
"""

import ast
from enum import IntEnum
from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from tests.vm import abilities

PROJECT = Path(__file__).parents[1]


class Phase(IntEnum):
    """When a unit runs: those of an earlier phase are taken first."""

    QUIET = 0
    GENERAL = 1
    ALONE = 2


# Of a minute in one of these, more than three quarters pass until a timer expires.
_WAITING = (
    "tests/lab/test_charon",
    "tests/lab/test_pim_bootstrap",
    "tests/ipsec/",
    "tests/igmp/test_agent.py",
    "tests/lab/test_guard",
    "tests/lab/test_failures",
    "tests/streams/test_agent.py",
    "tests/overlay/test_kernel",
    "tests/cli/test_doctor",
    "tests/lab/test_show",
    "tests/tunnel/test_ends",
)
_QUIET = "tests/service/"
_ALONE = " alone"
# The longest first, for all lanes to end together.
_ORDER = (
    "tests/service/test_service",
    "tests/service/",
    "qemu other",
    "uml lab",
    "qemu lab",
    "uml other",
    "tests/vm/",
    "tests/lab/test_doctor",
    "tests/lab/",
    "tests/",
)
# A worker runs the last of its tests only when it has been given more, or has been shut down.
_HELD_BACK = 2


@cache
def alone(module: str) -> frozenset[str]:
    """The tests of a module with the marker ``alone``, read from its source: the scheduler sees only names."""
    path = PROJECT / module
    functions = ast.parse(path.read_text()).body if path.exists() else []
    marked = (one for one in functions if isinstance(one, ast.FunctionDef))
    return frozenset(one.name for one in marked if "pytest.mark.alone" in map(ast.unparse, one.decorator_list))


def unit(nodeid: str) -> str:
    """What a test is run together with: tests of the lab, or others, in the same kind of machine; or of its module."""
    module, _, test = nodeid.partition("::")
    for kind in abilities.MACHINES:
        if test.endswith(f"[{kind}]"):
            return f"{kind} {'lab' if module.startswith('tests/lab/') else 'other'}"
    return module + _ALONE if test.partition("[")[0] in alone(module) else module


def waits(its: str) -> bool:
    """Whether a unit is for the last lane first; the others take it when they have nothing else."""
    return its.startswith(_WAITING) and phase(its) == Phase.GENERAL


def works_all_the_time(its: str) -> bool:
    """Whether a unit is in a machine or starts some, of which no more than there are processors should run at once."""
    return its.startswith((*abilities.MACHINES, "tests/vm/"))


def phase(its: str) -> Phase:
    """When a unit runs."""
    if its.startswith(_QUIET):
        return Phase.QUIET
    return Phase.ALONE if its.endswith(_ALONE) else Phase.GENERAL


class Lanes(LoadScopeScheduling):
    """Gives units to lanes, in the order in which the tests were collected."""

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        """Note the end of a test, which other lanes may have waited for."""
        super().mark_test_complete(node, item_index, duration)
        for lane in self.nodes:
            self._reschedule(lane)

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)

    def _reschedule(self, node: WorkerController) -> None:
        if any(self._may_run(node, its) for its in self.workqueue):
            super()._reschedule(node)
        elif not node.shutting_down:
            node.shutdown()

    def _assign_work_unit(self, node: WorkerController) -> None:
        found = [its for its in self.workqueue if self._may_run(node, its) and self._may_begin(node, its)]
        if found:
            first = min(found, key=lambda its: (phase(its), waits(its) != self._is_last(node)))
            self.workqueue.move_to_end(first, last=False)
            super()._assign_work_unit(node)

    def _may_run(self, node: WorkerController, its: str) -> bool:
        """Whether a lane takes a unit, now or later."""
        if self._is_last(node):
            return phase(its) == Phase.GENERAL and not works_all_the_time(its)
        return phase(its) != Phase.ALONE or node is next(lane for lane in self.nodes if not self._is_last(lane))

    def _may_begin(self, node: WorkerController, its: str) -> bool:
        """Whether a lane that takes a unit may take it now."""
        if phase(its) == Phase.ALONE:
            only = all(phase(other) == Phase.ALONE for other in self.workqueue)
            return only and self._have_ended(node, 0, Phase.ALONE)
        if self._is_last(node) and not waits(its):
            queued = any(phase(other) == Phase.QUIET for other in self.workqueue)
            return not queued and self._have_ended(node, _HELD_BACK, Phase.GENERAL)
        return True

    def _have_ended(self, node: WorkerController, held_back: int, before: Phase) -> bool:
        """Whether what other lanes have of the phases before one has ended, but for as many tests as are held back."""
        others = (work for lane, work in self.assigned_work.items() if lane is not node)
        earlier = ({its: tests for its, tests in work.items() if phase(its) < before} for work in others)
        return all(self._pending_of(work) <= held_back for work in earlier)

    def _is_last(self, node: WorkerController) -> bool:
        return self.numnodes > 1 and node.gateway.id == f"gw{self.numnodes - 1}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Lanes:
    """The scheduler of a session that has lanes."""
    return Lanes(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the units."""
    items.sort(key=lambda item: next(n for n, start in enumerate(_ORDER) if unit(item.nodeid).startswith(start)))
