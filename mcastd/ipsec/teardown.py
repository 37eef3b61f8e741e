"""Removes from charon what mcastd has loaded: SAs first, so that the peer receives a DELETE, then the rest."""

import asyncio
from collections.abc import Collection
from contextlib import closing
from typing import Final

from mcastd.errors import ViciRefused, ViciUnavailable
from mcastd.ipsec.charon import Charon, Vici, remove
from mcastd.ipsec.credentials import shared_id
from mcastd.ipsec.messages import terminate
from mcastd.ipsec.ownership import AUTHORITY, CHILD, CONN, KEY, SHARED, confirmed
from mcastd.ipsec.sas import IkeSa
from mcastd.system.ledger import Ledger

_GENTLE: Final = 1.0  # seconds for the peer to answer a DELETE
_FORCED: Final = 0.5
_HURRIED: Final = 0.05  # seconds, where another gateway is to take over from one that may be dead


async def take_down(charon: Charon, ledger: Ledger, names: Collection[str], *, in_a_hurry: bool = False) -> None:
    """Terminate, unload and forget connections that are in the ledger, within some 2 seconds.

    ``in_a_hurry``: the peers have little time to answer the DELETE. One that another program has loaded under the same
    name is forgotten alone. Raises ViciUnavailable if charon runs but does not answer; if it does not run, the ledger
    is cleared.
    """
    if not names:
        return
    try:
        control = await charon.connect()
    except ViciUnavailable:
        if charon.has_socket():
            raise
        for name in names:
            _forget(ledger, name)
        return
    with closing(control):
        ours = await confirmed(control, ledger, names)
        await asyncio.gather(*(terminate_all(charon, name, in_a_hurry=in_a_hurry) for name in ours))
        for name in set(names) - set(ours):
            _forget(ledger, name)
        for name in ours:
            await remove(control, "unload-conn", {"name": name})
            await remove(control, "unload-shared", {"id": shared_id(name)})
            for authority in owned(ledger, AUTHORITY, name):
                await remove(control, "unload-authority", {"name": authority})
            for key in owned(ledger, KEY, name):
                await unload_key(control, ledger, name, key)
            _forget(ledger, name)


async def terminate_all(charon: Charon, name: str, *, in_a_hurry: bool = False) -> None:
    """Terminate every IKE_SA of a connection; by force those whose peer does not answer the DELETE in time."""
    with closing(await charon.connect()) as control:
        if not in_a_hurry:
            await remove(control, "terminate", terminate({"ike": name}, _GENTLE))
        time_limit = _HURRIED if in_a_hurry else _FORCED
        await remove(control, "terminate", terminate({"ike": name}, time_limit, force=True))


async def terminate_child(control: Vici, peer: str, child: str, ike: int) -> None:
    """Terminate a CHILD_SA; where the peer does not answer the DELETE in time, its IKE_SA ``ike`` by force."""
    try:
        await control.command("terminate", terminate({"ike": peer, "child": child}, _GENTLE))
    except ViciRefused:
        await terminate_ike(control, ike)


async def terminate_ike(control: Vici, ike: int) -> None:
    """Terminate an IKE_SA, by its unique id, whose peer does not answer: without waiting for it."""
    await remove(control, "terminate", terminate({"ike-id": ike}, _FORCED, force=True))


async def drop_half_open(control: Vici, peer: str, sas: Collection[IkeSa]) -> None:
    """Terminate the listed IKE_SAs of a peer that are not established yet."""
    for sa in sas:
        if sa.name == peer and sa.state in ("CREATED", "CONNECTING"):
            await remove(control, "terminate", terminate({"ike-id": sa.uniqueid}, _GENTLE, force=True))


async def drop_unanswered(control: Vici, peer: str, sas: Collection[IkeSa]) -> bool:
    """Terminate the listed IKE_SAs of a peer on which a request waits for its answer; returns whether there were any.

    charon would repeat the request and, at last, establish the IKE_SA again itself, with all that has queued behind it.
    strongSwan 5.9.8 crashes in that if the peer has refused the selectors before.
    """
    found = [sa for sa in sas if sa.name == peer and sa.up and sa.tasks_active]
    for sa in found:
        await terminate_ike(control, sa.uniqueid)
    return bool(found)


async def drop_unconfigured(control: Vici, peer: str, configured: Collection[str], sas: Collection[IkeSa]) -> None:
    """Terminate a peer's CHILD_SAs that are not configured, e.g. of an attempt that was in flight at a reload."""
    for child in (child for sa in sas if sa.name == peer and sa.up for child in sa.children):
        if child.state == "INSTALLED" and child.name not in configured:
            await remove(control, "terminate", terminate({"child-id": child.uniqueid}, _GENTLE))


def owned(ledger: Ledger, kind: str, name: str) -> list[str]:
    """The ledger's entries of a kind that belong to a peer, without the peer's name."""
    return [key.partition("/")[2] for key in ledger.entries(kind) if key.partition("/")[0] == name]


async def unload_key(control: Vici, ledger: Ledger, name: str, key: str) -> None:
    """Unload a peer's private key, unless another configured peer has the same one."""
    ledger.forget(KEY, f"{name}/{key}")
    if not any(entry.partition("/")[2] == key for entry in ledger.entries(KEY)):
        await remove(control, "unload-key", {"id": key})


def _forget(ledger: Ledger, name: str) -> None:
    for kind in (CHILD, AUTHORITY, KEY):
        for key in owned(ledger, kind, name):
            ledger.forget(kind, f"{name}/{key}")
    ledger.forget(SHARED, shared_id(name))
    ledger.forget(CONN, name)
