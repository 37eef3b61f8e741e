"""Lanes: the workers of a session, side by side, of which each takes a whole module, or all that one machine runs."""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.vm import abilities

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


class Lanes(LoadScopeScheduling):
    """Gives units to lanes in the order in which the tests were collected."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Lanes:
    """The scheduler of a session that has lanes."""
    return Lanes(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the units."""
    items.sort(key=lambda item: next(n for n, start in enumerate(_ORDER) if unit(item.nodeid).startswith(start)))
