"""Links and addresses over rtnetlink (rtnetlink(7)) as frozen dataclasses; refusals are HostError."""

import errno
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Any, Self

from pyroute2.iproute.linux import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mcastd.errors import HostError
from mcastd.links import Gre, Way, Xfrm
from mcastd.net.gre import Flag, GreOptions

IFF_UP = 0x1
IFF_MULTICAST = 0x1000
_ADDRGENMODE_NONE = 1
_NUD_UNRESOLVED = 0x01 | 0x20  # incomplete, failed
_RTMGRP_LINK, _RTMGRP_IPV4_IFADDR, _RTMGRP_IPV4_ROUTE, _RTMGRP_IPV4_RULE = 0x1, 0x10, 0x40, 0x80


@dataclass(frozen=True, slots=True)
class Link:
    """One network interface. ``kind`` is the kernel's (``gre``, ``tun``, ``veth``, ...)."""

    index: int
    name: str
    kind: str | None
    mtu: int
    up: bool
    multicast: bool
    detail: Gre | Xfrm | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """An IPv4 address of the interface ``index``; ``peer`` is the other end's, of a point-to-point address."""

    index: int
    interface: IPv4Interface
    peer: IPv4Address | None = None


class Netlink:
    """One rtnetlink socket for queries and changes; an asynchronous context manager."""

    def __init__(self) -> None:
        self.ipr = AsyncIPRoute()  # the socket

    async def __aenter__(self) -> Self:
        await self.ipr.setup_endpoint()
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.ipr.close()

    async def link(self, name: str) -> Link | None:
        """The interface with that name, or None. Raises HostError."""
        try:
            answer = list(await self.ipr.link("get", ifname=name))
        except NetlinkError as error:
            if error.code == errno.ENODEV:
                return None
            raise host_error(f"link {name}", error) from error
        return _link(answer[0])

    async def link_by_index(self, index: int) -> Link:
        """The interface with that index; raises HostError if there is none."""
        answer = list(await self._request(f"link {index}", self.ipr.link("get", index=index)))
        return _link(answer[0])

    async def addresses(self) -> tuple[Address, ...]:
        """All IPv4 addresses of the host. Raises HostError, also if the list changed while it was read."""
        try:
            return tuple([_address(message) async for message in await self.ipr.addr("dump", family=2)])
        except NetlinkError as error:
            raise host_error("addresses", error) from error

    async def link_towards(self, destination: IPv4Address, source: IPv4Address | None = None) -> Link | None:
        """The interface by which packets to ``destination`` leave, or None without a route. Raises HostError."""
        query = {"dst": str(destination)} | ({"src": str(source)} if source else {})
        try:
            answer = list(await self.ipr.route("get", **query))
        except NetlinkError:
            return None
        return await self.link_by_index(answer[0].get("oif"))

    async def way(self, destination: IPv4Address, source: IPv4Address) -> Way | None:
        """The interface and gateway for packets to ``destination``, or None without a route. Raises HostError."""
        try:
            route = next(iter(await self.ipr.route("get", dst=str(destination), src=str(source))))
        except NetlinkError:
            return None
        gateway, index = route.get("gateway"), route.get("oif")
        hop = gateway or str(destination)
        neighbors = await self._request("neighbours", self.ipr.neigh("dump", family=2, ifindex=index))
        states = [entry["state"] async for entry in neighbors if entry.get("dst") == hop and entry["ifindex"] == index]
        return Way(
            interface=(await self.link_by_index(index)).name,
            gateway=IPv4Address(gateway) if gateway else None,
            silent=any(state & _NUD_UNRESOLVED for state in states),
        )

    async def add_gre(self, name: str, desired: Gre) -> None:
        """Create a link of kind ``gre``. Raises GreUnsupported if the kernel has no GRE, else HostError."""
        # Without the flag the kernel accepts the key and does not use it.
        flags, key = desired.options.feed_header.flags, desired.options.key
        optional = {"gre_iflags": flags, "gre_oflags": flags} if flags else {}
        if key is not None:
            optional |= {"gre_ikey": key, "gre_okey": key}
        try:
            await self.ipr.link(
                "add", ifname=name, kind="gre", gre_local=str(desired.local), gre_remote=str(desired.remote),
                gre_ttl=desired.options.ttl, gre_pmtudisc=1, **optional,
            )  # fmt: skip
        except NetlinkError as error:
            if error.code == errno.EOPNOTSUPP:
                raise GreUnsupported("this kernel has no GRE (no module ip_gre)") from error
            raise host_error(f"link {name}", error) from error

    async def add_xfrm(self, name: str, desired: Xfrm) -> None:
        """Create a link of kind ``xfrm``. Raises HostError, also if the kernel has no XFRM interfaces."""
        try:
            await self.ipr.link("add", ifname=name, kind="xfrm", xfrm_if_id=desired.if_id)
        except NetlinkError as error:
            if error.code == errno.EOPNOTSUPP:
                raise HostError(f"{name}: this kernel has no XFRM interfaces (no module xfrm_interface)") from error
            raise host_error(f"link {name}", error) from error

    async def delete_link(self, name: str) -> None:
        """Remove a link; a no-op if there is none. Raises HostError."""
        link = await self.link(name)
        if link is not None:
            await self._request(f"link {name}", self.ipr.link("del", index=link.index))

    async def quiet_ipv6(self, index: int) -> None:
        """Prevent IPv6 addresses on a link, so that no router solicitations are sent to the other side."""
        attributes = {"attrs": [["AF_INET6", {"attrs": [["IFLA_INET6_ADDR_GEN_MODE", _ADDRGENMODE_NONE]]}]]}
        try:
            await self.ipr.link("set", index=index, IFLA_AF_SPEC=attributes)
        except NetlinkError as error:
            if error.code not in (errno.EAFNOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP):
                raise host_error(f"link {index}", error) from error

    async def set_link(
        self, link: Link, *, mtu: int | None = None, up: bool | None = None, multicast: bool = False
    ) -> None:
        """Set the MTU, the state and the MULTICAST flag of a link, each only if given. Raises HostError."""
        change = (IFF_UP if up is not None else 0) | (IFF_MULTICAST if multicast else 0)
        values: dict[str, Any] = {"mtu": mtu} if mtu is not None else {}
        if change:
            values |= {"flags": (IFF_UP if up else 0) | (IFF_MULTICAST if multicast else 0), "change": change}
        await self._request(f"link {link.name}", self.ipr.link("set", index=link.index, **values))

    async def set_alias(self, index: int, alias: str) -> None:
        """Set the alias of a link, which ``ip link`` shows. Raises HostError."""
        await self._request(f"link {index}", self.ipr.link("set", index=index, ifalias=alias))

    async def add_address(self, index: int, address: IPv4Interface, peer: IPv4Address | None = None) -> None:
        """Add an address to an interface; a no-op if it exists. Raises HostError."""
        await self._address("add", index, address, peer, ignored=(errno.EEXIST,))

    async def delete_address(self, index: int, address: IPv4Interface, peer: IPv4Address | None = None) -> None:
        """Remove an address from an interface; a no-op if there is none. Raises HostError."""
        await self._address("del", index, address, peer, ignored=(errno.EADDRNOTAVAIL, errno.ENODEV))

    async def _address(
        self, command: str, index: int, address: IPv4Interface, peer: IPv4Address | None, ignored: tuple[int, ...]
    ) -> None:
        values = {"local": str(address.ip), "address": str(peer or address.ip), "prefixlen": address.network.prefixlen}
        try:
            await self.ipr.addr(command, index=index, **values)
        except NetlinkError as error:
            if error.code not in ignored:
                raise host_error(f"address {address}", error) from error

    async def _request(self, what: str, request: Any) -> Any:
        try:
            return await request
        except NetlinkError as error:
            raise host_error(what, error) from error


