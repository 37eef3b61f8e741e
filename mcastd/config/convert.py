"""Tables to structs, key by key, so that everything wrong is found in one reading.

Each struct of the model has a mapping from its keys to their kinds here; what is required and what a missing key means
is said by the model alone.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final, TypeVar

import msgspec

from mcastd.config import kinds
from mcastd.config.kinds import Kind, WrongError
from mcastd.config.lines import KeyPath
from mcastd.config.model import Child, Config, Daemon, Firewall, Group, Keepalive, Peer, Pim, RpRange, Tunnel
from mcastd.config.report import Report, dotted
from mcastd.net.gre import GreOptions

S = TypeVar("S", bound=msgspec.Struct)

_DAY: Final = 86400.0
LONGEST_LIFETIME: Final = 30 * _DAY
"""Of an SA, in seconds."""
LARGEST_REPLAY_WINDOW: Final = 4096
"""In packets."""
_SOCKET_PATH: Final = 107  # bytes, of a struct sockaddr_un, its final NUL aside
_TOP: Final = ("daemon", "firewall", "peers", "tunnels", "groups")

KINDS: Final[dict[type[msgspec.Struct], dict[str, Kind]]] = {
    Daemon: {
        "datapath": kinds.choice("auto", "kernel", "userspace"),
        "vici_socket": kinds.file_path(absolute=True, longest=_SOCKET_PATH),
        "strongswan_conf": kinds.file_path(absolute=True),
        "runtime_dir": kinds.file_path(absolute=True, longest=_SOCKET_PATH - len("/control.sock")),
    },
    Firewall: {
        "guard": kinds.boolean(),
        "ip_forward": kinds.boolean(),
    },
    Peer: {
        "local": kinds.host_address(),
        "remote": kinds.host_address(),
        "local_id": kinds.identity(),
        "remote_id": kinds.identity(),
        "psk_file": kinds.file_path(),
        "local_cert": kinds.file_path(),
        "local_key": kinds.file_path(),
        "remote_cert": kinds.file_path(),
        "ca_certs": kinds.array(kinds.file_path()),
        "proposals": kinds.array(kinds.proposal("ike"), least=1),
        "version": kinds.choice(2, 1),
        "lifetime": kinds.duration(1.0, LONGEST_LIFETIME),
        "reauthentication": kinds.boolean(),
        "encap": kinds.boolean(),
        "dpd_delay": kinds.duration(0.0, _DAY),
        "initiate_timeout": kinds.duration(0.1, 3600.0),
        "retry_min": kinds.duration(0.01, 3600.0),
        "retry_max": kinds.duration(0.01, _DAY),
    },
    Child: {
        "local_ts": kinds.prefix(),
        "remote_ts": kinds.prefix(),
        "proposals": kinds.array(kinds.proposal("esp"), least=1),
        "lifetime": kinds.duration(1.0, LONGEST_LIFETIME),
        "mode": kinds.choice("tunnel", "transport", "interface"),
        "protocol": kinds.choice("any", "gre"),
        "replay_window": kinds.integer(0, LARGEST_REPLAY_WINDOW),
        "if_id": kinds.integer(1, 2**32 - 1),
        "interface": kinds.simple(lambda value: kinds.text(value, "the name of an interface"), None),
        "snat": kinds.host_address(),
        "snat_from": kinds.array(kinds.prefix()),
        "snat_loopback": kinds.boolean(),
        "mss": kinds.either("auto", kinds.integer(0, 65495)),
    },
    Tunnel: {
        "child": kinds.simple(lambda value: kinds.text(value, "the name of a child"), None),
        "local": kinds.host_address(),
        "remote": kinds.host_address(),
        "address": kinds.interface_address(),
        "peer_address": kinds.host_address(),
        "addresses": kinds.array(kinds.interface_address()),
        "encapsulation": kinds.choice("gre", "none"),
        "mtu": kinds.either("auto", kinds.integer(576, 65535)),
        "routes": kinds.array(kinds.word_or(("groups", "rp", "sources"), kinds.prefix())),
        "route_table": kinds.integer(1, 2**32 - 1),
        "rule_from": kinds.array(kinds.prefix()),
        "rp_filter": kinds.choice("loose", "strict", "keep"),
    },
    GreOptions: {
        "key": kinds.integer(0, 2**32 - 1),
        "checksum": kinds.boolean(),
        "sequence": kinds.boolean(),
        "ttl": kinds.integer(1, 255),
    },
    Keepalive: {
        "reply": kinds.boolean(),
        "max_per_second": kinds.number(0.1, 1000.0),
        "inner_addresses": kinds.array(kinds.host_address()),
        "period": kinds.duration(0.0, 32767.0),
        "retries": kinds.integer(1, 254),
    },
    Pim: {
        "neighbor": kinds.host_address(),
        "static_neighbor": kinds.boolean(),
        "accept_neighbors": kinds.array(kinds.prefix()),
        "bootstrap": kinds.boolean(),
        "auto_rp": kinds.boolean(),
        "auto_rp_agents": kinds.array(kinds.prefix()),
        "rp_preference": kinds.preference("static", "bootstrap", "auto_rp"),
        "ssm_ranges": kinds.array(kinds.prefix(multicast=True)),
        "hello_period": kinds.duration(1.0, 18000.0),
        "hello_holdtime": kinds.duration(1.0, 65535.0),
        "dr_priority": kinds.integer(0, 2**32 - 1),
        "propagation_delay": kinds.duration(0.0, 32.767),
        "override_interval": kinds.duration(0.0, 65.535),
        "join_prune_period": kinds.duration(1.0, 18000.0),
        "join_repeats": kinds.integer(0, 100),
        "join_repeat_interval": kinds.duration(0.01, 60.0),
    },
    RpRange: {
        "address": kinds.host_address(),
        "groups": kinds.array(kinds.prefix(multicast=True), least=1),
    },
    Group: {
        "group": kinds.group_address(),
        "tunnel": kinds.simple(lambda value: kinds.text(value, "the name of a tunnel"), ""),
        "sources": kinds.array(kinds.host_address()),
    },
}


def to_config(document: Mapping[str, object], report: Report) -> Config:
    """A whole document. What is wrong is in the report, and has a stand-in in what is returned."""
    _unknown(document, (), _TOP, report)
    peers = tuple(_peer(name, table, path, report) for name, table, path in _named(document, ("peers",), report))
    tunnels = tuple(
        _tunnel(name, table, path, peers, report) for name, table, path in _named(document, ("tunnels",), report)
    )
    return Config(
        daemon=_struct(Daemon, document.get("daemon", {}), ("daemon",), report),
        firewall=_struct(Firewall, document.get("firewall", {}), ("firewall",), report),
        peers=peers,
        tunnels=tunnels,
        groups=_groups(document, tunnels, report),
    )


def _peer(name: str, value: object, path: KeyPath, report: Report) -> Peer:
    children = tuple(
        _struct(Child, _with_selectors(table, _dict(value)), child_path, report, name=child)
        for child, table, child_path in _named(_dict(value), (*path, "children"), report)
    )
    return _struct(Peer, value, path, report, name=name, children=children)


def _with_selectors(child: object, peer: Mapping[str, object]) -> object:
    """A child's table with the selectors that its mode has where the file names none."""
    if not isinstance(child, dict):
        return child
    if child.get("mode") == "transport":
        ends = {"local_ts": peer.get("local", ""), "remote_ts": peer.get("remote", "")}
        return {"protocol": "gre", **ends, **child}
    if child.get("mode") == "interface":
        return {"local_ts": "0.0.0.0/0", "remote_ts": "0.0.0.0/0", **child}
    return child


