"""What to answer to a keepalive: pure."""

from dataclasses import dataclass

from mcastd.errors import DecodeError
from mcastd.keepalive.packet import Endpoints
from mcastd.tunnel import gre


@dataclass(frozen=True, slots=True)
class Answer:
    """The inner packet of a keepalive, to be sent on: its GRE, and ``tos`` and ``ttl`` of its IP header."""

    gre: bytes
    tos: int
    ttl: int


def reflect(inner: bytes | memoryview, tunnel: Endpoints) -> Answer:
    """The answer to the keepalive whose inner IPv4 packet this is.

    Raises DecodeError with the reason for none: what GRE and IP headers can have wrong, ``not_gre``,
    ``inner_source``, ``inner_destination``, ``inner_ttl`` (0), ``not_keepalive`` (GRE protocol other than 0),
    ``inner_key``, ``nested`` (anything behind the inner GRE header).
    """
    payload = gre.ipv4_payload(inner)
    if inner[9] != gre.IPPROTO_GRE:
        raise DecodeError("not_gre")
    if inner[12:16] not in {address.packed for address in (tunnel.local, *tunnel.also)}:
        raise DecodeError("inner_source")
    if inner[16:20] != tunnel.remote.packed:
        raise DecodeError("inner_destination")
    if inner[8] == 0:
        raise DecodeError("inner_ttl")
    header = gre.decode(payload)
    if header.protocol != gre.PROTOCOL_KEEPALIVE:
        raise DecodeError("not_keepalive")
    if header.key != tunnel.key:
        raise DecodeError("inner_key")
    if len(payload) != header.length:
        raise DecodeError("nested")
    return Answer(bytes(payload), tos=inner[1], ttl=inner[8])


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
