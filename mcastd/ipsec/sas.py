"""SAs as charon lists them and reports them in events: VICI sections -> frozen structs. Pure.

The fields have the names of charon's keys, whose values are text (strongSwan's vici plugin, its ``README.md``). Times
are seconds at the time of the listing.
"""

from typing import Annotated, Any, Union

import msgspec
from msgspec import Meta, Struct

from mcastd.errors import DecodeError

Section = dict[str, Union[bytes, list[bytes], "Section"]]

_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Spi = Annotated[str, Meta(pattern=r"^[0-9a-f]{0,8}\Z")]
_IfId = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{1,8}\Z")]


class _Sa(Struct, frozen=True, kw_only=True, rename="kebab"):
    """What an IKE_SA and a CHILD_SA have in common."""

    name: str = ""
    uniqueid: _Count = 0
    state: str = ""
    encr_alg: str | None = None
    encr_keysize: _Count | None = None
    integ_alg: str | None = None
    dh_group: str | None = None
    rekey_time: int | None = None

    @property
    def proposal(self) -> str:
        """What was negotiated, as charon writes it: ``AES_CBC-256/HMAC_SHA2_256_128/MODP_2048``."""
        cipher = f"{self.encr_alg}-{self.encr_keysize}" if self.encr_keysize else self.encr_alg
        return "/".join(part for part in (cipher, self.integ_alg, self.dh_group) if part)


class ChildSa(_Sa, frozen=True, kw_only=True, rename="kebab"):
    """One CHILD_SA. SPIs are hexadecimal."""

    mode: str = ""
    encap: str = ""  # "yes": in UDP
    spi_in: _Spi = ""
    spi_out: _Spi = ""
    bytes_in: _Count = 0
    packets_in: _Count = 0
    bytes_out: _Count = 0
    packets_out: _Count = 0
    use_in: _Count | None = None  # since the last packet; None before the first
    use_out: _Count | None = None
    life_time: int = 0  # until it ends
    install_time: _Count = 0  # since it was installed
    if_id_in: _IfId | None = None
    local_ts: tuple[str, ...] = ()  # as charon writes traffic selectors
    remote_ts: tuple[str, ...] = ()

    @property
    def up(self) -> bool:
        """Whether it carries packets; during a rekeying the old one still does."""
        return self.state in ("INSTALLED", "UPDATING", "REKEYING", "REKEYED")

    @property
    def if_id(self) -> int | None:
        """The id of the XFRM interface that it is bound to."""
        return int(self.if_id_in, 16) if self.if_id_in else None

    @property
    def lifetime(self) -> int | None:
        """The lifetime that it was made with."""
        return self.install_time + self.life_time if self.life_time > 0 else None


class IkeSa(_Sa, frozen=True, kw_only=True, rename="kebab"):
    """One IKE_SA with its CHILD_SAs; ``name`` is that of its connection."""

    nat_local: str = ""  # "yes": this side is behind a NAT
    nat_remote: str = ""
    established: _Count = 0  # since it was established
    reauth_time: int | None = None
    tasks_active: tuple[str, ...] = ()  # what its exchange in flight is for; empty if no request waits for an answer
    child_sas: dict[str, ChildSa] = {}

    @property
    def up(self) -> bool:
        """Whether both sides have authenticated and it is not being deleted."""
        return self.state in ("ESTABLISHED", "REKEYING", "REKEYED", "PASSIVE")

    @property
    def children(self) -> list[ChildSa]:
        """Its CHILD_SAs."""
        return list(self.child_sas.values())


def ike_sas(section: Section) -> tuple[IkeSa, ...]:
    """The IKE_SAs of one ``list-sa`` event. Raises DecodeError for a value that is not valid for its key."""
    found = {name: {**as_text(body), "name": name} for name, body in section.items() if isinstance(body, dict)}
    try:
        return tuple(msgspec.convert(list(found.values()), list[IkeSa], strict=False))
    except msgspec.ValidationError as error:
        raise DecodeError("vici-value") from error


def spis(sas: tuple[IkeSa, ...]) -> frozenset[int]:
    """The SPIs of all inbound SAs."""
    return frozenset(int(child.spi_in, 16) for sa in sas for child in sa.children if child.spi_in)


def new_children(event: Section) -> tuple[tuple[str, str, int], ...]:
    """The peer, name and inbound SPI of each CHILD_SA whose keys are installed according to an event.

    That is a ``child-updown`` with ``up``, or a ``child-rekey``. Raises DecodeError as ``ike_sas`` does.
    """
    if event.get("up") != b"yes":
        event = {name: _replacements(body) for name, body in event.items() if isinstance(body, dict)}
    children = [(sa.name, child) for sa in ike_sas(event) for child in sa.children]
    return tuple((name, child.name, int(child.spi_in, 16)) for name, child in children if child.spi_in)


def _replacements(body: Section) -> Section:
    """The IKE_SA of a ``child-rekey``, with the new CHILD_SA of each pair of ``old`` and ``new`` in it."""
    pairs = body.get("child-sas", {})
    pairs = pairs if isinstance(pairs, dict) else {}
    return {
        "child-sas": {name: pair["new"] for name, pair in pairs.items() if isinstance(pair, dict) and "new" in pair}
    }


def as_text(value: Any) -> Any:
    """A section with all its values as text."""
    if isinstance(value, dict):
        return {key: as_text(one) for key, one in value.items()}
    return [as_text(one) for one in value] if isinstance(value, list) else value.decode(errors="replace")
