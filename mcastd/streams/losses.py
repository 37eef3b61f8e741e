"""Where this host lost packets of a group, in the order in which they pass: by its counters and its sockets. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Final

from msgspec.structs import replace

from mcastd.net.sock_diag import UdpSocket
from mcastd.stream_status import LossStatus, SocketStatus, StreamCount

_HOST_WIDE: Final = "of all traffic"
_USERSPACE_ESP: Final = "interface/ipsec0/dropped"
_RP_FILTER: Final = "host//reverse_path_filter"


def losses(
    grown: Mapping[str, int],
    streams: Sequence[StreamCount],
    joined: Mapping[str, Collection[IPv4Address]],
    sockets: Iterable[UdpSocket],
) -> tuple[LossStatus, ...]:
    """A row for each place; that with the most packets is the ``worst``.

    ``grown`` is by how much the counters of ``mcastd.system.losses`` have grown; ``joined`` are the groups that sockets
    of this host have joined, by interface.
    """
    tunnels = sorted({one.tunnel for one in streams})
    rows = [
        *_of_cards(grown),
        LossStatus(stage="softnet", packets=grown.get("softnet//dropped"), text=_HOST_WIDE),
        _esp(grown),
        *(_sum("tunnel", name, grown, f"interface/{name}/") for name in tunnels),
        *(_host(one, joined.get(one.tunnel, ()), grown.get(_RP_FILTER, 0)) for one in streams),
        *(_socket(one) for one in sockets),
    ]
    most = max((row.packets or 0 for row in rows), default=0)
    worst = next((place for place, row in enumerate(rows) if most and row.packets == most), None)
    return tuple(replace(row, worst=place == worst) for place, row in enumerate(rows))


def status(sock: UdpSocket) -> SocketStatus:
    """A socket, as status has it."""
    return SocketStatus(
        port=sock.port,
        address=str(sock.address),
        uid=sock.uid,
        inode=sock.inode,
        cgroup=sock.cgroup,
        queued=sock.queued,
        receive_buffer=sock.receive_buffer,
        dropped=sock.dropped,
    )


def _of_cards(grown: Mapping[str, int]) -> Iterator[LossStatus]:
    cards = sorted({name.split("/")[1] for name in grown if name.startswith("nic/")})
    for name in cards:
        yield _sum("nic", name, grown, f"nic/{name}/")
        if any(key.startswith(f"cloud/{name}/") for key in grown):
            yield _sum("cloud", name, grown, f"cloud/{name}/")
        else:
            yield LossStatus(stage="cloud", subject=name, text="the driver counts none")


def _sum(stage: str, name: str, grown: Mapping[str, int], prefix: str) -> LossStatus:
    """The sum of the counters of one interface; frame errors are among its errors."""
    found = {key.removeprefix(prefix): count for key, count in grown.items() if key.startswith(prefix)}
    found.pop("frame", None)
    if not found:
        return LossStatus(stage=stage, subject=name)
    reasons = ", ".join(f"{reason} {count}" for reason, count in found.items() if count)
    return LossStatus(stage=stage, subject=name, packets=sum(found.values()), text=reasons)


def _esp(grown: Mapping[str, int]) -> LossStatus:
    found = {key.removeprefix("esp//"): count for key, count in grown.items() if key.startswith("esp//")}
    if not found or _USERSPACE_ESP in grown:
        return LossStatus(stage="esp", text="ESP is not done by the kernel" if found else "the kernel counts none")
    reasons = ", ".join(f"{reason} {count}" for reason, count in found.items() if count)
    return LossStatus(stage="esp", packets=sum(found.values()), text=reasons)


def _host(stream: StreamCount, joined: Collection[IPv4Address], filtered: int) -> LossStatus:
    """What this host did not pass on of one stream, or all if a socket has joined and nothing was passed on ever."""
    subject = f"{stream.group} port {stream.port} from {stream.source} on {stream.tunnel}"
    if stream.destinations or IPv4Address(stream.group) not in joined:
        text = "" if stream.destinations else "no socket has joined it"
        return LossStatus(stage="host", subject=subject, packets=stream.dropped, text=text)
    cause = "the reverse path filter" if filtered else "its firewall (hook input)"
    return LossStatus(stage="host", subject=subject, packets=stream.packets, text=f"all: {cause}")


def _socket(sock: UdpSocket) -> LossStatus:
    text = f"since it was opened; {sock.queued} of {sock.receive_buffer} bytes of its receive buffer are taken"
    if sock.queued > sock.receive_buffer // 2:
        text += ": the application does not read, or too slowly"
    elif sock.dropped:
        text += ": too small for bursts"
    return LossStatus(stage="socket", subject=f"{sock.address} port {sock.port}", packets=sock.dropped, text=text)
