"""The sockets of ESP replay, without root: what arrives passes the kernel's real filter, on a Unix socket."""

import socket
from collections.abc import Callable
from typing import Self

from mcastd.net.bpf import Program
from mcastd.system import sockets


class _Sender:
    """What replayed packets go into."""

    def __init__(self, sendto: Callable[[bytes, tuple[str, int]], None]) -> None:
        self.sendto = sendto

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class FakeEspSockets:
    """For the agent the interface ``mcastd.ipsec.esp_replay.EspSockets``."""

    def __init__(self) -> None:
        self.refused: dict[str, OSError] = {}  # by the function's name; "sendto" and "recv" too
        self.opened = 0
        self.replayed: list[bytes] = []
        self._wire: socket.socket | None = None  # the end on which packets arrive

    def packets_coming(self, program: Program, /) -> socket.socket:
        self._refuse("packets_coming")
        self.opened += 1
        self.close()
        sock, self._wire = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sockets.attach_filter(sock, program)
        return sock

    def attach_filter(self, sock: socket.socket, program: Program, /) -> None:
        self._refuse("attach_filter")
        sockets.attach_filter(sock, program)

    def to_this_host(self) -> socket.socket:
        self._refuse("to_this_host")
        return _Sender(self._sendto)  # type: ignore[return-value]  # all of a socket that is used

    def arrive(self, *packets: bytes) -> bool:
        """Packets arrive at the host; returns whether they are captured, as far as the filter lets them."""
        for packet in packets:
            if self._wire is None:
                return False
            try:
                self._wire.send(packet)
            except OSError:  # the other end is closed
                return False
        return True

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def _sendto(self, packet: bytes, address: tuple[str, int]) -> None:
        self._refuse("sendto")
        assert address == (socket.inet_ntoa(packet[16:20]), 0)
        self.replayed.append(packet)

    def _refuse(self, what: str) -> None:
        if what in self.refused:
            raise self.refused[what]
