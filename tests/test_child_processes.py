"""The daemon starts child processes (nft) without a thread for each."""

import asyncio
import threading
from pathlib import Path

import pytest

from mcastd import serve
from mcastd.config.load import Loaded
from mcastd.config.model import Config
from tests.fakes.memory import MemoryLog


def test_a_child_process_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    before, during = threading.active_count(), []

    class OneChild:
        def __init__(self, *_: object) -> None:
            pass

        async def run(self) -> None:
            process = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE)
            during.append(threading.active_count())
            await process.communicate(b"")

    monkeypatch.setattr(serve, "Daemon", OneChild)
    try:
        serve._run(Path(), Loaded(config=Config()), MemoryLog().logger, 0.0, None)
    finally:
        asyncio.set_event_loop_policy(None)
    assert during == [before]
