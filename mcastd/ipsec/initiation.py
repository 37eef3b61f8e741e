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
_MAX_LINES: Final = 500
_GRACE: Final = 2.0  # seconds for charon to report its own timeout


async def initiate(charon: Charon, peer: Peer, child: Child, on_pending: Callable[[Problem], None]) -> Problem | None:
    """Have charon initiate a CHILD_SA, on a connection of its own; return why it failed, or None.

    ``on_pending`` is called after ``REPORT_AFTER`` seconds if the peer has not answered by then.
    """
    lines: list[str] = []

    def on_log(_name: str, message: Section) -> None:
        text = message.get("msg", b"")
        if isinstance(text, bytes) and len(lines) < _MAX_LINES:
            lines.append(text.decode(errors="replace"))

    def report() -> None:
        if (problem := failure.so_far(lines, peer, child)) is not None:
            on_pending(problem)

    timer = asyncio.get_running_loop().call_later(REPORT_AFTER, report)
    try:
        with closing(await charon.connect()) as connection:
            await connection.command(
                "initiate",
                messages.initiate(peer.name, child.name, peer.initiate_timeout),
                stream="control-log",
                on_event=on_log,
                timeout=peer.initiate_timeout + _GRACE,
            )
    except ViciRefused as error:
        return failure.explain(lines, peer, child, str(error))
    except ViciError as error:
        return charon_health.problem(error, child.name)
    finally:
        timer.cancel()
    return None
