"""The addresses of this host, its connected networks and its gateways, from ``/proc/net``."""

import re
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final

from mcastd.config.checks.host import Host, OwnNetwork

_PROC: Final = Path("/proc/thread-self/net")  # of the thread: tests enter namespaces by thread
_LOCAL: Final = re.compile(r"\|-- (\S+)\n\s+/32 host LOCAL")
_RTF_UP, _RTF_GATEWAY, _RTF_REJECT = 0x1, 0x2, 0x200
_HOST: Final = "FFFFFFFF"  # the mask of one address
_DISCARD: Final = 9  # a port; nothing is sent to it


def read(folder: Path = _PROC) -> Host:
    """What this host has now; nothing where ``/proc/net`` cannot be read."""
    try:
        routes, trie = (folder / "route").read_text(), (folder / "fib_trie").read_text()
    except OSError:
        return Host()
    addresses = frozenset(IPv4Address(found) for found in _LOCAL.findall(trie))
    return Host(addresses, tuple(_networks(routes)))


def _networks(routes: str) -> Iterator[OwnNetwork]:
    for interface, at, mask, is_gateway in _distinct(routes):
        network = IPv4Network(f"{_address(at)}/{_address(mask)}")
        neighbor = network[0] if network.prefixlen > 30 else network[1]
        if not network.is_multicast and (address := _source(neighbor)) is not None:
            yield OwnNetwork(interface, network, address, is_gateway)


def _distinct(routes: str) -> dict[tuple[str, str, str, bool], None]:
    """Each gateway and each connected network once, in order, as the kernel has it: a router has routes by thousands.

    Interface, address, mask, and whether it is a gateway.
    """
    found = dict[tuple[str, str, str, bool], None]()
    for line in routes.splitlines()[1:]:
        interface, destination, gateway, flags, _, _, _, mask, *_ = line.split()
        if not int(flags, 16) & _RTF_UP or int(flags, 16) & _RTF_REJECT:
            continue
        is_gateway = bool(int(flags, 16) & _RTF_GATEWAY)
        found[(interface, gateway, _HOST, True) if is_gateway else (interface, destination, mask, False)] = None
    return found


def _source(destination: IPv4Address) -> IPv4Address | None:
    """The address from which the kernel would send to a destination; None without a route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect((str(destination), _DISCARD))
        except OSError:
            return None
        return IPv4Address(one.getsockname()[0])


def _address(text: str) -> IPv4Address:
    """An address as ``/proc/net/route`` has it: a hexadecimal number in the byte order of this machine."""
    return IPv4Address(socket.ntohl(int(text, 16)))
