"""GRE over a TUN interface, for kernels without GRE: packets are copied between the TUN and a raw GRE socket.

Here packets of the feed pass through Python, at some tens of thousands a second; the kernel's own GRE avoids that.
"""

import asyncio
import errno
import mmap
import os
import socket
from collections import Counter
from collections.abc import Mapping
from typing import Final, Protocol

from mcastd.errors import DecodeError, HostError
from mcastd.links import Gre
from mcastd.net import gre, ipv4
from mcastd.system import gre_devices, sockets

_BATCH: Final = 64  # packets that are copied before other work has a turn
_SEQUENCES: Final = 1 << 32
# Counted, but no IPv4 packet that has arrived here.
_NOT_LOST: Final = {"child_down", "firewall", "firewall_igmp", "unreachable", "receive", "gre_protocol"}
_REFUSED: Final = {errno.ENOPROTOOPT, errno.ECONNREFUSED}
_UNREACHABLE: Final = _REFUSED | {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPROTO}

DESCRIPTORS: Final = ("tun", "gre", "sequence")
"""What a pump has open, and the next process can continue with: TUN, socket, and memory with the sequence number."""


class GreDevices(Protocol):
    """The functions of ``mcastd.system.gre_devices``; tests replace them."""

    def open_tun(self, name: str) -> int:
        """Make a TUN interface, which exists until its descriptor is closed. Raises HostError."""

    def read_tun(self, tun: int, length: int, /) -> bytes:
        """Read a packet. Raises OSError."""

    def write_tun(self, tun: int, packet: memoryview, /) -> int:
        """Write a packet. Raises OSError."""

    def open_gre(self, gre: Gre, inherited: int | None) -> socket.socket:
        """Open a raw GRE socket, or use the inherited one. Raises OSError."""


