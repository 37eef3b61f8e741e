"""Answering the far ends' GRE keepalives: a packet socket on each tunnel, a raw GRE socket back."""

import asyncio
import errno
import socket
import time
from collections import Counter
from collections.abc import Callable

from mcastd.config.model import Tunnel
from mcastd.errors import DecodeError
from mcastd.keepalive.reflect import Endpoints, RateLimit, reflect
from mcastd.status import KeepaliveStatus
from mcastd.system import sockets
from mcastd.system.log import Logger
from mcastd.tunnel.gre import IPPROTO_GRE

_BATCH = 16
_MISSED = 3
_FIRST_PERIOD = 10.0


class Reflector:
    """The reflector of one tunnel on one interface index."""

    def __init__(self, tunnel: Tunnel, log: Logger, on_change: Callable[[], None]) -> None:
        self._log = log.bind(tunnel=tunnel.name)
        self._on_change = on_change
        self._answered = 0
        self._last: float | None = None
        self._period = _FIRST_PERIOD
        self._dropped: Counter[str] = Counter()
        self._silence: asyncio.TimerHandle | None = None
        self._sockets: tuple[socket.socket, socket.socket] | None = None
        self._index = 0
        self._up = False
        self._set(tunnel)

    def _set(self, tunnel: Tunnel) -> None:
        self.tunnel = tunnel
        self._endpoints = Endpoints(tunnel.local, tunnel.remote, tunnel.key)
        self._rate = RateLimit(tunnel.keepalive.max_per_second)

    def update(self, tunnel: Tunnel, index: int | None, up: bool) -> None:
        """Follow the configuration and the link; ``up`` False answers nothing, since it would leave in the clear."""
        moved = index != self._index or (tunnel.local, tunnel.remote, tunnel.ttl) != (
            self.tunnel.local, self.tunnel.remote, self.tunnel.ttl,
        )  # fmt: skip
        if tunnel != self.tunnel:
            self._set(tunnel)
        self._up = up
        if moved:
            self.close()
        if index is not None and self._sockets is None:
            self._open(index)

    def close(self) -> None:
        """Close the sockets; the counters stay."""
        if self._sockets is not None:
            asyncio.get_running_loop().remove_reader(self._sockets[0])
            for sock in self._sockets:
                sock.close()
            self._sockets = None
            self._index = 0
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def status(self, now: float) -> KeepaliveStatus:
        """The counters, and the age of the last answer in seconds."""
        return KeepaliveStatus(
            reply=self.tunnel.keepalive.reply,
            answered=self._answered,
            last_age=None if self._last is None else now - self._last,
            dropped=dict(self._dropped),
        )

    def _open(self, index: int) -> None:
        try:
            heard = sockets.packets_on(self.tunnel.name, sockets.accept_protocol(IPPROTO_GRE))
        except OSError as error:
            self._log.error("keepalives cannot be heard", problem=error.strerror)
            return
        try:
            answers = sockets.raw_gre(self.tunnel.local, self.tunnel.remote, self.tunnel.ttl, sockets.ACCEPT_NOTHING)
        except OSError as error:
            heard.close()
            self._log.error("keepalives cannot be answered", problem=error.strerror)
            return
        self._sockets = (heard, answers)
        self._index = index
        asyncio.get_running_loop().add_reader(heard, self._readable)

    def _readable(self) -> None:
        assert self._sockets is not None
        heard, answers = self._sockets
        for _ in range(_BATCH):
            try:
                packet, origin = heard.recvfrom(2048)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENETDOWN:  # a link that is down says so once; nothing was lost by it
                    self._dropped[_reason(error)] += 1
                return
            if origin[2] == socket.PACKET_OUTGOING:
                continue
            try:
                self._answer(packet, answers)
            except DecodeError as error:
                self._dropped[error.reason] += 1
            except OSError as error:
                self._dropped[_reason(error)] += 1

    def _answer(self, packet: bytes, answers: socket.socket) -> None:
        reply = reflect(packet, self._endpoints)
        if not self.tunnel.keepalive.reply:
            raise DecodeError("reply_off")
        if not self._up:
            raise DecodeError("child_down")
        now = time.monotonic()
        if not self._rate.allow(now):
            raise DecodeError("rate")
        answers.send(reply)
        self._answered += 1
        if self._silence is not None:
            self._silence.cancel()
            self._period = now - self._last if self._last is not None else self._period
        else:
            self._log.info("keepalives are answered", peer=str(self.tunnel.remote))
        self._last = now
        self._silence = asyncio.get_running_loop().call_later(_MISSED * max(self._period, 1.0) + 1.0, self._fell_silent)

    def _fell_silent(self) -> None:
        self._silence = None
        self._log.warning("keepalives have stopped", peer=str(self.tunnel.remote), period=self._period)
        self._on_change()


class KeepaliveAgent:
    """One reflector a tunnel. It has no loop of its own: the event loop calls it when a keepalive arrives."""

    def __init__(self, *, log: Logger, on_change: Callable[[], None]) -> None:
        self._log = log
        self._on_change = on_change
        self._reflectors: dict[str, Reflector] = {}

    def configure(self, tunnels: tuple[tuple[Tunnel, int | None, bool], ...]) -> None:
        """Set the tunnels, each with its interface index (None: no interface) and whether it is up."""
        wanted = {tunnel.name for tunnel, _, _ in tunnels}
        for name in self._reflectors.keys() - wanted:
            self._reflectors.pop(name).close()
        for tunnel, index, up in tunnels:
            if tunnel.name not in self._reflectors:
                self._reflectors[tunnel.name] = Reflector(tunnel, self._log, self._on_change)
            self._reflectors[tunnel.name].update(tunnel, index, up)

    def status(self, name: str, now: float) -> KeepaliveStatus | None:
        """The reflector of one tunnel."""
        reflector = self._reflectors.get(name)
        return reflector.status(now) if reflector else None

    def close(self) -> None:
        """Close every socket."""
        for reflector in self._reflectors.values():
            reflector.close()


def _reason(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "error").lower()
