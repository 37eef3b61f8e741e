"""A querier's state as a frozen struct for status. Pure."""

from collections.abc import Mapping
from ipaddress import IPv4Address

from mcastd.igmp.querier import Querier
from mcastd.igmp.role import Role
from mcastd.status import OtherQuerierStatus, QuerierStatus


def igmp_status(
    querier: Querier | None,
    now: float,
    pim_routers: tuple[IPv4Address, ...] = (),
    dropped: Mapping[str, int] | None = None,
    problem: str | None = None,
) -> QuerierStatus:
    """IGMP on one interface; without a querier the interface is not there."""
    if querier is None:
        return QuerierStatus(state="down", problem=problem)
    own, other = querier.settings.address, querier.other
    if other is None and querier.role is Role.QUERIER:
        other = own
    elif querier.role is Role.LISTENER:
        other = querier.heard(now)
    return QuerierStatus(
        state=querier.role.value,
        address=str(own),
        querier=str(other) if other is not None else None,
        is_ours=other == own,
        version=querier.version(now),
        groups=len(querier.groups),
        hosts=len(querier.hosts),
        others=tuple(
            OtherQuerierStatus(address=str(address), version=found.version, heard_age=now - found.heard_at)
            for address, found in querier.others.items()
        ),
        pim_router=str(pim_routers[0]) if pim_routers else None,
        sent=dict(querier.sent),
        received=dict(querier.received),
        dropped=dict(dropped or {}),
        problem=problem,
    )
