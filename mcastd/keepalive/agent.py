"""GRE keepalives, both ways: a raw GRE socket for each tunnel, on which the far end asks and answers, and so do we."""

import asyncio
import errno
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from mcastd.config.model import Tunnel
from mcastd.errors import DecodeError
from mcastd.keepalive import packet
from mcastd.keepalive.packet import Endpoints
from mcastd.keepalive.prober import Ask, Effect, Path, Prober, Reinitiate, Turned
from mcastd.keepalive.reflect import Answer, reflect
from mcastd.net import bpf
from mcastd.net.ipv4 import INTERNETWORK_CONTROL
from mcastd.net.token_bucket import TokenBucket
from mcastd.status import KeepaliveStatus
from mcastd.system import sockets
from mcastd.system.log import Logger

_BATCH = 16
_MISSED = 3
_FIRST_PERIOD = 10.0


@dataclass(frozen=True, slots=True)
class KeepaliveTunnel:
    """One tunnel as its keepalives need it: ``present`` says that its link is there, ``up`` that its child is too."""

    tunnel: Tunnel
    endpoints: Endpoints
    present: bool
    up: bool


class _Keeper:
    """The keepalives of one tunnel."""

    def __init__(self, wanted: KeepaliveTunnel, agent: "KeepaliveAgent", log: Logger) -> None:
        self._agent = agent
        self._log = log.bind(tunnel=wanted.tunnel.name)
        self._wanted = wanted
        self._prober = Prober(wanted.tunnel.keepalive.period, wanted.tunnel.keepalive.retries)
        self._rate = _rate_limit(wanted.tunnel)
        self._request = packet.request(wanted.endpoints)
        self._answered = 0
        self._last: float | None = None
        self._period = _FIRST_PERIOD
        self._dropped: Counter[str] = Counter()
        self._silence: asyncio.TimerHandle | None = None
        self._probe: asyncio.TimerHandle | None = None
        self._socket: socket.socket | None = None

    @property
    def path(self) -> Path | None:
        """What our own keepalives tell."""
        return self._prober.path

    def update(self, wanted: KeepaliveTunnel) -> None:
        """Follow the configuration and the link; while it is not up nothing is sent: it would leave in the clear."""
        before, self._wanted = self._wanted, wanted
        now = time.monotonic()
        keepalive = wanted.tunnel.keepalive
        if wanted.tunnel != before.tunnel:
            self._rate = _rate_limit(wanted.tunnel)
            self._prober.configure(keepalive.period, keepalive.retries, now)
        if wanted.endpoints != before.endpoints:
            self._request = packet.request(wanted.endpoints)
            self._close_socket()
        if not wanted.present:
            self._close_socket()
        elif self._socket is None:
            self._open()
        if wanted.up and self._socket is not None:
            self._prober.start(now)
        else:
            self._prober.stop()
        self._arm()

    def close(self) -> None:
        """Close the socket and stop asking; the counters stay."""
        self._close_socket()
        self._prober.stop()
        self._arm()
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def status(self, now: float) -> KeepaliveStatus:
        """The counters, and the age of the last answer in seconds."""
        prober = self._prober
        return KeepaliveStatus(
            reply=self._wanted.tunnel.keepalive.reply,
            answered=self._answered,
            last_age=None if self._last is None else now - self._last,
            stopped=self._answered > 0 and self._silence is None,
            dropped=dict(self._dropped),
            period=self._wanted.tunnel.keepalive.period,
            sent=prober.sent,
            received=prober.received,
            rtt=prober.rtt,
            path=prober.path,
            missed=prober.missed,
        )

    def _open(self) -> None:
        ends = self._wanted.endpoints
        try:
            self._socket = sockets.raw_gre(ends.local, ends.remote, packet.TTL, bpf.accept_gre_keepalives())
        except OSError as error:
            self._log.error("keepalive_socket_failed", problem=error.strerror)
            return
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, INTERNETWORK_CONTROL)
        asyncio.get_running_loop().add_reader(self._socket, self._readable, self._socket)

    def _close_socket(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _readable(self, sock: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                heard = sock.recv(2048)
            except BlockingIOError:
                return
            except OSError as error:
                self._dropped[_reason(error)] += 1
                return
            try:
                self._received(heard, sock)
            except DecodeError as error:
                self._dropped[error.reason] += 1
            except OSError as error:
                self._dropped[_reason(error)] += 1

    def _received(self, heard: bytes, sock: socket.socket) -> None:
        inner = packet.carried(heard, self._wanted.endpoints)
        now = time.monotonic()
        if inner is not None:
            self._answer(reflect(inner, self._wanted.endpoints), sock, now)
            return
        self._carry_out(self._prober.answered(now))

    def _answer(self, answer: Answer, sock: socket.socket, now: float) -> None:
        if not self._wanted.tunnel.keepalive.reply:
            raise DecodeError("reply_off")
        if not self._wanted.up:
            raise DecodeError("child_down")
        if not self._rate.take(now):
            raise DecodeError("rate")
        sockets.send_as(sock, answer.gre, tos=answer.tos, ttl=answer.ttl)
        self._answered += 1
        if self._silence is not None:
            self._silence.cancel()
            self._period = now - self._last if self._last is not None else self._period
        else:
            self._log.info("keepalives_answered", peer=str(self._wanted.tunnel.remote))
        self._last = now
        self._silence = asyncio.get_running_loop().call_later(_MISSED * max(self._period, 1.0) + 1.0, self._fell_silent)

    def _fell_silent(self) -> None:
        self._silence = None
        self._log.warning("keepalives_stopped", peer=str(self._wanted.tunnel.remote), period=self._period)
        self._agent.on_change()

    def _arm(self) -> None:
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None
        deadline = self._prober.next_deadline
        if deadline is not None:
            wait = max(0.0, deadline - time.monotonic())
            self._probe = asyncio.get_running_loop().call_later(wait, self._due)

    def _due(self) -> None:
        self._carry_out(self._prober.due(time.monotonic()))
        self._arm()

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Ask():
                    self._ask()
                case Turned():
                    self._turned(effect)
                case Reinitiate():
                    self._agent.on_reinitiate(self._wanted.tunnel.name)

    def _ask(self) -> None:
        assert self._socket is not None
        try:
            self._socket.send(self._request)
        except OSError as error:
            self._dropped[f"send_{_reason(error)}"] += 1

    def _turned(self, turned: Turned) -> None:
        peer = str(self._wanted.tunnel.remote)
        if turned.path == "alive":
            rtt = self._prober.rtt
            self._log.info("path_alive", peer=peer, rtt_ms=None if rtt is None else round(rtt * 1000, 1))
        else:
            self._log.warning("path_dead", peer=peer, missed=turned.missed)
        self._agent.on_change()


class KeepaliveAgent:
    """The keepalives of every tunnel. It has no loop of its own: the event loop calls it when something is due.

    ``on_change`` is called after a path has turned; ``on_reinitiate``, with the tunnel's name, when the child that
    pretends to carry a dead path should be made anew.
    """

    def __init__(self, *, log: Logger, on_change: Callable[[], None], on_reinitiate: Callable[[str], None]) -> None:
        self._log = log
        self.on_change = on_change
        self.on_reinitiate = on_reinitiate
        self._keepers: dict[str, _Keeper] = {}

    def configure(self, tunnels: tuple[KeepaliveTunnel, ...]) -> None:
        """Set the tunnels, each as it is now."""
        for name in self._keepers.keys() - {wanted.tunnel.name for wanted in tunnels}:
            self._keepers.pop(name).close()
        for wanted in tunnels:
            name = wanted.tunnel.name
            if name not in self._keepers:
                self._keepers[name] = _Keeper(wanted, self, self._log)
            self._keepers[name].update(wanted)

    def path(self, name: str) -> Path | None:
        """Whether our own keepalives find a tunnel's path alive or dead; None where that is not known."""
        keeper = self._keepers.get(name)
        return keeper.path if keeper else None

    def status(self, name: str, now: float) -> KeepaliveStatus | None:
        """The keepalives of one tunnel."""
        keeper = self._keepers.get(name)
        return keeper.status(now) if keeper else None

    def close(self) -> None:
        """Close every socket."""
        for keeper in self._keepers.values():
            keeper.close()


def _rate_limit(tunnel: Tunnel) -> TokenBucket:
    """What answers are limited by: the configured rate, and as many at once as it has in a second."""
    rate = tunnel.keepalive.max_per_second
    return TokenBucket(rate, burst=max(1.0, rate))


def _reason(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "error").lower()
