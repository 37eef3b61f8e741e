"""The hops from applications on this host to what is joined for them."""

from ipaddress import IPv4Address
from typing import Final

from mcastd.listed import listed
from mcastd.status import NotFollowedReason
from mcastd.tools.doctor.facts import Facts, TunnelView
from mcastd.tools.doctor.finding import Cause, Note, here
from mcastd.tools.doctor.hops import Found

_LISTED: Final = 5
_ANY: Final = IPv4Address(0)


class Application(Cause):
    """What the hops of applications can find."""

    MEMBERSHIPS_LOST = here(
        "the interface was deleted and made again; the kernel does not restore what applications had joined on it",
        "restart {applications}: they receive nothing until they join again; and look for the program that deletes "
        "{tunnel}, or change its endpoints less often",
    )
    NOT_FOLLOWED = here(
        "what an application joins on a tunnel is joined upstream only for groups that the configuration allows",
        'set tunnels.{tunnel}.follow = true or, among its ranges, "{group}/32"; or have the group joined whether an '
        'application asks for it or not: [[groups]] with group = "{group}" and tunnel = "{tunnel}"',
    )
    NOT_FOLLOWED_WITHOUT_RP = here(
        "by default groups are followed that have a rendezvous point, or are source-specific",
        "ask the other side for the RP of {group} (`show ip pim rp mapping`) and set it in tunnels.{tunnel}.pim.rp, or "
        "learn it with bootstrap = true or auto_rp = true; for joins with a source alone, "
        'tunnels.{tunnel}.follow = ["{group}/32"] or pim.ssm_ranges',
    )
    JOINED_WITHOUT_SOURCE = here(
        "a source-specific group can be joined with sources only; an application that names none gets nothing",
        "let it join {group} with its source (IP_ADD_SOURCE_MEMBERSHIP); or take {group} out of "
        "tunnels.{tunnel}.pim.ssm_ranges, if the other side has a rendezvous point for it",
    )


_CAUSES: Final[dict[NotFollowedReason, tuple[Application, str]]] = {
    "off": (Application.NOT_FOLLOWED, "tunnels.{tunnel}.follow is false"),
    "out_of_range": (Application.NOT_FOLLOWED, "tunnels.{tunnel}.follow does not have it"),
    "no_rp": (Application.NOT_FOLLOWED_WITHOUT_RP, "{tunnel} has no rendezvous point for it"),
    "source_specific": (Application.JOINED_WITHOUT_SOURCE, "it was joined without a source"),
}


def memberships(facts: Facts) -> Found:
    """No tunnel's interface has taken memberships of applications with it."""
    for view in facts.views():
        lost = view.status.applications.lost if view.status.applications is not None else ()
        if lost:
            name = view.tunnel.name
            saw = f"applications had joined {listed(lost, _LISTED)} on {name}, and are members no longer"
            found = sorted({one for group in lost for one in _candidates(facts, view, IPv4Address(group))})
            applications = ", ".join(found[:_LISTED]) or "the applications"
            lost_here = Application.MEMBERSHIPS_LOST.found(saw, applications=applications, tunnel=name)
            yield lost_here.on(name, *(f"(*, {group})" for group in lost))


def _candidates(facts: Facts, view: TunnelView, group: IPv4Address) -> list[str]:
    """The processes with a socket that is bound to the group, or to a port for which the group arrives."""
    ports = {stream.port for stream in view.seen.arrived.streams if stream.group == group}
    return [
        facts.holders[one.inode]
        for one in facts.proc.sockets
        if one.inode in facts.holders and (one.address == group or (one.address == _ANY and one.port in ports))
    ]


def followed(facts: Facts) -> Found:
    """What applications have joined on the tunnels is joined for them."""
    for view in facts.views():
        name = view.tunnel.name
        for one in view.status.applications.not_followed if view.status.applications is not None else ():
            if one.reason in _CAUSES:
                cause, why = _CAUSES[one.reason]
                saw = f"an application has joined {one.group} on {name}, and nothing is joined upstream for it: "
                not_joined = cause.found(saw + why.format(tunnel=name), group=one.group, tunnel=name)
                yield not_joined.on(name, f"(*, {one.group})")
    yield from _elsewhere(facts)


def _elsewhere(facts: Facts) -> Found:
    """Joins on other interfaces, of groups that a tunnel would follow."""
    tunnels = {view.tunnel.name for view in facts.views()}
    on_tunnels = {group for name in tunnels for group in facts.proc.memberships.get(name, ())}
    for view in facts.views():
        pim = view.tunnel.pim
        ranges = [*pim.ssm_ranges, *(groups for rp in pim.rp for groups in rp.groups)] if pim is not None else []
        listed = {group.group for group in (facts.config.groups if facts.config else ())}
        for interface, groups in sorted(facts.proc.memberships.items()):
            for group in sorted(groups - on_tunnels) if interface not in tunnels else ():
                if group in listed or (_is_global(group) and any(group in one for one in ranges)):
                    where = f"an application has joined {group} on {interface}, and not on {view.tunnel.name}"
                    yield Note(
                        text=f"{where}, which serves it: if it is a group of theirs, let it join there "
                        f'(address {view.tunnel.address.ip}), or have "groups" in tunnels.{view.tunnel.name}.routes'
                    )


def _is_global(group: IPv4Address) -> bool:
    """Not of the link or the site, whose groups programs of all kinds join."""
    return not group.packed.startswith((b"\xe0\x00\x00", b"\xef\xff"))
