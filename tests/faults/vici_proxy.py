"""A proxy between mcastd and charon's VICI socket, which passes everything on, or does not."""

import asyncio
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Literal

Mode = Literal["pass", "stall", "half", "garbage", "closed"]


class ViciProxy:
    """Listens on a socket in a thread of its own until it is closed."""

    def __init__(self, path: Path, charon: Path) -> None:
        self.mode: Mode = "pass"  # what happens to charon's answers
        self._path, self._charon = path, charon
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._thread.start()
        self._listening.wait()

    def close(self) -> None:
        """End it, and all that is connected."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        self._path.unlink(missing_ok=True)
        async with await asyncio.start_unix_server(self._connected, self._path):
            self._listening.set()
            await self._ended.wait()
            connections = asyncio.all_tasks() - {asyncio.current_task()}
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode != "closed":
            with suppress(OSError):
                answers, questions = await asyncio.open_unix_connection(self._charon)
                both = [
                    asyncio.create_task(self._pass(reader, questions)),
                    asyncio.create_task(self._answer(answers, writer)),
                ]
                try:
                    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in both:
                        task.cancel()
                    questions.close()
                    writer.close()
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while self.mode != "closed":
            held = b""
            with suppress(TimeoutError):
                if not (held := await asyncio.wait_for(reader.read(65536), 0.1)):
                    return
            while held:
                if self.mode == "stall":
                    await asyncio.sleep(0.05)
                    continue
                if self.mode == "half":
                    writer.write(held[: len(held) // 2])
                    return
                writer.write(os.urandom(len(held)) if self.mode == "garbage" else held)
                held = b""
