"""Listens for ESP that came before its keys, and gives it back to the host once they are there."""

import asyncio
import errno
import socket
from ipaddress import IPv4Address
from typing import Final

from mcastd.ipsec.early import EarlyEsp
from mcastd.system import sockets
from mcastd.system.log import Logger

PAUSE: Final = 1.0
_RECEIVE_BUFFER: Final = 4_000_000


class GivingBack:
    """Sees no packet but those of the peers whose SPI charon has not listed: none, from one new SA to the next."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._early = EarlyEsp()
        self._expected: tuple[frozenset[IPv4Address], frozenset[int]] = (frozenset(), frozenset())
        self._listening: socket.socket | None = None
        self._sending: socket.socket | None = None
        self._paused: asyncio.TimerHandle | None = None
        self._problem: str | None = None

    def expect(self, sources: frozenset[IPv4Address], known: frozenset[int]) -> None:
        """Set whose ESP is kept, and the SPIs that have keys; without sources nothing is listened to."""
        if not sources:
            self.close()
        elif self._listening is None or self._expected != (sources, known):
            self._expected = sources, known
            self._listen()

    def keyed(self, spi: int) -> None:
        """The keys of an SPI are there: give the host what came before them."""
        if self._listening is None:
            return
        self._read(self._listening)
        packets = self._early.keyed(spi, _now())
        sources, known = self._expected
        self.expect(sources, known | {spi})
        if self._sending is None:
            return  # no room for that filter, which is told
        try:
            for packet in packets:
                self._sending.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
        except OSError as error:
            self._failed(error)

    def close(self) -> None:
        """Listen no more, and forget what was kept."""
        if self._paused is not None:
            self._paused.cancel()
            self._paused = None
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
        if self._sending is not None:
            self._sending.close()
        self._listening = self._sending = None
        self._early = EarlyEsp()

    def _listen(self) -> None:
        if self._paused is not None:
            return
        program = sockets.accept_esp_from(*self._expected)
        try:
            if self._listening is None:
                self._sending = sockets.to_this_host()
                self._listening = sockets.packets_anywhere(program)
                sockets.enlarge_receive_buffer(self._listening, _RECEIVE_BUFFER)
                asyncio.get_running_loop().add_reader(self._listening, self._readable, self._listening)
            else:
                sockets.attach_filter(self._listening, program)
            self._problem = None
        except OSError as error:
            self.close()
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        problem = error.strerror or str(error)
        if problem != self._problem:
            self._problem = problem
            self._log.warning("early ESP is not kept", reason=problem)

    def _readable(self, sock: socket.socket) -> None:
        if not self._read(sock):
            # Of an SA that this host has lost, or of somebody who makes them up: not worth more of our time.
            sockets.attach_filter(sock, sockets.ACCEPT_NOTHING)
            sockets.drain(sock)
            self._paused = asyncio.get_running_loop().call_later(PAUSE, self._resume)

    def _resume(self) -> None:
        self._paused = None
        self._listen()

    def _read(self, sock: socket.socket) -> bool:
        """Take what there is; False if it is too much."""
        now = _now()
        while True:
            try:
                packet = sock.recv(65535)
            except BlockingIOError:
                return True
            except OSError as error:
                if error.errno != errno.ENETDOWN:
                    raise
                continue  # one interface of all went down
            if not self._early.arrived(packet, now):
                return False


def _now() -> float:
    return asyncio.get_running_loop().time()
