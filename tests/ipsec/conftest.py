"""The scene of two charons, built once for each file of tests and emptied between tests."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ipsec.charons import Scene, clean


@pytest.fixture(scope="module")
def _scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    scene = Scene(tmp_path_factory.mktemp("charons"), f"{os.getpid()}")
    try:
        scene.build()
        yield scene
    finally:
        scene.remove()


@pytest.fixture
def scene(_scene: Scene) -> Scene:
    """Both charons running and empty."""

    async def clean_both() -> None:
        await clean(_scene.cloud)  # the one that initiates, so that nothing new reaches the other
        await clean(_scene.dc)

    for charon in (_scene.cloud, _scene.dc):
        if not charon.running:
            charon.start()
            charon.wait_ready()
    asyncio.run(clean_both())
    return _scene


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.json"
