"""The packets of an interface in memory, for the PIM agent."""

import errno
from collections import deque
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

from mcastd.config.model import Tunnel
from mcastd.net import ipv4
from mcastd.pim.packet import ALL_PIM_ROUTERS
from mcastd.pim.settings import PimInterface
from tests import pcap


class FakeTransport:
    """``sent`` has what left, with its destination; ``arrives`` and ``fails`` are what the kernel does."""

    def __init__(self, settings: PimInterface | None, on_arrival: Callable[[], None]) -> None:
        self.settings = settings
        self.sent: list[tuple[IPv4Address, bytes]] = []
        self.send_error: int | None = None  # what sending fails with
        self.closed = False
        self._arrived: deque[bytes | OSError] = deque()
        self._on_arrival = on_arrival

    def send(self, destination: IPv4Address, payload: bytes) -> None:
        assert not self.closed
        if self.send_error is not None:
            raise OSError(self.send_error, "refused")
        self.sent.append((destination, payload))

    def receive(self) -> Iterator[bytes]:
        while self._arrived:
            found = self._arrived.popleft()
            if isinstance(found, OSError):
                raise found
            yield found

    def close(self) -> None:
        self.closed = True

    def take(self) -> list[bytes]:
        """What has left since the last call."""
        taken, self.sent = [payload for _, payload in self.sent], []
        return taken

    def arrives(self, *packets: bytes) -> None:
        """IPv4 packets, together."""
        self._arrived.extend(packets)
        self._on_arrival()

    def message(self, source: IPv4Address, payload: bytes, destination: IPv4Address = ALL_PIM_ROUTERS) -> None:
        """A PIM message arrives."""
        self.arrives(ipv4.encode(payload, source, destination, protocol=ipv4.PIM, tos=0xC0, ttl=1))

    def auto_rp(self, source: IPv4Address, group: IPv4Address, datagram: bytes) -> None:
        """A UDP datagram arrives."""
        self.arrives(pcap.ipv4(datagram, source, group, 255, pcap.UDP))

    def fails(self, number: int = errno.ENETDOWN) -> None:
        """Reading fails once."""
        self._arrived.append(OSError(number, "refused"))
        self._on_arrival()


class FakeHost:
    """Opens the transports; ``open_error`` is what that fails with."""

    def __init__(self) -> None:
        self.opened: list[FakeTransport] = []
        self.open_error: int | None = None
        self.tries = 0

    def open_over_gre(self, _tunnel: Tunnel) -> FakeTransport:
        """Through the tunnel, without its interface."""
        self.opened.append(FakeTransport(None, lambda: None))
        return self.opened[-1]

    def open(self, settings: PimInterface, on_arrival: Callable[[], None]) -> FakeTransport:
        self.tries += 1
        if self.open_error is not None:
            raise OSError(self.open_error, "refused")
        self.opened.append(FakeTransport(settings, on_arrival))
        return self.opened[-1]
