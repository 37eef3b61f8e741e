"""Config to VICI messages and ``list-sas`` to frozen SAs. Pure.

Names, keys and values are charon's own (strongSwan's vici plugin, its ``README.md``). Times in messages are whole
seconds.
"""

from dataclasses import dataclass, field
from typing import Any, Final, Union

from mcastd.config.model import Child, Peer
from mcastd.errors import DecodeError

Section = dict[str, Union[bytes, list[bytes], "Section"]]

# A lifetime in the configuration is when the SA is gone for both sides, as in ipsec.conf and on a Cisco. charon starts
# its rekeying earlier by 10 to 20 %, so that it is ours, complete, before either side's end.
_REKEY_AT: Final = 0.9
_LOG_LEVEL: Final = 1

UP_IKE_STATES: Final = frozenset({"ESTABLISHED", "REKEYING", "REKEYED", "PASSIVE"})
UP_CHILD_STATES: Final = frozenset({"INSTALLED", "UPDATING", "REKEYING", "REKEYED"})


@dataclass(frozen=True)
class PeerWithKey:
    """A peer and its pre-shared key, which shows in no text; None where it has certificates."""

    peer: Peer
    psk: bytes | None = field(repr=False)


@dataclass(frozen=True)
class ChildSa:
    """One CHILD_SA of ``list-sas``. Ages are seconds at the time of the listing, SPIs hexadecimal."""

    name: str
    uniqueid: int
    state: str
    mode: str
    encap: bool
    spi_in: str
    spi_out: str
    encr_alg: str | None
    encr_keysize: int | None
    integ_alg: str | None
    dh_group: str | None
    bytes_in: int
    packets_in: int
    bytes_out: int
    packets_out: int
    rekey_in: float | None
    age: float
    local_ts: tuple[str, ...]
    remote_ts: tuple[str, ...]

    @property
    def up(self) -> bool:
        """Whether it carries packets; during a rekey the old one still does."""
        return self.state in UP_CHILD_STATES

    @property
    def proposal(self) -> str:
        """What was negotiated, as charon writes it: ``AES_CBC-256/HMAC_SHA2_256_128/MODP_2048``."""
        return _proposal(self.encr_alg, self.encr_keysize, self.integ_alg, self.dh_group)


@dataclass(frozen=True)
class IkeSa:
    """One IKE_SA of ``list-sas`` with its CHILD_SAs."""

    name: str
    uniqueid: int
    state: str
    version: int
    answered: bool
    encr_alg: str | None
    encr_keysize: int | None
    integ_alg: str | None
    dh_group: str | None
    local_host: str
    remote_host: str
    local_id: str
    remote_id: str
    nat_local: bool
    nat_remote: bool
    age: float
    rekey_in: float | None
    reauth_in: float | None
    children: tuple[ChildSa, ...]

    @property
    def up(self) -> bool:
        """Whether both sides have authenticated and it is not being deleted."""
        return self.state in UP_IKE_STATES

    @property
    def proposal(self) -> str:
        """What was negotiated, as charon writes it."""
        return _proposal(self.encr_alg, self.encr_keysize, self.integ_alg, self.dh_group)


def connection(peer: Peer) -> dict[str, Any]:
    """The ``load-conn`` message of a peer: strict proposals, and nothing that charon would start by itself.

    IKEv2 is rekeyed, which loses no packet; reauthentication, which does with charon's defaults, is only for
    IKEv1, where there is nothing else.
    """
    soft, hard = _seconds(peer.lifetime * _REKEY_AT), _seconds(peer.lifetime)
    body: dict[str, Any] = {
        "version": str(peer.version),
        "local_addrs": [str(peer.local)],
        "remote_addrs": [str(peer.remote)],
        "proposals": list(peer.proposals),
        "local": {"auth": "psk", "id": peer.local_id},
        "remote": {"auth": "psk", "id": peer.remote_id},
        "rekey_time": f"{soft if peer.version == 2 else 0}s",
        "reauth_time": f"{soft if peer.version == 1 else 0}s",
        "over_time": f"{hard - soft}s",
        "dpd_delay": f"{_seconds(peer.dpd_delay)}s",
        "mobike": "no",
        "unique": "never",
        "children": {child.name: _child(child) for child in peer.children},
    }
    if peer.version == 1:
        body["dpd_timeout"] = f"{5 * _seconds(peer.dpd_delay)}s"
    return {peer.name: body}


def _child(child: Child) -> dict[str, Any]:
    return {
        "mode": child.mode,
        "local_ts": [str(child.local_ts)],
        "remote_ts": [str(child.remote_ts)],
        "esp_proposals": list(child.proposals),
        "rekey_time": f"{_seconds(child.lifetime * _REKEY_AT)}s",
        "life_time": f"{_seconds(child.lifetime)}s",
        "start_action": "none",
        "close_action": "none",
        "dpd_action": "clear",  # charon's word for: close it and do nothing more
    }


def shared_id(peer_name: str) -> str:
    """The name under which charon keeps a peer's key."""
    return f"mcastd-{peer_name}"


def shared_key(wanted: PeerWithKey) -> dict[str, Any]:
    """The ``load-shared`` message: the key, owned by both identities. It holds the secret: for charon only."""
    peer = wanted.peer
    return {"id": shared_id(peer.name), "type": "IKE", "data": wanted.psk, "owners": [peer.local_id, peer.remote_id]}


