"""A model of the kernel, in memory: links, addresses, routes, rules, sysctls, TUN interfaces and raw GRE sockets.

The methods of ``FakeKernel`` are what other programs and packets do; they raise OSError as the kernel refuses. The
tunnel agent gets ``devices``, for the interface ``mcastd.tunnel.userspace.GreDevices``, ``sysctls``, and a
``tests.fakes.netlink.FakeNetlink``. The rules are those of Linux 6.1:

- An address with the prefix length and network of an earlier one of its link is secondary; with the first the kernel
  deletes the secondary ones. Two that differ in the far end alone are the same.
- A link that is set down loses its routes; those to the networks of its addresses come back when it is set up.
- Below an MTU of 1280 IPv6 leaves a link; when it comes back, it makes addresses again.
- A TUN interface exists until the last descriptor of it is closed, in whatever process.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import count

from mcastd.errors import HostError
from mcastd.links import Gre, Link, Rule, Vxlan, Xfrm
from mcastd.net import ipv4
from mcastd.tunnel.routes import MAIN_TABLE
from tests.fakes.changes import Notifications
from tests.fakes.sysctls import FakeSysctls

STATIC, KERNEL = 4, 2
"""Who made a route (RTPROT_*)."""

Entry = tuple[IPv4Interface, IPv4Address | None]


def network_of(entry: Entry) -> IPv4Network:
    """The network that the kernel takes an address to be in: that of the far end."""
    own, peer = entry
    return IPv4Network((peer or own.ip, own.network.prefixlen), strict=False)


@dataclass(eq=False)
class FakeLink:
    """A link. ``tun`` is the kernel's end of a TUN interface, ``received`` what has come out of it to the host."""

    index: int
    name: str
    kind: str | None
    mtu: int = 1500
    up: bool = False
    multicast: bool = False
    parameters: Gre | Xfrm | Vxlan | None = None
    alias: str = ""
    addresses: list[Entry] = field(default_factory=list)
    labels: dict[Entry, str] = field(default_factory=dict)  # of addresses that were given one
    ipv6_disabled: bool = False
    solicited: bool = False  # whether it has been up with IPv6: then router solicitations have been sent
    tun: socket.socket | None = None
    received: list[bytes] = field(default_factory=list)
    master: int | None = None

    def shown(self) -> Link:
        own = self.index, self.name, self.kind, self.mtu, self.up, self.multicast
        return Link(*own, self.parameters, self.alias, self.master)


@dataclass(frozen=True)
class FakeRoute:
    """A route of a table to a link, or to several links or none."""

    prefix: IPv4Network
    link: str | None
    table: int = MAIN_TABLE
    protocol: int = STATIC
    metric: int = 0


class RawGre(socket.socket):
    """A raw GRE socket. ``errors`` come instead of packets, as a connected one reports what ICMP says."""

    ends: tuple[IPv4Address, IPv4Address]
    kernel: "FakeKernel"

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        packet = super().recv(size, flags)
        if not packet.startswith(b"error"):
            return packet
        raise OSError(int(packet[5:]), "ICMP")

    def send(self, data: bytes, flags: int = 0, /) -> int:  # type: ignore[override]  # of the buffers, bytes are sent
        if self.kernel.pending_error is not None:
            pending, self.kernel.pending_error = self.kernel.pending_error, None
            raise OSError(pending, os.strerror(pending))
        if self.kernel.refuses_sending is not None:
            raise OSError(self.kernel.refuses_sending, os.strerror(self.kernel.refuses_sending))
        self.kernel.sent.append((*self.ends, bytes(data)))
        if self.kernel.on_send is not None:
            self.kernel.on_send(self.ends[1])
        return len(data)


