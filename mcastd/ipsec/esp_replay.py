"""Captures ESP that arrives before its keys, and replays it to this host once the keys are installed."""

import asyncio
import socket
from collections.abc import Set as AbstractSet
from ipaddress import IPv4Address
from typing import Final, Protocol

from mcastd.ipsec.early_esp import KEEP, MAX_RATE, EarlyEsp
from mcastd.net.bpf import Program, accept_esp_between
from mcastd.system import sockets
from mcastd.system.log import Logger

PAUSE: Final = 1.0  # seconds without capturing after a flood
_HOUR: Final = 3600.0
_BATCH: Final = 256
_RECEIVE_BUFFER: Final = 4_000_000


class EspSockets(Protocol):
    """The functions of ``mcastd.system.sockets`` that are used here; tests replace them."""

    def packets_coming(self, program: Program, /) -> socket.socket:
        """A socket that receives a copy of the incoming packets that a filter accepts. Raises OSError."""

    def attach_filter(self, sock: socket.socket, program: Program, /) -> None:
        """Replace the socket's filter. Raises OSError."""

    def to_this_host(self) -> socket.socket:
        """A socket whose packets this host receives. Raises OSError."""


class EspReplay:
    """Captures only ESP between the peers' addresses whose SPI charon has not listed: none, except for a new SA."""

    def __init__(self, log: Logger, system: EspSockets) -> None:
        self._log = log
        self._system = system
        self._early = EarlyEsp()  # what was captured
        self._remotes: AbstractSet[IPv4Address] = frozenset()  # the peers; empty: nothing is captured
        self._locals: AbstractSet[IPv4Address] = frozenset()  # this host's addresses
        self._listed: AbstractSet[int] = frozenset()  # the SPIs of charon's last listing
        self._installed: dict[int, float] = {}  # SPIs whose keys came after it, and when
        self._program: Program = b""  # the filter of _sock
        self._sock: socket.socket | None = None  # what captures
        self._paused: asyncio.TimerHandle | None = None  # ends the pause after a flood
        self._logged: dict[str, float] = {}  # when each problem was logged last

    def watch(
        self, remotes: AbstractSet[IPv4Address], locals_: AbstractSet[IPv4Address], listed: AbstractSet[int]
    ) -> None:
        """Set the addresses between which ESP is captured, and the SPIs that have keys; without remotes, stop."""
        self._remotes, self._locals, self._listed = remotes, locals_, listed
        if remotes:
            self._capture()
        else:
            self.close()

    def keys_installed(self, spi: int) -> None:
        """Replay the packets that arrived before the keys of their SPI."""
        while self._sock is not None and self._read(self._sock):
            pass
        now = _now()
        packets = self._early.take(spi, now)
        # A listing that charon began before it had the keys may still arrive.
        self._installed = {one: when for one, when in self._installed.items() if now - when < KEEP} | {spi: now}
        self._capture()
        if packets:
            self._replay(packets)

    def close(self) -> None:
        """Stop capturing, and drop what was captured."""
        if self._paused is not None:
            self._paused.cancel()
            self._paused = None
        self._stop()
        self._remotes = frozenset()
        self._early = EarlyEsp()

    def _replay(self, packets: list[bytes]) -> None:
        try:
            with self._system.to_this_host() as sock:
                for packet in packets:
                    try:
                        sock.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
                    except OSError as error:
                        self._failed(error)
        except OSError as error:
            self._failed(error)

    def _capture(self) -> None:
        """Open the socket, or replace its filter where it has changed."""
        if self._paused is not None or not self._remotes:
            return
        known = self._listed | self._installed.keys() | self._early.refused
        program = accept_esp_between(self._remotes, self._locals, known)
        if self._sock is not None and program == self._program:
            return
        self._program = program
        if self._sock is not None:
            try:
                self._system.attach_filter(self._sock, program)
            except OSError:
                self._stop()  # the kernel has no memory for both filters; it may have enough for one
            else:
                return
        try:
            self._sock = self._system.packets_coming(program)
            sockets.enlarge_receive_buffer(self._sock, _RECEIVE_BUFFER)
            asyncio.get_running_loop().add_reader(self._sock, self._read, self._sock)
        except OSError as error:
            self._stop()
            self._failed(error)

    def _stop(self) -> None:
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._sock = None

    def _read(self, sock: socket.socket) -> bool:
        """Read a batch of packets; returns whether there may be more."""
        refused = self._early.refused
        more = self._receive(sock)
        if self._sock is not None and self._early.refused != refused:
            self._capture()
        return more

    def _receive(self, sock: socket.socket) -> bool:
        now = _now()
        for _ in range(_BATCH):
            try:
                packet = sock.recv(65535)
            except BlockingIOError:
                return False
            except OSError as error:
                self._stop()
                self._failed(error)
                return False
            if not self._early.add(packet, now):
                self._stop()
                self._warn(f"{MAX_RATE} packets of unknown SPIs within a second: not captured for {PAUSE:g} s")
                self._paused = asyncio.get_running_loop().call_later(PAUSE, self._resume)
                return False
        return True

    def _resume(self) -> None:
        self._paused = None
        self._capture()

    def _failed(self, error: OSError) -> None:
        self._warn(error.strerror or str(error))

    def _warn(self, reason: str) -> None:
        """Log a problem, each at most once an hour."""
        now = _now()
        if now - self._logged.get(reason, -_HOUR) >= _HOUR:
            self._logged[reason] = now
            self._log.warning("early_esp_lost", reason=reason)


def _now() -> float:
    return asyncio.get_running_loop().time()
