"""What one life leaves to the next, through the file between them."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from random import Random

import pytest
import structlog

from mcastd.config.model import Pim, RpRange
from mcastd.handover import COMMAND, Handover
from mcastd.pim.agent import PimAgent
from mcastd.pim.effects import Send
from mcastd.pim.packet import Hello, MessageType, encode_hello
from mcastd.pim.router import Router
from mcastd.pim.settings import PimInterface
from mcastd.system import log
from mcastd.system.log import get_logger

GROUP, CHANNEL, SOURCE = IPv4Address("239.1.1.7"), IPv4Address("232.1.1.1"), IPv4Address("100.15.30.10")
OURS, THEIRS = IPv4Address("10.44.4.6"), IPv4Address("10.44.4.5")
NOW = 1000.0
CONFIG = Pim(rp=(RpRange(address=IPv4Address("100.15.30.253"), groups=(IPv4Network("239.0.0.0/8"),)),))
INTERFACE = PimInterface("gre1", 7, 1398, OURS, (), CONFIG)


def life(path: Path, act: Callable[[PimAgent, Handover], None]) -> None:
    """One life of PIM, without an interface."""

    async def main() -> None:
        pim = PimAgent(log=get_logger(), on_change=lambda: None, rng=Random(1))
        act(pim, Handover(path, pim, get_logger()))

    asyncio.run(main())


def test_joins_by_command_and_generation_ids_come_back(tmp_path: Path) -> None:
    path = tmp_path / "handover.json"

    def first(pim: PimAgent, handover: Handover) -> None:
        pim.go_on({"gre1": 42}, [])
        pim.join(GROUP, None, "gre1", origin=COMMAND)
        pim.join(CHANNEL, SOURCE, "gre1", origin=COMMAND)
        pim.join(GROUP, None, "gone", origin=COMMAND)
        pim.join(IPv4Address("239.9.9.9"), None, "gre1", origin="file")
        handover.remember()

    def second(pim: PimAgent, handover: Handover) -> None:
        handover.take_over(["gre1"])
        assert pim.generation_ids == {"gre1": 42}
        assert pim.joins(COMMAND) == (("gre1", GROUP, None), ("gre1", CHANNEL, SOURCE))
        handover.forget()

    life(path, first)
    life(path, second)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"joins": [{"tunnel": "gre1", "group": "x"}]}',
        b'{"generation_ids": {"gre1": "x"}}',
        b"\xff",
        b'{"generation_ids": {"gre1": 4294967296}}',
        b'{"neighbors": [["gre1", "10.44.4.5", ""]]}',
    ],
)
def test_a_file_that_cannot_be_read_is_worth_no_more_than_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "handover.json"
    path.write_bytes(content)

    def act(pim: PimAgent, handover: Handover) -> None:
        handover.take_over(["gre1"])
        assert pim.generation_ids == {}
        assert pim.joins(COMMAND) == ()

    life(path, act)


def test_of_another_versions_file_it_takes_what_it_knows(tmp_path: Path) -> None:
    path = tmp_path / "handover.json"
    hello = b64encode(b"no Hello").decode()
    file = {
        "format": 2,
        "generation_ids": {"gre1": 42},
        "neighbors": [{"tunnel": "gre1", "address": "10.44.4.5", "hello": hello, "since": 1.5}],
        "joins": [
            {"tunnel": "gre1", "group": "10.0.0.1"},
            {"tunnel": "gre1", "group": "239.1.1.7", "lifetime": 60},
            {"tunnel": "gre1", "group": "232.1.1.1"},
        ],
    }
    path.write_text(json.dumps(file))

    def act(pim: PimAgent, handover: Handover) -> None:
        handover.take_over(["gre1"])
        assert pim.generation_ids == {"gre1": 42}
        assert pim.joins(COMMAND) == (("gre1", GROUP, None), ("gre1", CHANNEL, None))

    life(path, act)


def test_a_hello_that_cannot_be_read_is_counted_and_dropped() -> None:
    router = Router(Random(1))
    router.heard["gre1"] = [(THEIRS, b"no Hello")]
    router.configure((INTERFACE,), (), NOW)
    assert router.interfaces["gre1"].neighbors.all() == []
    assert sum(router.interfaces["gre1"].dropped.values()) == 1


def test_what_is_not_new_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "handover.json"

    def act(pim: PimAgent, handover: Handover) -> None:
        pim.join(GROUP, None, "gre1", origin=COMMAND)
        handover.remember()
        path.unlink()
        handover.remember()
        assert not path.exists()
        pim.leave(GROUP, None, "gre1", origin=COMMAND)
        handover.remember()
        assert path.exists()

    life(path, act)


def test_what_could_not_be_written_is_written_as_soon_as_it_can_and_complained_of_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "handover.json"

    def act(pim: PimAgent, handover: Handover) -> None:
        fresh = path.with_suffix(".new")
        fresh.mkdir()
        pim.join(GROUP, None, "gre1", origin=COMMAND)
        handover.remember()
        handover.remember()
        assert not path.exists()
        fresh.rmdir()
        handover.remember()
        assert str(GROUP) in path.read_text()

    log.configure()
    life(path, act)
    assert capsys.readouterr().err.count("state for the next process could not be saved") == 1
    structlog.reset_defaults()


def test_a_neighbour_that_was_heard_before_is_sent_our_joins_at_once() -> None:
    def sent(router: Router) -> list[MessageType]:
        router.join(GROUP, None, "gre1", COMMAND, NOW)
        effects = router.configure((INTERFACE,), (), NOW)
        return [effect.kind for effect in effects if isinstance(effect, Send)]

    router = Router(Random(1))
    router.heard["gre1"] = [(THEIRS, encode_hello(Hello(holdtime=105, generation_id=9)))]
    assert MessageType.JOIN_PRUNE in sent(router)
    assert MessageType.JOIN_PRUNE not in sent(Router(Random(1)))
