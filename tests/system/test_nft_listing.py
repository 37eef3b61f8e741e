"""What is read of a table by netlink, from a real kernel, in a namespace."""

import asyncio
import os
import socket
import subprocess
from collections.abc import Callable, Coroutine
from contextlib import suppress
from signal import SIGKILL
from typing import Any, TypeVar

import pytest

from mcastd.errors import HostError
from mcastd.net.nfnetlink import Table
from mcastd.system import nft, nft_listing
from mcastd.system.netfilter import Message
from tests.namespaces import Namespace

pytestmark = pytest.mark.root

T = TypeVar("T")

TABLE = """
table ip t {
    counter a { packets 3 bytes 300 }
    counter b { }
    set seen { type ipv4_addr; size 10; flags dynamic, timeout; timeout 1h; }
    chain c {
        type filter hook output priority 0;
        ip daddr { 127.0.0.5, 127.0.0.6 } counter name b
        meta l4proto udp add @seen { ip daddr counter }
    }
}
"""


class Host:
    """A namespace, its nft(8), and what is read there."""

    def __init__(self, made: Namespace) -> None:
        self.made = made

    def nft(self, text: str) -> None:
        subprocess.run(["ip", "netns", "exec", self.made.name, "nft", "-f", "-"], input=text, text=True, check=True)

    def run(self, question: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self.made.run(question)

    def table(self) -> Table | None:
        return self.run(lambda: nft.table("t"))

    def send(self, address: str) -> None:
        def act() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"12345678", (address, 9))

        self.made.call(act)


@pytest.fixture
def host(namespace: Callable[[], Namespace]) -> Host:
    return Host(namespace())


def test_counters_are_read_and_packets_change_no_structure(host: Host) -> None:
    assert host.table() is None
    assert host.run(lambda: nft.counts("t")) == {}
    host.nft(TABLE)
    before = host.table()
    assert before is not None
    assert before.counts == {"a": (3, 300), "b": (0, 0)}
    host.send("127.0.0.5")
    host.send("127.0.0.7")
    host.nft("table ip theirs { counter a { }\nchain c { type filter hook input priority 0; }\n}\ntable inet t { }")
    after = host.table()
    assert after is not None
    assert after.counts == {"a": (3, 300), "b": (1, 36)} == host.run(lambda: nft.counts("t"))
    assert after.structure == before.structure


@pytest.mark.parametrize(
    "change",
    [
        "insert rule ip t c accept",
        "flush chain ip t c",
        "add chain ip t d",
        "add counter ip t d",
        "add set ip t other { type ipv4_addr; }",
        "chain ip t c { policy drop; }",
        f"delete table ip t\n{TABLE}",
    ],
)
def test_every_change_is_another_structure(host: Host, change: str) -> None:
    host.nft(TABLE)
    before = host.table()
    host.nft(change)
    after = host.table()
    assert before is not None
    assert after is not None
    assert after.structure != before.structure


def test_a_change_during_the_listing_is_not_taken_for_one_of_the_table(host: Host) -> None:
    """Another program changes the ruleset all the time."""
    host.nft(TABLE)
    changes = ["ip", "netns", "exec", host.made.name, "sh", "-c"]
    loop = "while :; do echo 'add table ip x; delete table ip x'; done | nft -i"

    async def listed() -> set[str]:
        found = set()
        for _ in range(100):
            with suppress(HostError):  # it changes too fast
                table = await nft.table("t")
                assert table is not None
                found.add(table.structure)
        return found

    quiet = subprocess.DEVNULL
    with subprocess.Popen([*changes, loop], stdout=quiet, stderr=quiet, start_new_session=True) as program:
        try:
            assert len(host.run(listed)) == 1
        finally:
            os.killpg(program.pid, SIGKILL)  # nft as well: at the end of its input it does not end


def test_a_ruleset_that_changes_at_every_dump_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    generations = iter(range(1000))

    async def changing(*_: object, **__: object) -> Any:
        yield Message(nft_listing._text(1, "t"), next(generations), False)

    monkeypatch.setattr(nft_listing, "ask", changing)
    monkeypatch.setattr(nft_listing, "_counts", lambda _: {})
    with pytest.raises(HostError, match="changes too fast"):
        asyncio.run(nft_listing.table("t"))
