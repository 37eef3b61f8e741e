"""What a file leaves out since it follows from the rest: added to its tables before they are read."""

from collections.abc import Mapping
from typing import Any, Final

from mcastd.config.line_numbers import KeyPath
from mcastd.config.model import Peer
from mcastd.config.report import Report, dotted
from mcastd.config.schema import keys

_OWN: Final = frozenset({"remote", "remote_id", "standby_for", "children"})
_KEYS: Final = frozenset(key.name for key in keys(Peer))
_CREDENTIALS: Final = frozenset({"psk_file", "psk_encoding", "local_cert", "local_key", "remote_cert", "ca_certs"})


def complete(document: dict[str, Any], report: Report) -> None:
    """Add traffic selectors by the mode of a child, endpoints of a tunnel without GRE, and the only tunnel.

    A standby has what it leaves out from the peer that it stands by for.
    """
    _complete_standbys(_tables(document.get("peers")), report)
    peer_of: dict[str, dict[str, Any]] = {}
    for peer in _tables(document.get("peers")).values():
        for name, child in _tables(peer.get("children")).items():
            peer_of.setdefault(name, peer)
            if child.get("mode") == "transport":
                _add(child, protocol="gre", local_ts=peer.get("local", ""), remote_ts=peer.get("remote", ""))
            elif child.get("mode") == "interface":
                _add(child, local_ts="0.0.0.0/0", remote_ts="0.0.0.0/0")
    tunnels = _tables(document.get("tunnels"))
    for tunnel in tunnels.values():
        peer = peer_of.get(str(tunnel.get("child")), {})
        if tunnel.get("encapsulation") == "none":
            _add(tunnel, **{key: peer[key] for key in ("local", "remote") if key in peer})
    groups = document.get("groups")
    for index, group in enumerate(groups if isinstance(groups, list) else ()):
        if isinstance(group, dict) and "tunnel" not in group and "tunnels" not in group:
            group["tunnel"] = next(iter(tunnels), "")
            if len(tunnels) != 1:
                _report_missing_tunnel(tunnels, ("groups", index, "tunnel"), report)
    for kind in ("forward", "overlay"):
        for name, forward in _tables(document.get(kind)).items():
            if "from" not in forward:
                forward["from"] = list(tunnels)[:1]
                if len(tunnels) != 1:
                    _report_missing_tunnel(tunnels, (kind, name, "from"), report)


def _complete_standbys(peers: dict[str, dict[str, Any]], report: Report) -> None:
    """Either what it authenticates with is all in its own table, or all is the other peer's.

    Where it stands by for none that there is, for any: what it leaves out is not what is wrong then.
    """
    others = [peer for peer in peers.values() if "standby_for" not in peer]
    for name, peer in peers.items():
        if "standby_for" not in peer:
            continue
        first = peers.get(str(peer["standby_for"]), peer)
        if first is peer:
            first = next(iter(others), {})
        own = _OWN | _CREDENTIALS if _CREDENTIALS & peer.keys() else _OWN
        inherited = (_KEYS | first.keys()) - own - peer.keys() if first else set()
        peer |= {key: first[key] for key in inherited & first.keys()}
        report.inherit(*(("peers", name, key) for key in inherited))


def _report_missing_tunnel(tunnels: Mapping[str, object], path: KeyPath, report: Report) -> None:
    names = ", ".join(dotted((name,)) for name in tunnels)
    allowed = f"one of {names}" if tunnels else "the name of a tunnel, and the file has none"
    report.wrong(path, f"it is missing; allowed: {allowed}")


def _tables(value: object) -> dict[str, dict[str, Any]]:
    found = value if isinstance(value, dict) else {}
    return {name: table for name, table in found.items() if isinstance(table, dict)}


def _add(table: dict[str, Any], **implied: object) -> None:
    for key, value in implied.items():
        table.setdefault(key, value)