def initiate(peer: str, child: str, timeout: float) -> dict[str, Any]:
    """The ``initiate`` message; charon answers within ``timeout`` seconds, and reports each step meanwhile."""
    return {"ike": peer, "child": child, "timeout": str(_seconds(timeout * 1000)), "loglevel": str(_LOG_LEVEL)}


def terminate_ike(uniqueid: int, *, timeout: float, force: bool = False) -> dict[str, Any]:
    """The ``terminate`` message for one IKE_SA. ``force`` does not wait for the peer's answer."""
    return _terminate("ike-id", str(uniqueid), timeout, force)


def terminate_peer(peer: str, *, timeout: float, force: bool = False) -> dict[str, Any]:
    """The ``terminate`` message for every IKE_SA of a peer."""
    return _terminate("ike", peer, timeout, force)


def terminate_child(uniqueid: int, *, timeout: float) -> dict[str, Any]:
    """The ``terminate`` message for one CHILD_SA."""
    return _terminate("child-id", str(uniqueid), timeout, False)


def terminate_named_child(peer: str, child: str, *, timeout: float) -> dict[str, Any]:
    """The ``terminate`` message for every CHILD_SA of that name of a peer."""
    return {**_terminate("ike", peer, timeout, False), "child": child}


def _terminate(key: str, value: str, timeout: float, force: bool) -> dict[str, Any]:
    return {key: value, "timeout": str(_seconds(timeout * 1000)), "force": "yes" if force else "no", "loglevel": "-1"}


def ike_fingerprint(peer: Peer) -> str:
    """What of a peer an established IKE_SA depends on, in words without secrets."""
    proposals = ",".join(peer.proposals)
    return f"{peer.local}={peer.local_id} {peer.remote}={peer.remote_id} IKEv{peer.version} {proposals}"


def child_fingerprint(child: Child) -> str:
    """What of a child an installed CHILD_SA depends on."""
    return f"{child.local_ts} {child.remote_ts} {child.mode} {','.join(child.proposals)}"


def ike_sas(section: Section) -> tuple[IkeSa, ...]:
    """The IKE_SAs of one ``list-sa`` event. Raises DecodeError for a value that is not what its key says."""
    return tuple(_ike_sa(name, body) for name, body in section.items() if isinstance(body, dict))


def _ike_sa(name: str, body: Section) -> IkeSa:
    children = body.get("child-sas", {})
    return IkeSa(
        name=name,
        uniqueid=_number(body, "uniqueid") or 0,
        state=_text(body, "state") or "",
        version=_number(body, "version") or 0,
        answered=(_text(body, "responder-spi") or "").strip("0") != "",
        encr_alg=_text(body, "encr-alg"),
        encr_keysize=_number(body, "encr-keysize"),
        integ_alg=_text(body, "integ-alg"),
        dh_group=_text(body, "dh-group"),
        local_host=_text(body, "local-host") or "",
        remote_host=_text(body, "remote-host") or "",
        local_id=_text(body, "local-id") or "",
        remote_id=_text(body, "remote-id") or "",
        nat_local=_text(body, "nat-local") == "yes",
        nat_remote=_text(body, "nat-remote") == "yes",
        age=float(_number(body, "established") or 0),
        rekey_in=_seconds_or_none(body, "rekey-time"),
        reauth_in=_seconds_or_none(body, "reauth-time"),
        children=tuple(_child_sa(child) for child in children.values() if isinstance(child, dict))
        if isinstance(children, dict)
        else (),
    )


def _child_sa(body: Section) -> ChildSa:
    return ChildSa(
        name=_text(body, "name") or "",
        uniqueid=_number(body, "uniqueid") or 0,
        state=_text(body, "state") or "",
        mode=(_text(body, "mode") or "").lower(),
        encap=_text(body, "encap") == "yes",
        spi_in=_text(body, "spi-in") or "",
        spi_out=_text(body, "spi-out") or "",
        encr_alg=_text(body, "encr-alg"),
        encr_keysize=_number(body, "encr-keysize"),
        integ_alg=_text(body, "integ-alg"),
        dh_group=_text(body, "dh-group"),
        bytes_in=_number(body, "bytes-in") or 0,
        packets_in=_number(body, "packets-in") or 0,
        bytes_out=_number(body, "bytes-out") or 0,
        packets_out=_number(body, "packets-out") or 0,
        rekey_in=_seconds_or_none(body, "rekey-time"),
        age=float(_number(body, "install-time") or 0),
        local_ts=_texts(body, "local-ts"),
        remote_ts=_texts(body, "remote-ts"),
    )


def _text(section: Section, key: str) -> str | None:
    value = section.get(key)
    if value is None:
        return None
    if not isinstance(value, bytes):
        raise DecodeError("vici-value")
    return value.decode(errors="replace")


def _texts(section: Section, key: str) -> tuple[str, ...]:
    value = section.get(key, [])
    if not isinstance(value, list):
        raise DecodeError("vici-value")
    return tuple(item.decode(errors="replace") for item in value)


def _number(section: Section, key: str) -> int | None:
    text = _text(section, key)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise DecodeError("vici-value")
    return int(text)


def _seconds_or_none(section: Section, key: str) -> float | None:
    value = _number(section, key)
    return None if value is None else float(value)


def _proposal(encr: str | None, keysize: int | None, integ: str | None, group: str | None) -> str:
    cipher = f"{encr}-{keysize}" if keysize else encr
    return "/".join(part for part in (cipher, integ, group) if part)


def _seconds(value: float) -> int:
    return max(1, round(value))
