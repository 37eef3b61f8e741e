"""Where this host lost packets of a group, in the order in which they pass: by its counters and its sockets. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from heapq import nlargest
from ipaddress import IPv4Address, IPv6Address
from math import ceil
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace

from mcastd.net.sock_diag import UdpSocket
from mcastd.stream_status import LossStatus, SocketStatus, StreamCount

_ROWS: Final = 16  # streams of a group that have a row of their own
_HOST_WIDE: Final = "of all traffic"
_USERSPACE_ESP: Final = "interface/ipsec0/dropped"
_RP_FILTER: Final = "host//reverse_path_filter"
_FULL_BUFFERS: Final = "socket//receive_buffer"


def losses(
    grown: Mapping[str, int],
    streams: Sequence[StreamCount],
    joined: Mapping[str, Collection[IPv4Address]],
    sockets: Iterable[UdpSocket],
    unread: str | None = None,
    children: Mapping[str, str | None] = MappingProxyType({}),
) -> tuple[LossStatus, ...]:
    """A row for each place; the ``worst`` is that with the most packets, among those of the group alone if these lost.

    What is missing by the sender's numbers was lost before it was counted on the tunnel: of that the part counts that
    no row of this host before the tunnel explains.

    ``grown`` is by how much the counters of ``mcastd.system.losses`` have grown; ``joined`` are the groups that sockets
    of this host have joined, by interface; ``unread`` is why the sockets are not known; ``children`` are the CHILD_SAs
    of the tunnels, by their names.
    """
    tunnels = sorted({one.tunnel for one in streams})
    rows = [
        _sequence(streams),
        *_of_cards(grown),
        LossStatus(stage="softnet", packets=grown.get("softnet//dropped"), text=_HOST_WIDE),
        *_of_sas(grown, sorted({child for name in tunnels if (child := children.get(name)) is not None})),
        _esp(grown),
        *(_sum("tunnel", name, grown, f"interface/{name}/") for name in tunnels),
    ]
    of_all_traffic = len(rows)
    rows += _of_host(streams, joined, grown.get(_RP_FILTER, 0))
    rows += map(_socket, sockets)
    if unread is not None:
        rows.append(LossStatus(stage="socket", text=unread))
    lost = [_missing_packets(streams), *(_lost(row, grown) for row in rows[1:])]
    before = max(range(1, of_all_traffic), key=lambda place: lost[place])
    lost[0] = max(0, lost[0] - lost[before])
    worst = max([0, *range(of_all_traffic, len(rows))], key=lambda place: lost[place])
    if not lost[worst] or (worst == 0 and lost[0] < lost[before]):
        worst = before
    return tuple(replace(row, worst=bool(lost[worst]) and place == worst) for place, row in enumerate(rows))


def receives(sock: UdpSocket, group: IPv4Address) -> bool:
    """Whether what is sent to a group can reach a socket by the address that it is bound to."""
    address = sock.address
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return address.is_unspecified or address == group


def _lost(row: LossStatus, grown: Mapping[str, int]) -> int:
    """The packets of a row in the period; a socket counts since it was opened, all together count in the period."""
    packets = row.packets or 0
    return min(packets, grown.get(_FULL_BUFFERS, packets)) if row.stage == "socket" else packets


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


def _sequence(streams: Iterable[StreamCount]) -> LossStatus:
    """What is missing by the sender's numbers, where a feed says where they are, and where they are read."""
    numbers = [each for one in streams for each in one.numbers]
    if not numbers:
        return LossStatus(stage="sequence", text="no sequence numbers are read")
    missing = sum(each.missing + each.awaited for each in numbers)
    duplicate, late = sum(each.duplicate for each in numbers), sum(each.late for each in numbers)
    text = f"{late} came late, {duplicate} twice; since measuring began"
    return LossStatus(stage="sequence", packets=missing, late=late, text=text)


def _missing_packets(streams: Iterable[StreamCount]) -> int:
    """How many packets the missing numbers were in, on average: a packet may have many messages with one each."""
    found = 0.0
    for one in (each for stream in streams for each in stream.measured):
        if one.numbers is not None:
            share = min(1.0, one.packets / one.numbers.seen) if one.numbers.seen else 1.0
            found += share * (one.numbers.missing + one.numbers.awaited)
    return ceil(found)


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


def _of_sas(grown: Mapping[str, int], children: Iterable[str]) -> Iterator[LossStatus]:
    """What each CHILD_SA has lost; nothing of those whose SA the kernel does not have, or does not number."""
    for name in children:
        if (lost := grown.get(f"esp/{name}/lost")) is not None:
            yield LossStatus(stage="esp", subject=name, packets=lost, text="by the numbers of its SAs: on the way here")


def _esp(grown: Mapping[str, int]) -> LossStatus:
    found = {key.removeprefix("esp//"): count for key, count in grown.items() if key.startswith("esp//")}
    if not found or _USERSPACE_ESP in grown:
        return LossStatus(stage="esp", text="ESP is not done by the kernel" if found else "the kernel counts none")
    reasons = ", ".join(f"{reason} {count}" for reason, count in found.items() if count)
    return LossStatus(stage="esp", packets=sum(found.values()), text=reasons)


def _of_host(
    streams: Sequence[StreamCount], joined: Mapping[str, Collection[IPv4Address]], filtered: int
) -> Iterator[LossStatus]:
    """What this host did not pass on of each stream; of many streams those that lost most have a row of their own.

    That is all of it if a socket has joined the group and nothing of the group is passed on to sockets. If some is, a
    socket may want another source or port.
    """
    group = IPv4Address(streams[0].group) if streams else None
    joining = {name for name, groups in joined.items() if group in groups}
    passed_on = any(not one.withheld for stream in streams for one in stream.destinations if one.interface is None)

    def lost(stream: StreamCount) -> int:
        if passed_on or stream.tunnel not in joining:
            return stream.dropped
        withheld = next((one.withheld for one in stream.destinations if one.interface is None), stream.packets)
        return min(stream.dropped + withheld, stream.packets)

    shown = streams
    if len(streams) > _ROWS:
        most = nlargest(_ROWS, range(len(streams)), key=lambda place: lost(streams[place]))
        shown = [streams[place] for place in sorted(most)]
    for one in shown:
        subject = f"{one.group} port {one.port} from {one.source} on {one.tunnel}"
        if one.tunnel not in joining:
            text = "" if one.destinations else "no socket has joined it"
        elif passed_on:
            text = "" if one.destinations else "nothing is passed on"
        else:
            since = " since the last one that was passed on" if one.destinations else ""
            text = f"all{since}: {'the reverse path filter' if filtered else 'its firewall (hook input)'}"
        yield LossStatus(stage="host", subject=subject, packets=lost(one), text=text)
    if len(shown) < len(streams):
        rest = sum(map(lost, streams)) - sum(map(lost, shown))
        yield LossStatus(stage="host", subject=f"{len(streams) - len(shown)} other streams", packets=rest)


def _socket(sock: UdpSocket) -> LossStatus:
    text = f"since it was opened; {sock.queued} of {sock.receive_buffer} bytes of its receive buffer are taken"
    if sock.queued > sock.receive_buffer // 2:
        text += ": the application does not read, or too slowly"
    elif sock.dropped:
        text += ": too small for bursts"
    return LossStatus(stage="socket", subject=f"{sock.address} port {sock.port}", packets=sock.dropped, text=text)
