"""An overlay as a frozen struct for status, and what is wrong with it. Pure."""

from collections.abc import Iterator
from ipaddress import IPv4Address
from itertools import islice
from typing import Final

from msgspec.structs import replace

from mcastd.listed import listed
from mcastd.overlay.desired import OverlayLink
from mcastd.overlay.device import Device
from mcastd.overlay.plan import MAX_ENTRIES, QUERIES
from mcastd.overlay_status import EndpointStatus, OverlayStatus
from mcastd.problems import Problem

_NAMED: Final = 50  # groups of a receiver
_HOSTS = _GROUPS = 5  # in a problem


def overlay_status(link: OverlayLink, device: Device | None) -> OverlayStatus:
    """``device`` is None before the first look."""
    config = link.config
    found = OverlayStatus(
        name=config.name,
        state="up" if device is not None and device.is_up else "down",
        vni=config.vni,
        port=config.port,
        local=str(config.local),
        address=str(config.address),
        members=tuple(map(str, config.members)),
        problem=device.problem if device is not None else None,
    )
    if device is None or device.index is None:
        return found
    wanted_by, heard = device.replication.wanted_by, frozenset(device.endpoints.learned.values())
    return replace(
        found,
        mtu=device.mtu,
        mode=device.replication.mode,
        groups=len(device.replication.groups.keys() - {QUERIES}),
        copies=device.replication.copies,
        asked=len(device.endpoints.asked),
        endpoints=tuple(
            _endpoint(endpoint, wanted_by.get(endpoint, {}), was_heard=endpoint in heard)
            for endpoint in sorted(heard | wanted_by.keys())
        ),
        unreachable=tuple(map(str, islice(device.unreachable, _NAMED))),
    )


def overlay_problems(device: Device) -> Iterator[Problem]:
    """What is not as configured, or not as exact as it could be."""
    name = device.name
    if device.problem is not None:
        yield Problem("overlay_failed", name, f"overlay {name}: {device.problem}")
    elif device.down is not None:
        text = f"{device.down}, which has {device.desired.config.local}, is down: nothing passes"
        yield Problem("overlay_failed", name, f"overlay {name}: {text}")
    elif device.replication.mode == "flood":
        text = "this kernel takes no entries for groups: each machine that wants any group gets all of them"
        yield Problem("overlay_not_exact", name, f"overlay {name}: {text}")
    elif device.replication.inexact:
        text = f"{listed(device.replication.inexact, _GROUPS)} would have more than {MAX_ENTRIES} entries in the kernel"
        yield Problem("overlay_not_exact", name, f"overlay {name}: {text}: their machines get all sources")
    if device.unreachable:
        hosts = listed(device.unreachable, _HOSTS)
        text = f"{hosts} want groups and have sent from no address of members"
        yield Problem("overlay_unreachable", name, f"overlay {name}: {text}")


def _endpoint(endpoint: IPv4Address, groups: dict[IPv4Address, None], *, was_heard: bool) -> EndpointStatus:
    names = tuple(map(str, islice(groups, _NAMED)))
    return EndpointStatus(endpoint=str(endpoint), was_heard=was_heard, groups=len(groups), names=names)
