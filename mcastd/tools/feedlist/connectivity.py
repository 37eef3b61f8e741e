"""The connectivity files of exchanges, as far as they name multicast. Pure.

CME Group, MDP 3.0 (``config.xml``); Moscow Exchange, SIMBA and FAST of SPECTRA (``configuration.xml``), and FAST of
ASTS, whose connections have their addresses in elements ``feed``:

    configuration > channel id label > connections > connection id
        type feed-type, protocol, ip, host-ip ..., port, feed (A or B)
    configuration > MarketDataGroup feedType marketID label > connections > connection
        type, protocol, src-ip, ip, port, feed (A or B)
    configuration > channel id label > connection id
        type feed-type, protocol, feed id (A or B) > src-ip, ip, port
"""

from collections.abc import Iterator
from typing import Final

from mcastd.tools.feedlist.entry import Entry, Source
from mcastd.tools.feedlist.markup import Element

_CONTEXTS: Final = ("channel", "marketdatagroup")
_REPEATED: Final = ("snapshot", "replay", "recovery")
"""In the types of feeds that send the same again and again, with numbers that begin again."""
_REPEATED_CODES: Final = frozenset(("N", "S", "SMBO"))


def entries(root: Element, source: Source) -> Iterator[Entry]:
    """What a document has. Raises ConfigError for addresses and ports that are none."""
    for context, connection in _connections(root, root):
        feed = connection.attributes.get("id") or _title(context, connection)
        protocol = _text(connection, "protocol")
        if protocol and not protocol.upper().startswith("UDP"):
            source.note(connection.line, feed, f"it is {protocol}, no multicast")
            continue
        nested = [one for one in connection.all("feed") if one.children]
        for one in nested or [connection]:
            yield from _entry(context, connection, one, feed, source)


def _connections(parent: Element, context: Element) -> Iterator[tuple[Element, Element]]:
    for child in parent.children:
        if child.name == "connection":
            yield context, child
        else:
            yield from _connections(child, child if child.name in _CONTEXTS else context)


def _entry(context: Element, connection: Element, place: Element, feed: str, source: Source) -> Iterator[Entry]:
    """The entry of one address: ``place`` has it, the connection or an element ``feed`` in it."""
    ip = place.first("ip")
    group = source.group(ip.text if ip else "", (ip or place).line, feed)
    if group is None:
        return
    port = place.first("port")
    number = source.port(port.text if port else "", (port or place).line, feed)
    if number is None:
        source.note(place.line, feed, f"{group} has no port: it counts for all ports")
    senders = place.all("src-ip", "host-ip")
    hosts = tuple(sorted({host for one in senders for host in source.senders([one.text], one.line, feed)}))
    side = place.attributes.get("id", "") if place is not connection else _text(connection, "feed")
    is_moex = context.name == "marketdatagroup" or place is not connection or place.first("src-ip") is not None
    exchange, sequence = ("MOEX", "moex-simba") if is_moex else ("CME", "cme-mdp3")
    yield Entry(
        name=f"{exchange} {_title(context, connection)}",
        side=side.upper(),
        group=group,
        port=number,
        sources=hosts,
        sequence=None if _is_repeated(connection) else sequence,
        about=context.attributes.get("label", ""),
        line=connection.line,
    )


def _title(context: Element, connection: Element) -> str:
    """The name of a feed: of its channel or group, of the connection where it has both sides, and its type."""
    own = context.attributes
    words = [own.get(key, "") for key in ("feedtype", "marketid")] if context.name == "marketdatagroup" else []
    words += [own.get("id", "")] if context.name == "channel" else []
    has_feeds = any(one.children for one in connection.all("feed"))
    words += [connection.attributes.get("id", "")] if has_feeds else []
    kind = connection.first("type")
    both = (kind.text, kind.attributes.get("feed-type", "")) if kind else ("",)
    return " ".join(filter(None, [*words, max(both, key=len)]))  # one is a letter, in either place


def _is_repeated(connection: Element) -> bool:
    kind = connection.first("type")
    both = (kind.text, kind.attributes.get("feed-type", "")) if kind else ()
    return any(one in _REPEATED_CODES or any(word in one.lower() for word in _REPEATED) for one in both)


def _text(element: Element, name: str) -> str:
    found = element.first(name)
    return found.text if found else ""