class Pump:
    """Copies packets between a TUN interface and a raw GRE socket.

    With the ``inherited`` descriptors of the previous process the interface stays as it is, packets that wait in the
    socket are received, and sequence numbers continue. Raises HostError, and has then closed what was inherited.
    """

    def __init__(
        self, name: str, parameters: Gre, inherited: Mapping[str, int] | None = None, devices: GreDevices = gre_devices
    ) -> None:
        self.name = name
        self.gre = parameters
        self.forwarding = False  # otherwise what the host sends is dropped: without its CHILD_SA it is not encrypted
        self.dropped: Counter[str] = Counter()  # packets, by reason
        self.descriptors = dict(inherited or {})  # those in use, by their names in DESCRIPTORS
        self._devices = devices
        header = parameters.options.feed_header
        self._sent_header = header.encode(b"") if header.is_constant else None  # of all packets, if it is the same
        self._received_header: bytes | None = None  # of the last packet, if others may have the same: decoded already
        self._sequence: mmap.mmap | None = None  # the next sequence number to send, as 32 bits
        self._expected: int | None = None  # the next sequence number of the peer
        self._loop: asyncio.AbstractEventLoop | None = None  # while packets are copied
        try:
            # The socket first: without a route it fails, and a TUN interface that is made and removed would be a change
            # that the kernel reports, upon which the agent tries again at once.
            self._sock = self._open_socket()
            if parameters.options.sequence:
                self._sequence = self._open_sequence()
            if "tun" not in self.descriptors:
                self.descriptors["tun"] = devices.open_tun(name)
            self._tun = self.descriptors["tun"]
        except HostError:
            self.close()
            raise

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Copy packets on ``loop``."""
        self._loop = loop
        loop.add_reader(self._tun, self._from_tun)
        loop.add_reader(self._sock, self._from_peer)

    def close(self) -> None:
        """Stop, and close the descriptors. The TUN interface is removed with the last descriptor of it."""
        if self._loop is not None:
            self._loop.remove_reader(self._tun)
            self._loop.remove_reader(self._sock)
            self._loop = None
        if "gre" in self.descriptors:
            self._sock.detach()
        if self._sequence is not None:
            self._sequence.close()
        for descriptor in self.descriptors.values():
            os.close(descriptor)
        self.descriptors.clear()

    def lost(self) -> dict[str, int]:
        """The packets that arrived and did not reach the TUN interface, by reason."""
        found = {
            reason: count
            for reason, count in self.dropped.items()
            if reason not in _NOT_LOST and not reason.startswith("send_")
        }
        return found | {"socket_full": sockets.dropped(self._sock)}

    def _open_socket(self) -> socket.socket:
        try:
            sock = self._devices.open_gre(self.gre, self.descriptors.pop("gre", None))
        except OSError as error:
            ends = f"from {self.gre.local} to {self.gre.remote}"
            raise HostError(f"{self.name}: no GRE socket {ends}: {error.strerror}") from error
        self.descriptors["gre"] = sock.fileno()
        return sock

    def _open_sequence(self) -> mmap.mmap:
        """Memory that outlives this process: the peer drops numbers that are older than the last (RFC 2890)."""
        try:
            if "sequence" not in self.descriptors:
                self.descriptors["sequence"] = os.memfd_create("gre-sequence")
            os.ftruncate(self.descriptors["sequence"], 4)
            return mmap.mmap(self.descriptors["sequence"], 4)
        except OSError as error:
            raise HostError(f"{self.name}: no memory for sequence numbers: {error.strerror}") from error

    def _from_tun(self) -> None:
        for _ in range(_BATCH):
            try:
                packet = self._devices.read_tun(self._tun, 65535)
            except BlockingIOError:
                return
            except OSError as error:
                self._count_error("tun", error)
                if error.errno == errno.EBADFD and self._loop is not None:
                    self._loop.remove_reader(self._tun)  # the interface was deleted: it would stay readable
                return
            if not self.forwarding:
                self.dropped["child_down"] += 1
                continue
            try:
                self._send(self._encapsulate(packet))
            except PermissionError:
                # Our own firewall keeps IGMP of this host from the other side, where that is not how groups are joined.
                self.dropped["firewall_igmp" if packet[9:10] == bytes((ipv4.IGMP,)) else "firewall"] += 1
            except OSError as error:
                self._count_error("send", error)

    def _send(self, packet: bytes) -> None:
        try:
            self._sock.send(packet)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            self.dropped["unreachable"] += 1  # an ICMP error that waited to be read: nothing was sent
            self._sock.send(packet)

    def _from_peer(self) -> None:
        for _ in range(_BATCH):
            try:
                packet = self._sock.recv(65535)
            except BlockingIOError:
                return
            except OSError as error:
                # A connected raw socket reports the peer's ICMP errors here.
                self.dropped["unreachable" if error.errno in _UNREACHABLE else "receive"] += 1
                continue
            try:
                inner = self._decapsulate(packet)
                if inner is not None:
                    self._devices.write_tun(self._tun, inner)
            except DecodeError as error:
                self.dropped[error.reason] += 1
            except OSError as error:
                self._count_error("tun", error)

    def _count_error(self, where: str, error: OSError) -> None:
        self.dropped[f"{where}_{errno.errorcode.get(error.errno or 0, 'error').lower()}"] += 1

    def _encapsulate(self, packet: bytes) -> bytes:
        if self._sent_header is not None:
            return self._sent_header + packet
        sequence = None
        if self._sequence is not None:
            sequence = int.from_bytes(self._sequence[:4], "big")
            self._sequence[:4] = ((sequence + 1) % _SEQUENCES).to_bytes(4, "big")
        return self.gre.options.header(gre.PROTOCOL_IPV4, sequence).encode(packet)

    def _decapsulate(self, packet: bytes) -> memoryview | None:
        """The packet inside GRE; None for a keepalive, which has a socket of its own. Raises DecodeError."""
        payload = ipv4.parse(packet).payload
        known = self._received_header
        if known is not None and payload[: len(known)] == known:
            return payload[len(known) :]
        header = gre.decode(payload)
        if not self.gre.options.receives(header):
            raise DecodeError("gre_key")
        if header.protocol == gre.PROTOCOL_KEEPALIVE or _is_keepalive_behind_cmd(header, payload):
            return None
        if refusal := self.gre.options.refusal(header):
            raise DecodeError(refusal)
        if self.gre.options.sequence and header.sequence is not None:
            self._check_sequence(header.sequence)
        if header.protocol != gre.PROTOCOL_IPV4:
            raise DecodeError("gre_protocol")
        if header.is_constant:
            self._received_header = bytes(payload[: header.length])
        return payload[header.length :]

    def _check_sequence(self, sequence: int) -> None:
        """Drop what is older than the last packet, as the kernel does (RFC 2890, section 2.2)."""
        if self._expected is not None and (sequence - self._expected) % _SEQUENCES >= _SEQUENCES // 2:
            raise DecodeError("gre_sequence_old")
        self._expected = (sequence + 1) % _SEQUENCES


def _is_keepalive_behind_cmd(header: gre.GreHeader, payload: memoryview) -> bool:
    if header.protocol != gre.PROTOCOL_CMD:
        return False
    inner = gre.behind_cmd(payload[header.length :])
    return len(inner) >= ipv4.HEADER_LENGTH and inner[9] == ipv4.GRE
