"""Where the packets of a group have their sequence number, for people: what to write into the file."""

import sys
from ipaddress import IPv4Address

from mcastd.config.feed_formats import Field
from mcastd.tools.guess.capture import Stream, capture
from mcastd.tools.guess.guess import ENOUGH, Guess, guess

_SECONDS = 30.0  # for a slow stream
_LEAST_BYTES = 2  # of a number that is not of a known format


def run(group: IPv4Address, port: int | None) -> int:
    """Look at the packets that arrive, and print what is found; returns the exit code."""
    print(f"looks at {ENOUGH} packets of {group}, for {_SECONDS:.0f} s at most", file=sys.stderr, flush=True)
    streams = capture(group, port, ENOUGH, _SECONDS)
    if not streams:
        print(f"no packet of {group}{'' if port is None else f' port {port}'} has arrived; is it joined?")
        return 1
    # The same stream may pass several interfaces: the one with most packets.
    stream = max(streams, key=lambda one: len(streams[one]))
    packets = streams[stream]
    print(f"{group} port {stream.port} from {stream.source} on {stream.interface}: {len(packets)} packets")
    others = sorted({one.port for one in streams} - {stream.port})
    if others:
        print(f"others have port {', '.join(map(str, others))}: see --port")
    found = guess(packets)
    if found is None:
        print("no sequence number found" if len(packets) >= ENOUGH else "no sequence number found in so few packets")
        return 1
    print(f"{found.exact} of {found.steps} steps from packet to packet are as the numbers say")
    number = found.numbers.number
    if found.name is None and number.size == _LEAST_BYTES:
        side = "before" if number.big else "behind"
        print(f"it may have more bytes than {number.size}, {side} these: they were 0, or there are none")
    print(f"\n{toml(group, stream, found)}")
    return 0


def toml(group: IPv4Address, stream: Stream, found: Guess) -> str:
    """The feed as it is written in the file."""
    number, count = found.numbers.number, found.numbers.count
    order = "big" if number.big else "little"
    more = "" if count is None else f", count = {{ {_field(count)} }}"
    sequence = f'"{found.name}"' if found.name else f'{{ {_field(number)}, order = "{order}"{more} }}'
    lines = "[[feeds]]", f'name = "{group}"', f'groups = ["{group}"]', f"port = {stream.port}"
    return "\n".join((*lines, f"sequence = {sequence}"))


def _field(field: Field) -> str:
    return f"offset = {field.offset}, size = {field.size}"