def _tunnel(name: str, value: object, path: KeyPath, peers: tuple[Peer, ...], report: Report) -> Tunnel:
    table = _dict(value)
    value = _with_endpoints(value, peers)
    pim = _pim(table["pim"], (*path, "pim"), report) if "pim" in table else None
    keepalive = _struct(Keepalive, table.get("keepalive", {}), (*path, "keepalive"), report)
    gre = _struct(GreOptions, {key: table[key] for key in KINDS[GreOptions] if key in table}, path, report)
    return _struct(Tunnel, value, path, report, name=name, gre=gre, pim=pim, keepalive=keepalive)


def _with_endpoints(tunnel: object, peers: tuple[Peer, ...]) -> object:
    """A tunnel's table with its peer's addresses as endpoints where there is no GRE that has some."""
    if not isinstance(tunnel, dict) or tunnel.get("encapsulation") != "none":
        return tunnel
    peer = next((peer for peer in peers for child in peer.children if child.name == tunnel.get("child")), None)
    ends = {} if peer is None else {"local": str(peer.local), "remote": str(peer.remote)}
    return {**ends, **tunnel}


def _pim(value: object, path: KeyPath, report: Report) -> Pim:
    rp_path = (*path, "rp")
    ranges = _array_of_tables(_dict(value).get("rp", []), rp_path, report)
    rp = tuple(_struct(RpRange, table, (*rp_path, index), report) for index, table in enumerate(ranges))
    return _struct(Pim, value, path, report, rp=rp)


