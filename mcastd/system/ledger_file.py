"""The format of the ledger's file, and what its entries may be. Pure.

    {"format": {"version": 1}, KIND: {KEY: VALUE, ...}, ...}

The version is in an object because mcastd 0.1, whose file has none, reads objects and nothing else there.
"""

import re
from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any, Final

import msgspec

Value = str | int | None
Entries = dict[str, dict[str, Value]]

ENDPOINT_LABEL: Final = "lo:mcastd"
"""The label of mcastd's addresses on the loopback, which ``ip address`` shows."""
LARGEST: Final = 4 << 20
"""In bytes; a larger file is not read."""

_VERSION: Final = 1
_FORMAT: Final = "format"
_INTERFACE: Final = r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,14}"
_NAME: Final = r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,62}"
_NETWORK: Final = r"(?P<network>[\d.]{7,15}/\d{1,2})"
_TABLE: Final = r"(?P<table>\d{1,10})"
_CONN: Final = r"([\d.]+=.{1,500} [\d.]+=.{1,500} IKEv[12] .{1,2000})?"  # as messages.ike_fingerprint
_CHILD: Final = r"[\d./]+ [\d./]+ \w+ \w+ .{1,2000}"  # as messages.child_fingerprint
# By the kind, what a key and a value look like; "" is null.
_KINDS: Final = {
    "nftables": (r"ip mcastd[\w-]{0,40}", ""),
    "sysctl": (rf"net/ipv4/(ip_forward|conf/{_INTERFACE}/[a-z_]+)", r"\d"),
    "endpoint": (r"(?P<network>[\d.]{7,15}/32)", f"{ENDPOINT_LABEL}|"),
    "link": (_INTERFACE, "kernel|userspace|xfrm|vxlan"),
    "qdisc": (_INTERFACE, ""),
    "routes": (f"{_INTERFACE} {_TABLE}", ""),
    "rule": (f"{_NETWORK} {_TABLE}", ""),
    "vici-conn": (_NAME, _CONN),
    "vici-child": (f"{_NAME}/{_NAME}", _CHILD),
    "vici-shared": (f"mcastd-{_NAME}", ""),
    "vici-key": (f"{_NAME}/[0-9A-Za-z:_-]{{1,200}}", ""),
    "vici-authority": (rf"{_NAME}/mcastd-{_NAME}", ""),
}


def encode(entries: Mapping[str, Mapping[str, Value]]) -> bytes:
    """The file."""
    return msgspec.json.encode({_FORMAT: {"version": _VERSION}, **entries})


def decode(content: bytes) -> tuple[Entries, list[str]]:
    """The entries that can be used, and in words which are not, and why. Raises ValueError if none can be read."""
    if len(content) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST} bytes")
    try:
        kinds = msgspec.json.decode(content, type=dict[str, Any])
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    entries: Entries = {}
    wrong: list[str] = []
    for kind, values in kinds.items():
        if kind == _FORMAT:
            continue
        if kind not in _KINDS or not isinstance(values, dict):
            wrong.append(f"{kind!r:.100}: " + ("not a kind of entry" if kind not in _KINDS else "not an object"))
            continue
        for key, value in values.items():
            if _is_usable(kind, key, value):
                entries.setdefault(kind, {})[key] = value
            else:
                wrong.append(f"{kind} {key!r:.100}: {value!r:.100}")
    return entries, wrong


def _is_usable(kind: str, key: str, value: object) -> bool:
    keys, values = _KINDS[kind]
    found = re.fullmatch(keys, key, re.ASCII)
    if found is None or not (value is None or isinstance(value, str)) or not re.fullmatch(values, value or ""):
        return False
    if (network := found.groupdict().get("network")) is not None and not _is_network(network):
        return False
    return int(found.groupdict().get("table") or 1) in range(1, 1 << 32)


def _is_network(text: str) -> bool:
    try:
        return str(IPv4Network(text)) == text
    except ValueError:
        return False
