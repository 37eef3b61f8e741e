"""What the kernel has counted of interfaces."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mcastd.errors import HostError
from mcastd.system import counters
from tests.fakes.clock import simulated
from tests.namespaces import Namespace

DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    1000      10    0    0    0     0          0         0     1000      10    0    0    0     0       0          0
  gre1:90000000 1000000    0    0    0     0          0         0        0       7    0    0    0     0       0          0
"""  # noqa: E501


@simulated
async def test_the_packets_are_those_that_an_interface_has_received(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counters, "_DEVICES", tmp_path / "dev")
    (tmp_path / "dev").write_text(DEV)
    assert await counters.received(["gre1", "gre2"]) == {"gre1": 1_000_000}


@simulated
async def test_what_cannot_be_opened_is_a_host_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "_DEVICES", tmp_path / "dev")
    with pytest.raises(HostError, match="dev: No such file or directory"):
        await counters.received(["gre1"])


@pytest.mark.root
def test_the_interfaces_are_those_of_the_own_namespace(namespace: Callable[[], Namespace]) -> None:
    host = namespace()
    host.batch("link add here type veth peer name there")

    async def scenario() -> None:
        assert await counters.received(["lo", "here", "eth0"]) == {"lo": 0, "here": 0}

    host.run(scenario)
