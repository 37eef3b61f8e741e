"""The MTU of a tunnel from what carries it: the negotiated ESP, and the link below. Pure."""

from dataclasses import dataclass
from ipaddress import IPv4Address

from mcastd.config.model import Mode, Tunnel
from mcastd.config.mtu import Esp, largest_mtu

_ETHERNET = 1500


@dataclass(frozen=True, slots=True)
class Carrier:
    """What carries a tunnel: a child, as negotiated or, before that, as configured; without IPsec ``esp`` is None.

    ``remote`` is the peer's outer address, whose route tells the path's MTU; ``generation`` counts the child's comings.
    """

    up: bool = False
    generation: int = 0
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
    keyed = tunnel.key is not None
    path = path_mtu or _ETHERNET
    mtu = largest_mtu(path, carrier.esp, mode=carrier.mode, encap=carrier.encap, key=keyed)
    udp = " in UDP" if carrier.encap else ""
    reason = f"ESP {carrier.mode} mode{udp} on a path of {path}" if carrier.esp else f"GRE on a path of {path}"
    if lower is not None:
        name, lower_mtu = lower
        below = largest_mtu(lower_mtu, None, key=keyed)
        if below < mtu:
            return below, f"GRE on {name} of {lower_mtu}"
    return mtu, reason
