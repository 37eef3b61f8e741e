"""Packet sockets that count what passes for a moment, with filters in the kernel and a limit on what Python reads."""

import asyncio
import errno
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address
from itertools import islice
from typing import Final

from msgspec.structs import replace

from mcastd.errors import DecodeError
from mcastd.net import bpf, gre, ipv4
from mcastd.system import sockets
from mcastd.tools.doctor.facts import Control, Esp, GreSeen, Multicast, Stream, Way, Wire

_MOST: Final = 20_000  # packets of one tunnel; more have no further information
_ENDPOINTS: Final = 500  # machines that a filter names at most
_COPIES: Final = 100  # packets of VXLAN
_BATCH: Final = 256
_BUFFER: Final = 4 << 20  # bytes
_FAR_OFF: Final = 10_000  # sequence numbers; a damaged packet can be as far from the others
_DF: Final = 0x40  # in the byte of the flags: do not fragment
_ESP: Final = struct.Struct("!II")

Opener = Callable[[str, bpf.Program], socket.socket]


class _Tap:
    """A socket that the event loop reads until it is closed; an interface that does not exist has none.

    ``snap`` is how many bytes are read of a packet.
    """

    snap = 64  # headers

    def __init__(self, opened: Callable[[], socket.socket], *, outgoing: bool | None = False) -> None:
        self._outgoing = outgoing  # which direction is counted; None: both
        self._from = ("", False)  # the interface of the packet that is taken, and whether it leaves
        self._left = _MOST  # packets that are still to be counted
        self._overrun = 0  # packets that came faster than they were read
        self._sock: socket.socket | None = None
        try:
            self._sock = opened()
        except OSError as error:
            if error.errno not in (errno.ENODEV, errno.ENETDOWN):
                raise
            return
        sockets.enlarge_receive_buffer(self._sock, _BUFFER)
        asyncio.get_running_loop().add_reader(self._sock, self._readable, self._sock)

    def close(self) -> None:
        """Close the socket; what was counted remains."""
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._count_overrun(self._sock)
            self._sock.close()
            self._sock = None

    def _readable(self, sock: socket.socket) -> bool:
        """Read a batch; returns whether there may be more."""
        for _ in range(_BATCH):
            try:
                packet, origin = sock.recvfrom(self.snap)
            except OSError:
                return False  # nothing left, or the interface went down, which is reported once
            if sock.family == socket.AF_PACKET:
                self._from = (origin[0], origin[2] == socket.PACKET_OUTGOING)
                if self._outgoing not in (None, self._from[1]):
                    continue
            with suppress(DecodeError):
                self.take(ipv4.parse(packet, truncated=True))
            self._left -= 1
            if not self._left:
                self.close()
                return False
        return True

    def drain(self) -> None:
        """Read all that has arrived by now, so that two sockets can be compared."""
        while self._sock is not None and self._readable(self._sock):
            pass
        if self._sock is not None:
            self._count_overrun(self._sock)

    def _count_overrun(self, sock: socket.socket) -> None:
        if sock.family == socket.AF_PACKET:
            self._overrun += sockets.statistics(sock)[1]
        else:
            self._overrun = sockets.dropped(sock)

    def take(self, packet: ipv4.Ipv4Packet) -> None:
        """Count one packet, possibly truncated; one that raises DecodeError is not counted."""
        raise NotImplementedError


class StreamTap(_Tap):
    """The multicast packets that arrive on one interface before any filter of this host; or that leave by it."""

    def __init__(self, ifname: str, opened: Opener = sockets.packets_on, *, outgoing: bool = False) -> None:
        super().__init__(lambda: opened(ifname, bpf.accept_multicast(self.snap)), outgoing=outgoing)
        self._streams: Counter[Stream] = Counter()
        self._ttls: dict[Stream, int] = {}
        self._whole: dict[Stream, int] = {}
        self._fragments = 0

    def take(self, packet: ipv4.Ipv4Packet) -> None:
        """Count a packet by its stream."""
        self._fragments += packet.is_fragment
        if packet.protocol == ipv4.UDP and not packet.fragment_offset and len(packet.payload) >= 4:
            port = int.from_bytes(packet.payload[2:4])
            stream = Stream(packet.destination, packet.source, port)
            self._streams[stream] += 1
            self._ttls[stream] = max(packet.ttl, self._ttls.get(stream, 0))
            if packet.header[6] & _DF:
                self._whole[stream] = max(packet.length, self._whole.get(stream, 0))

    def arrived(self) -> Multicast:
        """What has arrived so far."""
        self.drain()
        streams, ttls, whole = (dict(found) for found in (self._streams, self._ttls, self._whole))
        return Multicast(streams, ttls, whole, self._fragments, capped=self._left == 0 or self._overrun > 0)


class DeliveryTap(StreamTap):
    """Those of them that this host delivers: a raw socket gets a copy of what has passed rp_filter and the firewall.

    Only groups that are joined on the interface are delivered at all.
    """

    def __init__(self, ifname: str) -> None:
        super().__init__(ifname, lambda name, program: sockets.delivered(ipv4.UDP, program, name))


class LeavingTap(StreamTap):
    """The multicast packets that leave by one interface, behind the filters of this host."""

    def __init__(self, ifname: str) -> None:
        super().__init__(ifname, sockets.packets_leaving, outgoing=True)


