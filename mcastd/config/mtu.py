"""How large a packet may be on a tunnel, so that it fits the path below with GRE and ESP around it."""

from typing import Final

from mcastd.config.model import Mode, Tunnel
from mcastd.config.proposals import Esp
from mcastd.net import ipv4
from mcastd.net.gre import PLAIN

TCP_HEADER: Final = 20
ESP_HEADER: Final = 8
ESP_TRAILER: Final = 2

PATH_MTU: Final = 1500
"""Bytes; what any path over the Internet is assumed to carry."""

VXLAN_HEADERS: Final = 50
"""Bytes that VXLAN adds to an IPv4 packet: Ethernet, VXLAN, UDP and IPv4 (RFC 7348, section 5)."""

USERSPACE_LINK_MTU: Final = 1400
"""The MTU of ``ipsec0``, the TUN device of charon's ESP in user space (kernel-libipsec)."""


def gre_header(tunnel: Tunnel) -> int | None:
    """The length of a tunnel's GRE header in bytes (RFC 2784, RFC 2890); None where there is no GRE."""
    return None if tunnel.encapsulation == "none" else tunnel.gre.feed_header.length


def largest_mtu(
    path_mtu: int,
    esp: Esp | None,
    *,
    mode: Mode = "tunnel",
    encap: bool = True,
    gre: int | None = PLAIN.feed_header.length,
) -> int:
    """The largest MTU of a tunnel over a path of ``path_mtu`` bytes, both in bytes of an IPv4 packet.

    ``esp`` None is no IPsec; ``encap`` is ESP in UDP (NAT-T); ``gre`` is the length of the GRE header, and None no GRE.
    In transport mode ESP has no IP header of its own but takes that of GRE.
    """
    above = 0 if gre is None else ipv4.HEADER_LENGTH + gre
    return largest_packet(path_mtu, esp, mode=mode, encap=encap) - above


def largest_packet(path_mtu: int, esp: Esp | None, *, mode: Mode = "tunnel", encap: bool = True) -> int:
    """The largest IPv4 packet, in bytes before ESP, that fits a path of ``path_mtu`` bytes with ESP around it."""
    if esp is None:
        return path_mtu
    outside = ipv4.HEADER_LENGTH + (ipv4.UDP_HEADER_LENGTH if encap else 0) + ESP_HEADER + esp.iv + esp.icv
    room = (path_mtu - outside) // esp.block * esp.block
    # In transport mode the packet's own IP header is the outer one.
    return room - ESP_TRAILER + (ipv4.HEADER_LENGTH if mode == "transport" else 0)
