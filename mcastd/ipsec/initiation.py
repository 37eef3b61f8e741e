"""One attempt to bring a CHILD_SA up."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from typing import Final

from mcastd.config.model import Child, Peer
from mcastd.errors import ViciError, ViciRefused
from mcastd.ipsec import charon_health, failure, messages
from mcastd.ipsec.charon import Charon
from mcastd.ipsec.sas import Section
from mcastd.problems import Problem

REPORT_AFTER: Final = 3.0
# Seconds without an answer to the first request after which an attempt is given up. charon repeats the request after
# 4 s by default, then less and less often: the next attempt reaches a peer sooner that has been restarted.
UNANSWERED: Final = 5.0
_MAX_LINES: Final = 500
_GRACE: Final = 2.0  # seconds for charon to report its own timeout


async def initiate(charon: Charon, peer: Peer, child: Child, on_pending: Callable[[Problem], None]) -> Problem | None:
    """Have charon initiate a CHILD_SA, on a connection of its own; return why it failed, or None.

    ``on_pending`` is called after ``REPORT_AFTER`` seconds if the peer has not answered by then. An IKE_SA that is not
    answered at all is given up after ``UNANSWERED`` seconds.
    """
    loop = asyncio.get_running_loop()
    lines: list[str] = []
    answer_within = asyncio.timeout(None)

    def on_log(_name: str, message: Section) -> None:
        text = message.get("msg", b"")
        if isinstance(text, bytes) and len(lines) < _MAX_LINES:
            lines.append(text.decode(errors="replace"))
        unanswered = (problem := failure.so_far(lines, peer, child)) is not None and problem.code == "no_answer"
        if not unanswered:
            answer_within.reschedule(None)
        elif answer_within.when() is None:
            answer_within.reschedule(loop.time() + UNANSWERED)

    def report() -> None:
        if (problem := failure.so_far(lines, peer, child)) is not None:
            on_pending(problem)

    timer = loop.call_later(REPORT_AFTER, report)
    try:
        with closing(await charon.connect()) as connection:
            async with answer_within:
                await connection.command(
                    "initiate",
                    messages.initiate(peer.name, child.name, peer.initiate_timeout),
                    stream="control-log",
                    on_event=on_log,
                    timeout=peer.initiate_timeout + _GRACE,
                )
    except TimeoutError:
        return failure.so_far(lines, peer, child)
    except ViciRefused as error:
        return failure.explain(lines, peer, child, str(error))
    except ViciError as error:
        return charon_health.problem(error, child.name)
    finally:
        timer.cancel()
    return None
