"""What the kernel has counted: counters and sets of an nftables table, by netlink, and packets of interfaces.

nft(8) takes a quarter of a second for 10,000 elements, and its JSON blocks the event loop. Here each datagram of the
kernel, of at most some hundred elements, is one step, and the loop runs in between. Every question has a socket of its
own, so that what is left of an answer that was given up is not taken for the next one.
"""

import asyncio
import fcntl
import os
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from mcastd.errors import DecodeError, HostError
from mcastd.net import nfnetlink, sock_diag, xfrm
from mcastd.net.nfnetlink import Element
from mcastd.net.sock_diag import UdpSocket
from mcastd.net.xfrm import Replay, Sa
from mcastd.system import losses as host_losses
from mcastd.system.sockets import configuring

_NETLINK_NETFILTER: Final = 12
_NETLINK_SOCK_DIAG: Final = 4
_NETLINK_XFRM: Final = 6
_DATAGRAM: Final = 1 << 16
_TIMEOUT: Final = 5.0  # seconds for each part; the kernel has it at once
_DEVICES: Final = Path("/proc/thread-self/net/dev")  # of the thread: tests enter namespaces by thread
_RX_PACKETS: Final = 1  # the column behind the name
_SIOCGIFMTU: Final = 0x8921
_MTU: Final = struct.Struct("16si20x")  # struct ifreq: the name, ifr_mtu


async def counters(table: str) -> dict[str, int]:
    """The packets of each named counter of a table of the family ``ip``. Raises HostError."""
    return dict([nfnetlink.counter(message) async for message in _messages(nfnetlink.ask_counters(table))])


async def elements(table: str, name: str) -> AsyncGenerator[list[Element], None]:
    """The elements of a set of a table of the family ``ip``, in parts. Raises HostError."""
    async for message in _messages(nfnetlink.ask_elements(table, name)):
        yield list(nfnetlink.elements(message))


async def losses() -> dict[str, int]:
    """What the host loses, by name (``mcastd.system.losses``). A driver may ask its card, and take a while."""
    return await asyncio.to_thread(host_losses.losses)


async def received(names: Iterable[str]) -> dict[str, int]:
    """How many packets interfaces have received, by their name; those that do not exist are left out.

    Not multicast alone: the kernel counts a GRE packet as such by its outer destination. Raises HostError.
    """
    try:
        lines = _DEVICES.read_text().splitlines()
    except OSError as error:
        raise HostError(f"{_DEVICES}: {error.strerror}") from error
    wanted = set(names)
    fields = (line.partition(":") for line in lines)
    return {name: int(rest.split()[_RX_PACKETS]) for part, _, rest in fields if (name := part.strip()) in wanted}


async def mtus(names: Iterable[str]) -> dict[str, int]:
    """The MTUs of interfaces, by their name; those that do not exist are left out."""
    found: dict[str, int] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for name in names:
            with suppress(OSError):
                found[name] = _MTU.unpack(fcntl.ioctl(sock, _SIOCGIFMTU, _MTU.pack(name.encode(), 0)))[1]
    return found


async def receivers(port: int) -> list[UdpSocket]:
    """The UDP sockets of this host that are bound to a port. Raises HostError."""
    found = list[UdpSocket]()
    loop = asyncio.get_running_loop()
    try:
        for family in (socket.AF_INET, socket.AF_INET6):
            with configuring(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as sock, sock:
                sock.sendto(sock_diag.ask(family, port), (0, 0))
                is_done = False
                while not is_done:
                    async with asyncio.timeout(_TIMEOUT):
                        some, is_done = sock_diag.part(await loop.sock_recv(sock, _DATAGRAM))
                    found += some
    except OSError as error:
        raise HostError(f"sock_diag: {error.strerror or 'no answer'}") from error
    except DecodeError as error:
        raise HostError(f"sock_diag: the kernel's answer cannot be read ({error.reason})") from error
    return found


async def replay(sas: Iterable[Sa]) -> AsyncGenerator[tuple[Sa, Replay | None]]:
    """What the kernel's SAs have received; None of those that it does not have. Nothing at all without XFRM."""
    with suppress(OSError, DecodeError), configuring(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_XFRM) as sock, sock:
        for sa in sas:
            sock.sendto(xfrm.ask(sa), (0, 0))
            yield sa, xfrm.answer(sock.recv(_DATAGRAM))  # it is there: the kernel answers while it is asked
            await asyncio.sleep(0)


async def _messages(request: bytes) -> AsyncIterator[bytes]:
    """The messages of an answer, with a step of the event loop after each datagram.

    That the ruleset changed meanwhile is no error: what may be missing is read the next time.
    """
    loop = asyncio.get_running_loop()
    try:
        with configuring(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as sock, sock:
            sock.sendto(request, (0, 0))
            while True:
                async with asyncio.timeout(_TIMEOUT):
                    part = nfnetlink.part(await loop.sock_recv(sock, _DATAGRAM))
                for message in part.messages:
                    yield message
                if part.error:
                    raise HostError(f"nftables: {os.strerror(part.error)}")
                if part.done:
                    return
                await asyncio.sleep(0)
    except OSError as error:
        raise HostError(f"nftables: {error.strerror}") from error
    except DecodeError as error:
        raise HostError(f"nftables: the kernel's answer cannot be read ({error.reason})") from error
