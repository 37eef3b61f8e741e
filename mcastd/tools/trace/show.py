"""Packets to lines or a file, up to a number of packets."""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from datetime import datetime

from mcastd.tools.trace.capture import Captured
from mcastd.tools.trace.decode import Meaning, describe
from mcastd.tools.trace.scope import KINDS, Scope

_MORE, _OFFSET = 0x2000, 0x1FFF  # in the IPv4 header's flags and fragment offset
_FRAGMENTED = 64  # packets whose later fragments are shown

Take = Callable[[Captured, Meaning], None]


def trace(packets: Iterable[Captured], scope: Scope, count: int | None, seen: Counter[str], take: Take) -> None:
    """Pass what is in scope to ``take``, at most ``count`` packets, and count it in ``seen`` by kind and as broken.

    A later fragment is shown if the first one of its packet was.
    """
    fragmented = deque[bytes](maxlen=_FRAGMENTED)
    for captured in packets:
        if not scope.holds(captured.interface, captured.data):
            continue
        position = _fragment(captured.data)
        if position & _OFFSET and _packet(captured.data) not in fragmented:
            continue
        on_tunnel = captured.interface in scope.interfaces
        meaning = describe(captured.data, outgoing=captured.outgoing, on_tunnel=on_tunnel, group=scope.group)
        if meaning is None or meaning.kind not in scope.kinds:
            continue
        if position & _MORE and not position & _OFFSET:
            fragmented.append(_packet(captured.data))
        take(captured, meaning)
        seen.update([meaning.kind, *(["broken"] if meaning.broken else [])])
        if sum(seen[kind] for kind in KINDS) == count:
            return


def _fragment(packet: bytes) -> int:
    return int.from_bytes(packet[6:8])


def _packet(fragment: bytes) -> bytes:
    """What all fragments of a packet have in common (RFC 791, section 3.2)."""
    return fragment[4:6] + fragment[9:10] + fragment[12:20]


def line(captured: Captured, meaning: Meaning) -> str:
    """Time, interface, direction and text of a packet."""
    seconds, rest = divmod(captured.time_ns, 1_000_000_000)
    when = f"{datetime.fromtimestamp(seconds):%H:%M:%S}.{rest // 1000:06}"
    return f"{when} {captured.interface:<8} {'out' if captured.outgoing else 'in':<3} {meaning.text}"
