"""The reader's process: an application's socket and loop where the bursts arrive, and the counters of its namespace."""

import os
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import msgspec

from mcastd.errors import DecodeError
from mcastd.net import xfrm
from mcastd.net.xfrm import Sa
from mcastd.system import losses, membership_socket, sockets
from mcastd.tools.bench.child import answer, begin, question
from mcastd.tools.bench.plan import LARGEST, NEAR, SPI, TUNNEL, Counts, Open

COUNT: Final = b"count\n"
"""The question for what was counted; all others are an ``Open``."""

_NET: Final = Path("/proc/thread-self/net")
_RX_PACKETS: Final = 1  # the column of net/dev behind the name
_NETLINK_XFRM: Final = 6
_ANSWER: Final = 65536


class Reader:
    """One socket, which stalls for ``stall`` seconds at the first packet of each burst."""

    def __init__(self, wanted: Open) -> None:
        self._stall = wanted.stall
        self._received = 0
        self._most = 0  # bytes that were in the socket's buffer
        self._burst = b""  # the number of the one that is being received
        self._packet = bytearray(LARGEST)
        with sockets.configuring(socket.AF_INET, socket.SOCK_DGRAM, 0) as self.sock:
            if wanted.buffer.asked is not None:
                option = sockets.SO_RCVBUFFORCE if wanted.buffer.forced else socket.SO_RCVBUF
                self.sock.setsockopt(socket.SOL_SOCKET, option, wanted.buffer.asked)
            membership_socket.only_joined(self.sock)
            self.sock.bind((wanted.group, wanted.port))
            membership_socket.join(self.sock, socket.if_nametoindex(TUNNEL), IPv4Address(wanted.group), None)

    def read(self) -> None:
        """Receive until nothing is left."""
        self._look()
        receive, packet = self.sock.recv_into, self._packet
        with suppress(BlockingIOError):
            while True:
                receive(packet)
                self._received += 1
                if self._stall and packet[:4] != self._burst:
                    self._burst = bytes(packet[:4])
                    time.sleep(self._stall)
                    self._look()

    def counts(self) -> Counts:
        """What there is by now."""
        return Counts(
            received=self._received,
            dropped=sockets.dropped(self.sock),
            size=self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
            most=self._most,
            counters=dict(_counters()),
        )

    def _look(self) -> None:
        self._most = max(self._most, sockets.queued(self.sock))


def _counters() -> Iterator[tuple[str, int]]:
    yield from losses.losses().items()
    for line in (_NET / "dev").read_text().splitlines()[2:]:
        name, _, rest = line.partition(":")
        yield f"dev/{name.strip()}", int(rest.split()[_RX_PACKETS])
    lines = [line.split() for line in (_NET / "snmp").read_text().splitlines()]
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        if names[0] in ("Ip:", "Udp:"):
            yield from (
                (f"{names[0][:-1]}/{name}", int(value)) for name, value in zip(names[1:], values[1:], strict=True)
            )
    with suppress(OSError, DecodeError), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_XFRM) as sock:
        sock.sendto(xfrm.ask(Sa(NEAR, SPI)), (0, 0))
        if (replay := xfrm.answer(sock.recv(_ANSWER))) is not None:
            yield "esp", replay.packets


def main() -> None:
    """Receive, and answer questions as they come."""
    begin(sys.argv[1])
    answer(os.getpid())
    reader = Reader(msgspec.json.decode(question(), type=Open))
    answer(reader.counts())
    while True:
        ready, _, _ = select.select((reader.sock, sys.stdin), (), ())
        reader.read()
        if sys.stdin in ready:
            line = question()
            if line != COUNT:
                reader.sock.close()
                reader = Reader(msgspec.json.decode(line, type=Open))
            answer(reader.counts())


if __name__ == "__main__":
    main()
