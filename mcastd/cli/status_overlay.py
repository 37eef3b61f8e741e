"""Overlays in ``mcastd status``, with what each machine gets. Pure."""

from collections.abc import Iterator
from typing import Final

from mcastd.cli.layout import Block, Cell, Column, Row, Style, Table, Text
from mcastd.cli.units import count
from mcastd.listed import listed
from mcastd.overlay_status import EndpointStatus, OverlayStatus

_OVERLAY = (
    Column("overlay"),
    Column("state"),
    Column("VNI", right=True),
    Column("address"),
    Column("MTU", right=True, rank=1),
    Column("sent by"),
    Column("machines", right=True),
    Column("groups", right=True),
    Column("copies", right=True),
    Column("refused", right=True),
)
_STATES: Final[dict[str, Style]] = {"up": "good", "down": "bad"}
_SENT_BY: Final = {"mdb": "group, source", "mac": "Ethernet address", "flood": "flooding"}
_SHOWN = 10  # machines
_GROUPS = 5  # of each


def blocks(overlays: tuple[OverlayStatus, ...], *, everything: bool) -> Iterator[Block]:
    """One table of all; long lists are cut, but for ``everything``."""
    if overlays:
        yield Text()
        yield Table(_OVERLAY, tuple(row for one in overlays for row in _overlay(one, everything)))


def _overlay(overlay: OverlayStatus, everything: bool) -> Iterator[Row | Text]:
    yield (
        overlay.name,
        Cell(overlay.state, _STATES[overlay.state]),
        str(overlay.vni),
        overlay.address,
        "" if overlay.mtu is None else str(overlay.mtu),
        _SENT_BY[overlay.mode] if overlay.mode else "",
        count(len(overlay.endpoints)),
        count(overlay.groups),
        count(overlay.copies),
        count(overlay.refused),
    )
    yield Text(
        f"VXLAN {overlay.local} port {overlay.port}, members {listed(overlay.members, _GROUPS)}", "dim", indent=2
    )
    shown = len(overlay.endpoints) if everything else _SHOWN
    for endpoint in overlay.endpoints[:shown]:
        yield Text(_endpoint(endpoint, everything), indent=2)
    if (more := len(overlay.endpoints) - shown) > 0:
        yield Text(f"... and {more} more machines (--all)", "dim", indent=2)
    if overlay.unreachable:
        yield Text(f"no members, and get nothing: {listed(overlay.unreachable, _GROUPS)}", "bad", indent=2)
    if overlay.problem:
        yield Text(f"problem: {overlay.problem}", "bad", indent=2)


def _endpoint(endpoint: EndpointStatus, everything: bool) -> str:
    if not endpoint.groups:
        return f"{endpoint.endpoint} gets no group"
    silent = "" if endpoint.was_heard else ", was not heard of late"
    names = listed(endpoint.names, len(endpoint.names) if everything else _GROUPS)
    return f"{endpoint.endpoint} gets {count(endpoint.groups)} group{'s' * (endpoint.groups > 1)}{silent}: {names}"
