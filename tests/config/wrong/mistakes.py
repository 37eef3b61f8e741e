"""A configuration that is right, and ones with a mistake in them."""

import re
from collections.abc import Mapping
from typing import NamedTuple

GOOD: Mapping[str, Mapping[str, str]] = {
    "daemon": {"datapath": '"auto"', "strongswan_conf": '"/nonexistent/strongswan.conf"'},
    "firewall": {"guard": "true"},
    "streams": {"hours": '["Mon-Fri 07:00-23:00"]'},
    "metrics": {"listen": '"127.0.0.1:9464"'},
    "peers.dc": {
        "local": '"10.1.1.246"',
        "remote": '"177.54.214.20"',
        "local_id": '"222.45.67.1"',
        "remote_id": '"177.54.214.20"',
        "psk_file": '"dc.psk"',
        "proposals": '["aes256-sha256-modp2048"]',
        "lifetime": '"4h"',
    },
    "peers.dc.children.gre": {
        "local_ts": '"10.44.6.1/32"',
        "remote_ts": '"10.44.7.1/32"',
        "proposals": '["aes256-sha256-modp2048"]',
        "lifetime": '"1h"',
    },
    "peers.dc.children.tcp": {
        "local_ts": '"10.45.8.16/28"',
        "remote_ts": '"100.15.30.0/24"',
        "proposals": '["aes256-sha256-modp2048"]',
        "snat": '"10.45.8.17"',
        "snat_loopback": "true",
    },
    "tunnels.gre1": {
        "child": '"gre"',
        "local": '"10.44.6.1"',
        "remote": '"10.44.7.1"',
        "address": '"10.44.4.6/30"',
        "peer_address": '"10.44.4.5"',
        "mtu": '"auto"',
    },
    "tunnels.gre1.keepalive": {"reply": "true", "period": '"10s"', "retries": "3"},
    "tunnels.gre1.pim": {"neighbor": '"10.44.4.5"', "hello_period": '"30s"'},
    "tunnels.gre1.pim.rp[0]": {"address": '"100.15.30.253"', "groups": '["239.0.0.0/8"]'},
    "groups[0]": {"group": '"239.1.1.1"'},
    "groups[1]": {"group": '"232.1.1.1"', "sources": '["100.15.30.7"]'},
    "feeds[0]": {"name": '"trades"', "groups": '["239.1.1.0/24"]', "port": "5000"},
    "forward.eth1": {"from": '["gre1"]'},
}
"""The values, as they are in the file, by table and key."""


class Wrong(NamedTuple):
    """A mistake: what is changed in the right file (None: removed), and what is said of which key, in which words."""

    key: str
    said: str
    changes: Mapping[str, str | None]


Changes = Mapping[str, str | None]


def wrong(key: str, said: str, value: str | None = None, also: Changes | None = None) -> Wrong:
    """A wrong value of the key itself, or without one a mistake in what is changed ``also``."""
    own = {} if value is None else {_of_element(key): value}
    return Wrong(key, said, {**own, **(also or {})})


def written(changes: Mapping[str, str | None]) -> str:
    """The text of the file with these keys changed, added to their table or removed; a table may be new."""
    tables = {name: dict(keys) for name, keys in GOOD.items()}
    for path, value in changes.items():
        table, _, key = path.rpartition(".")
        if value is None and path in tables:
            del tables[path]
        elif value is None:
            tables[table].pop(key, None)
        else:
            tables.setdefault(table, {})[key] = value
    lines = []
    for name, keys in tables.items():
        header = re.sub(r"\[\d+\]", "", name)
        lines.append(f"[[{header}]]" if name.endswith("]") else f"[{header}]")
        lines += [f"{key} = {value}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


def line_of(text: str, path: str) -> int:
    """The line of a key by its path, or that of its table where the key is missing."""
    here, seen, best = "", dict[str, int](), 1
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("["):
            here = line.strip("[]")
            if line.startswith("[["):
                seen[here] = seen.get(here, -1) + 1
                here = f"{here}[{seen[here]}]"
            if path == here or path.startswith((f"{here}.", f"{here}[")) or here.startswith(f"{path}."):
                best = number if best == 1 or not here.startswith(f"{path}.") else best
        elif f"{here}.{line.partition(' = ')[0]}" == _of_element(path):
            return number
    return best


def _of_element(path: str) -> str:
    """The key of an element of an array of values."""
    return re.sub(r"(?<!^groups)(?<!^feeds)(?<!\.rp)\[\d+\]$", "", path)
