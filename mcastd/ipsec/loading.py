"""Loading what is ours into charon, and first taking down the SAs that what is wanted now would not have made."""

from pathlib import Path
from typing import Final

from mcastd.config.model import Peer
from mcastd.ipsec import messages
from mcastd.ipsec.going import CHILD, CONN, SHARED, quietly, terminate_all
from mcastd.ipsec.messages import IkeSa
from mcastd.ipsec.state import PeerState
from mcastd.ipsec.vici import ViciConnection
from mcastd.system.ledger import Ledger

_TIMEOUT: Final = 1.0


async def load(socket: Path, control: ViciConnection, ledger: Ledger, state: PeerState) -> None:
    """Load a peer's key and connection, in the ledger first. Raises ViciRefused if charon does not take them."""
    wanted, peer = state.wanted, state.wanted.peer
    await _drop_outdated(socket, control, ledger, state)
    _record(ledger, CONN, peer.name, messages.ike_fingerprint(peer))
    _record(ledger, SHARED, messages.shared_id(peer.name), None)
    for child in peer.children:
        _record(ledger, CHILD, f"{peer.name}/{child.name}", messages.child_fingerprint(child))
    await control.command("load-shared", messages.shared_key(wanted))
    await control.command("load-conn", messages.connection(peer))


def must_wait(ledger: Ledger, state: PeerState) -> bool:
    """Whether an attempt is in flight, on an IKE_SA that stays, for a child that is wanted differently now.

    It would come up as it was; it is let end first, which takes a round trip, and is then taken down as outdated.
    """
    outdated = _outdated(ledger, state.wanted.peer)
    return state.sa is not None and any(
        child.trying_since is not None and name in outdated for name, child in state.children.items()
    )


def strays(sas: tuple[IkeSa, ...], state: PeerState) -> list[int]:
    """The CHILD_SAs of a peer that no configured child explains, as the end of an attempt for a removed one."""
    return [
        child.uniqueid
        for sa in sas
        if sa.name == state.name and sa.up
        for child in sa.children
        if child.state == "INSTALLED" and child.name not in state.children
    ]


async def _drop_outdated(socket: Path, control: ViciConnection, ledger: Ledger, state: PeerState) -> None:
    peer = state.wanted.peer
    before = ledger.entries(CONN).get(peer.name)
    if before is None:
        return
    if before != messages.ike_fingerprint(peer) or (state.sa is None and state.trying):
        await terminate_all(socket, peer.name)
    for name in _outdated(ledger, peer):
        await quietly(control, "terminate", messages.terminate_named_child(peer.name, name, timeout=_TIMEOUT))
        ledger.forget(CHILD, f"{peer.name}/{name}")


def _outdated(ledger: Ledger, peer: Peer) -> list[str]:
    """The children that the ledger knows of this peer and that are wanted differently, or not any more."""
    wanted = {child.name: messages.child_fingerprint(child) for child in peer.children}
    loaded = {key.partition("/")[2]: value for key, value in ledger.entries(CHILD).items() if _owner(key) == peer.name}
    return [name for name, fingerprint in loaded.items() if wanted.get(name) != fingerprint]


def _owner(key: str) -> str:
    return key.partition("/")[0]


def _record(ledger: Ledger, kind: str, key: str, value: str | None) -> None:
    if ledger.has(kind, key) and ledger.entries(kind)[key] != value:
        ledger.forget(kind, key)
    ledger.remember(kind, key, value)
