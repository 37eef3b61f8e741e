"""The codec: what a GRE packet of the far end carries, and our own request. Pure."""

from ipaddress import IPv4Address

import msgspec

from mcastd.config.model import Child, Peer, Tunnel
from mcastd.config.other_side import as_address
from mcastd.errors import DecodeError
from mcastd.net import gre, ipv4
from mcastd.net.gre import PLAIN, GreOptions

TTL = 255


class Endpoints(msgspec.Struct, frozen=True):
    """The GRE tunnel that keepalives must belong to.

    ``also`` are further addresses by which the far end knows us.
    """

    local: IPv4Address
    remote: IPv4Address
    gre: GreOptions = PLAIN
    also: tuple[IPv4Address, ...] = ()


class KeepaliveTunnel(msgspec.Struct, frozen=True):
    """A tunnel as its keepalives need it: ``present`` is that its link exists, ``up`` that its CHILD_SA is up too."""

    tunnel: Tunnel
    endpoints: Endpoints
    present: bool
    up: bool


def endpoints(tunnel: Tunnel, peer: Peer | None = None, child: Child | None = None) -> Endpoints:
    """The endpoints of a tunnel over a CHILD_SA of a peer.

    In transport mode behind a 1:1 NAT the far end's tunnel ends at our public address, which is our IKE identity.
    """
    also = tunnel.keepalive.inner_addresses
    if peer is not None and child is not None and child.mode == "transport":
        public = as_address(peer.local_id)
        if public is not None and public not in (tunnel.local, *also):
            also = (public, *also)
    return Endpoints(tunnel.local, tunnel.remote, tunnel.gre, also)


def request(tunnel: Endpoints) -> bytes:
    """Our keepalive, without its outer IP header: GRE, and in it the packet that the far end is to send back.

    The inner packet goes to the first of ``also``, if there is one: the address that the far end sends to. The headers
    carry no sequence number: the tunnel's are counted by the kernel, and with a second counter the far end would drop
    packets as out of order.
    """
    answer = tunnel.gre.header(gre.PROTOCOL_KEEPALIVE).encode(b"")
    destination = next(iter(tunnel.also), tunnel.local)
    inner = ipv4.encode(answer, tunnel.remote, destination, protocol=ipv4.GRE, tos=ipv4.INTERNETWORK_CONTROL, ttl=TTL)
    return tunnel.gre.header(gre.PROTOCOL_IPV4).encode(inner)


def carried(packet: bytes, tunnel: Endpoints) -> memoryview | None:
    """The inner IPv4 packet that a GRE packet of the far end, outer IP header first, carries; None if it is an answer.

    Raises DecodeError: what IP, GRE and CMD headers can have wrong, ``gre_key`` (another tunnel's), ``gre_protocol``,
    ``nested`` (an answer with anything behind its GRE header).
    """
    payload = ipv4.parse(packet).payload
    header = gre.decode(payload)
    if not tunnel.gre.receives(header):
        raise DecodeError("gre_key")
    inner = payload[header.length :]
    match header.protocol:
        case gre.PROTOCOL_KEEPALIVE:
            if inner:
                raise DecodeError("nested")
            return None
        case gre.PROTOCOL_IPV4:
            return inner
        case gre.PROTOCOL_CMD:
            return gre.behind_cmd(inner)
        case _:
            raise DecodeError("gre_protocol")


def is_of_another_tunnel(inner: memoryview, tunnel: Endpoints) -> bool:
    """Whether a packet that a GRE packet carries has neither end of the tunnel for an address.

    GRE between others is data, its keepalives too. Raises DecodeError as ``ipv4.parse``.
    """
    return {tunnel.local, tunnel.remote, *tunnel.also}.isdisjoint(ipv4.parse(inner).ends)
