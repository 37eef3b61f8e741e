"""mcastd run, which writes upon SIGRTMIN how long its callbacks have taken at most since the last time, to stderr."""

import asyncio
import signal
import sys
import time
from typing import Any

from mcastd.cli import main


def timing() -> None:
    """Measure the CPU time of the thread in each callback of every loop."""
    asyncio.Task = asyncio.tasks.Task = asyncio.tasks._PyTask  # type: ignore[attr-defined, misc]  # its repr names it
    run = asyncio.events.Handle._run
    longest = (0.0, "")  # in ms, and of which callback

    def timed(handle: asyncio.events.Handle) -> None:
        nonlocal longest
        began = time.thread_time()
        run(handle)
        took = (time.thread_time() - began) * 1000
        if took > longest[0]:
            longest = took, repr(getattr(handle._callback, "__self__", handle))[:300]  # type: ignore[attr-defined]

    def say(*_: Any) -> None:
        nonlocal longest
        sys.stderr.write(f"longest callback {longest[0]:.2f} ms: {longest[1]}\n")
        longest = (0.0, "")

    asyncio.events.Handle._run = timed  # type: ignore[assignment, method-assign]
    signal.signal(signal.SIGRTMIN, say)


if __name__ == "__main__":
    timing()
    sys.exit(main())
