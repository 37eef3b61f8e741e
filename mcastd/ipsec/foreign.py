"""Connections and SAs of other programs that have the traffic selectors of ours, so that the two take turns. Pure."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

from mcastd.config.model import Child, Peer
from mcastd.ipsec.contents import Connection
from mcastd.ipsec.sas import IkeSa
from mcastd.problems import Problem

# As charon writes a selector: 10.44.6.1/32, 10.44.6.1/32[gre], 10.0.0.0/8[tcp/http], dynamic[gre]; ranges are left out.
_SELECTOR: Final = re.compile(r"(dynamic|[\d.]+/\d+)(?:\[([^/\]]*)[^\]]*\])?")
_GRE: Final = ("gre", "47")


def problems(peers: Collection[Peer], connections: Mapping[str, Connection], sas: Iterable[IkeSa]) -> Iterator[Problem]:
    """A problem for each CHILD_SA of ours whose packets another program's connection or SA may take."""
    ours = {peer.name for peer in peers}
    children = [(peer, child) for peer in peers for child in peer.children]
    for name, connection in connections.items():
        for peer, child in children if name not in ours else ():
            if child.if_id is None and _has_ends(connection, peer) and _takes(connection.get("children"), peer, child):
                text = f"{_connection(name)} has the peer and the traffic selectors of {child.name}: the two take turns"
                yield Problem("foreign_connection", child.name, text)
    for sa in sas:
        for one in sa.children if sa.name not in ours else ():
            for peer, child in children:
                if one.up and one.if_id == child.if_id and _are_inside(one.local_ts, one.remote_ts, peer, child):
                    text = f"the SA {one.name} of {_connection(sa.name)} has the traffic selectors of {child.name}"
                    yield Problem("foreign_sa", child.name, f"{text}, and takes its packets")


def _connection(name: str) -> str:
    return f"connection {name}, which another program has loaded into charon,"


def _has_ends(connection: Connection, peer: Peer) -> bool:
    """Whether a connection is to the address or the identity of a peer."""
    remote = connection.get("remote-1", {})
    return str(peer.remote) in connection.get("remote_addrs", ()) or remote.get("id") == peer.remote_id


def _takes(children: Mapping[str, Any] | None, peer: Peer, child: Child) -> bool:
    return any(
        _are_inside(one.get("local-ts", ()), one.get("remote-ts", ()), peer, child) for one in (children or {}).values()
    )


def _are_inside(local: Iterable[str], remote: Iterable[str], peer: Peer, child: Child) -> bool:
    """Whether selectors of both sides are those of a CHILD_SA, or parts of them."""
    sides = ((local, peer.local, child.local_ts), (remote, peer.remote, child.remote_ts))
    return all(any(_is_inside(one, end, network, child) for one in side) for side, end, network in sides)


def _is_inside(text: str, end: IPv4Address, network: IPv4Network, child: Child) -> bool:
    if (match := _SELECTOR.fullmatch(text)) is None:
        return False
    found = IPv4Network(end) if match[1] == "dynamic" else IPv4Network(match[1], strict=False)
    has_protocol = child.protocol == "any" or match[2] is None or match[2] in _GRE
    return has_protocol and found.subnet_of(network)
