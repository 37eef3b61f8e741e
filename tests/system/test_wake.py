import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from mcastd.system.wake import Wake
from tests.fakes.clock import simulated


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


async def turns() -> None:
    """Let every other task go as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_many_nudges_before_the_next_look_are_one() -> None:
    async def main() -> None:
        wake = Wake()
        wake.set()
        wake.set()
        assert await wake.wait(0)
        assert not await wake.wait(0)

    run(main())


def test_a_nudge_during_the_work_is_another_look() -> None:
    async def main() -> None:
        wake = Wake()
        wake.set()
        assert await wake.wait()
        wake.set()
        wake.finished()
        assert await wake.wait()

    run(main())


def test_a_nudge_ends_a_wait() -> None:
    async def main() -> None:
        wake = Wake()
        waiting = asyncio.create_task(wake.wait())
        await turns()
        assert not waiting.done()
        wake.set()
        assert await waiting

    run(main())


def test_settled_without_a_nudge_is_at_once() -> None:
    async def main() -> None:
        wake = Wake()
        await wake.settled()
        wake.set()
        await wake.wait()
        wake.finished()
        await wake.settled()

    run(main())


def test_settled_waits_for_the_work_and_not_for_the_look() -> None:
    async def main() -> None:
        wake = Wake()
        wake.set()
        settled = asyncio.create_task(wake.settled())
        await wake.wait()
        await turns()
        assert not settled.done()
        wake.finished()
        await settled

    run(main())


def test_work_begun_before_the_nudge_does_not_settle_it() -> None:
    async def main() -> None:
        wake = Wake()
        wake.set()
        await wake.wait()
        wake.set()
        settled = asyncio.create_task(wake.settled())
        await turns()
        wake.finished()
        await turns()
        assert not settled.done()
        await wake.wait()
        wake.finished()
        await settled

    run(main())


def test_a_look_for_another_reason_settles_nothing_that_it_has_not_seen() -> None:
    async def main() -> None:
        wake = Wake()
        assert not await wake.wait(0)  # the periodic look
        wake.set()
        settled = asyncio.create_task(wake.settled())
        wake.finished()
        await turns()
        assert not settled.done()
        await wake.wait()
        wake.finished()
        await settled

    run(main())


def test_all_who_wait_hear_of_it() -> None:
    async def main() -> None:
        wake = Wake()
        wake.set()
        first = [asyncio.create_task(wake.settled()) for _ in range(3)]
        await turns()
        wake.set()
        later = asyncio.create_task(wake.settled())
        await wake.wait()
        wake.finished()
        await asyncio.gather(*first, later)

    run(main())


def test_a_loop_that_comes_around_says_when() -> None:
    async def main() -> None:
        wake = Wake()
        first = wake.turned
        wake.set()
        await wake.wait(0)
        second = wake.turned
        wake.turn()
        assert first < second < wake.turned

    run(main())


@pytest.mark.parametrize(("took", "most"), [(0.001, 220), (0.1, 25), (1.0, 4)])
@simulated
async def test_while_changes_keep_coming_the_loop_works_a_fifth_of_the_time(took: float, most: int) -> None:
    wake, looks = Wake(), list[float]()

    async def changes() -> AsyncIterator[None]:
        while True:
            yield

    async def loop() -> None:
        while await wake.wait():
            looks.append(time.monotonic())
            await asyncio.sleep(took)
            wake.finished()

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop()), group.create_task(wake.follow(changes()))]
        await asyncio.sleep(11)
        for task in tasks:
            task.cancel()
    assert looks[0] == began
    assert 2 <= len(looks) <= most


@simulated
async def test_the_first_change_after_a_while_is_acted_on_at_once() -> None:
    wake, changed = Wake(), asyncio.Event()

    async def changes() -> AsyncIterator[None]:
        while True:
            await changed.wait()
            changed.clear()
            yield

    following = asyncio.create_task(wake.follow(changes()))
    for _ in range(3):
        await asyncio.sleep(30)
        assert not await wake.wait(0)  # the periodic look
        await asyncio.sleep(1)
        wake.finished()
        await asyncio.sleep(4)
        changed.set()
        now = time.monotonic()
        assert await wake.wait()
        assert time.monotonic() == now
        wake.finished()
    following.cancel()
