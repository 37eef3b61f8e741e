"""Whether what is sent to the peers, and to the far ends of the tunnels, leaves this host the way that it should.

The kernel is asked for the route to each, as charon's packets and GRE take it, and the answer compared with what is
expected. So a rule, a route or an address that another program changes is a problem at once, not when packets are
missed: what arrives goes on until the other side forgets the joins. Where a peer is still heard after that, the other
way works, as after a fail-over to another uplink.
"""

from collections.abc import Collection
from ipaddress import IPv4Address
from typing import Final

from mcastd.config.model import Child, Peer, Tunnel
from mcastd.links import Link
from mcastd.problems import Problem
from mcastd.tunnel.desired import TunnelsDesired
from mcastd.tunnel.kernel import Netlink

# Seconds for which a peer has to be heard until another way to it is known to work. It forgets joins after 210 s
# (RFC 7761, section 4.11), and it is heard for up to 40 s after the last packet of a feed.
_WORKS: Final = 250.0
_CHARONS_TUN: Final = "ipsec0"  # of ESP in user space (kernel-libipsec)
_CHARONS_TABLE: Final = 220  # of its routes into IPsec, and the priority of the rule that leads there


class Ways:
    """``problems`` are those of the last look."""

    def __init__(self, netlink: Netlink) -> None:
        self._netlink = netlink
        self.problems: tuple[Problem, ...] = ()
        # By the peer's name, how often its CHILD_SAs had come up, and the interface by which it was reached then.
        self._known: dict[str, tuple[int, str]] = {}
        # By the peer's name, another interface by which it is reached now, and since when it is heard meanwhile.
        self._other: dict[str, tuple[str, float]] = {}

    async def look(self, desired: TunnelsDesired, up: Collection[str], now: float) -> None:
        """Compare the ways to all peers, and those of the tunnels that are ``up``; raises HostError.

        ``now`` is in seconds, monotonic.
        """
        config = desired.config
        children = {child.name: child for peer in config.peers for child in peer.children}
        found = [await self._to_peer(peer, desired, now) for peer in config.peers]
        tunnels = [tunnel for tunnel in config.tunnels if tunnel.name in up]
        found += [await self._tunnel(tunnel, children.get(tunnel.child or "")) for tunnel in tunnels]
        self.problems = tuple(problem for problem in found if problem is not None)

    async def _to_peer(self, peer: Peer, desired: TunnelsDesired, now: float) -> Problem | None:
        """The way of IKE, and of ESP in UDP: from our address to the peer's."""
        local, remote, carriers = peer.local, peer.remote, desired.carriers
        other = self._other.pop(peer.name, None)
        if not await self._netlink.is_local(local):
            return await self._without_address(peer)
        if await self._netlink.is_local(remote):
            return Problem(
                "remote_is_local", peer.name, f"{remote}, the address of peer {peer.name}, is one of this host"
            )
        way = await self._netlink.link_towards(remote, local)
        if way is None:
            return Problem("no_way", peer.name, f"there is no route from {local} to {remote}; ip route get {remote}")
        count = sum(carriers[child.name].up_count for child in peer.children if child.name in carriers)
        known = self._known.get(peer.name)
        if known is None or known[0] != count:
            # The SAs have just been negotiated by it, or were up when this process began.
            known = self._known[peer.name] = count, way.name
        if way.name == known[1] or not count or await self._has(way, local):
            return None
        if peer.name in desired.heard:
            since = other[1] if other is not None and other[0] == way.name else now
            if now - since >= _WORKS:
                self._known[peer.name] = count, way.name
                return None
            self._other[peer.name] = way.name, since
        text = f"packets to {remote} leave by {way.name}, and left by {known[1]} when the SAs were negotiated"
        return Problem("route_to_peer", peer.name, f"{text}; ip rule; ip route get {remote} from {local}")

    async def _without_address(self, peer: Peer) -> Problem:
        """The problem of a peer whose local address is not one of this host, or one in a VRF."""
        links = {link.index: link for link in await self._netlink.links()}
        for address in await self._netlink.addresses():
            link = links.get(address.index)
            if address.interface.ip == peer.local and link is not None and (vrf := links.get(link.master or 0)):
                return Problem(
                    "peer_in_vrf", peer.name, f"{link.name}, which has {peer.local}, is in the VRF {vrf.name}"
                )
        text = f"{peer.local}, the local address of peer {peer.name}, is not an address of this host; ip address"
        return Problem("no_way", peer.name, text)

    async def _tunnel(self, tunnel: Tunnel, child: Child | None) -> Problem | None:
        """The way of GRE to the far end, and what the link itself is in."""
        link = await self._netlink.link(tunnel.name)
        if link is not None and link.master is not None:
            vrf = {one.index: one.name for one in await self._netlink.links()}.get(link.master, "another interface")
            return Problem(
                "tunnel_in_vrf", tunnel.name, f"{tunnel.name} is in {vrf}; ip link set {tunnel.name} nomaster"
            )
        if tunnel.encapsulation != "gre":
            return None
        remote = tunnel.remote
        if await self._netlink.is_local(remote):
            text = f"{remote}, the remote endpoint of {tunnel.name}, is an address of this host; ip address"
            return Problem("remote_is_local", tunnel.name, text)
        way = await self._netlink.link_towards(remote, tunnel.local)
        if way is None:
            return Problem(
                "no_way", tunnel.name, f"there is no route to {remote}, the remote endpoint of {tunnel.name}"
            )
        expected = await self._into_ipsec(child) if child is not None else None
        if expected is None or expected == way.name:
            return None
        return await self._not_encrypted(tunnel, way, expected)

    async def _into_ipsec(self, child: Child) -> str | None:
        """The interface that encrypts what is for a CHILD_SA; None if a policy of the kernel does, on any."""
        if child.interface is not None:
            return child.interface
        link = await self._netlink.link(_CHARONS_TUN)
        return _CHARONS_TUN if link is not None and link.kind == "tun" else None

    async def _not_encrypted(self, tunnel: Tunnel, way: Link, expected: str) -> Problem:
        text = f"GRE to {tunnel.remote} leaves by {way.name}, and not by {expected}, which encrypts it"
        rules = await self._netlink.rules()
        if expected == _CHARONS_TUN and all(rule.table != _CHARONS_TABLE for rule in rules):
            text += f": the rule of charon's table is missing; ip rule add pref {_CHARONS_TABLE} table {_CHARONS_TABLE}"
            return Problem("rule_220_missing", tunnel.name, text)
        return Problem("not_encrypted", tunnel.name, f"{text}; ip rule; ip route get {tunnel.remote}")

    async def _has(self, link: Link, address: IPv4Address) -> bool:
        return any(one.interface.ip == address for one in await self._netlink.addresses(link))
