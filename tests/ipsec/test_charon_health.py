"""An agent whose charon is well, but whose answers are spoiled on the way; and what each kind of error says."""

import asyncio
import contextlib
import re
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mcastd.errors import ViciError, ViciNoAnswer, ViciRefused, ViciUnavailable, ViciUnreadable
from mcastd.ipsec.charon_health import GIVE_UP, CharonHealth, unclear
from mcastd.ipsec.messages import terminate
from mcastd.problems import Problem
from tests.ipsec.agents import BOTH, Running, both_up, running
from tests.ipsec.charons import Scene, article, command, gre, list_sas, until


class Relay:
    """A socket that leads to a charon's; ``way`` is what it does to what comes back, or to a command."""

    def __init__(self, charon: Path, socket: Path) -> None:
        self.socket = socket
        self.way = "faithful"
        self.spoiled = 0
        self._charon = charon

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to, fro = await asyncio.open_unix_connection(self._charon)
        there = asyncio.create_task(self._pass(reader, fro))
        try:
            while True:
                (length,) = struct.unpack("!I", await to.readexactly(4))
                writer.write(self._spoil(await to.readexactly(length)))
        except (OSError, EOFError):
            return
        finally:
            there.cancel()
            for one in (fro, writer):
                one.close()
                with contextlib.suppress(OSError):
                    await one.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            if self.way == "no terminate" and b"\x09terminate" in data:
                self.spoiled += 1
                break
            writer.write(data)
        writer.close()

    def _spoil(self, packet: bytes) -> bytes:
        if self.way == "silence":
            self.spoiled += 1
            return b""
        if self.way in ("a field", "an element") and packet[2:].startswith(b"list-sa"):
            self.spoiled += 1
            a_field = self.way == "a field"
            packet = re.sub(rb"(?s)(\x08bytes-in..).", rb"\1-", packet) if a_field else packet + b"\x63"
        return struct.pack("!I", len(packet)) + packet


@contextlib.asynccontextmanager
async def relayed(scene: Scene, ledger: Path) -> AsyncIterator[tuple[Running, Relay]]:
    relay = Relay(scene.cloud.socket, ledger.with_name("relay"))
    served = set[asyncio.Task[None]]()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.create_task(relay.serve(reader, writer)))

    server = await asyncio.start_unix_server(serve, relay.socket)
    try:
        async with running(scene, ledger, relay.socket) as agent:
            yield agent, relay
    finally:
        server.close()
        for task in served:
            task.cancel()
        await asyncio.gather(*served, return_exceptions=True)


@pytest.mark.root
@pytest.mark.parametrize(
    ("way", "times", "words"),
    [
        ("a field", 3, "charon listed an SA that cannot be read (vici-value)"),
        ("an element", 3, "charon sent what is not VICI (vici-element)"),
        ("silence", 1, "charon did not answer within 5 s"),
    ],
)
def test_a_listing_that_cannot_be_used_leaves_all_as_it_was_seen_last(
    scene: Scene, ledger: Path, way: str, times: int, words: str
) -> None:
    async def test() -> None:
        async with relayed(scene, ledger) as (agent, relay):
            await both_up(scene, agent)
            await until(lambda: agent.status().attempts == 2 and agent.snapshot().charon is None, "all is well")
            with capture_logs() as logs:
                relay.way = way
                await agent.agent.refresh()
                await until(
                    lambda: agent.snapshot().charon == unclear(words) and relay.spoiled >= times,
                    "asked again and again",
                )
                assert agent.up(*BOTH)
                (sa,) = await list_sas(scene.cloud)
                number = next(child.uniqueid for child in sa.children if child.name == "dc-tun-gre")
                await command(scene.cloud, "terminate", terminate({"child-id": number}, 2.0))
                assert agent.up(*BOTH)
                relay.way = "faithful"
                await until(
                    lambda: agent.snapshot().charon is None and agent.generation("dc-tun-gre") == 2, "what is missing"
                )
            assert [log["event"] for log in logs if log["event"].startswith("charon")] == [
                "charon_unclear", "charon_connected",
            ]  # fmt: skip
            assert (agent.generation("dc-tun-tcp"), agent.status().attempts) == (1, 3)

    asyncio.run(test())


@pytest.mark.root
def test_a_reload_is_carried_out_when_a_listing_can_be_read_again(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        async with relayed(scene, ledger) as (agent, relay):
            await both_up(scene, agent)
            await until(lambda: agent.status().attempts == 2, "all is well")
            relay.way = "a field"
            agent.want(article(children=(gre(),)))
            await agent.agent.settled()
            charon = agent.snapshot().charon
            assert charon is not None
            assert charon.code == "charon_unclear"
            relay.way = "faithful"
            await until(lambda: agent.snapshot().charon is None, "understood again")
            (sa,) = await list_sas(scene.cloud)
            assert [child.name for child in sa.children] == ["dc-tun-gre"]

    asyncio.run(test())


def inbound(agent: Running) -> list[str | None]:
    return [child.spi_in for child in agent.status().children]


@pytest.mark.root
def test_a_restart_that_charon_did_not_take_is_asked_for_again(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        async with relayed(scene, ledger) as (agent, relay):
            await both_up(scene, agent)
            await until(lambda: agent.status().attempts == 2, "all is well")
            before = inbound(agent)
            relay.way = "no terminate"
            agent.restart("dc-tun-gre")
            await until(lambda: relay.spoiled > 0, "the command that is lost")
            relay.way = "faithful"
            await until(lambda: agent.up(*BOTH) and inbound(agent)[0] != before[0], "the child established again")
            assert inbound(agent)[1] == before[1]

    asyncio.run(test())


def after(*failures: tuple[ViciError, float]) -> CharonHealth:
    health = CharonHealth()
    for error, now in failures:
        health.failed(error, now)
    return health


@pytest.mark.parametrize(
    ("error", "gone"), [(ViciUnavailable, True), (ViciNoAnswer, False), (ViciUnreadable, False), (ViciRefused, False)]
)
def test_only_a_socket_that_is_away_is_charons_end(error: type[ViciError], gone: bool) -> None:
    health = after((error("why"), 0.0))
    assert health.gone is gone
    assert health.problem == (Problem("charon_gone", "charon", "why") if gone else unclear("why"))


def test_what_cannot_be_read_is_never_charons_end() -> None:
    assert not after(*((ViciUnreadable("what"), float(now)) for now in range(1000))).gone


def test_an_answer_that_stays_away_is_in_the_end_whatever_comes_between() -> None:
    silent, between = (ViciNoAnswer("silent"), 5.0), (ViciUnreadable("closed"), 6.0)
    assert not after(silent, between, (ViciNoAnswer("silent"), 5.0 + GIVE_UP - 0.1)).gone
    assert after(silent, between, (ViciNoAnswer("silent"), 5.0 + GIVE_UP)).gone


def test_charon_stays_gone_until_it_does_all_that_is_asked() -> None:
    health = after((ViciUnavailable("refused"), 0.0), (ViciUnreadable("what"), 1.0))
    assert (health.gone, health.problem, health.failures) == (True, Problem("charon_gone", "charon", "what"), 2)
    assert health.well() == 2
    assert (health.gone, health.problem, health.failures) == (False, None, 0)
    health.failed(ViciNoAnswer("silent"), 100.0)
    assert not health.gone
