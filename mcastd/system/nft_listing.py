"""What the kernel has of an nftables table, read by netlink: without nft(8), so that no process is needed to look."""

import errno
import hashlib
import struct
from collections.abc import Iterable
from typing import Final

from mcastd.errors import HostError
from mcastd.net.nfnetlink import Table
from mcastd.system.netfilter import Message, NetfilterError, ask, attribute, attributes

# linux/netfilter/nf_tables.h
_SUBSYSTEM: Final = 10  # NFNL_SUBSYS_NFTABLES
_GETTABLE, _GETCHAIN, _GETRULE, _GETSET, _GETOBJ = 1, 4, 7, 10, 19
_TABLE, _NAME = 1, 2  # NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE, NFTA_OBJ_TABLE, NFTA_OBJ_NAME
_CHAIN_NAME, _CHAIN_HOOK, _CHAIN_COUNTERS, _SET_COUNT, _OBJ_DATA = 3, 4, 8, 20, 4
_HOOK_NUMBER, _HOOK_PRIORITY = 1, 2
_COUNTER_BYTES, _COUNTER_PACKETS = 1, 2
_NUMBER: Final = struct.Struct(">Q")
# The dumps whose messages are the structure of a table, and what of their attributes changes by itself.
_DUMPS: Final = ((_GETCHAIN, _CHAIN_COUNTERS), (_GETRULE, None), (_GETSET, _SET_COUNT), (_GETOBJ, _OBJ_DATA))
_ATTEMPTS: Final = 10  # at dumps that no change of the ruleset interrupts


async def table(name: str) -> Table | None:
    """A table of the family ``ip``; None if it does not exist. Raises HostError."""
    for _ in range(_ATTEMPTS):
        try:
            found = [message async for message in ask(_SUBSYSTEM, _GETTABLE, _text(_TABLE, name))]
        except NetfilterError as error:
            if error.code == errno.ENOENT:
                return None
            raise
        structure = hashlib.sha256(b"".join(message.attributes for message in found))
        counts, hooks = dict[str, tuple[int, int]](), dict[str, tuple[int, int]]()
        for kind, varies in _DUMPS:
            dumped = await _dump(kind, name)
            found += dumped
            for message in dumped:
                structure.update(_without(message.attributes, varies))
            if kind == _GETOBJ:
                counts = _counts(dumped)
            elif kind == _GETCHAIN:
                hooks = _hooks(dumped)
        if len({message.generation for message in found}) == 1 and not any(one.interrupted for one in found):
            return Table(structure.hexdigest(), counts, hooks)
    raise HostError("nftables: the ruleset changes too fast to be listed")


async def counts(name: str) -> dict[str, tuple[int, int]]:
    """Packets and bytes by the names of a table's counters; empty if there is no such table. Raises HostError."""
    return _counts(await _dump(_GETOBJ, name))


async def _dump(kind: int, name: str) -> list[Message]:
    """What of a kind a table has. Chains are not filtered by the kernel."""
    asked = _text(_TABLE, name)
    messages = [message async for message in ask(_SUBSYSTEM, kind, asked, dump=True)]
    return [message for message in messages if message.attributes.startswith(asked)]


def _counts(objects: Iterable[Message]) -> dict[str, tuple[int, int]]:
    found = {}
    for message in objects:
        values = attributes(message.attributes)
        data = attributes(values[_OBJ_DATA])
        if _COUNTER_PACKETS in data:
            packets, size = (_NUMBER.unpack(data[kind])[0] for kind in (_COUNTER_PACKETS, _COUNTER_BYTES))
            found[_string(values[_NAME])] = (packets, size)
    return found


def _hooks(chains: Iterable[Message]) -> dict[str, tuple[int, int]]:
    found = {}
    for message in chains:
        values = attributes(message.attributes)
        if _CHAIN_HOOK in values:
            hook = attributes(values[_CHAIN_HOOK])
            number, priority = (int.from_bytes(hook[kind], signed=True) for kind in (_HOOK_NUMBER, _HOOK_PRIORITY))
            found[_string(values[_CHAIN_NAME])] = (number, priority)
    return found


def _without(data: bytes, varies: int | None) -> bytes:
    return b"".join(attribute(kind, value) for kind, value in attributes(data).items() if kind != varies)


def _string(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")
