"""Config to VICI messages and ``list-sas`` to frozen SAs. Pure.

Names, keys and values are charon's own (strongSwan's vici plugin, its ``README.md``). Times in messages are whole
seconds.
"""

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final, Union

from mcastd.config.certificates import Certificates
from mcastd.config.kinds import spell
from mcastd.config.model import Child, Peer
from mcastd.errors import DecodeError

Section = dict[str, Union[bytes, list[bytes], "Section"]]

# A lifetime in the configuration is when the SA is gone for both sides, as in ipsec.conf and on a Cisco. charon starts
# its rekeying earlier by 10 to 20 %, so that it is ours, complete, before either side's end.
_REKEY_AT: Final = 0.9
_LOG_LEVEL: Final = 1
_ROUNDING: Final = 2.0
_SPI: Final = re.compile("[0-9a-f]{1,8}")
_GRE: Final = 47  # by its number, since the names are in a file that need not be there

UP_IKE_STATES: Final = frozenset({"ESTABLISHED", "REKEYING", "REKEYED", "PASSIVE"})
UP_CHILD_STATES: Final = frozenset({"INSTALLED", "UPDATING", "REKEYING", "REKEYED"})


@dataclass(frozen=True)
class PeerWithKey:
    """A peer and what it authenticates with, which shows in no text: a pre-shared key or certificates."""

    peer: Peer
    psk: bytes | None = field(repr=False)
    certificates: Certificates | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ChildSa:
    """One CHILD_SA of ``list-sas``. Ages are seconds at the time of the listing, SPIs hexadecimal.

    ``lifetime`` is the one that it was made with.
    """

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
    if_id: int | None = None
    lifetime: float | None = None

    @property
    def up(self) -> bool:
        """Whether it carries packets; during a rekey the old one still does."""
        return self.state in UP_CHILD_STATES

    @property
    def spi(self) -> int | None:
        """The SPI of what comes in; None before it has one."""
        return int(self.spi_in, 16) if self.spi_in else None

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


def connection(wanted: PeerWithKey) -> dict[str, Any]:
    """The ``load-conn`` message of a peer: strict proposals, and nothing that charon would start by itself.

    IKEv2 is rekeyed, or reauthenticated where the configuration says so; IKEv1 has nothing but reauthentication.
    """
    peer = wanted.peer
    soft, hard = _soft(peer.lifetime), _seconds(peer.lifetime)
    afresh = peer.reauthentication or peer.version == 1
    local, remote = _authentication(wanted)
    body: dict[str, Any] = {
        "version": str(peer.version),
        "local_addrs": [str(peer.local)],
        "remote_addrs": [str(peer.remote)],
        "proposals": list(peer.proposals),
        "local": {"id": peer.local_id, **local},
        "remote": {"id": peer.remote_id, **remote},
        "rekey_time": f"{0 if afresh else soft}s",
        "reauth_time": f"{soft if afresh else 0}s",
        "over_time": f"{hard - soft}s",
        "dpd_delay": f"{_seconds(peer.dpd_delay) if peer.dpd_delay else 0}s",
        "encap": "yes" if peer.encap else "no",
        "mobike": "no",
        # With "never" the other side would not be told, after a crash of charon, that the SAs from before are gone
        # (INITIAL_CONTACT, RFC 7296, section 2.4).
        "unique": "no",
        "children": {child.name: _child(child, peer) for child in peer.children},
    }
    if peer.version == 1 and peer.dpd_delay:
        body["dpd_timeout"] = f"{5 * _seconds(peer.dpd_delay)}s"
    if wanted.certificates is not None:
        body["send_cert"] = "always"
    return {peer.name: body}


def _authentication(wanted: PeerWithKey) -> tuple[dict[str, Any], dict[str, Any]]:
    """How we prove who we are, and what the other side has to show: certificates are in the message itself."""
    found = wanted.certificates
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
        "dpd_action": "clear",  # charon's word for: close it and do nothing more
    }
    if child.if_id is not None:
        body |= {"if_id_in": str(child.if_id), "if_id_out": str(child.if_id)}
    return body


def _selector(child: Child, network: IPv4Network, end: IPv4Address) -> str:
    # In transport mode the packets' addresses are those of the IKE_SA, which behind a NAT are not the same on both
    # sides: dynamic, and each side takes its own.
    is_end = child.mode == "transport" and network == IPv4Network(end)
    return ("dynamic" if is_end else str(network)) + (f"[{_GRE}]" if child.protocol == "gre" else "")


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
    """What of a peer an established IKE_SA depends on, in words without secrets.

    A rotated key or certificate is not among it, nor are lifetimes.
    """
    ends = f"{peer.local}={peer.local_id} {peer.remote}={peer.remote_id}"
    auth = "psk" if peer.psk_file else "pubkey"
    return f"{ends} IKEv{peer.version} {','.join(peer.proposals)} {auth}{' encap' if peer.encap else ''}"


