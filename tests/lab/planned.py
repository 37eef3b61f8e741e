"""Streams with faults at known places: as many numbers taken out, doubled and swapped as are asked for.

Run as a process it sends them to one group, each stream to a port of its own.
"""

import argparse
import random
import socket
import time
from collections.abc import Iterator

from mcastd.lab.source import HEADER

STREAMS, NUMBERS, RATE = 50, 500, 5000.0
TAKEN_OUT, DOUBLED, SWAPPED = 137, 41, 23
FIRST_PORT = 6001


def plan() -> list[list[int]]:
    """The numbers of each stream, in the order in which they are sent; the first and the last are always sent."""
    rng = random.Random(137)
    # Three apart, so that no fault touches another: a swapped number changes places with the next one.
    places = [(stream, number) for stream in range(STREAMS) for number in range(2, NUMBERS - 3, 3)]
    chosen = rng.sample(places, TAKEN_OUT + DOUBLED + SWAPPED)
    numbers = [[[number] for number in range(NUMBERS)] for _ in range(STREAMS)]
    for place, (stream, number) in enumerate(chosen):
        if place < TAKEN_OUT:
            numbers[stream][number] = []
        elif place < TAKEN_OUT + DOUBLED:
            numbers[stream][number] *= 2
        else:
            numbers[stream][number], numbers[stream][number + 1] = [number + 1], [number]
    return [[number for some in each for number in some] for each in numbers]


def datagrams() -> Iterator[tuple[int, int]]:
    """The port and the number of each datagram: all streams side by side."""
    streams = plan()
    for place in range(max(map(len, streams))):
        for stream, numbers in enumerate(streams):
            if place < len(numbers):
                yield FIRST_PORT + stream, numbers[place]


def main() -> None:
    """Send everything once."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.planned", description=__doc__)
    parser.add_argument("group")
    parser.add_argument("--source", required=True)
    args = parser.parse_args()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 32)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(args.source))
    sock.bind((args.source, 0))
    began = time.monotonic()
    for count, (port, number) in enumerate(datagrams()):
        if (early := began + count / RATE - time.monotonic()) > 0.001:
            time.sleep(early)
        sock.sendto(HEADER.pack(number, time.monotonic_ns()), (args.group, port))


if __name__ == "__main__":
    main()
