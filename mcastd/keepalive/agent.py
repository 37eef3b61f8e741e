"""The keepalive agent: a raw GRE socket for each tunnel, for the far end's keepalives and for ours."""

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from mcastd.config.model import Tunnel
from mcastd.errors import DecodeError
from mcastd.keepalive import packet
from mcastd.keepalive.packet import Endpoints, KeepaliveTunnel
from mcastd.keepalive.peer_keepalives import PeerKeepalives
from mcastd.keepalive.prober import Effect, PathChanged, Prober, Reestablish, SendRequest
from mcastd.keepalive.reflect import Answer, reflect
from mcastd.net import bpf
from mcastd.net.ipv4 import INTERNETWORK_CONTROL
from mcastd.net.token_bucket import TokenBucket
from mcastd.problems import Problem
from mcastd.status import KeepaliveStatus
from mcastd.system import sockets
from mcastd.system.log import Logger
from mcastd.system.wake import Wake

_BATCH: Final = 16
_AUDIT_PERIOD: Final = 30.0
_RETRY_PERIOD: Final = 1.0
_REFUSED: Final = (errno.ECONNREFUSED, errno.ENOPROTOOPT)  # what ICMP port and protocol unreachable become


def open_socket(ends: Endpoints) -> socket.socket:
    """A raw GRE socket that receives keepalives alone. Raises OSError."""
    sock = sockets.raw_gre(ends.local, ends.remote, packet.TTL, bpf.accept_gre_keepalives())
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, INTERNETWORK_CONTROL)
    return sock


