"""The configuration as VICI messages for charon. Pure.

Names, keys and values are charon's own (strongSwan's vici plugin, its ``README.md``). Times in messages are whole
seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

from mcastd.config.credentials import Certificates
from mcastd.config.model import Child, Peer
from mcastd.config.value_types import spell
from mcastd.ipsec.sas import ChildSa, IkeSa

# A configured lifetime ends the SA on both sides, as in ipsec.conf and on a Cisco. charon begins to rekey 10 to 20 %
# earlier, so that this side does it, and is done before the end on either side.
_REKEY_AT: Final = 0.9
_LOG_LEVEL: Final = "1"
_ROUNDING: Final = 2.0
_GRE: Final = 47  # as a number: /etc/protocols, which has the names, may be absent


@dataclass(frozen=True)
class PeerWithKey:
    """A peer and what it authenticates with: a pre-shared key or certificates, which its ``repr`` leaves out."""

    peer: Peer
    psk: bytes | None = field(repr=False)
    certificates: Certificates | None = field(default=None, repr=False)


def connection(desired: PeerWithKey) -> dict[str, Any]:
    """The ``load-conn`` message of a peer: strict proposals, and nothing that charon starts by itself.

    An IKE_SA of IKEv2 is rekeyed, or reauthenticated if so configured; IKEv1 has reauthentication only.
    """
    peer = desired.peer
    soft, hard = _soft(peer.lifetime), _seconds(peer.lifetime)
    reauthenticates = peer.reauthentication or peer.version == 1
    local, remote = _authentication(desired)
    body: dict[str, Any] = {
        "version": str(peer.version),
        "local_addrs": [str(peer.local)],
        "remote_addrs": [str(peer.remote)],
        "proposals": list(peer.proposals),
        "local": {"id": peer.local_id, **local},
        "remote": {"id": peer.remote_id, **remote},
        "rekey_time": f"{0 if reauthenticates else soft}s",
        "reauth_time": f"{soft if reauthenticates else 0}s",
        "over_time": f"{hard - soft}s",
        "dpd_delay": f"{_seconds(peer.dpd_delay) if peer.dpd_delay else 0}s",
        "encap": "yes" if peer.encap else "no",
        "mobike": "no",
        # With "never" charon would not send INITIAL_CONTACT (RFC 7296, section 2.4) after a crash, by which the peer
        # learns that the previous SAs are gone.
        "unique": "no",
        "children": {child.name: _child(child, peer) for child in peer.children},
    }
    if peer.version == 1 and peer.dpd_delay:
        body["dpd_timeout"] = f"{5 * _seconds(peer.dpd_delay)}s"
    if desired.certificates is not None:
        body["send_cert"] = "always"
    return {peer.name: body}


def _authentication(desired: PeerWithKey) -> tuple[dict[str, Any], dict[str, Any]]:
    """How this side and the peer authenticate; the message contains the certificates."""
    found = desired.certificates
    if found is None:
        return {"auth": "psk"}, {"auth": "psk"}
    remote: dict[str, Any] = {"auth": "pubkey"}
    if found.authorities:
        remote["cacerts"] = list(found.authorities)
    if found.remote is not None:
        remote["certs"] = [found.remote]
    return {"auth": "pubkey", "certs": [found.local]}, remote


def _child(child: Child, peer: Peer) -> dict[str, Any]:
    body: dict[str, Any] = {
        "mode": "tunnel" if child.mode == "interface" else child.mode,
        "local_ts": [_selector(child, child.local_ts, peer.local)],
        "remote_ts": [_selector(child, child.remote_ts, peer.remote)],
        "esp_proposals": list(child.proposals),
        "rekey_time": f"{_soft(child.lifetime)}s",
        "life_time": f"{_seconds(child.lifetime)}s",
        "replay_window": str(child.replay_window),
        "start_action": "none",
        "close_action": "none",
        "dpd_action": "clear",  # close it and do nothing more
    }
    if child.if_id is not None:
        body |= {"if_id_in": str(child.if_id), "if_id_out": str(child.if_id)}
    return body


def _selector(child: Child, network: IPv4Network, end: IPv4Address) -> str:
    # In transport mode the selectors are the addresses of the IKE_SA. Behind a NAT these differ between the two sides:
    # with "dynamic" each side takes its own.
    is_end = child.mode == "transport" and network == IPv4Network(end)
    return ("dynamic" if is_end else str(network)) + (f"[{_GRE}]" if child.protocol == "gre" else "")


def initiate(peer: str, child: str, timeout: float) -> dict[str, Any]:
    """The ``initiate`` message; charon logs each step to this connection and answers within ``timeout`` seconds."""
    return {"ike": peer, "child": child, "timeout": _milliseconds(timeout), "loglevel": _LOG_LEVEL}


def terminate(which: Mapping[str, str | int], timeout: float, *, force: bool = False) -> dict[str, Any]:
    """The ``terminate`` message for the SAs of ``which``: ``ike``, ``ike`` and ``child``, ``ike-id`` or ``child-id``.

    charon answers within ``timeout`` seconds. ``force`` does not wait for the peer's answer to the DELETE.
    """
    selected = {key: str(value) for key, value in which.items()}
    return {**selected, "timeout": _milliseconds(timeout), "force": "yes" if force else "no", "loglevel": "-1"}


def rekey(child_number: int) -> dict[str, Any]:
    """The ``rekey`` message for one CHILD_SA, by its unique id; charon answers at once, before the exchange."""
    return {"child-id": str(child_number)}


def ike_fingerprint(peer: Peer) -> str:
    """The settings of a peer that an established IKE_SA depends on, without secrets.

    Keys, certificates and lifetimes are not among them.
    """
    ends = f"{peer.local}={peer.local_id} {peer.remote}={peer.remote_id}"
    auth = "psk" if peer.psk_file else "pubkey"
    return f"{ends} IKEv{peer.version} {','.join(peer.proposals)} {auth}{' encap' if peer.encap else ''}"


def child_fingerprint(child: Child) -> str:
    """The settings that an installed CHILD_SA depends on."""
    selectors, proposals = f"{child.local_ts} {child.remote_ts} {child.protocol}", ",".join(child.proposals)
    interface = "" if child.if_id is None else f" if_id={child.if_id}"
    return f"{selectors} {child.mode} {proposals} replay={child.replay_window}{interface}"


def made_with(lifetime: float, sa: IkeSa) -> bool:
    """Whether an IKE_SA may have been made with this lifetime, judged by the time of its next renewal.

    charon renews at a random time: at its ``rekey_time``, or earlier by up to its ``over_time``.
    """
    left = sa.reauth_time if sa.rekey_time is None else sa.rekey_time
    soft, hard = _soft(lifetime), _seconds(lifetime)
    return not left or left < 0 or 2 * soft - hard - _ROUNDING <= sa.established + left <= soft + _ROUNDING


def child_made_with(lifetime: float, sa: ChildSa) -> bool:
    """Whether a CHILD_SA was made with this lifetime."""
    return sa.lifetime is None or abs(sa.lifetime - _seconds(lifetime)) <= _ROUNDING


def spelled(lifetime: float) -> str:
    """A lifetime as the configuration spells it; charon reports the sum of two times that are rounded."""
    minutes = round(lifetime / 60) * 60.0
    return spell(minutes if abs(lifetime - minutes) <= _ROUNDING else lifetime)


def _soft(lifetime: float) -> int:
    return max(1, int(lifetime * _REKEY_AT))  # rounded down, so that a second at least remains to renew it in


def _seconds(value: float) -> int:
    return max(1, round(value))


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))
