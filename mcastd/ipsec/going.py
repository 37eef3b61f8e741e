"""Taking down what is ours in charon, by what the ledger says: SAs, connections, keys."""

import asyncio
from pathlib import Path
from typing import Final

from mcastd.errors import ViciRefused, ViciUnavailable
from mcastd.ipsec.messages import shared_id, terminate_peer
from mcastd.ipsec.vici import ViciConnection
from mcastd.system.ledger import Ledger

_GENTLE: Final = 1.2
_FORCED: Final = 0.5


async def take_down(socket: Path, ledger: Ledger) -> None:
    """Terminate, unload and forget every connection in the ledger. Without charon there is nothing left to take down."""
    names = list(ledger.entries("vici-conn"))
    if not names and not ledger.entries("vici-shared"):
        return
    try:
        await asyncio.gather(*(_terminate(socket, name) for name in names))
        control = await ViciConnection.open(socket)
    except ViciUnavailable:
        if socket.exists():
            raise
        _forget_all(ledger)
        return
    try:
        for name in names:
            await unload(control, ledger, name)
    finally:
        control.close()


async def unload(control: ViciConnection, ledger: Ledger, name: str) -> None:
    """Remove one connection, its SAs and its key, and forget them."""
    await _removed(control, "terminate", terminate_peer(name, timeout=_GENTLE))
    await _removed(control, "terminate", terminate_peer(name, timeout=_FORCED, force=True))
    await _removed(control, "unload-conn", {"name": name})
    await _removed(control, "unload-shared", {"id": shared_id(name)})
    for key in ledger.entries("vici-child"):
        if key.startswith(f"{name}/"):
            ledger.forget("vici-child", key)
    ledger.forget("vici-shared", shared_id(name))
    ledger.forget("vici-conn", name)


async def _terminate(socket: Path, name: str) -> None:
    control = await ViciConnection.open(socket)
    try:
        await _removed(control, "terminate", terminate_peer(name, timeout=_GENTLE))
    finally:
        control.close()


async def _removed(control: ViciConnection, command: str, message: dict[str, object]) -> None:
    try:
        await control.command(command, message)
    except ViciRefused:
        return


def _forget_all(ledger: Ledger) -> None:
    for kind in ("vici-child", "vici-shared", "vici-conn"):
        for key in ledger.entries(kind):
            ledger.forget(kind, key)
