"""The sockets of a check: an IKE_SA_INIT to each port, and padded ones with DF set. They block, for seconds at most."""

import errno
import random
import secrets
import socket
import time
from contextlib import closing
from ipaddress import IPv4Address
from typing import Final

from mcastd.errors import DecodeError, HostError
from mcastd.net.ipv4 import HEADER_LENGTH, UDP_HEADER_LENGTH
from mcastd.tools.netcheck import packet
from mcastd.tools.netcheck.packet import Answer, Ends
from mcastd.tools.netcheck.report import PathMtu, PortCheck

_IP_MTU_DISCOVER, _IP_PMTUDISC_DO, _IP_RECVERR = 10, 2, 11
_TIMEOUTS: Final = (0.5, 1.0, 1.5)  # seconds for an answer, after each time that a request is sent
_MTU_TIMEOUTS: Final = (0.5, 0.5)
_EXCHANGES = 3  # a cookie and another group may be asked for
_SIZES: Final = (1500, 1492, 1476, 1460, 1436, 1400, 1360, 1300)
_NAT_T = 4500
_CHANCE = random.Random(secrets.randbits(128))


def check_port(local: IPv4Address | None, remote: IPv4Address, port: int) -> PortCheck:
    """Ask from the same port, where no other program has it, as charon does, else from any. Raises HostError."""
    with closing(_connected(local, remote, port)) as sock:
        ends = _ends(sock)
        began = time.monotonic()
        foreign: list[bytes] = []
        try:
            found = _exchange(sock, ends, foreign)
        except OSError as error:
            return PortCheck(ends, error=errno.errorcode.get(error.errno or 0, str(error)))
        if found is None:
            return PortCheck(ends, foreign=bool(foreign))
        return PortCheck(ends, found, time.monotonic() - began)


def path_mtu(local: IPv4Address | None, remote: IPv4Address, port: int) -> PathMtu:
    """The largest IP packet of the sizes that paths commonly have which is answered, and the first larger one.

    It ends where the network reports an error, for instance that nothing listens to the port any more.
    """
    with closing(_connected(local, remote, port)) as sock:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
        lost = None
        for size in _SIZES:
            try:
                passes = _passes(sock, _ends(sock), size)
            except OSError as error:
                return PathMtu(None, size, error=errno.errorcode.get(error.errno or 0, str(error)))
            if passes:
                return PathMtu(size, lost)
            lost = size
        return PathMtu(None, lost)


def _connected(local: IPv4Address | None, remote: IPv4Address, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        address = "" if local is None else str(local)
        try:
            sock.bind((address, port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            sock.bind((address, 0))
        sock.connect((str(remote), port))
    except OSError as error:
        sock.close()
        raise HostError(f"cannot send to {remote}{f' from {local}' if local else ''}: {error.strerror}") from error
    return sock


def _ends(sock: socket.socket) -> Ends:
    (local, local_port), (remote, remote_port) = sock.getsockname(), sock.getpeername()
    return Ends(IPv4Address(local), local_port, IPv4Address(remote), remote_port)


def _exchange(sock: socket.socket, ends: Ends, foreign: list[bytes]) -> Answer | None:
    """The last response, after what the peer asks for: a cookie, another group. Raises OSError.

    What arrives and is no response is added to ``foreign``.
    """
    group, cookie, found = packet.FIRST_GROUP, None, None
    for _ in range(_EXCHANGES):
        answered = _ask(sock, packet.request(ends, _CHANCE, group=group, cookie=cookie), _TIMEOUTS, foreign)
        if answered is None:
            return found
        found = answered
        if answered.cookie is not None:
            cookie = answered.cookie
        elif answered.group is not None and packet.understands(answered.group):
            group = answered.group
        else:
            break
    return found


def _ask(sock: socket.socket, message: bytes, timeouts: tuple[float, ...], foreign: list[bytes]) -> Answer | None:
    marker = packet.NON_ESP_MARKER if sock.getpeername()[1] == _NAT_T else b""
    for seconds in timeouts:
        sock.send(marker + message)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            sock.settimeout(left)
            try:
                received = sock.recv(65535)
            except TimeoutError:
                break
            try:
                found = packet.answer(received.removeprefix(marker))
            except DecodeError:
                foreign.append(received)
                continue
            if found.spi_i == message[:8]:
                return found
    return None


def _passes(sock: socket.socket, ends: Ends, size: int) -> bool:
    marker = len(packet.NON_ESP_MARKER) if ends.remote_port == _NAT_T else 0
    message = packet.request(ends, _CHANCE, size=size - HEADER_LENGTH - UDP_HEADER_LENGTH - marker)
    try:
        return _ask(sock, message, _MTU_TIMEOUTS, []) is not None
    except OSError as error:
        if error.errno == errno.EMSGSIZE:
            return False  # the kernel has heard so from a router on the way
        raise
