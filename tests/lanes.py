"""Lanes: the workers of a session, side by side, of which each takes a whole module, or all that one machine runs.

There is one more than there are processors, the last: it takes modules whose tests wait rather than work, and nothing
else.
"""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from tests.vm import abilities

# Of a minute in one of these, more than three quarters pass until a timer of somebody's is up.
_WAITING = (
    "tests/lab/test_pim_bootstrap",
    "tests/ipsec/",
    "tests/lab/test_failures",
    "tests/tunnel/test_ends",
)
# The longest first, for all lanes to end together.
_ORDER = (
    "tests/service/test_service",
    "qemu",
    "tests/service/",
    "uml",
    "tests/lab/test_doctor",
    "tests/lab/",
    "tests/",
)


def unit(nodeid: str) -> str:
    """What a test is run together with: the kind of its machine, or its module."""
    inside = (kind for kind in abilities.MACHINES if nodeid.endswith(f"[{kind}]"))
    return next(inside, nodeid.partition("::")[0])


def waits(its: str) -> bool:
    """Whether a unit is for the last lane; the others take it when they have nothing else."""
    return its.startswith(_WAITING)


class Lanes(LoadScopeScheduling):
    """Gives units to lanes in the order in which the tests were collected."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)

    def _reschedule(self, node: WorkerController) -> None:
        if self._is_last(node) and not any(map(waits, self.workqueue)):
            if not node.shutting_down:
                node.shutdown()
            return
        super()._reschedule(node)

    def _assign_work_unit(self, node: WorkerController) -> None:
        wanted = [its for its in self.workqueue if waits(its) == self._is_last(node)]
        if wanted:
            self.workqueue.move_to_end(wanted[0], last=False)
        elif self._is_last(node):
            return
        super()._assign_work_unit(node)

    def _is_last(self, node: WorkerController) -> bool:
        return self.numnodes > 1 and node.gateway.id == f"gw{self.numnodes - 1}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Lanes:
    """The scheduler of a session that has lanes."""
    return Lanes(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the units."""
    items.sort(key=lambda item: next(n for n, start in enumerate(_ORDER) if unit(item.nodeid).startswith(start)))