class _Keeper:
    """The keepalives of one tunnel."""

    def __init__(self, desired: KeepaliveTunnel, agent: "KeepaliveAgent", log: Logger) -> None:
        self._agent = agent
        self._log = log.bind(tunnel=desired.tunnel.name)
        self._desired = desired
        self.prober = Prober(desired.tunnel.keepalive.period, desired.tunnel.keepalive.retries)
        self.theirs = PeerKeepalives()
        self.dead_paths = 0  # how often the CHILD_SA of a dead path was to be established again
        self._rate = _rate_limit(desired.tunnel)  # of our answers
        self._request = packet.request(desired.endpoints)
        self._dropped: Counter[str] = Counter()  # received and not answered, by reason
        self._icmp_errors: Counter[str] = Counter()  # that the far end has sent, by errno
        self._icmp_last: float | None = None  # when the last of these came
        self._socket: socket.socket | None = None

    def update(self, desired: KeepaliveTunnel, now: float) -> None:
        """Follow the configuration and the link; while it is not up nothing is sent: it would leave in the clear."""
        before, self._desired = self._desired, desired
        keepalive = desired.tunnel.keepalive
        if desired.tunnel != before.tunnel:
            self._rate = _rate_limit(desired.tunnel)
            self.prober.configure(keepalive.period, keepalive.retries, now)
        if desired.endpoints != before.endpoints:
            self._request = packet.request(desired.endpoints)
            self._close_socket()
        if not desired.present:
            self._close_socket()
        elif self._socket is None:
            self._open()
        is_up = desired.up and self._socket is not None
        if is_up:
            self.prober.start(now)
        else:
            self.prober.stop()
        if is_up and keepalive.reply:
            self.theirs.resume(now)
        else:
            self.theirs.pause()

    def close(self) -> None:
        """Close the socket and send no more requests."""
        self._close_socket()
        self.prober.stop()

    def status(self, now: float) -> KeepaliveStatus:
        """The counters, and the age of the last answer in seconds."""
        prober, theirs = self.prober, self.theirs
        return KeepaliveStatus(
            reply=self._desired.tunnel.keepalive.reply,
            answered=theirs.answered,
            last_age=None if theirs.last is None else now - theirs.last,
            stopped=theirs.stopped,
            dropped=dict(self._dropped),
            icmp_errors=dict(self._icmp_errors),
            icmp_age=None if self._icmp_last is None else now - self._icmp_last,
            period=self._desired.tunnel.keepalive.period,
            sent=prober.sent,
            received=prober.received,
            rtt=prober.rtt,
            path=prober.path,
            missed=prober.missed,
        )

    def next_deadline(self) -> float | None:
        """When ``due`` has something to do; None if never."""
        deadlines = (self.prober.next_deadline, self.theirs.next_deadline)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def due(self, now: float) -> None:
        """Do what is due."""
        self._carry_out(self.prober.due(now))
        if self.theirs.due(now):
            self._log.warning("keepalives_stopped", peer=str(self._desired.tunnel.remote), period=self.theirs.period)
            self._agent.on_change()

    @property
    def keepalives_stopped(self) -> bool:
        """Whether the far end's keepalives, which are answered, have stopped on a path that is up."""
        return self._desired.up and self._desired.tunnel.keepalive.reply and self.theirs.stopped

    @property
    def failed(self) -> bool:
        """Whether there should be a socket and is none."""
        return self._desired.present and self._socket is None

    def _open(self) -> None:
        try:
            self._socket = self._agent.open_socket(self._desired.endpoints)
        except OSError as error:
            self._log.error("keepalive_socket_failed", problem=error.strerror)
            return
        asyncio.get_running_loop().add_reader(self._socket, self._readable, self._socket)

    def _close_socket(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _readable(self, sock: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                received = sock.recv(2048)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _REFUSED:
                    self._count_icmp(error)
                else:
                    self._dropped[_reason(error)] += 1
                return
            try:
                self._received(received, sock)
            except DecodeError as error:
                self._dropped[error.reason] += 1
            except OSError as error:
                self._dropped[_reason(error)] += 1

    def _received(self, received: bytes, sock: socket.socket) -> None:
        inner = packet.carried(received, self._desired.endpoints)
        now = asyncio.get_running_loop().time()
        if inner is None:
            self._carry_out(self.prober.answered(now))
        elif not packet.is_of_another_tunnel(inner, self._desired.endpoints):
            self._answer(reflect(inner, self._desired.endpoints), sock, now)

    def _answer(self, answer: Answer, sock: socket.socket, now: float) -> None:
        if not self._desired.tunnel.keepalive.reply:
            raise DecodeError("reply_off")
        if not self._desired.up:
            raise DecodeError("child_down")
        if not self._rate.take(now):
            raise DecodeError("rate")
        self._send(lambda: sockets.send_as(sock, answer.gre, tos=answer.tos, ttl=answer.ttl))
        was_arriving = self.theirs.arriving
        if self.theirs.received(now):
            self._log.info("keepalives_answered", peer=str(self._desired.tunnel.remote))
            self._agent.wake.set()  # there is a deadline now
        if not was_arriving:
            self._agent.on_change()

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case SendRequest():
                    self._send_request()
                case PathChanged():
                    self._log_path(effect)
                case Reestablish():
                    self.dead_paths += 1
        if any(not isinstance(effect, SendRequest) for effect in effects):
            self._agent.on_change()

    def _send_request(self) -> None:
        sock = self._socket
        assert sock is not None
        try:
            self._send(lambda: sock.send(self._request))
        except OSError as error:
            self._dropped[f"send_{_reason(error)}"] += 1

    def _send(self, send: Callable[[], object]) -> None:
        """Send; where an ICMP error waits to be read, that is returned first, and nothing is sent. Raises OSError."""
        try:
            send()
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            self._count_icmp(error)
            send()

    def _count_icmp(self, error: OSError) -> None:
        """A connected raw socket returns ICMP errors for what was sent, by whichever socket."""
        self._icmp_errors[_reason(error)] += 1
        self._icmp_last = asyncio.get_running_loop().time()

    def _log_path(self, change: PathChanged) -> None:
        peer = str(self._desired.tunnel.remote)
        if change.path == "alive":
            rtt = self.prober.rtt
            self._log.info("path_alive", peer=peer, rtt_ms=None if rtt is None else round(rtt * 1000, 1))
        else:
            self._log.warning("path_dead", peer=peer, missed=change.missed)


class KeepaliveAgent:
    """The keepalives of every tunnel. ``on_change`` is called after a path or the far end's keepalives have changed."""

    name = "keepalive"

    def __init__(
        self,
        *,
        log: Logger,
        on_change: Callable[[], None],
        open_socket: Callable[[Endpoints], socket.socket] = open_socket,
    ) -> None:
        self._log = log
        self.on_change = on_change
        self.open_socket = open_socket
        self.wake = Wake()
        self._desired: tuple[KeepaliveTunnel, ...] = ()
        self._keepers: dict[str, _Keeper] = {}  # by the tunnel's name

    def configure(self, desired: tuple[KeepaliveTunnel, ...]) -> None:
        """Set the tunnels, each with the state of its link."""
        if desired != self._desired:
            self._desired = desired
            self.wake.set()

    async def settled(self) -> None:
        """Return when the last configure has been carried out."""
        await self.wake.settled()

    async def run(self) -> None:
        """Open and close sockets as configured, and do what is due."""
        now = asyncio.get_running_loop().time
        while True:
            await self.wake.wait(self._wait(now()))
            self._update(now())
            self.wake.finished()
            for keeper in self._keepers.values():
                keeper.due(now())

    async def close(self) -> None:
        """Close every socket."""
        for keeper in self._keepers.values():
            keeper.close()

    def dead_paths(self) -> Mapping[str, int]:
        """By the tunnel's name, how often the CHILD_SA that carries a dead path was to be established again."""
        return {name: keeper.dead_paths for name, keeper in self._keepers.items()}

    def paths_dead(self) -> frozenset[str]:
        """The tunnels on which our own keepalives are not answered."""
        return frozenset(name for name, keeper in self._keepers.items() if keeper.prober.path == "dead")

    def keepalives_stopped(self) -> frozenset[str]:
        """The tunnels on which the far end's keepalives have stopped."""
        return frozenset(name for name, keeper in self._keepers.items() if keeper.keepalives_stopped)

    def keepalives_arriving(self) -> frozenset[str]:
        """The tunnels on which the far end's keepalives arrive."""
        return frozenset(name for name, keeper in self._keepers.items() if keeper.theirs.arriving)

    def status(self, now: float) -> dict[str, KeepaliveStatus]:
        """The keepalives of each GRE tunnel, by its name."""
        return {name: keeper.status(now) for name, keeper in self._keepers.items()}

    def problems(self) -> Iterator[Problem]:
        """The paths on which our own keepalives are not answered, or the far end's have stopped."""
        for name, keeper in self._keepers.items():
            if keeper.prober.path == "dead":
                yield Problem("path_dead", name, f"the path of tunnel {name} is dead")
            if keeper.keepalives_stopped:
                yield Problem("keepalives_stopped", name, f"the other side's GRE keepalives on {name} have stopped")

    def _wait(self, now: float) -> float:
        return max(0.0, min(self._waits(now)))

    def _waits(self, now: float) -> Iterable[float]:
        yield _AUDIT_PERIOD
        for keeper in self._keepers.values():
            if keeper.failed:
                yield _RETRY_PERIOD
            if (deadline := keeper.next_deadline()) is not None:
                yield deadline - now

    def _update(self, now: float) -> None:
        desired = {one.tunnel.name: one for one in self._desired}
        for name in self._keepers.keys() - desired.keys():
            self._keepers.pop(name).close()
        for name, one in desired.items():
            if name not in self._keepers:
                self._keepers[name] = _Keeper(one, self, self._log)
            self._keepers[name].update(one, now)


def _rate_limit(tunnel: Tunnel) -> TokenBucket:
    rate = tunnel.keepalive.max_per_second
    return TokenBucket(rate, burst=max(1.0, rate))


def _reason(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "error").lower()
