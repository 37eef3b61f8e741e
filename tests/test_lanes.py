from types import SimpleNamespace
from typing import Any, cast

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
