"""Taking down what is ours in charon: SAs first, so that the peer gets its DELETE, then connections and keys."""

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from mcastd.errors import ViciRefused, ViciUnavailable
from mcastd.ipsec.credentials import shared_id
from mcastd.ipsec.messages import IkeSa, terminate_ike, terminate_named_child, terminate_peer
from mcastd.ipsec.vici import ViciConnection
from mcastd.system.ledger import Ledger

CONN: Final = "vici-conn"
CHILD: Final = "vici-child"
SHARED: Final = "vici-shared"
KEY: Final = "vici-key"
AUTHORITY: Final = "vici-authority"
_GENTLE: Final = 1.0
_FORCED: Final = 0.5


async def take_down(socket: Path, ledger: Ledger, names: Collection[str]) -> None:
    """Terminate, unload and forget connections that the ledger has, within some 2 seconds.

    Raises ViciUnavailable if charon is there but does not answer; without charon there is nothing to take down.
    """
    if not names:
        return
    try:
        await asyncio.gather(*(terminate_all(socket, name) for name in names))
        control = await ViciConnection.open(socket)
    except ViciUnavailable:
        if socket.exists():
            raise
        for name in names:
            _forget(ledger, name)
        return
    try:
        for name in names:
            await quietly(control, "unload-conn", {"name": name})
            await quietly(control, "unload-shared", {"id": shared_id(name)})
            for authority in owned(ledger, AUTHORITY, name):
                await quietly(control, "unload-authority", {"name": authority})
            for key in owned(ledger, KEY, name):
                await unload_key(control, ledger, name, key)
            _forget(ledger, name)
    finally:
        control.close()


async def terminate_all(socket: Path, name: str) -> None:
    """Terminate every IKE_SA of a connection; by force those whose peer does not answer the DELETE in time."""
    control = await ViciConnection.open(socket)
    try:
        await quietly(control, "terminate", terminate_peer(name, timeout=_GENTLE))
        await quietly(control, "terminate", terminate_peer(name, timeout=_FORCED, force=True))
    finally:
        control.close()


async def terminate_child(control: ViciConnection, peer: str, child: str, ike: int) -> None:
    """Terminate a child; where the peer does not answer the DELETE in time, its IKE_SA ``ike`` by force."""
    try:
        await control.command("terminate", terminate_named_child(peer, child, timeout=_GENTLE))
    except ViciRefused:
        await quietly(control, "terminate", terminate_ike(ike, timeout=_FORCED, force=True))


async def drop_half_open(control: ViciConnection, peer: str, sas: Collection[IkeSa]) -> None:
    """Terminate what is listed of a peer's IKE_SAs that has not come up yet."""
    for sa in sas:
        if sa.name == peer and sa.state in ("CREATED", "CONNECTING"):
            await quietly(control, "terminate", terminate_ike(sa.uniqueid, timeout=_GENTLE, force=True))


async def quietly(control: ViciConnection, command: str, message: Mapping[str, Any]) -> None:
    """Run a command whose refusal means that what it would remove is gone already."""
    try:
        await control.command(command, message)
    except ViciRefused:
        return


def owned(ledger: Ledger, kind: str, name: str) -> list[str]:
    """The ledger's entries of a kind that belong to a peer, without its name."""
    return [key.partition("/")[2] for key in ledger.entries(kind) if key.partition("/")[0] == name]


async def unload_key(control: ViciConnection, ledger: Ledger, name: str, key: str) -> None:
    """Unload a peer's private key, unless another peer of ours has it as well."""
    ledger.forget(KEY, f"{name}/{key}")
    if not any(entry.partition("/")[2] == key for entry in ledger.entries(KEY)):
        await quietly(control, "unload-key", {"id": key})


def _forget(ledger: Ledger, name: str) -> None:
    for kind in (CHILD, AUTHORITY, KEY):
        for key in owned(ledger, kind, name):
            ledger.forget(kind, f"{name}/{key}")
    ledger.forget(SHARED, shared_id(name))
    ledger.forget(CONN, name)
