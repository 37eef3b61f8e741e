"""What is known of groups beyond what one agent knows: those that are only expected, and one group as a whole. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import IPv4Address

import msgspec

from mcastd.forward.desired import Forwarded
from mcastd.group_status import EntryStatus, GroupReport, OriginStatus, ReceiverStatus
from mcastd.membership import Membership
from mcastd.status import GroupStatus, StreamStatus
from mcastd.streams.desired import StreamsSnapshot
from mcastd.wanted import APPLICATION, HOSTS, MEMBERS, STATIC, Wanted


class Known(msgspec.Struct, frozen=True):
    """What a report is made of: ``wanted`` is by tunnel, ``downstream`` by downstream interface.

    ``joins`` and ``streams`` are those of the group, ``arrival`` is of all groups. ``sockets`` are, by interface, the
    groups that sockets of this host have joined, which on the interfaces ``own`` may be mcastd's own. ``hosts`` are
    those behind an interface that asked for the group, with the age of that. ``forwarded`` are its entries in the
    kernel's multicast routing.
    """

    wanted: Wanted
    downstream: Wanted
    joins: tuple[GroupStatus, ...]
    streams: tuple[StreamStatus, ...]
    arrival: StreamsSnapshot
    sockets: Mapping[str, Collection[IPv4Address]]
    own: Collection[str]
    hosts: Mapping[str, Mapping[IPv4Address, float]]
    forwarded: Forwarded


def expected(wanted: Wanted, tunnels: Iterable[str], group: IPv4Address, now: float) -> Iterator[GroupStatus]:
    """The entries of one group on tunnels whose far end sends unasked."""
    for name in tunnels:
        yield from wanted.rows(name, group, "expected", now)


def build(group: IPv4Address, known: Known, now: float) -> GroupReport:
    """All that is known of one group."""
    return GroupReport(
        group=str(group),
        feeds=known.arrival.names.of(group),
        origins=tuple(_origins(group, known.wanted, now)),
        receivers=(*_applications(group, known, now), *_behind(group, known, now)),
        joins=known.joins,
        streams=known.streams,
        streams_problem=known.arrival.problem,
        forwarded=tuple(_forwarded(known.forwarded)),
    )


def _origins(group: IPv4Address, wanted: Wanted, now: float) -> Iterator[OriginStatus]:
    for name, table in wanted.memberships().items():
        for _, source, origins in table.entries_of(group):
            for origin in origins:
                yield OriginStatus(
                    tunnel=name,
                    origin=origin,
                    source=None if source is None else str(source),
                    age=now - (table.since(group, source, origin) or now),
                    excluded=tuple(map(str, sorted(table.excluded(group, origin)))) if source is None else (),
                )


def _applications(group: IPv4Address, known: Known, now: float) -> Iterator[ReceiverStatus]:
    """The interfaces on which sockets of this host have joined the group."""
    for name in sorted(name for name, groups in known.sockets.items() if group in groups):
        age = _age(known.wanted.memberships().get(name), group, APPLICATION, now)
        if age is not None or name not in known.own:
            yield ReceiverStatus(kind="application", interface=name, age=age)


def _behind(group: IPv4Address, known: Known, now: float) -> Iterator[ReceiverStatus]:
    """Those behind downstream interfaces."""
    for name, table in known.downstream.memberships().items():
        hosts = known.hosts.get(name, {})
        for address, asked in sorted(hosts.items()):
            yield ReceiverStatus(kind="host", interface=name, address=str(address), age=asked)
        if not hosts and (age := _age(table, group, HOSTS, now)) is not None:
            yield ReceiverStatus(kind="hosts", interface=name, age=age)
        if (age := _age(table, group, STATIC, now)) is not None:
            yield ReceiverStatus(kind="static", interface=name, age=age)
        if (age := _age(table, group, MEMBERS, now)) is not None:
            yield ReceiverStatus(kind="members", interface=name, age=age)


def _forwarded(forwarded: Forwarded) -> Iterator[EntryStatus]:
    for (tunnel, source, _), (to, counts) in forwarded.items():
        yield EntryStatus(
            tunnel=tunnel,
            source=source,
            to=to,
            packets=counts.packets,
            bytes=counts.bytes,
            wrong_interface=counts.wrong_interface,
            last_age=counts.age if counts.packets else None,
        )


def _age(table: Membership | None, group: IPv4Address, origin: str, now: float) -> float | None:
    """How long an origin has desired a group on an interface; None if it does not."""
    if table is None:
        return None
    found = [table.since(group, source, origin) for _, source, _ in table.entries_of(group)]
    since = [one for one in found if one is not None]
    return now - min(since) if since else None
