"""Links, addresses and routes over rtnetlink: what we need of it, as frozen structs, with errors in words."""

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
    """One IPv4 address on the interface ``index``; ``peer`` is the far end's on a point-to-point address."""

    index: int
    interface: IPv4Interface
    peer: IPv4Address | None = None


class Netlink:
    """One rtnetlink socket for questions and changes, ``ipr``; ``async with`` it."""

    def __init__(self) -> None:
        self.ipr = AsyncIPRoute()

    async def __aenter__(self) -> Self:
        await self.ipr.setup_endpoint()
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.ipr.close()

    async def link(self, name: str) -> Link | None:
        """The interface of that name, or None."""
        try:
            answer = list(await self.ipr.link("get", ifname=name))
        except NetlinkError as error:
            if error.code == errno.ENODEV:
                return None
            raise host_error(f"link {name}", error) from error
        return _link(answer[0])

    async def link_by_index(self, index: int) -> Link:
        """The interface of that index; raises HostError where there is none."""
        answer = list(await self._asked(f"link {index}", self.ipr.link("get", index=index)))
        return _link(answer[0])

    async def addresses(self) -> tuple[Address, ...]:
        """Every IPv4 address of the host. Raises HostError, also where the list changed while it was read."""
        try:
            return tuple([_address(message) async for message in await self.ipr.addr("dump", family=2)])
        except NetlinkError as error:
            raise host_error("addresses", error) from error

    async def link_towards(self, destination: IPv4Address, source: IPv4Address | None = None) -> Link | None:
        """The interface that packets to ``destination`` leave by, or None where no route leads there."""
        query = {"dst": str(destination)} | ({"src": str(source)} if source else {})
        try:
            answer = list(await self.ipr.route("get", **query))
        except NetlinkError:
            return None
        return await self.link_by_index(answer[0].get("oif"))

    async def way(self, destination: IPv4Address, source: IPv4Address) -> Way | None:
        """How packets leave for ``destination``, or None where no route leads there. Raises HostError."""
        try:
            route = next(iter(await self.ipr.route("get", dst=str(destination), src=str(source))))
        except NetlinkError:
            return None
        gateway, index = route.get("gateway"), route.get("oif")
        hop = gateway or str(destination)
        neighbors = await self._asked("neighbours", self.ipr.neigh("dump", family=2, ifindex=index))
        states = [entry["state"] async for entry in neighbors if entry.get("dst") == hop and entry["ifindex"] == index]
        return Way(
            interface=(await self.link_by_index(index)).name,
            gateway=IPv4Address(gateway) if gateway else None,
            silent=any(state & _NUD_UNRESOLVED for state in states),
        )

    async def add_gre(self, name: str, wanted: Gre) -> None:
        """Make a link of kind ``gre``. Raises GreUnsupported where the kernel has no GRE."""
        # Without the flag the kernel takes the key and silently does not use it.
        flags, key = wanted.options.feed_header.flags, wanted.options.key
        optional = {"gre_iflags": flags, "gre_oflags": flags} if flags else {}
        if key is not None:
            optional |= {"gre_ikey": key, "gre_okey": key}
        try:
            await self.ipr.link(
                "add", ifname=name, kind="gre", gre_local=str(wanted.local), gre_remote=str(wanted.remote),
                gre_ttl=wanted.options.ttl, gre_pmtudisc=1, **optional,
            )  # fmt: skip
        except NetlinkError as error:
            if error.code == errno.EOPNOTSUPP:
                raise GreUnsupported("this kernel has no GRE (no module ip_gre)") from error
            raise host_error(f"link {name}", error) from error

    async def add_xfrm(self, name: str, wanted: Xfrm) -> None:
        """Make a link of kind ``xfrm``. Raises HostError, also where the kernel has no XFRM interfaces."""
        try:
            await self.ipr.link("add", ifname=name, kind="xfrm", xfrm_if_id=wanted.if_id)
        except NetlinkError as error:
            if error.code == errno.EOPNOTSUPP:
                raise HostError(f"{name}: this kernel has no XFRM interfaces (no module xfrm_interface)") from error
            raise host_error(f"link {name}", error) from error

    async def delete_link(self, name: str) -> None:
        """Remove a link; one that is gone already is as good."""
        link = await self.link(name)
        if link is not None:
            await self._asked(f"link {name}", self.ipr.link("del", index=link.index))

    async def quiet_ipv6(self, index: int) -> None:
        """Let no IPv6 address be made on a link, or router solicitations would go to the other side."""
        attributes = {"attrs": [["AF_INET6", {"attrs": [["IFLA_INET6_ADDR_GEN_MODE", _ADDRGENMODE_NONE]]}]]}
        try:
            await self.ipr.link("set", index=index, IFLA_AF_SPEC=attributes)
        except NetlinkError as error:
            if error.code not in (errno.EAFNOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP):
                raise host_error(f"link {index}", error) from error

    async def set_link(
        self, link: Link, *, mtu: int | None = None, up: bool | None = None, multicast: bool = False
    ) -> None:
        """Change MTU, state and the MULTICAST flag of a link, each only where it is given."""
        change = (IFF_UP if up is not None else 0) | (IFF_MULTICAST if multicast else 0)
        values: dict[str, Any] = {"mtu": mtu} if mtu is not None else {}
        if change:
            values |= {"flags": (IFF_UP if up else 0) | (IFF_MULTICAST if multicast else 0), "change": change}
        await self._asked(f"link {link.name}", self.ipr.link("set", index=link.index, **values))

    async def set_alias(self, index: int, alias: str) -> None:
        """Name who made a link, for people who look at it."""
        await self._asked(f"link {index}", self.ipr.link("set", index=index, ifalias=alias))

    async def add_address(self, index: int, address: IPv4Interface, peer: IPv4Address | None = None) -> None:
        """Put an address on an interface; one that is there already is as good."""
        await self._address("add", index, address, peer, as_good=(errno.EEXIST,))

    async def delete_address(self, index: int, address: IPv4Interface, peer: IPv4Address | None = None) -> None:
        """Take an address off an interface; one that is gone already is as good."""
        await self._address("del", index, address, peer, as_good=(errno.EADDRNOTAVAIL, errno.ENODEV))

    async def _address(
        self, command: str, index: int, address: IPv4Interface, peer: IPv4Address | None, as_good: tuple[int, ...]
    ) -> None:
        values = {"local": str(address.ip), "address": str(peer or address.ip), "prefixlen": address.network.prefixlen}
        try:
            await self.ipr.addr(command, index=index, **values)
        except NetlinkError as error:
            if error.code not in as_good:
                raise host_error(f"address {address}", error) from error

    async def _asked(self, what: str, request: Any) -> Any:
        try:
            return await request
        except NetlinkError as error:
            raise host_error(what, error) from error


class GreUnsupported(HostError):
    """The kernel has no GRE."""


async def changes() -> AsyncIterator[None]:
    """Yield once for each batch of changes of links, addresses, routes or rules, for ever.

    An overrun of the netlink socket (ENOBUFS) loses messages, not meaning: it yields too, and everything is looked at.
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
    """What the kernel would not do, and why."""
    return HostError(f"{what}: {os.strerror(error.code)}")
