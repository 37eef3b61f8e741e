"""Loads connections and credentials into charon, and first takes down the SAs that a changed configuration outdates."""

from typing import Final

from mcastd.config.credentials import Certificates
from mcastd.config.model import Peer
from mcastd.ipsec import credentials, messages
from mcastd.ipsec.charon import Charon, Vici, remove
from mcastd.ipsec.messages import PeerWithKey
from mcastd.ipsec.ownership import AUTHORITY, CHILD, CONN, KEY, SHARED
from mcastd.ipsec.state import PeerState
from mcastd.ipsec.teardown import owned, terminate_all, unload_key
from mcastd.system.ledger import Ledger

_TIMEOUT: Final = 1.0


async def load(charon: Charon, control: Vici, ledger: Ledger, state: PeerState) -> str | None:
    """Load a peer's credentials and connection; return the id of its private key.

    Raises ViciRefused if charon does not accept them.
    """
    desired, peer = state.desired, state.desired.peer
    await _drop_outdated(charon, control, ledger, state)
    _record(ledger, CONN, peer.name, messages.ike_fingerprint(peer))
    for child in peer.children:
        _record(ledger, CHILD, f"{peer.name}/{child.name}", messages.child_fingerprint(child))
    key = await _load_credentials(control, ledger, desired)
    await control.command("load-conn", messages.connection(desired))
    return key


def must_wait(ledger: Ledger, state: PeerState) -> bool:
    """Whether an attempt is in flight, on an IKE_SA that stays, for a CHILD_SA whose configuration has changed.

    It would come up with the old configuration. It ends within a round trip, and is then taken down as outdated.
    """
    outdated = _outdated(ledger, state.desired.peer)
    return state.sa is not None and any(
        child.trying_since is not None and name in outdated for name, child in state.children.items()
    )


async def _load_credentials(control: Vici, ledger: Ledger, desired: PeerWithKey) -> str | None:
    """Load what the peer authenticates with, and unload what it does not authenticate with any more."""
    name, found = desired.peer.name, desired.certificates
    shared, authorities = credentials.shared_id(name), credentials.authorities(desired)
    if desired.psk is not None:
        _record(ledger, SHARED, shared, None)
        await control.command("load-shared", credentials.shared_key(desired))
    elif ledger.has(SHARED, shared):
        await remove(control, "unload-shared", {"id": shared})
        ledger.forget(SHARED, shared)
    for authority in owned(ledger, AUTHORITY, name):
        # Loading again under the same name would leave the certificate of the old one behind.
        await remove(control, "unload-authority", {"name": authority})
        ledger.forget(AUTHORITY, f"{name}/{authority}")
    for authority, message in authorities.items():
        _record(ledger, AUTHORITY, f"{name}/{authority}", None)
        await control.command("load-authority", message)
    key = await _load_key(control, ledger, name, found) if found is not None else None
    for other in owned(ledger, KEY, name):
        if other != key:
            await unload_key(control, ledger, name, other)
    if found is not None and (certificate := credentials.trusted(found)) is not None:
        await control.command("load-cert", certificate)
    return key


async def _load_key(control: Vici, ledger: Ledger, peer: str, found: Certificates) -> str:
    """Load the private key and return its id; one that another program has loaded is not recorded as ours."""
    loaded = (await control.command("get-keys")).get("keys", [])
    answer = (await control.command("load-key", credentials.private_key(found))).get("id", b"")
    key = answer.decode(errors="replace") if isinstance(answer, bytes) else ""
    if answer not in loaded or any(entry.partition("/")[2] == key for entry in ledger.entries(KEY)):
        _record(ledger, KEY, f"{peer}/{key}", None)
    return key


async def _drop_outdated(charon: Charon, control: Vici, ledger: Ledger, state: PeerState) -> None:
    peer = state.desired.peer
    before = ledger.entries(CONN).get(peer.name)
    changed = before != messages.ike_fingerprint(peer) or (state.sa is None and state.trying)
    if before is not None and changed:
        state.is_ended_here = state.sa is not None
        await terminate_all(charon, peer.name)
    for name in _outdated(ledger, peer):
        await remove(control, "terminate", messages.terminate({"ike": peer.name, "child": name}, _TIMEOUT))
        ledger.forget(CHILD, f"{peer.name}/{name}")


def _outdated(ledger: Ledger, peer: Peer) -> list[str]:
    """The CHILD_SAs in the ledger whose configuration has changed or that are no longer configured."""
    desired = {child.name: messages.child_fingerprint(child) for child in peer.children}
    loaded = {name: ledger.entries(CHILD)[f"{peer.name}/{name}"] for name in owned(ledger, CHILD, peer.name)}
    return [name for name, fingerprint in loaded.items() if desired.get(name) != fingerprint]


def _record(ledger: Ledger, kind: str, key: str, value: str | None) -> None:
    if ledger.has(kind, key) and ledger.entries(kind)[key] != value:
        ledger.forget(kind, key)
    ledger.remember(kind, key, value)
