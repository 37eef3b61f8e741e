"""The metrics agent: answers scrapers, one page at a time."""

import asyncio
import os
import traceback
from collections.abc import Callable, Iterator
from typing import Final

from mcastd.config.model import Config
from mcastd.config.value_types import Endpoint
from mcastd.errors import DecodeError
from mcastd.metrics import http
from mcastd.metrics.page import Kept, Page
from mcastd.metrics.shown import Read, Shown, shown
from mcastd.problems import Problem
from mcastd.system.log import Logger
from mcastd.system.wake import Wake

_AUDIT_PERIOD: Final = 30.0  # seconds between two looks at whether it listens
_RETRY_PERIOD: Final = 5.0  # seconds to the next attempt to listen
_LARGEST: Final = 8192  # bytes of the head of a request
_CLIENTS: Final = 16  # connections at once
_ASKING: Final = 5.0  # seconds for a request to arrive
_ANSWERING: Final = 30.0  # seconds for the answer to be made, and taken
_PART: Final = 1 << 17  # bytes that are sent at once
_END: Final = b"\r\n\r\n"


class MetricsAgent:
    """The endpoint. ``read`` is what a page is made of; the daemon sets it before the agent runs."""

    name = "metrics"

    def __init__(self, *, log: Logger, on_change: Callable[[], None]) -> None:
        self._log = log
        self._on_change = on_change
        self.wake = Wake()
        self.read: Read | None = None
        self._desired = Config()
        self._shown: tuple[Config, Shown] | None = None  # what has series of its own, and by which configuration
        self._server: asyncio.Server | None = None
        self._listening: Endpoint | None = None  # where it does
        self._clients: set[asyncio.Task[None]] = set()  # one for each connection
        self._kept = Kept()
        self._one_at_a_time = asyncio.Lock()  # pages, however many scrapers there are
        self._problem: Problem | None = None

    def configure(self, desired: Config) -> None:
        """Set where to listen, and what to show."""
        if desired.metrics.listen != self._desired.metrics.listen:
            self.wake.set()
        self._desired = desired

    async def settled(self) -> None:
        """Return when the loop has acted on the last configure, or has failed."""
        await self.wake.settled()

    async def run(self) -> None:
        """Listen."""
        try:
            while True:
                await self.wake.wait(_RETRY_PERIOD if self._problem else _AUDIT_PERIOD)
                await self._reconcile()
                self.wake.finished()
        finally:
            self._stop()

    async def close(self) -> None:
        """Nothing is to be put back: the loop has stopped listening at its end."""

    def status(self, now: float) -> None:
        """Nothing that status shows."""

    def problems(self) -> Iterator[Problem]:
        """Why it cannot listen."""
        if self._problem is not None:
            yield self._problem

    async def _reconcile(self) -> None:
        listen = self._desired.metrics.listen
        if self._server is not None and (listen != self._listening or not self._server.is_serving()):
            self._stop()
        if listen is not None and self._server is None:
            try:
                self._server = await asyncio.start_server(self._serve, str(listen.address), listen.port, limit=_LARGEST)
            except OSError as error:
                why = os.strerror(error.errno) if error.errno else str(error)
                self._set_problem(Problem("metrics_failed", str(listen), f"no metrics on {listen}: {why}"))
                return
            self._listening = listen
            self._log.info("metrics_listening", address=str(listen))
        self._set_problem(None)

    def _stop(self) -> None:
        """Stop listening, and end all connections."""
        if self._server is not None:
            self._server.close()
        self._server = self._listening = None
        for client in self._clients:
            client.cancel()

    def _set_problem(self, problem: Problem | None) -> None:
        if problem != self._problem:
            self._problem = problem
            if problem is not None:
                self._log.error("metrics_failed", address=problem.subject, problem=problem.text)
            self._on_change()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: a request and its answer."""
        client = asyncio.current_task()
        if client is None or len(self._clients) >= _CLIENTS:
            writer.transport.abort()
            return
        self._clients.add(client)
        try:
            async with asyncio.timeout(_ANSWERING):
                for part in await self._answer(reader):
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (TimeoutError, OSError, EOFError, asyncio.CancelledError):
            # A client that goes away or takes too long loses its connection, nothing more.
            writer.transport.abort()
        finally:
            self._clients.discard(client)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> list[bytes]:
        try:
            async with asyncio.timeout(_ASKING):
                request = http.decode((await reader.readuntil(_END)).removesuffix(_END))
        except TimeoutError:
            return [http.refusal(408, "no request came")]
        except asyncio.LimitOverrunError:
            return [http.refusal(431, f"a request may have {_LARGEST} bytes")]
        except DecodeError:
            return [http.refusal(400, "this is not a request of HTTP/1.1")]
        if request.path != "/metrics":
            return [http.refusal(404, "the metrics are at /metrics")]
        if request.method != "GET":
            return [http.refusal(405, "only GET is allowed")]
        try:
            return await self._page(openmetrics=http.wants_openmetrics(request.accept))
        except Exception:  # one page fails, and not the daemon
            self._log.error("page_failed", problem=traceback.format_exc())
            return [http.refusal(500, "an internal error, which is in the log of mcastd")]

    async def _page(self, *, openmetrics: bool) -> list[bytes]:
        """The whole answer, made in steps, between which other work has a turn."""
        async with self._one_at_a_time:
            if self.read is None:
                return [http.refusal(503, "mcastd starts")]
            scrape = await self.read()
            if self._shown is None or self._shown[0] is not self._desired:
                self._shown = self._desired, shown(self._desired)
            page = Page(self._shown[1], self._kept, scrape.clock)
            for steps in (page.add_status(scrape.status), page.add_report(scrape.report)):
                for _ in steps:
                    await asyncio.sleep(0)
            for streams in scrape.streams:
                await asyncio.sleep(0)
                page.add_streams(streams)
                await asyncio.sleep(0)
            page.end(scrape.report)
            parts = []
            for part in _joined(page.text(openmetrics=openmetrics)):
                parts.append(part)
                await asyncio.sleep(0)
        kind = http.OPENMETRICS if openmetrics else http.TEXT
        return [http.encode(200, kind, sum(map(len, parts))), *parts]


def _joined(parts: Iterator[bytes]) -> Iterator[bytes]:
    """In larger parts: each is a call of the kernel, and a step between which other work has a turn."""
    for part in parts:
        together, size = [part], len(part)
        while size < _PART and (more := next(parts, None)) is not None:
            together.append(more)
            size += len(more)
        yield b"".join(together)