def child_fingerprint(child: Child) -> str:
    """What of a child an installed CHILD_SA depends on."""
    words = [str(child.local_ts), str(child.remote_ts), child.protocol, child.mode, ",".join(child.proposals)]
    words.append(f"replay={child.replay_window}")
    return " ".join(words if child.if_id is None else [*words, f"if_id={child.if_id}"])


def made_with(lifetime: float, sa: IkeSa) -> bool:
    """Whether an IKE_SA that is up may have been made with this lifetime, as far as its next renewal tells.

    charon renews at a random time, between twice as early and as early as the ``rekey_time`` that it was given.
    """
    left = sa.reauth_in if sa.rekey_in is None else sa.rekey_in
    soft, hard = _soft(lifetime), _seconds(lifetime)
    return not left or 2 * soft - hard - _ROUNDING <= sa.age + left <= soft + _ROUNDING


def child_made_with(lifetime: float, sa: ChildSa) -> bool:
    """Whether a CHILD_SA that is up was made with this lifetime."""
    return sa.lifetime is None or abs(sa.lifetime - _seconds(lifetime)) <= _ROUNDING


def in_words(lifetime: float) -> str:
    """The lifetime that an SA has, which is the sum of two figures that charon takes a moment apart."""
    minutes = round(lifetime / 60) * 60.0
    return spell(minutes if abs(lifetime - minutes) <= _ROUNDING else lifetime)


def ike_sas(section: Section) -> tuple[IkeSa, ...]:
    """The IKE_SAs of one ``list-sa`` event. Raises DecodeError for a value that is not what its key says."""
    return tuple(_ike_sa(name, body) for name, body in section.items() if isinstance(body, dict))


def spis(sas: tuple[IkeSa, ...]) -> frozenset[int]:
    """The SPIs of all that may come in."""
    return frozenset(child.spi for sa in sas for child in sa.children if child.spi is not None)


def came_up(event: Section) -> tuple[tuple[str, str, int], ...]:
    """The peer, child and inbound SPI of each CHILD_SA that has its keys by an event of charon's.

    That is a ``child-updown`` with ``up``, or a ``child-rekey``. Raises DecodeError as ``ike_sas`` does.
    """
    made = event
    if _text(event, "up") != "yes":
        made = {name: _new(body) for name, body in event.items() if isinstance(body, dict)}
    children = [(sa.name, child) for sa in ike_sas(made) for child in sa.children]
    return tuple((name, child.name, child.spi) for name, child in children if child.spi is not None)


def _new(body: Section) -> Section:
    """The IKE_SA of a ``child-rekey``, with the new one of each child, instead of the old one and it."""
    children = body.get("child-sas", {})
    both = children.values() if isinstance(children, dict) else ()
    return {"child-sas": {str(n): one["new"] for n, one in enumerate(both) if isinstance(one, dict) and "new" in one}}


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
    age, left = float(_number(body, "install-time") or 0), _seconds_or_none(body, "life-time")
    return ChildSa(
        name=_text(body, "name") or "",
        uniqueid=_number(body, "uniqueid") or 0,
        state=_text(body, "state") or "",
        mode=(_text(body, "mode") or "").lower(),
        encap=_text(body, "encap") == "yes",
        spi_in=_spi(body, "spi-in"),
        spi_out=_spi(body, "spi-out"),
        encr_alg=_text(body, "encr-alg"),
        encr_keysize=_number(body, "encr-keysize"),
        integ_alg=_text(body, "integ-alg"),
        dh_group=_text(body, "dh-group"),
        bytes_in=_number(body, "bytes-in") or 0,
        packets_in=_number(body, "packets-in") or 0,
        bytes_out=_number(body, "bytes-out") or 0,
        packets_out=_number(body, "packets-out") or 0,
        rekey_in=_seconds_or_none(body, "rekey-time"),
        age=age,
        local_ts=_texts(body, "local-ts"),
        remote_ts=_texts(body, "remote-ts"),
        if_id=_hexadecimal(body, "if-id-in"),
        lifetime=age + left if left else None,
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


def _hexadecimal(section: Section, key: str) -> int | None:
    text = _text(section, key)
    try:
        return None if text is None else int(text, 16)
    except ValueError as error:
        raise DecodeError("vici-value") from error


def _spi(section: Section, key: str) -> str:
    text = _text(section, key) or ""
    if text and not _SPI.fullmatch(text):
        raise DecodeError("vici-value")
    return text


def _seconds_or_none(section: Section, key: str) -> float | None:
    """A time to go; charon counts on below zero for an SA that is replaced already but still listed."""
    text = _text(section, key)
    if text is not None and text.startswith("-") and text[1:].isdigit():
        return 0.0
    value = _number(section, key)
    return None if value is None else float(value)


def _proposal(encr: str | None, keysize: int | None, integ: str | None, group: str | None) -> str:
    cipher = f"{encr}-{keysize}" if keysize else encr
    return "/".join(part for part in (cipher, integ, group) if part)


def _soft(lifetime: float) -> int:
    return max(1, int(lifetime * _REKEY_AT))  # rounded down: without a second between it would end as it is renewed


def _seconds(value: float) -> int:
    return max(1, round(value))
