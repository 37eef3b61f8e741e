"""What one process leaves to the next, through the files between them."""

import asyncio
import json
import shutil
from base64 import b64encode
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from random import Random

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcastd.config.model import Pim, RpRange
from mcastd.handover import Handover
from mcastd.pim.agent import PimAgent
from mcastd.pim.effects import Send
from mcastd.pim.packet import Hello, MessageType, encode_hello
from mcastd.pim.settings import PimDesired, PimInterface, PimState
from mcastd.system import log
from mcastd.system.log import get_logger
from mcastd.wanted import COMMAND, FILE, Wanted
from tests.fakes.memory import MemoryLog
from tests.simulator.world import WantedRouter

GROUP, CHANNEL, SOURCE = IPv4Address("239.1.1.7"), IPv4Address("232.1.1.1"), IPv4Address("100.15.30.10")
OURS, THEIRS = IPv4Address("10.44.4.6"), IPv4Address("10.44.4.5")
NOW = 1000.0
CONFIG = Pim(rp=(RpRange(address=IPv4Address("100.15.30.253"), groups=(IPv4Network("239.0.0.0/8"),)),))
INTERFACE = PimInterface("gre1", 7, 1398, OURS, (), CONFIG)


VALUES: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(("gre1", "239.1.1.1")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("generation_ids", "neighbors", "joins", "tunnel", "group", "address", "hello", "tunnels")),
            inner,
            max_size=5,
        )
    ),
)
ANYTHING = st.binary(max_size=100) | VALUES.map(lambda found: json.dumps(found).encode())
UNKNOWN = st.dictionaries(st.text(max_size=8).filter(lambda key: key not in ("source", "tunnels")), VALUES, max_size=3)
FIXTURE = Path(__file__).parent / "fixtures" / "0.1.0" / "handover.json"


class WantedPim(PimAgent):
    """PIM, and what is wanted of it."""

    def __init__(self) -> None:
        self.wanted = Wanted(lambda: 0.0)
        super().__init__(log=get_logger(), on_change=lambda: None, rng=Random(1), wanted=self.wanted)


def process(directory: Path, act: Callable[[WantedPim, Handover], None]) -> None:
    """One process with PIM, without an interface."""

    async def main() -> None:
        pim = WantedPim()
        act(pim, Handover(directory, pim, pim.wanted, get_logger()))

    asyncio.run(main())


def joins(pim: WantedPim) -> set[tuple[str, IPv4Address, IPv4Address | None]]:
    return set(pim.wanted.of_origin(COMMAND))


def join(pim: WantedPim, handover: Handover, group: IPv4Address, source: IPv4Address | None, tunnel: str) -> None:
    """What ``mcastd join`` does."""
    pim.wanted.join(tunnel, group, source, COMMAND)
    handover.joined(group, source, tunnel)


def test_joins_by_command_and_generation_ids_come_back(tmp_path: Path) -> None:
    def first(pim: WantedPim, handover: Handover) -> None:
        pim.inherit(PimState({"gre1": 42}, ()))
        for entry in ((GROUP, None, "gre1"), (CHANNEL, SOURCE, "gre1"), (GROUP, None, "gone"), (CHANNEL, SOURCE, "x")):
            join(pim, handover, *entry)
        handover.left(CHANNEL, SOURCE, "x")
        pim.wanted.join("gre1", IPv4Address("239.9.9.9"), None, FILE)
        handover.remember()

    def second(pim: WantedPim, handover: Handover) -> None:
        handover.inherit(["gre1", "x"])
        assert pim.state().generation_ids == {"gre1": 42}
        assert joins(pim) == {("gre1", GROUP, None), ("gre1", CHANNEL, SOURCE)}

    def third(pim: WantedPim, handover: Handover) -> None:
        handover.inherit(["x"])
        assert joins(pim) == set(), "gre1 is gone"
        handover.forget()

    process(tmp_path, first)
    process(tmp_path, second)
    process(tmp_path, second)
    process(tmp_path, third)
    assert list(tmp_path.iterdir()) == []


def test_a_group_on_two_tunnels_is_one_file_with_both(tmp_path: Path) -> None:
    def first(pim: WantedPim, handover: Handover) -> None:
        join(pim, handover, GROUP, None, "gre1")
        join(pim, handover, GROUP, None, "gre2")

    def second(pim: WantedPim, handover: Handover) -> None:
        handover.inherit(["gre1", "gre2"])
        assert joins(pim) == {("gre1", GROUP, None), ("gre2", GROUP, None)}

    process(tmp_path, first)
    (file,) = (tmp_path / "joins").iterdir()
    assert json.loads(file.read_bytes()) == {"tunnel": "gre1", "group": str(GROUP), "tunnels": ["gre1", "gre2"]}
    process(tmp_path, second)