class GreUnsupported(HostError):
    """The kernel has no GRE."""


async def changes() -> AsyncIterator[None]:
    """Yield once for each batch of changes of links, addresses, routes or rules.

    An overrun of the netlink socket (ENOBUFS) yields too: the caller reads the whole state in any case.
    """
    async with AsyncIPRoute() as ipr:
        await ipr.bind(groups=_RTMGRP_LINK | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV4_ROUTE | _RTMGRP_IPV4_RULE)
        while True:
            try:
                async for _message in ipr.get():
                    yield
            except (OSError, NetlinkError) as error:
                if getattr(error, "code", getattr(error, "errno", None)) != errno.ENOBUFS:
                    raise
                yield


def _link(message: Any) -> Link:
    flags = message["flags"]
    info = message.get("linkinfo")
    kind = info.get("kind") if info is not None else None
    return Link(
        index=message["index"],
        name=message.get("ifname"),
        kind=kind,
        mtu=message.get("mtu"),
        up=bool(flags & IFF_UP),
        multicast=bool(flags & IFF_MULTICAST),
        detail=_detail(kind, info.get("data")) if kind in ("gre", "xfrm") else None,
    )


def _detail(kind: str, data: Any) -> Gre | Xfrm:
    if kind == "xfrm":
        return Xfrm(data.get("xfrm_if_id"))
    flags = data.get("gre_iflags") or 0
    options = GreOptions(
        key=data.get("gre_ikey") if flags & Flag.KEY else None,
        checksum=bool(flags & Flag.CHECKSUM),
        sequence=bool(flags & Flag.SEQUENCE),
        ttl=data.get("gre_ttl"),
    )
    return Gre(IPv4Address(data.get("gre_local")), IPv4Address(data.get("gre_remote")), options)


def _address(message: Any) -> Address:
    address = message.get("address")
    local = message.get("local") or address
    return Address(
        index=message["index"],
        interface=IPv4Interface(f"{local}/{message['prefixlen']}"),
        peer=IPv4Address(address) if address != local else None,
    )


def host_error(what: str, error: NetlinkError) -> HostError:
    """The error for a refusal of the kernel: ``what`` was refused, and the reason."""
    return HostError(f"{what}: {os.strerror(error.code)}")
