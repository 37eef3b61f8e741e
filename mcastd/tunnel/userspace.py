"""GRE over a TUN interface, for kernels without GRE: a pump between the TUN and a raw GRE socket.

Packets of the feed pass through Python here, which the kernel's own GRE spares; it carries some tens of thousands of
packets a second.
"""

import asyncio
import errno
import fcntl
import mmap
import os
import socket
import struct
from collections import Counter

from mcastd.errors import DecodeError, HostError
from mcastd.links import Gre
from mcastd.net import gre, ipv4
from mcastd.system import sockets

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_BATCH = 64
_RECEIVE_BUFFER = 8 << 20
_SEQUENCES = 1 << 32
_UNREACHABLE = {errno.ENOPROTOOPT, errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPROTO}


class Pump:
    """One TUN interface and the raw GRE socket behind it.

    ``forwarding`` False drops what the host sends into the tunnel: while the child is down it would leave in the clear.
    ``dropped`` counts by reason. The local endpoint's address must be on the host, and a route to the remote one;
    raises HostError else. ``tun``, ``sock`` and ``numbers`` are descriptors that an earlier life left: the interface
    stays as it is, what has arrived meanwhile waits in the socket, and sequence numbers go on.
    """

    def __init__(
        self, name: str, wanted: Gre, *, tun: int | None = None, sock: int | None = None, numbers: int | None = None
    ) -> None:
        self.name = name
        self.gre = wanted
        self.forwarding = False
        self.dropped: Counter[str] = Counter()
        # The header before every packet that is sent, unless each has one of its own.
        header = wanted.options.feed_header
        self._sent_header = header.encode(b"") if header.is_constant else None
        # That of the last packet that was received with a header that others may have too: it need not be read again.
        self._received_header: bytes | None = None
        self._numbers: _Numbers | None = None
        self._expected: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # The socket first: it fails where there is no route yet, and a TUN that comes and goes is a change that the
        # kernel reports, which would have us try again at once.
        try:
            self._sock: socket.socket | None = _left(sock, wanted) or sockets.raw_gre(
                wanted.local, wanted.remote, wanted.options.ttl, None
            )
        except OSError as error:
            _close(tun, numbers)
            raise HostError(
                f"{name}: no GRE socket from {wanted.local} to {wanted.remote}: {error.strerror}"
            ) from error
        sockets.enlarge_receive_buffer(self._sock, _RECEIVE_BUFFER)
        try:
            if wanted.options.sequence:
                self._numbers = _Numbers(name, numbers)
            self._tun = tun if tun is not None else _open_tun(name)
        except HostError:
            self._sock.close()
            self._forget_numbers()
            _close(tun)
            raise

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Carry packets on ``loop``."""
        assert self._sock is not None
        self._loop = loop
        loop.add_reader(self._tun, self._from_tun)
        loop.add_reader(self._sock, self._from_peer)

    @property
    def tun(self) -> int:
        """The descriptor that keeps the TUN interface there."""
        return self._tun

    @property
    def sock(self) -> int:
        """The descriptor of the raw GRE socket."""
        assert self._sock is not None
        return self._sock.fileno()

    @property
    def numbers(self) -> int | None:
        """The descriptor of the memory in which packets are counted that are sent with sequence numbers."""
        return self._numbers.descriptor if self._numbers else None

    @property
    def started(self) -> bool:
        """Whether packets are carried."""
        return self._loop is not None

    def close(self) -> None:
        """Stop, and take the TUN interface away."""
        if self._loop is not None and self._sock is not None:
            self._loop.remove_reader(self._tun)
            self._loop.remove_reader(self._sock)
            self._loop = None
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        if self._tun >= 0:
            os.close(self._tun)
            self._tun = -1
        self._forget_numbers()

    def _forget_numbers(self) -> None:
        if self._numbers is not None:
            self._numbers.close()
            self._numbers = None

    def _from_tun(self) -> None:
        assert self._sock is not None
        assert self._loop is not None
        for _ in range(_BATCH):
            try:
                packet = os.read(self._tun, 65535)
            except BlockingIOError:
                return
            except OSError as error:
                self.dropped[f"tun_{errno.errorcode.get(error.errno or 0, 'error').lower()}"] += 1
                if error.errno == errno.EBADFD:
                    # The interface was deleted: from now on this is readable for ever.
                    self._loop.remove_reader(self._tun)
                return
            if not self.forwarding:
                self.dropped["child_down"] += 1
            else:
                try:
                    self._sock.send(self._encapsulate(packet))
                except PermissionError:
                    self.dropped["firewall"] += 1
                except OSError as error:
                    self.dropped[f"send_{errno.errorcode.get(error.errno or 0, 'error').lower()}"] += 1

    def _from_peer(self) -> None:
        assert self._sock is not None
        for _ in range(_BATCH):
            try:
                packet = self._sock.recv(65535)
            except BlockingIOError:
                return
            except OSError as error:
                # A connected raw socket hands over the peer's ICMP errors here: to count, never fatal.
                self.dropped["unreachable" if error.errno in _UNREACHABLE else "receive"] += 1
                continue
            try:
                inner = self._decapsulate(packet)
                if inner is not None:
                    os.write(self._tun, inner)
            except DecodeError as error:
                self.dropped[error.reason] += 1
            except OSError as error:
                self.dropped[f"tun_{errno.errorcode.get(error.errno or 0, 'error').lower()}"] += 1

    def _encapsulate(self, packet: bytes) -> bytes:
        if self._sent_header is not None:
            return self._sent_header + packet
        sequence = self._numbers.take() if self._numbers else None
        return self.gre.options.header(gre.PROTOCOL_IPV4, sequence).encode(packet)

    def _decapsulate(self, packet: bytes) -> memoryview | None:
        payload = ipv4.parse(packet).payload
        known = self._received_header
        if known is not None and payload[: len(known)] == known:
            return payload[len(known) :]
        header = gre.decode(payload)
        if not self.gre.options.receives(header):
            raise DecodeError("gre_key")
        if header.protocol == gre.PROTOCOL_KEEPALIVE or _keepalive_behind_cmd(header, payload):
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


class _Numbers:
    """Sequence numbers, counted in memory that a descriptor can leave to the next life, whatever ends this one.

    They may not begin anew while the interface stands: the far end drops what is older than the last (RFC 2890).
    """

    def __init__(self, name: str, left: int | None) -> None:
        try:
            self.descriptor = os.memfd_create("gre-sequence") if left is None else left
        except OSError as error:
            raise HostError(f"{name}: no memory for sequence numbers: {error.strerror}") from error
        os.ftruncate(self.descriptor, 4)
        self._memory = mmap.mmap(self.descriptor, 4)

    def take(self) -> int:
        """The next number, which is not taken again."""
        number = int.from_bytes(self._memory[:4], "big")
        self._memory[:4] = ((number + 1) % _SEQUENCES).to_bytes(4, "big")
        return number

    def close(self) -> None:
        """Let go of the memory, and of the descriptor."""
        self._memory.close()
        os.close(self.descriptor)


def _keepalive_behind_cmd(header: gre.GreHeader, payload: memoryview) -> bool:
    """Whether it is for the reflector, which has a socket of its own."""
    if header.protocol != gre.PROTOCOL_CMD:
        return False
    inner = gre.behind_cmd(payload[header.length :])
    return len(inner) >= ipv4.HEADER_LENGTH and inner[9] == ipv4.GRE


def _close(*descriptors: int | None) -> None:
    for descriptor in descriptors:
        if descriptor is not None:
            os.close(descriptor)


def _left(descriptor: int | None, wanted: Gre) -> socket.socket | None:
    """The socket that an earlier life left, unless its endpoint here is another one; a raw one tells no peer's."""
    if descriptor is None:
        return None
    sock = socket.socket(fileno=descriptor)
    if sock.getsockname()[0] != str(wanted.local):
        sock.close()
        return None
    sock.connect((str(wanted.remote), 0))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, wanted.options.ttl)
    return sock


def _open_tun(name: str) -> int:
    try:
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(
            f"{name}: GRE in user space needs /dev/net/tun, which cannot be opened: {error.strerror}"
        ) from error
    try:
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError as error:
        os.close(tun)
        raise HostError(f"{name}: no TUN interface of that name can be made: {error.strerror}") from error
    return tun
