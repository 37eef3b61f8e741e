"""How large a packet may be on a tunnel, so that it fits the path below once GRE and ESP are around it."""

from typing import Final

from mcastd.config.model import Mode, Tunnel
from mcastd.config.proposals import Esp

IPV4_HEADER: Final = 20
TCP_HEADER: Final = 20
UDP_HEADER: Final = 8
ESP_HEADER: Final = 8
ESP_TRAILER: Final = 2
GRE_HEADER: Final = 4

PATH_MTU: Final = 1500
"""Bytes; what any path over the Internet is taken to carry."""

USERSPACE_LINK_MTU: Final = 1400
"""The MTU of ``ipsec0``, the TUN device of charon's ESP in user space (kernel-libipsec)."""


def gre_header(tunnel: Tunnel) -> int | None:
    """The length of a tunnel's GRE header in bytes (RFC 2784, RFC 2890); None where there is no GRE."""
    if tunnel.encapsulation == "none":
        return None
    return tunnel.gre.feed_header.length


def largest_mtu(
    path_mtu: int,
    esp: Esp | None,
    *,
    mode: Mode = "tunnel",
    encap: bool = True,
    gre: int | None = GRE_HEADER,
) -> int:
    """The largest MTU of a tunnel over a path of ``path_mtu`` bytes, both in bytes of an IPv4 packet.

    ``esp`` None is no IPsec; ``encap`` is ESP in UDP (NAT-T); ``gre`` is the length of the GRE header, and None no GRE.
    In transport mode ESP has no IP header of its own but takes that of GRE.
    """
    above = 0 if gre is None else IPV4_HEADER + gre
    return largest_packet(path_mtu, esp, mode=mode, encap=encap) - above


def largest_packet(path_mtu: int, esp: Esp | None, *, mode: Mode = "tunnel", encap: bool = True) -> int:
    """The largest IPv4 packet, in bytes before ESP, that fits a path of ``path_mtu`` bytes with ESP around it."""
    if esp is None:
        return path_mtu
    outside = IPV4_HEADER + (UDP_HEADER if encap else 0) + ESP_HEADER + esp.iv + esp.icv
    room = (path_mtu - outside) // esp.block * esp.block
    # In transport mode the packet's own IP header is the outer one.
    return room - ESP_TRAILER + (IPV4_HEADER if mode == "transport" else 0)