class FakeKernel:
    """A host with a loopback and, where ``uplink``, an interface ``eth0`` with a default route."""

    def __init__(self, *, uplink: bool = True) -> None:
        self.unsupported: set[str] = set()  # kinds of links that this kernel has no module for
        self.refuses_sending: int | None = None  # what sending GRE fails with
        self.pending_error: int | None = None  # an ICMP error that the next sending returns, once
        self.sent: list[tuple[IPv4Address, IPv4Address, bytes]] = []  # GRE from and to, without the outer header
        self.on_send: Callable[[IPv4Address], None] | None = None  # is called with the far end of GRE that leaves
        self.sysctls = FakeSysctls()
        self.devices = FakeDevices(self)
        self.notifications = Notifications()
        self.sysctls.report_to(self.notifications)
        self._links: dict[str, FakeLink] = {}
        self._routes: list[FakeRoute] = []
        self._rules: list[Rule] = []
        self._indexes = count(1)
        self._raw: dict[int, tuple[RawGre, socket.socket]] = {}  # by the inode: the agent's end, and the kernel's
        self._tuns: dict[int, FakeLink] = {}  # by the inode of the agent's end
        self._ends: list[socket.socket] = []  # the kernel's ends of all sockets
        self.make_link("lo", None, mtu=65536, up=True)
        self.add_address("lo", (IPv4Interface("127.0.0.1/8"), None))
        if uplink:
            self.make_link("eth0", "veth", up=True, multicast=True)
            self.add_address("eth0", (IPv4Interface("192.0.2.1/24"), None))
            self.add_route(FakeRoute(IPv4Network("0.0.0.0/0"), "eth0"))

    # What can be seen.

    @property
    def links(self) -> dict[str, FakeLink]:
        """By name, without TUN interfaces whose descriptors have been closed."""
        for link in list(self._links.values()):
            if link.tun is not None and not _is_open(link):
                self.delete_link(link.name)
        return self._links

    def names(self) -> set[str]:
        return set(self.links)

    def loopback(self) -> set[str]:
        """The addresses of lo, without 127.0.0.1."""
        return {str(own) for own, _ in self._links["lo"].addresses[1:]}

    def routes(self, table: int = MAIN_TABLE) -> list[FakeRoute]:
        """Routes of links that are up, with those to the networks of their addresses."""
        connected = [
            FakeRoute(network_of(entry), link.name, protocol=KERNEL)
            for link in self.links.values()
            for entry in link.addresses
            if link.up and link.name != "lo" and network_of(entry).prefixlen < 32
        ]
        return [route for route in [*connected, *self._routes] if route.table == table]

    def all_routes(self) -> list[FakeRoute]:
        """The routes of all tables, but those to the networks of addresses."""
        return list(self._routes)

    def through(self, name: str, table: int = MAIN_TABLE) -> set[str]:
        """The prefixes that mcastd has routed to a link."""
        return {str(route.prefix) for route in self.routes(table) if (route.link, route.protocol) == (name, 103)}

    def rules(self) -> list[Rule]:
        return sorted(self._rules, key=lambda rule: rule.priority)

    def lookup(self, destination: IPv4Address, source: IPv4Address | None = None) -> FakeLink:
        """The link that packets leave by; raises OSError."""
        local = {own.ip for link in self.links.values() for own, _ in link.addresses}
        if source is not None and source not in local:
            raise refusal(errno.EINVAL)
        if destination in local:
            return self._links["lo"]
        tables = [rule.table for rule in self.rules() if (source or IPv4Address(0)) in rule.source]
        for table in [*tables, MAIN_TABLE]:
            for route in sorted(self.routes(table), key=lambda one: (-one.prefix.prefixlen, one.metric)):
                if destination in route.prefix and route.link is not None:
                    return self._links[route.link]
        raise refusal(errno.ENETUNREACH)

    def close(self) -> None:
        """Close the kernel's ends of all sockets."""
        for end in self._ends:
            end.close()

    # What other programs do.

    def make_link(
        self,
        name: str,
        kind: str | None,
        parameters: Gre | Xfrm | Vxlan | None = None,
        *,
        mtu: int = 1500,
        up: bool = False,
        multicast: bool = False,
    ) -> FakeLink:
        if kind in self.unsupported:
            raise refusal(errno.EOPNOTSUPP)
        if name in self.links or (parameters and any(parameters == link.parameters for link in self.links.values())):
            raise refusal(errno.EEXIST)
        link = FakeLink(next(self._indexes), name, kind, mtu, False, multicast, parameters)
        self._links[name] = link
        self.sysctls.values[f"net/ipv4/conf/{name}/rp_filter"] = "0"
        self.set_link(name, up=up)
        return link

    def change_link(self, name: str, parameters: Gre | Vxlan) -> None:
        """Other parameters, in place; as the kernel does, with the MTU that it takes for them."""
        link = self.links[name]
        if any(parameters == other.parameters for other in self.links.values() if other is not link):
            raise refusal(errno.EEXIST)
        link.parameters, link.mtu = parameters, 1476

    def delete_link(self, name: str) -> None:
        link = self._links.pop(name, None)
        if link is None:
            raise refusal(errno.ENODEV)
        if link.tun is not None:
            link.tun.close()  # the agent's end becomes readable, for ever
        self._routes = [route for route in self._routes if route.link != name]
        del self.sysctls.values[f"net/ipv4/conf/{name}/rp_filter"]
        self.notifications.report()

    def set_link(
        self, name: str, *, mtu: int | None = None, up: bool | None = None, multicast: bool | None = None
    ) -> None:
        link = self.links[name]
        if mtu is not None:
            if mtu < 68:
                raise refusal(errno.EINVAL)
            if link.mtu < 1280 <= mtu:
                link.ipv6_disabled = False
            link.mtu = mtu
        if up is not None:
            link.up = up
            if not up:
                self._routes = [route for route in self._routes if route.link != name]
        if multicast is not None:
            link.multicast = multicast
        link.solicited |= link.up and not link.ipv6_disabled and link.mtu >= 1280
        self.notifications.report()

    def add_address(self, name: str, entry: Entry, label: str = "") -> None:
        link = self._existing(name)
        same = [old for old in link.addresses if network_of(old) == network_of(entry)]
        if any(old[0].ip == entry[0].ip for old in same):
            raise refusal(errno.EEXIST)
        primaries = [i for i, old in enumerate(link.addresses) if self._is_primary(link, old)]
        # A primary address goes behind the last primary one, a secondary address to the end.
        link.addresses.insert(len(link.addresses) if same or not primaries else primaries[-1] + 1, entry)
        link.labels[entry] = label or name
        self.notifications.report()

    def delete_address(self, name: str, entry: Entry, label: str = "") -> None:
        """Delete an address; with a label, only if it has this one."""
        link = self._existing(name)
        if entry not in link.addresses or label not in ("", link.labels[entry]):
            raise refusal(errno.EADDRNOTAVAIL)
        goes = [entry]
        if self._is_primary(link, entry):
            goes = [old for old in link.addresses if network_of(old) == network_of(entry)]
        link.addresses = [old for old in link.addresses if old not in goes]
        self.notifications.report()

    def add_route(self, route: FakeRoute) -> None:
        if route.link is not None and not self._existing(route.link).up:
            raise refusal(errno.ENETDOWN)
        key = (route.prefix, route.metric)
        if any((other.prefix, other.metric) == key for other in self.routes(route.table)):
            raise refusal(errno.EEXIST)
        self._routes.append(route)
        self.notifications.report()

    def replace_route(self, route: FakeRoute) -> None:
        key = (route.prefix, route.metric, route.table)
        self._routes = [one for one in self._routes if (one.prefix, one.metric, one.table) != key]
        self.add_route(route)

    def delete_route(self, route: FakeRoute) -> None:
        """One of the same prefix, link, table and protocol."""
        found = [one for one in self._routes if _same(one, route)]
        if not found:
            raise refusal(errno.ESRCH)
        self._routes.remove(found[0])
        self.notifications.report()

    def add_rule(self, rule: Rule) -> None:
        if rule in self._rules:
            raise refusal(errno.EEXIST)
        self._rules.append(rule)
        self.notifications.report()

    def delete_rule(self, rule: Rule) -> None:
        if rule not in self._rules:
            raise refusal(errno.ENOENT)
        self._rules.remove(rule)
        self.notifications.report()

    def flush_routes(self, table: int) -> None:
        self._routes = [route for route in self._routes if route.table != table]
        self.notifications.report()

    # Packets.

    def send_into(self, name: str, packet: bytes) -> None:
        """The host sends into a TUN interface."""
        link = self.links[name]
        assert link.tun is not None
        if link.up:
            link.tun.send(packet)

    def arrive(self, packet: bytes, source: IPv4Address, destination: IPv4Address) -> None:
        """GRE arrives; each socket that is connected to its source has a copy."""
        whole = ipv4.encode(packet, source, destination, protocol=ipv4.GRE, tos=0, ttl=255)
        for ours, theirs in self._raw.values():
            if ours.ends == (destination, source):
                with contextlib.suppress(ConnectionError):  # the agent has closed it
                    theirs.send(whole)

    def icmp_error(self, code: int) -> None:
        """ICMP says that the last packet did not arrive."""
        for _, theirs in self._raw.values():
            with contextlib.suppress(ConnectionError):
                theirs.send(b"error%d" % code)

    # What the devices of GRE in user space use.

    def open_tun(self, name: str) -> int:
        if name in self.links:
            raise refusal(errno.EBUSY)
        link = self.make_link(name, "tun", multicast=True)
        ours, link.tun = self._pair(socket.SOCK_SEQPACKET)
        self._tuns[os.fstat(ours.fileno()).st_ino] = link
        return ours.detach()

    def tun_of(self, descriptor: int) -> FakeLink:
        """The link of a descriptor; raises OSError where it was deleted."""
        link = self._tuns[os.fstat(descriptor).st_ino]
        if self._links.get(link.name) is not link:
            raise refusal(errno.EBADFD)
        return link

    def open_gre(self, gre: Gre, inherited: int | None) -> RawGre:
        self.lookup_from(gre)
        if inherited is not None:
            known, theirs = self._raw[os.fstat(inherited).st_ino]
            if known.ends[0] == gre.local:
                return self._connected(RawGre(fileno=inherited), gre, theirs)
            os.close(inherited)
        ours, theirs = self._pair(socket.SOCK_DGRAM)
        return self._connected(RawGre(fileno=ours.detach()), gre, theirs)

    def lookup_from(self, gre: Gre) -> None:
        """Refuse what a socket cannot be bound or connected to."""
        if all(own.ip != gre.local for link in self.links.values() for own, _ in link.addresses):
            raise refusal(errno.EADDRNOTAVAIL)
        self.lookup(gre.remote, gre.local)

    def _pair(self, kind: socket.SocketKind) -> tuple[socket.socket, socket.socket]:
        """The agent's end and the kernel's end."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        for end in (ours, theirs):
            end.setblocking(False)
        self._ends.append(theirs)
        return ours, theirs

    def _connected(self, sock: RawGre, gre: Gre, theirs: socket.socket) -> RawGre:
        sock.setblocking(False)
        sock.ends, sock.kernel = (gre.local, gre.remote), self
        self._raw[os.fstat(sock.fileno()).st_ino] = (sock, theirs)
        return sock

    def _existing(self, name: str) -> FakeLink:
        if name not in self.links:
            raise refusal(errno.ENODEV)
        return self._links[name]

    def _is_primary(self, link: FakeLink, entry: Entry) -> bool:
        return next(old for old in link.addresses if network_of(old) == network_of(entry)) == entry


class FakeDevices:
    """``mcastd.tunnel.userspace.GreDevices`` of a FakeKernel."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self.refused: dict[str, int] = {}  # by the function's name, an error number

    def open_tun(self, name: str) -> int:
        try:
            self._refuse("open_tun")
            return self._kernel.open_tun(name)
        except OSError as error:
            raise HostError(f"{name}: no TUN interface of that name can be made: {error.strerror}") from error

    def read_tun(self, tun: int, length: int, /) -> bytes:
        self._refuse("read_tun")
        self._kernel.tun_of(tun)
        return os.read(tun, length)

    def write_tun(self, tun: int, packet: memoryview, /) -> int:
        self._refuse("write_tun")
        link = self._kernel.tun_of(tun)
        if not link.up:
            raise refusal(errno.EIO)
        if not len(packet) or packet[0] >> 4 not in (4, 6):
            raise refusal(errno.EINVAL)
        link.received.append(bytes(packet))
        return len(packet)

    def open_gre(self, gre: Gre, inherited: int | None) -> socket.socket:
        self._refuse("open_gre")
        return self._kernel.open_gre(gre, inherited)

    def _refuse(self, what: str) -> None:
        if what in self.refused:
            raise refusal(self.refused[what])


def refusal(code: int) -> OSError:
    """How the kernel refuses a request."""
    return OSError(code, os.strerror(code))


def _same(one: FakeRoute, other: FakeRoute) -> bool:
    return (one.prefix, one.link, one.table, one.protocol) == (other.prefix, other.link, other.table, other.protocol)


def _is_open(link: FakeLink) -> bool:
    """Whether a descriptor of the TUN interface is open in whatever process."""
    assert link.tun is not None
    try:
        return link.tun.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
