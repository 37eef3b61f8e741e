"""How many lines of the decoders a corpus reaches, counted by Python's own tracing."""

import ast
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

from mcastd.ipsec import vici
from mcastd.keepalive import packet as keepalive_packet
from mcastd.keepalive import reflect
from mcastd.net import gre, ipv4, netlink, nfnetlink
from mcastd.net import igmp as igmp_packet
from mcastd.pim import auto_rp_packet, messages, packet
from tests.fuzz.targets import TARGETS

REQUIRED = 95.0
DECODERS: dict[ModuleType, tuple[str, ...]] = {
    packet: ("unseal", "Reader", "_require_ipv4", "decode_hello", "decode_join_prune", "_address_list"),
    messages: (
        "decode_register",
        "decode_register_stop",
        "decode_assert",
        "decode_bootstrap",
        "_range",
        "_rp",
        "decode_candidate_rp",
    ),
    auto_rp_packet: ("decode_udp", "decode_auto_rp", "_entry", "_groups"),
    igmp_packet: ("decode", "_query", "_v3_report", "_group", "_sources", "_listed", "decode_code"),
    ipv4: ("parse",),
    nfnetlink: ("part", "counter", "elements", "_required", "_number"),
    netlink: ("messages", "error", "attributes"),
    gre: ("decode", "behind_cmd"),
    keepalive_packet: ("carried",),
    reflect: ("reflect",),
    vici: ("decode_packet", "decode_message"),
}


def lines_of(module: ModuleType, names: tuple[str, ...]) -> set[int]:
    """The lines of the named functions and classes on which code runs when they are called."""
    tree = ast.parse(inspect.getsource(module))
    ranges = [
        range(node.lineno, (node.end_lineno or node.lineno) + 1)
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in names
    ]
    assert len(ranges) == len(names), f"{module.__name__} has no longer all of {names}"
    assert module.__file__
    whole = compile(tree, module.__file__, "exec")
    return {line for code in _functions(whole) for line in _lines(code) if any(line in found for found in ranges)}


def _functions(code: CodeType) -> Iterable[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & inspect.CO_NEWLOCALS and constant.co_flags & inspect.CO_OPTIMIZED:
                yield constant
            yield from _functions(constant)


def _lines(code: CodeType) -> set[int]:
    return {line for _, _, line in code.co_lines() if line is not None and line != code.co_firstlineno}


def replay(folders: list[Path]) -> dict[str, float]:
    """Run every file of the corpora; per module, the percentage of its decoders' lines that ran."""
    files = {str(module.__file__): module for module in DECODERS}
    seen: dict[str, set[int]] = {name: set() for name in files}

    def trace(frame: FrameType, _event: str, _argument: Any) -> Any:
        name = frame.f_code.co_filename
        if name not in files:
            return None
        seen[name].add(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for folder in folders:
            for path in sorted(folder.glob("*/*")):
                TARGETS[path.parent.name](path.read_bytes())
    finally:
        sys.settrace(before)
    found = {}
    for name, module in files.items():
        lines = lines_of(module, DECODERS[module])
        found[module.__name__] = 100 * len(lines & seen[name]) / len(lines)
    return found
