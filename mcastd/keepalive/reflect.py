"""What to answer to a keepalive: pure."""

from dataclasses import dataclass
from ipaddress import IPv4Address

from mcastd.errors import DecodeError
from mcastd.tunnel import gre


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The GRE tunnel that keepalives must belong to."""

    local: IPv4Address
    remote: IPv4Address
    key: int | None


def reflect(inner: bytes, tunnel: Endpoints) -> bytes:
    """The GRE packet, without its outer IP header, that answers the keepalive whose inner IPv4 packet this is.

    Raises DecodeError with the reason for no answer: what GRE and IP headers can have wrong, ``not_gre``,
    ``inner_source``, ``inner_destination``, ``not_keepalive`` (GRE protocol other than 0), ``inner_key``, ``nested``
    (anything behind the inner GRE header).
    """
    payload = gre.ipv4_payload(inner)
    if inner[9] != gre.IPPROTO_GRE:
        raise DecodeError("not_gre")
    if inner[12:16] != tunnel.local.packed:
        raise DecodeError("inner_source")
    if inner[16:20] != tunnel.remote.packed:
        raise DecodeError("inner_destination")
    header = gre.decode(payload)
    if header.protocol != gre.PROTOCOL_KEEPALIVE:
        raise DecodeError("not_keepalive")
    if header.key != tunnel.key:
        raise DecodeError("inner_key")
    if len(payload) != header.length:
        raise DecodeError("nested")
    return bytes(payload)


class RateLimit:
    """A token bucket: ``per_second`` on average, that many at once. Times are seconds, monotonic."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._burst = max(1.0, per_second)
        self._tokens = self._burst
        self._at = 0.0

    def allow(self, now: float) -> bool:
        """Whether one more is within the rate at ``now``; if so it is counted."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
