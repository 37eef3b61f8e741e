"""The packets of a downstream interface in memory, for the IGMP agent."""

import errno
from collections import deque
from collections.abc import Callable, Collection, Iterator
from ipaddress import IPv4Address

from mcastd.igmp.settings import IgmpInterface
from mcastd.net import ipv4
from mcastd.net.igmp import Message, Query, decode
from tests.igmp.encoders import encode

_BATCH = 64
MAC = bytes.fromhex("02000a000001")


class FakeTransport:
    """``sent`` has what left, with its destination; ``arrives`` and ``fails`` are what the kernel does."""

    def __init__(self, host: "FakeSegments", settings: IgmpInterface, on_arrival: Callable[[], None]) -> None:
        self.settings = settings
        self.sent: list[tuple[IPv4Address, Message]] = []
        self._host = host
        self.sampled: frozenset[IPv4Address] = frozenset()
        self.closed = False
        self._arrived: deque[bytes | OSError] = deque()
        self._on_arrival = on_arrival

    def send(self, destination: IPv4Address, payload: bytes) -> None:
        assert not self.closed
        if self._host.send_error is not None:
            raise OSError(self._host.send_error, "refused")
        self.sent.append((destination, decode(payload)))

    def receive(self) -> Iterator[tuple[bytes, bytes]]:
        for _ in range(_BATCH):
            if not self._arrived:
                return
            found = self._arrived.popleft()
            if isinstance(found, OSError):
                raise found
            yield found, self._host.macs.get(found[12:16], MAC)

    def sample(self, hosts: Collection[IPv4Address]) -> None:
        self.sampled = frozenset(hosts)

    def close(self) -> None:
        self.closed = True

    def arrives(self, *packets: bytes) -> None:
        """IPv4 packets, together; those that are not read at once are read at the next turn."""
        self._arrived.extend(packets)
        while self._arrived:
            self._on_arrival()

    def message(self, source: IPv4Address, *messages: Message) -> None:
        """IGMP messages arrive."""
        for message in messages:
            self.arrives(ipv4.encode(encode(message), source, IPv4Address("224.0.0.22"), protocol=2, tos=0xC0, ttl=1))

    def pim(self, source: IPv4Address) -> None:
        """A PIM Hello arrives."""
        self.arrives(ipv4.encode(b"\x20\0\0\0", source, IPv4Address("224.0.0.13"), protocol=103, tos=0xC0, ttl=1))

    def fails(self, number: int = errno.ENETDOWN) -> None:
        """Reading fails once."""
        self._arrived.append(OSError(number, "refused"))
        self._on_arrival()

    def queries(self) -> list[Query]:
        """The queries that have left."""
        return [message for _, message in self.sent if isinstance(message, Query)]


class FakeSegments:
    """Opens the transports; ``open_error`` is what that fails with."""

    def __init__(self) -> None:
        self.opened: list[FakeTransport] = []
        self.open_error: int | None = None
        self.macs: dict[bytes, bytes] = {}  # from which Ethernet address a host sends
        self.send_error: int | None = None  # what sending fails with

    def open(self, settings: IgmpInterface, on_arrival: Callable[[], None]) -> FakeTransport:
        if self.open_error is not None:
            raise OSError(self.open_error, "refused")
        self.opened.append(FakeTransport(self, settings, on_arrival))
        return self.opened[-1]