def test_the_state_of_0_1_0_is_inherited(tmp_path: Path) -> None:
    (tmp_path / "handover.json").write_bytes(FIXTURE.read_bytes())
    expected = {("gre1", IPv4Address("239.1.1.77"), None), ("gre1", IPv4Address("232.1.1.5"), SOURCE)}

    def act(pim: WantedPim, handover: Handover) -> None:
        handover.inherit(["gre1"])
        assert pim.state().generation_ids == {"gre1": 2476971391}
        assert joins(pim) == expected
        handover.remember()

    process(tmp_path, act)
    process(tmp_path, act)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"joins": [{"tunnel": 7, "group": "x"}]}',
        b'{"generation_ids": {"gre1": "x"}}',
        b"\xff",
        b'{"generation_ids": {"gre1": 4294967296}}',
        b'{"neighbors": [["gre1", "10.44.4.5", ""]]}',
    ],
)
def test_a_file_that_cannot_be_read_counts_as_absent(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "handover.json").write_bytes(content)

    def act(pim: WantedPim, handover: Handover) -> None:
        handover.inherit(["gre1"])
        assert pim.state().generation_ids == {}
        assert joins(pim) == set()

    process(tmp_path, act)


def test_one_join_that_cannot_be_read_does_not_lose_the_others(tmp_path: Path) -> None:
    process(tmp_path, lambda pim, handover: join(pim, handover, GROUP, None, "gre1"))
    for name, content in (("239.0.0.1", b"{"), ("239.0.0.2", b'{"tunnel": "gre1", "group": "x"}'), ("a.new", b"")):
        (tmp_path / "joins" / name).write_bytes(content)

    def act(pim: WantedPim, handover: Handover) -> None:
        handover.inherit(["gre1"])
        assert joins(pim) == {("gre1", GROUP, None)}

    process(tmp_path, act)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 5000, b"null"])
def test_a_file_that_cannot_be_read_is_kept_aside(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "handover.json").write_bytes(content)
    process(tmp_path, lambda _, handover: handover.inherit(["gre1"]))
    assert (tmp_path / "handover.json.unreadable").read_bytes() == content
    assert not (tmp_path / "handover.json").exists()


def test_an_entry_that_cannot_be_used_does_not_lose_the_others(tmp_path: Path) -> None:
    good, join = {"tunnel": "gre1", "address": "10.44.4.5", "hello": ""}, {"tunnel": "gre1", "group": "239.1.1.7"}
    file = {
        "version": 1,
        "generation_ids": {"gre1": 42, "gre2": -1, "gre3": 1 << 32, "gre4": "x", "gre5": True, "gre6": 1.5},
        "neighbors": [7, good, {**good, "address": "x"}, {**good, "hello": 7}, {**good, "tunnel": None}],
        "joins": [join, {**join, "group": None}, {**join, "tunnels": [7]}, [join], {**join, "source": "x"}],
    }
    (tmp_path / "handover.json").write_text(json.dumps(file))
    lines = MemoryLog()

    def act(pim: WantedPim, _: Handover) -> None:
        Handover(tmp_path, pim, pim.wanted, lines.logger).inherit(["gre1"])
        assert pim.state() == PimState({"gre1": 42}, (("gre1", THEIRS, b""),))
        assert joins(pim) == {("gre1", GROUP, None)}

    process(tmp_path, act)
    assert lines.events() == ["handover_damaged"] * 13
    assert "gre5" in str(lines.records)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANYTHING, ANYTHING)
def test_whatever_is_in_the_files_it_is_no_error(tmp_path: Path, state: bytes, join: bytes) -> None:
    (tmp_path / "handover.json").write_bytes(state)
    (tmp_path / "joins").mkdir(exist_ok=True)
    (tmp_path / "joins" / "239.1.1.1").write_bytes(join)

    def act(pim: WantedPim, handover: Handover) -> None:
        handover.inherit(["gre1"])
        pim.configure(PimDesired((INTERFACE,), ("gre1",)))
        handover.remember()
        handover.forget()

    process(tmp_path, act)
    assert [file for file in tmp_path.iterdir() if file.suffix != ".unreadable"] == []


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(UNKNOWN, st.lists(VALUES, max_size=3))
def test_whatever_is_beside_an_entry_it_is_used(
    tmp_path: Path, fields: dict[str, object], others: list[object]
) -> None:
    group, neighbor = {"tunnel": "gre1", "group": str(GROUP)}, {"tunnel": "gre1", "address": str(THEIRS), "hello": ""}
    file = {
        **fields,
        "generation_ids": {**fields, "gre1": 42},
        "neighbors": [*others, neighbor],
        "joins": [*others, group],
    }
    (tmp_path / "handover.json").write_text(json.dumps(file))
    (tmp_path / "joins").mkdir(exist_ok=True)
    (tmp_path / "joins" / "239.0.0.1").write_text(json.dumps(others))
    (tmp_path / "joins" / str(CHANNEL)).write_text(json.dumps({**fields, "tunnel": "gre1", "group": str(CHANNEL)}))

    def act(pim: WantedPim, handover: Handover) -> None:
        handover.inherit(["gre1"])
        assert pim.state().generation_ids["gre1"] == 42
        assert ("gre1", THEIRS, b"") in pim.state().hellos
        assert joins(pim) >= {("gre1", GROUP, None), ("gre1", CHANNEL, None)}

    process(tmp_path, act)


