"""The endpoint, asked over a loopback connection."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from ipaddress import IPv4Address

import pytest
from prometheus_client.parser import text_string_to_metric_families as read_text

from mcastd.config.model import Config, Metrics
from mcastd.config.value_types import Endpoint
from mcastd.metrics import agent as metrics_agent
from mcastd.metrics import http
from mcastd.metrics.agent import MetricsAgent
from mcastd.metrics.shown import Scrape
from tests.fakes.clock import simulated, until
from tests.fakes.memory import MemoryLog
from tests.loops import looping
from tests.metrics.samples import CLOCK, REPORT, STATUS, STREAM

LOOPBACK = IPv4Address("127.0.0.1")


def config(port: int = 0) -> Config:
    return Config(metrics=Metrics(listen=Endpoint(LOOPBACK, port)))


async def scrape() -> Scrape:
    return Scrape(CLOCK, STATUS, REPORT, iter([[STREAM], []]))


class Bench:
    def __init__(self) -> None:
        self.log = MemoryLog()
        self.changes = 0
        self.agent = MetricsAgent(log=self.log.logger, on_change=self._changed)
        self.agent.read = scrape

    def _changed(self) -> None:
        self.changes += 1

    async def configure(self, desired: Config) -> None:
        self.agent.configure(desired)
        await self.agent.settled()

    @property
    def port(self) -> int:
        assert self.agent._server is not None
        return int(self.agent._server.sockets[0].getsockname()[1])

    async def ask(self, request: bytes) -> tuple[str, bytes]:
        """The first line of the answer, and its body."""
        reader, writer = await asyncio.open_connection(str(LOOPBACK), self.port)
        try:
            writer.write(request)
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
        return head.decode(), body

    async def get(self, path: str = "/metrics", accept: str = "") -> tuple[str, bytes]:
        return await self.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n".encode())


@contextlib.asynccontextmanager
async def serving(desired: Config | None = None) -> AsyncIterator[Bench]:
    bench = Bench()
    async with looping(bench.agent.run()):
        await bench.configure(desired or config())
        yield bench


def test_a_page_is_served_in_the_format_that_is_asked_for() -> None:
    async def run() -> None:
        async with serving() as bench:
            head, body = await bench.get()
            assert head.splitlines() == [
                "HTTP/1.1 200 OK", f"Content-Type: {http.TEXT}", f"Content-Length: {len(body)}", "Connection: close",
            ]  # fmt: skip
            assert {one.name for one in read_text(body.decode())} > {"mcastd_tunnel_up", "mcastd_stream_packets"}
            head, body = await bench.get(accept="application/openmetrics-text")
            assert f"Content-Type: {http.OPENMETRICS}" in head
            assert body.endswith(b"# EOF\n")
            assert bench.log.events() == ["metrics_listening"]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"),
        (b"\x16\x03\x01\x00 TLS\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (b"GET /" + 9000 * b"x" + b" HTTP/1.1\r\n\r\n", "HTTP/1.1 431 Request Header Fields Too Large"),
    ],
)
def test_other_requests_are_refused(request_: bytes, answer: str) -> None:
    async def run() -> None:
        async with serving() as bench:
            agent = bench.agent
            reader = asyncio.StreamReader(limit=metrics_agent._LARGEST)
            reader.feed_data(request_)
            head, _, body = b"".join(await agent._answer(reader)).partition(b"\r\n\r\n")
            assert head.decode().splitlines()[0] == answer
            assert f"Content-Length: {len(body)}" in head.decode()
            assert ("Allow: GET" in head.decode()) == ("405" in answer)

    asyncio.run(run())


@simulated
async def test_a_client_that_asks_for_nothing_is_not_waited_for() -> None:
    bench = Bench()
    began = asyncio.get_running_loop().time()
    (answer,) = await bench.agent._answer(asyncio.StreamReader())
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout")
    assert asyncio.get_running_loop().time() - began == metrics_agent._ASKING


def test_more_clients_than_are_allowed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_agent, "_CLIENTS", 2)

    async def run() -> None:
        async with serving() as bench:
            waiting = [await asyncio.open_connection(str(LOOPBACK), bench.port) for _ in range(2)]
            await until(lambda: len(bench.agent._clients) == 2)
            with contextlib.suppress(ConnectionError):
                assert await bench.get() == ("", b"")
            for _, writer in waiting:
                writer.close()
            await until(lambda: not bench.agent._clients)
            head, _ = await bench.get()
            assert head.startswith("HTTP/1.1 200")

    asyncio.run(run())


def test_a_page_that_fails_is_an_answer_and_a_line_in_the_log() -> None:
    async def fails() -> Scrape:
        raise RuntimeError("no more descriptors")

    async def run() -> None:
        async with serving() as bench:
            bench.agent.read = fails
            head, _ = await bench.get()
            assert head.startswith("HTTP/1.1 500")
            assert bench.log.events() == ["metrics_listening", "page_failed"]
            bench.agent.read = None
            head, _ = await bench.get()
            assert head.startswith("HTTP/1.1 503")

    asyncio.run(run())


def test_of_two_that_ask_at_once_one_waits() -> None:
    inside = 0

    async def alone() -> Scrape:
        nonlocal inside
        inside += 1
        assert inside == 1
        await asyncio.sleep(0.01)
        inside -= 1
        return await scrape()

    async def run() -> None:
        async with serving() as bench:
            bench.agent.read = alone
            answers = await asyncio.gather(bench.get(), bench.get())
            assert [head[:12] for head, _ in answers] == ["HTTP/1.1 200"] * 2

    asyncio.run(run())


def test_a_connection_ends_where_metrics_are_turned_off() -> None:
    async def run() -> None:
        async with serving() as bench:
            reader, writer = await asyncio.open_connection(str(LOOPBACK), bench.port)
            await until(lambda: len(bench.agent._clients) == 1)
            await bench.configure(Config())
            assert await reader.read() == b""
            assert not bench.agent._clients
            writer.close()

    asyncio.run(run())


def test_an_answer_that_takes_too_long_ends_its_connection_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_agent, "_ANSWERING", 0.05)

    async def hangs() -> Scrape:
        await asyncio.Event().wait()
        raise AssertionError

    async def run() -> None:
        async with serving() as bench:
            bench.agent.read = hangs
            with contextlib.suppress(ConnectionError):
                assert await bench.get() == ("", b"")
            monkeypatch.setattr(metrics_agent, "_ANSWERING", 30.0)
            bench.agent.read = scrape
            assert (await bench.get())[0].startswith("HTTP/1.1 200")

    asyncio.run(run())


def test_a_port_in_use_is_a_problem_until_it_is_free() -> None:
    async def run() -> None:
        bench = Bench()
        with socket.socket() as taken:
            taken.bind((str(LOOPBACK), 0))
            port = taken.getsockname()[1]
            async with looping(bench.agent.run()):
                await bench.configure(config(port))
                (problem,) = bench.agent.problems()
                assert (problem.code, problem.subject) == ("metrics_failed", f"127.0.0.1:{port}")
                assert problem.text == f"no metrics on 127.0.0.1:{port}: Address already in use"
                assert (bench.changes, bench.log.events()) == (1, ["metrics_failed"])
                taken.close()
                bench.agent.wake.set()
                await bench.agent.settled()
                assert (list(bench.agent.problems()), bench.changes) == ([], 2)
                assert (await bench.get())[0].startswith("HTTP/1.1 200")

    asyncio.run(run())


def test_a_reload_changes_where_it_listens() -> None:
    async def run() -> None:
        async with serving() as bench:
            first = bench.port
            with socket.socket() as free:
                free.bind((str(LOOPBACK), 0))
                other = free.getsockname()[1]
            await bench.configure(config(other))
            assert (bench.port, other != first) == (other, True)
            assert (await bench.get())[0].startswith("HTTP/1.1 200")
            await bench.configure(Config())
            assert bench.agent._server is None
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(str(LOOPBACK), other)

    asyncio.run(run())


def test_without_an_address_it_does_not_listen() -> None:
    async def run() -> None:
        async with serving(Config()) as bench:
            assert (bench.agent._server, bench.log.events()) == (None, [])

    asyncio.run(run())


def test_a_loop_that_begins_again_listens_again() -> None:
    async def run() -> None:
        bench = Bench()
        for _ in range(2):
            async with looping(bench.agent.run()):
                bench.agent.configure(config())
                bench.agent.wake.set()
                await bench.agent.settled()
                assert (await bench.get())[0].startswith("HTTP/1.1 200")
            assert bench.agent._server is None

    asyncio.run(run())
