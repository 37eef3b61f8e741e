"""The rule for names of interfaces, which tunnels and children have."""

import re
from typing import Final

from mcastd.config.line_numbers import KeyPath
from mcastd.config.report import Table, shown

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,14}")
_RESERVED: Final = frozenset(("all", "default", "erspan0", "gre0", "gretap0", "ip_vti0", "ipsec0", "lo", "tunl0"))


def interface_name(name: str, at: Table, key: str | KeyPath = ()) -> None:
    """The kernel can have an interface of this name, and has none by itself."""
    if not _NAME.fullmatch(name):
        text = f"{shown(name)} is no interface name; allowed: up to 15 letters, digits, '_', '-' and '.', not '.' first"
        at.refuse(key, text)
    elif name in _RESERVED:
        at.refuse(key, f"the name is taken by the system; allowed: any but {', '.join(sorted(_RESERVED))}")