def test_what_stands_in_the_way_of_the_files_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "handover.json").mkdir()
    (tmp_path / "joins" / "239.1.1.1").mkdir(parents=True)

    def act(_: WantedPim, handover: Handover) -> None:
        handover.inherit(["gre1"])
        handover.keep()
        handover.forget()

    process(tmp_path, act)


def test_a_neighbour_whose_tunnel_is_not_up_yet_is_handed_over_again(tmp_path: Path) -> None:
    hello = encode_hello(Hello(holdtime=105, generation_id=9))
    file = {"neighbors": [{"tunnel": "gre1", "address": str(THEIRS), "hello": b64encode(hello).decode()}]}
    (tmp_path / "handover.json").write_text(json.dumps(file))

    def act(pim: WantedPim, handover: Handover) -> None:
        handover.inherit(["gre1"])
        assert pim.state().hellos == (("gre1", THEIRS, hello),)
        handover.remember()

    for _ in range(3):
        process(tmp_path, act)


def test_many_joins_are_written_again_in_slices(tmp_path: Path) -> None:
    def act(pim: WantedPim, handover: Handover) -> None:
        for number in range(1200):
            handover.joined(IPv4Address((239 << 24) + number), None, "gre1")
        shutil.rmtree(tmp_path / "joins")
        sizes = []
        for _ in range(3):
            handover.keep()
            sizes.append(len(list((tmp_path / "joins").iterdir())))
        assert sizes == [500, 1000, 1200]

    process(tmp_path, act)


def test_of_another_versions_file_it_takes_what_it_knows(tmp_path: Path) -> None:
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
    (tmp_path / "handover.json").write_text(json.dumps(file))

    def act(pim: WantedPim, handover: Handover) -> None:
        handover.inherit(["gre1"])
        assert pim.state().generation_ids == {"gre1": 42}
        assert joins(pim) == {("gre1", GROUP, None), ("gre1", CHANNEL, None)}

    process(tmp_path, act)


def test_what_is_not_new_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "handover.json"

    def act(pim: WantedPim, handover: Handover) -> None:
        pim.inherit(PimState({"gre1": 42}, ()))
        handover.remember()
        path.unlink()
        handover.remember()
        assert not path.exists()
        pim.inherit(PimState({"gre1": 43}, ()))
        handover.remember()
        assert path.exists()

    process(tmp_path, act)


def test_what_could_not_be_written_is_written_as_soon_as_it_can_and_logged_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = tmp_path / "handover.new"

    def act(pim: WantedPim, handover: Handover) -> None:
        fresh.mkdir()
        (tmp_path / "joins").touch()
        join(pim, handover, GROUP, None, "gre1")
        handover.remember()
        handover.remember()
        assert not (tmp_path / "handover.json").exists()
        fresh.rmdir()
        (tmp_path / "joins").unlink()
        handover.remember()
        assert (tmp_path / "joins" / str(GROUP)).is_file()
        assert (tmp_path / "handover.json").is_file()

    log.configure()
    process(tmp_path, act)
    assert capsys.readouterr().err.count("state for a restart could not be saved") == 1
    structlog.reset_defaults()


def test_a_hello_that_cannot_be_read_is_counted_and_dropped() -> None:
    router = WantedRouter(Random(1))
    router.inherit(PimState({}, (("gre1", THEIRS, b"no Hello"),)))
    router.want((INTERFACE,), (), NOW)
    assert router.interfaces["gre1"].neighbors.all() == []
    assert sum(router.interfaces["gre1"].dropped.values()) == 1


def test_a_neighbour_that_was_heard_before_is_sent_our_joins_at_once() -> None:
    def sent(router: WantedRouter) -> list[MessageType]:
        router.join(GROUP, None, "gre1", COMMAND, NOW)
        effects = router.want((INTERFACE,), (), NOW)
        return [effect.kind for effect in effects if isinstance(effect, Send)]

    router = WantedRouter(Random(1))
    router.inherit(PimState({}, (("gre1", THEIRS, encode_hello(Hello(holdtime=105, generation_id=9))),)))
    assert MessageType.JOIN_PRUNE in sent(router)
    assert MessageType.JOIN_PRUNE not in sent(WantedRouter(Random(1)))