def _groups(document: Mapping[str, object], tunnels: tuple[Tunnel, ...], report: Report) -> tuple[Group, ...]:
    found = []
    for index, value in enumerate(_array_of_tables(document.get("groups", []), ("groups",), report)):
        path: KeyPath = ("groups", index)
        if isinstance(value, dict) and "tunnel" not in value:
            if len(tunnels) != 1:
                names = ", ".join(dotted((tunnel.name,)) for tunnel in tunnels)
                allowed = f"one of {names}" if tunnels else "the name of a tunnel, and the file has none"
                report.wrong((*path, "tunnel"), f"it is missing; allowed: {allowed}")
            value = {**value, "tunnel": tunnels[0].name if tunnels else ""}
        found.append(_struct(Group, value, path, report))
    return tuple(found)


def _struct(kind: type[S], value: object, path: KeyPath, report: Report, **nested: Any) -> S:
    """One struct from one table; ``nested`` are its fields that are not plain keys, read already."""
    readers = KINDS[kind]
    table = _dict(value)
    is_table = isinstance(value, dict)
    if is_table:
        flat = KINDS[GreOptions] if kind is Tunnel else {}
        _unknown(table, path, (*readers, *flat, *nested.keys() - {"name", "gre"}), report)
    else:
        report.wrong(path, f"it is {kinds.type_name(value)}; allowed: a table, [{dotted(path)}]")
    values = dict(nested)
    for field in msgspec.structs.fields(kind):
        if field.name in nested:
            continue
        reader = readers[field.name]
        where = (*path, field.name)
        if field.name in table:
            try:
                values[field.name] = reader.read(table[field.name], report, where)
                continue
            except WrongError as wrong:
                report.wrong(where, str(wrong))
        elif field.required and is_table:
            report.wrong(where, f"it is missing from [{dotted(path)}]")
        if field.required:
            values[field.name] = reader.stand_in
    return kind(**values)


def _named(table: Mapping[str, object], path: KeyPath, report: Report) -> list[tuple[str, object, KeyPath]]:
    value = table.get(str(path[-1]), {})
    if not isinstance(value, dict):
        report.wrong(path, f"it is {kinds.type_name(value)}; allowed: tables by name, [{dotted(path)}.NAME]")
        return []
    return [(name, one, (*path, name)) for name, one in value.items()]


def _array_of_tables(value: object, path: KeyPath, report: Report) -> list[object]:
    if not isinstance(value, list):
        report.wrong(path, f"it is {kinds.type_name(value)}; allowed: an array of tables, [[{dotted(path)}]]")
        return []
    return value


def _dict(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _unknown(table: Mapping[str, object], path: KeyPath, known: tuple[str, ...], report: Report) -> None:
    for key in table:
        if key not in known:
            close = get_close_matches(key[:80], known, 1, 0.5)
            hint = f"did you mean {close[0]}?" if close else f"allowed: {', '.join(sorted(known))}"
            report.wrong((*path, key), f"there is no such key; {hint}")
