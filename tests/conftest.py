import os
from collections.abc import Callable, Iterator

import pytest

from tests.namespaces import Namespace


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out, and say so, what needs root where we are not."""
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root: network namespaces, raw sockets, charon"))


@pytest.fixture
def namespace() -> Iterator[Callable[[], Namespace]]:
    """A function that makes network namespaces, which are gone after the test."""
    made: list[Namespace] = []

    def make() -> Namespace:
        made.append(Namespace())
        return made[-1]

    yield make
    for each in made:
        each.remove()