class VxlanTap(_Tap):
    """VXLAN that leaves this host for the machines of an overlay: by which interface, and with which source.

    A few packets say it.
    """

    def __init__(self, port: int, endpoints: Iterable[IPv4Address]) -> None:
        program = bpf.accept_udp(port, islice(endpoints, _ENDPOINTS))
        super().__init__(partial(sockets.packets_anywhere, program), outgoing=True)
        self._left = _COPIES
        self._ways: set[Way] = set()

    def take(self, packet: ipv4.Ipv4Packet) -> None:
        """Take a packet's way."""
        self._ways.add(Way(self._from[0], packet.source))

    def ways(self) -> frozenset[Way]:
        """How they have left so far."""
        self.drain()
        return frozenset(self._ways)


class GreTap(_Tap):
    """GRE, decrypted, as it arrives on any interface (not in transport mode), or as it is ``delivered``."""

    snap = 65535  # for checksums

    def __init__(self, *, delivered: bool) -> None:
        program = bpf.accept_protocol(ipv4.GRE)
        anywhere, here = partial(sockets.packets_anywhere, program), partial(sockets.delivered, ipv4.GRE, program)
        super().__init__(here if delivered else anywhere)
        self._seen: Counter[GreSeen] = Counter()

    def take(self, packet: ipv4.Ipv4Packet) -> None:
        """Count a packet by its endpoints and GRE options."""
        header = gre.decode(packet.payload)
        header = replace(header, sequence=None if header.sequence is None else 0)
        self._seen[GreSeen(packet.source, packet.destination, header)] += 1

    def seen(self) -> Counter[GreSeen]:
        """What has arrived so far."""
        self.drain()
        return self._seen


class ControlTap(_Tap):
    """IKE and PIM as they pass any interface, both directions; or as one of them (``protocol``) is delivered."""

    def __init__(self, protocol: int | None = None) -> None:
        program = bpf.accept_control()
        anywhere = partial(sockets.packets_anywhere, program)
        super().__init__(anywhere if protocol is None else partial(sockets.delivered, protocol, program), outgoing=None)
        self.arrived: Counter[Control] = Counter()
        self.left: Counter[Control] = Counter()
        self._ways: dict[IPv4Address, set[Way]] = {}  # of IKE that leaves, by the peer's address
        self.sent_ike = asyncio.Event()  # set once IKE has left

    def take(self, packet: ipv4.Ipv4Packet) -> None:
        """Count a packet by the other side's address."""
        interface, leaves = self._from
        if interface == "lo" or packet.protocol not in (ipv4.UDP, ipv4.PIM):
            return
        address = packet.destination if leaves else packet.source
        control = Control("ike" if packet.protocol == ipv4.UDP else "pim", address, interface)
        (self.left if leaves else self.arrived)[control] += 1
        if leaves and control.protocol == "ike":
            self._ways.setdefault(address, set()).add(Way(interface, packet.source))
            self.sent_ike.set()

    def ways(self) -> dict[IPv4Address, frozenset[Way]]:
        """How IKE has left so far."""
        return {address: frozenset(ways) for address, ways in self._ways.items()}


def _esp(peer: IPv4Address, numbers: Iterable[int], *, overrun: bool) -> Esp:
    """The packets of one SPI by their sequence numbers, in the order of arrival.

    A packet counts once, though it shows on two interfaces (a bridge), and not at all if it is far off the others. None
    is missing near both ends, where a reordered packet may be outside the window, or if the socket had an overrun.
    """
    seen: set[int] = set()
    first = last = late = 0
    for number in numbers:
        if not seen:
            first = last = number
        if number not in seen and abs(number - last) < _FAR_OFF:
            seen.add(number)
            late = max(late, last - number)
            last = max(last, number)
    missing = sum(number not in seen for number in range(first + late, last - late))
    return Esp(peer, len(seen), 0 if overrun else missing, late)


class EspTap(_Tap):
    """ESP of one direction on any interface, also in UDP (RFC 3948), by SPI and sequence number (RFC 4303, 2)."""

    def __init__(self, *, outgoing: bool) -> None:
        program = bpf.accept_esp(outgoing=outgoing, snap=self.snap)
        super().__init__(lambda: sockets.packets_anywhere(program), outgoing=outgoing)
        self._numbers: dict[tuple[int, IPv4Address], list[int]] = {}  # sequence numbers by SPI and peer
        self._interfaces: dict[int, str] = {}  # where an SPI was seen
        self._ways: dict[int, set[Way]] = {}  # how it left this host

    def take(self, packet: ipv4.Ipv4Packet) -> None:
        """Count a packet by its SPI."""
        start = ipv4.UDP_HEADER_LENGTH if packet.protocol == ipv4.UDP else 0
        if len(packet.payload) >= start + _ESP.size:
            spi, number = _ESP.unpack_from(packet.payload, start)
            peer = packet.destination if self._outgoing else packet.source
            self._numbers.setdefault((spi, peer), []).append(number)
            self._interfaces.setdefault(spi, self._from[0])
            if self._outgoing:
                self._ways.setdefault(spi, set()).add(Way(self._from[0], packet.source))

    def wire(self) -> Wire:
        """What has passed so far; without gaps if packets came faster than they were read."""
        self.drain()
        overrun = bool(self._overrun)
        sas = {
            spi: _esp(peer, numbers, overrun=overrun)._replace(
                interface=self._interfaces[spi], ways=frozenset(self._ways.get(spi, ()))
            )
            for (spi, peer), numbers in self._numbers.items()
        }
        return Wire(sas, complete=self._left > 0 and not self._overrun)
