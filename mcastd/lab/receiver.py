"""A receiving application: it joins groups, reads the datagrams, and counts received, lost and duplicate ones.

It joins on a named interface or, without one, where the kernel's route to the group leads.

Run as a process. Each connection to its unix socket gets the counters as one line of JSON.
"""

import argparse
import json
import selectors
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcastd.lab.source import HEADER

IP_MULTICAST_ALL = 49
MCAST_JOIN_SOURCE_GROUP = 46
SO_RCVBUFFORCE = 33
_RTMGRP_LINK = 0x1
_RECEIVE_BUFFER = 8 << 20
_BATCH = 256
_REMEMBERED = 100_000


@dataclass
class Counters:
    """What was received of one group. Times are in seconds (monotonic)."""

    group: str
    source: str | None = None
    received: int = 0
    duplicates: int = 0
    first: float | None = None  # when the first datagram arrived
    last: float | None = None  # when the last datagram arrived
    longest_gap: float = 0.0  # between two datagrams
    expected: int = 0  # the next sequence number
    missing: set[int] = field(default_factory=set)  # sequence numbers not received yet
    given_up: int = 0  # missing sequence numbers beyond what ``missing`` may hold

    def count(self, sequence: int, now: float) -> None:
        """Count one datagram."""
        if self.first is None or self.last is None:
            self.first = now
            self.expected = sequence
        else:
            self.longest_gap = max(self.longest_gap, now - self.last)
        self.last = now
        if sequence >= self.expected:
            gap = range(self.expected, sequence)
            if len(self.missing) + len(gap) > _REMEMBERED:
                self.given_up += len(gap)
            else:
                self.missing.update(gap)
            self.expected = sequence + 1
        elif sequence in self.missing:
            self.missing.remove(sequence)
        else:
            self.duplicates += 1
            return
        self.received += 1

    def report(self) -> dict[str, Any]:
        """The counters, to be encoded as JSON; ``lost`` counts missing numbers after the first one received."""
        return {
            "group": self.group,
            "source": self.source,
            "received": self.received,
            "lost": len(self.missing) + self.given_up,
            "duplicates": self.duplicates,
            "first": self.first,
            "last": self.last,
            "longest_gap": self.longest_gap,
        }


class Receiver:
    """The sockets of the application, one per group, which joins when the interface appears.

    With ``interface`` None the route to each group decides; it must exist.
    """

    def __init__(self, interface: str | None, port: int, *, from_all: bool = False) -> None:
        self._interface, self._port = interface, port
        self._from_all = from_all  # IP_MULTICAST_ALL, which is the kernel's default
        self._selector = selectors.DefaultSelector()
        self._groups: list[tuple[socket.socket, Counters]] = []
        self._index = 0  # of the interface; 0 while it does not exist
        self._links = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._links.bind((0, _RTMGRP_LINK))
        self._selector.register(self._links, selectors.EVENT_READ, self._link_changed)

    def add(self, group: str, source: str | None) -> None:
        """Receive a group, only from ``source`` if that is given (RFC 4607)."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, int(self._from_all))
        sock.bind((group, self._port))
        counters = Counters(group, source)
        self._groups.append((sock, counters))
        self._selector.register(sock, selectors.EVENT_READ, lambda: self._read(sock, counters))

    def serve(self, path: Path) -> None:
        """Serve the counters on a unix socket."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        listener.listen()
        self._selector.register(listener, selectors.EVENT_READ, lambda: self._answer(listener))

    def run(self) -> None:
        """Receive; does not return."""
        if self._interface is None:
            for sock, counters in self._groups:
                _join(sock, counters, 0)
        self._link_changed()
        while True:
            for key, _ in self._selector.select():
                key.data()

    def _link_changed(self) -> None:
        with suppress(BlockingIOError):
            while True:
                self._links.recv(65536)
        if self._interface is None:
            return
        try:
            index = socket.if_nametoindex(self._interface)
        except OSError:
            index = 0
        if index and index != self._index:
            for sock, counters in self._groups:
                _join(sock, counters, index)
        self._index = index

    def _read(self, sock: socket.socket, counters: Counters) -> None:
        now = time.monotonic()
        with suppress(BlockingIOError):
            for _ in range(_BATCH):
                datagram = sock.recv(2048)
                if len(datagram) >= HEADER.size:
                    counters.count(HEADER.unpack_from(datagram)[0], now)

    def _answer(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client, suppress(OSError):
            client.sendall(json.dumps([counters.report() for _, counters in self._groups]).encode() + b"\n")


def _join(sock: socket.socket, counters: Counters, index: int) -> None:
    group = socket.inet_aton(counters.group)
    if counters.source is None:
        membership = struct.pack("4s4si", group, bytes(4), index)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    else:
        # struct group_source_req: the only source-specific join with an interface index.
        address = struct.pack("HH4s120x", socket.AF_INET, 0, group)
        source = struct.pack("HH4s120x", socket.AF_INET, 0, socket.inet_aton(counters.source))
        sock.setsockopt(socket.IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, struct.pack("I4x", index) + address + source)


def ask(path: Path) -> bytes:
    """The counters of the receiver with this socket, as JSON."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(60.0)
        sock.connect(str(path))
        with sock.makefile("rb") as answer:
            return answer.readline()


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m mcastd.lab.receiver", description=__doc__)
    parser.add_argument("groups", nargs="+", help="GROUP or GROUP@SOURCE")
    parser.add_argument("--interface", help="where to join; without it the kernel's route to the group decides")
    parser.add_argument("--from-all", action="store_true", help="also what other memberships bring by other interfaces")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--socket", type=Path, required=True)
    args = parser.parse_args()
    receiver = Receiver(args.interface, args.port, from_all=args.from_all)
    for group in args.groups:
        address, _, source = group.partition("@")
        receiver.add(address, source or None)
    receiver.serve(args.socket)
    receiver.run()


if __name__ == "__main__":
    main()
