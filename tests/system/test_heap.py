"""Where a process of its own finds room for what asyncio receives into, again and again."""

import subprocess
import sys

import pytest

PLACES = """
import sys
from mcastd.system.heap import keep_large_buffers_apart

def is_in_heap(buffer):
    heap = next(line.split()[0] for line in open("/proc/self/maps") if "[heap]" in line)
    first, last = (int(end, 16) for end in heap.split("-"))
    return first <= id(buffer) < last

if sys.argv[1] == "apart":
    keep_large_buffers_apart()
for _ in range(4):
    buffer = bytes(256 * 1024)
    print(int(is_in_heap(buffer)))
    del buffer
"""


@pytest.mark.parametrize(("how", "places"), [("apart", [0, 0, 0, 0]), ("as it is", [0, 1, 1, 1])])
def test_a_large_buffer_is_apart_from_the_heap_not_only_the_first_time(how: str, places: list[int]) -> None:
    line = [sys.executable, "-c", PLACES, how]
    assert [
        int(place) for place in subprocess.run(line, capture_output=True, text=True, check=True).stdout.split()
    ] == places
