"""The MTU of a tunnel from what carries it: the negotiated ESP, and the link below. Pure."""

from dataclasses import dataclass
from ipaddress import IPv4Address

from mcastd.config.model import Mode, Tunnel
from mcastd.config.mtu import gre_header, largest_mtu
from mcastd.config.proposals import Esp

_ETHERNET = 1500


@dataclass(frozen=True, slots=True)
class Carrier:
    """What carries a tunnel: a child, as negotiated or, before that, as configured; without IPsec ``esp`` is None.

    ``remote`` is the peer's outer address, whose route gives the path MTU; ``up_count`` counts how often it came up.
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
    """The MTU for ``auto``, and the reason for it in words.

    It is the smaller of what ESP leaves of the path towards the peer, and what GRE leaves of the link towards the far
    endpoint (``lower``, its name and MTU), which may be smaller, as charon's own TUN is.
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
    """The MTU of an XFRM interface that carries whatever is routed to it."""
    return _over_path(carrier, path_mtu or _ETHERNET, None)[0]


def _over_path(carrier: Carrier, path: int, gre: int | None) -> tuple[int, str]:
    mtu = largest_mtu(path, carrier.esp, mode=carrier.mode, encap=carrier.encap, gre=gre)
    if carrier.esp is None:
        return mtu, f"GRE on a path of {path}"
    mode = "transport" if carrier.mode == "transport" else "tunnel"
    udp = " in UDP" if carrier.encap else ""
    return mtu, f"ESP {mode} mode{udp} on a path of {path}"
