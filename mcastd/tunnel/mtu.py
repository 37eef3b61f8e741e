"""The MTU of a tunnel, from the negotiated ESP and the MTU of the link below. Pure."""

from ipaddress import IPv4Address

import msgspec

from mcastd.config.model import Mode, Tunnel
from mcastd.config.mtu import gre_header, largest_mtu
from mcastd.config.proposals import Esp

_ETHERNET = 1500


class Carrier(msgspec.Struct, frozen=True):
    """What carries a tunnel: a CHILD_SA as negotiated or, before that, as configured; without IPsec ``esp`` is None.

    ``remote`` is the outer address of the peer, to which the path MTU is found; ``up_count`` is how often it came up.
    """

    up: bool = False
    up_count: int = 0
    esp: Esp | None = None
    mode: Mode = "tunnel"
    encap: bool = True
    remote: IPv4Address | None = None


def tunnel_mtu(
    tunnel: Tunnel, carrier: Carrier, path_mtu: int | None, lower: tuple[str, int] | None
) -> tuple[int, str]:
    """The MTU in bytes for ``auto``, and the reason for it in words.

    It is the smaller of what remains of the path MTU to the peer after ESP and GRE, and of what remains of the MTU of
    the link to the remote endpoint after GRE. ``lower`` is the name and MTU of that link, such as charon's own TUN.
    """
    gre = gre_header(tunnel)
    mtu, reason = _over_path(carrier, path_mtu or _ETHERNET, gre)
    if lower is not None and gre is not None:
        name, lower_mtu = lower
        below = largest_mtu(lower_mtu, None, gre=gre)
        if below < mtu:
            return below, f"GRE on {name} of {lower_mtu}"
    return mtu, reason


def interface_mtu(carrier: Carrier, path_mtu: int | None) -> int:
    """The MTU in bytes of an XFRM interface that carries all that is routed to it."""
    return _over_path(carrier, path_mtu or _ETHERNET, None)[0]


def _over_path(carrier: Carrier, path: int, gre: int | None) -> tuple[int, str]:
    mtu = largest_mtu(path, carrier.esp, mode=carrier.mode, encap=carrier.encap, gre=gre)
    if carrier.esp is None:
        return mtu, f"GRE on a path of {path}"
    mode = "transport" if carrier.mode == "transport" else "tunnel"
    udp = " in UDP" if carrier.encap else ""
    return mtu, f"ESP {mode} mode{udp} on a path of {path}"
