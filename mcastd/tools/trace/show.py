"""Packets to lines or a file, up to a number of packets."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime

from mcastd.tools.trace.capture import Captured
from mcastd.tools.trace.decode import Meaning, describe
from mcastd.tools.trace.scope import KINDS, Scope

Take = Callable[[Captured, Meaning], None]


def trace(packets: Iterable[Captured], scope: Scope, count: int | None, seen: Counter[str], take: Take) -> None:
    """Pass what is in scope to ``take``, at most ``count`` packets, and count it in ``seen`` by kind and as broken."""
    for captured in packets:
        if not scope.holds(captured.interface, captured.data):
            continue
        on_tunnel = captured.interface in scope.interfaces
        meaning = describe(captured.data, outgoing=captured.outgoing, on_tunnel=on_tunnel)
        if meaning is None or meaning.kind not in scope.kinds:
            continue
        take(captured, meaning)
        seen.update([meaning.kind, *(["broken"] if meaning.broken else [])])
        if sum(seen[kind] for kind in KINDS) == count:
            return


def line(captured: Captured, meaning: Meaning) -> str:
    """Time, interface, direction and text of a packet."""
    seconds, rest = divmod(captured.time_ns, 1_000_000_000)
    when = f"{datetime.fromtimestamp(seconds):%H:%M:%S}.{rest // 1000:06}"
    return f"{when} {captured.interface:<8} {'out' if captured.outgoing else 'in':<3} {meaning.text}"
