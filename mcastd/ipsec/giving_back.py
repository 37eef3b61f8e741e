"""Listens for ESP that came before its keys, and gives it back to the host once they are there."""

import asyncio
import socket
from collections.abc import Set as AbstractSet
from ipaddress import IPv4Address
from typing import Final

from mcastd.ipsec.early import KEEP, MOST_A_SECOND, EarlyEsp
from mcastd.net.bpf import Program, accept_esp_between
from mcastd.system import sockets
from mcastd.system.log import Logger

PAUSE: Final = 1.0
_HOUR: Final = 3600.0
_BATCH: Final = 256
_RECEIVE_BUFFER: Final = 4_000_000


class GivingBack:
    """Sees no packet but those of the peers whose SPI charon has not listed: none, as a rule, but when an SA is new."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._early = EarlyEsp()
        self._ends: tuple[AbstractSet[IPv4Address], AbstractSet[IPv4Address]] = (frozenset(), frozenset())
        self._listed: AbstractSet[int] = frozenset()
        self._keyed: dict[int, float] = {}
        self._program: Program = ()
        self._sock: socket.socket | None = None
        self._paused: asyncio.TimerHandle | None = None
        self._told: dict[str, float] = {}

    def expect(
        self, remotes: AbstractSet[IPv4Address], locals_: AbstractSet[IPv4Address], listed: AbstractSet[int]
    ) -> None:
        """Set between whom ESP is kept, and the SPIs that have keys; without peers nothing is listened to."""
        self._ends, self._listed = (remotes, locals_), listed
        if remotes:
            self._listen()
        else:
            self.close()

    def keyed(self, spi: int) -> None:
        """The keys of an SPI are there: give the host what came before them."""
        while self._sock is not None and self._read(self._sock):
            pass
        now = _now()
        packets = self._early.keyed(spi, now)
        # A listing that charon began before it had the keys may still come in.
        self._keyed = {one: when for one, when in self._keyed.items() if now - when < KEEP} | {spi: now}
        self._listen()
        if packets:
            self._give_back(packets)

    def close(self) -> None:
        """Listen no more, and forget what was kept."""
        if self._paused is not None:
            self._paused.cancel()
            self._paused = None
        self._stop()
        self._ends = frozenset(), frozenset()
        self._early = EarlyEsp()

    def _give_back(self, packets: list[bytes]) -> None:
        try:
            sock = sockets.to_this_host()
        except OSError as error:
            self._lost(error)
            return
        with sock:
            for packet in packets:
                try:
                    sock.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
                except OSError as error:
                    self._lost(error)

    def _listen(self) -> None:
        """Open the socket, or give it another filter where another is due."""
        if self._paused is not None or not self._ends[0]:
            return
        program = accept_esp_between(*self._ends, self._listed | self._keyed.keys() | self._early.refused)
        if self._sock is not None and program == self._program:
            return
        self._program = program
        if self._sock is not None:
            try:
                sockets.attach_filter(self._sock, program)
            except OSError:
                self._stop()  # there was no room for it beside the old one; alone, there may be
            else:
                return
        try:
            self._sock = sockets.packets_coming(program)
            sockets.enlarge_receive_buffer(self._sock, _RECEIVE_BUFFER)
            asyncio.get_running_loop().add_reader(self._sock, self._read, self._sock)
        except OSError as error:
            self._stop()
            self._lost(error)

    def _stop(self) -> None:
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._sock = None

    def _read(self, sock: socket.socket) -> bool:
        """Take some of what there is; whether there may be more."""
        refused = self._early.refused
        more = self._take(sock)
        if self._sock is not None and self._early.refused != refused:
            self._listen()
        return more

    def _take(self, sock: socket.socket) -> bool:
        now = _now()
        for _ in range(_BATCH):
            try:
                packet = sock.recv(65535)
            except BlockingIOError:
                return False
            except OSError as error:
                self._stop()
                self._lost(error)
                return False
            if not self._early.arrived(packet, now):
                self._stop()
                self._tell(f"{MOST_A_SECOND} packets of unknown SPIs came within a second, and more are not looked at")
                self._paused = asyncio.get_running_loop().call_later(PAUSE, self._resume)
                return False
        return True

    def _resume(self) -> None:
        self._paused = None
        self._listen()

    def _lost(self, error: OSError) -> None:
        self._tell(error.strerror or str(error))

    def _tell(self, problem: str) -> None:
        now = _now()
        if now - self._told.get(problem, -_HOUR) >= _HOUR:
            self._told[problem] = now
            self._log.warning("early_esp_lost", reason=problem)


def _now() -> float:
    return asyncio.get_running_loop().time()
