"""Rules for ``[forward.NAME]``, which hold for ``[overlay.NAME]`` too."""

from collections.abc import Mapping
from typing import Final

from mcastd.config.checks.groups import can_have_joins, may_have_rp
from mcastd.config.checks.names import interface_name
from mcastd.config.downstream import Forward
from mcastd.config.line_numbers import KeyPath
from mcastd.config.model import SSM_RANGE, Config, Tunnel
from mcastd.config.report import Report, Table, dotted, shown
from mcastd.config.schema import keys
from mcastd.config.value_types import LINK_LOCAL_GROUPS

_LONGEST_OF_V2 = 25.5  # seconds; Max Resp Time is a byte of tenths (RFC 9776, section 4.1.1)
_MEMBERS_MAX_AGE: Final = next(key.default for key in keys(Forward) if key.name == "members_max_age")


def check(config: Config, report: Report) -> None:
    """Apply every rule to every downstream interface."""
    tunnels = {tunnel.name: tunnel for tunnel in config.tunnels}
    ours: dict[str, KeyPath] = {name: ("tunnels", name) for name in tunnels}
    for peer in config.peers:
        for child in peer.children:
            if child.interface is not None:
                ours.setdefault(child.interface, ("peers", peer.name, "children", child.name, "interface"))
    for kind, forward in (*(("forward", one) for one in config.forward), *(("overlay", one) for one in config.overlay)):
        at = report.table(kind, forward.name)
        interface_name(forward.name, at)
        _is_not_ours(forward, at, ours)
        _tunnels_exist(forward, at, tunnels)
        _groups(forward, at)
        _can_be_joined(forward, at, tunnels)
        _static(forward, at, tunnels)
        _times(forward, at)
        _is_known(forward, at)
        if forward.max_groups_per_host > forward.max_groups:
            text = f"{forward.max_groups_per_host} is more than max_groups, {forward.max_groups}; allowed: at most that"
            at.refuse("max_groups_per_host", text, "max_groups")


def _is_not_ours(forward: Forward, at: Table, ours: Mapping[str, KeyPath]) -> None:
    if forward.name in ours:
        text = f"{forward.name} is {dotted(ours[forward.name])}; allowed: an interface to machines behind this host"
        at.refuse((), text, ours[forward.name])


def _tunnels_exist(forward: Forward, at: Table, tunnels: Mapping[str, Tunnel]) -> None:
    for index, name in enumerate(forward.from_):
        if name not in tunnels:
            names = ", ".join(sorted(tunnels)) or "none is defined"
            at.refuse(("from", index), f"there is no tunnel {shown(name)}; allowed: {names}", ("tunnels",))
        elif name in forward.from_[:index]:
            at.refuse(("from", index), f"{name} is named twice; allowed: each tunnel once")


def _groups(forward: Forward, at: Table) -> None:
    for index, found in enumerate(forward.groups):
        if found.subnet_of(LINK_LOCAL_GROUPS):
            text = f"{found} never leaves its link; allowed: ranges outside {LINK_LOCAL_GROUPS}"
            at.refuse(("groups", index), text)
        elif found.subnet_of(SSM_RANGE) and forward.igmp_version < 3:
            text = f"{found} is SSM, and hosts of IGMPv{forward.igmp_version} name no source; allowed: ranges outside"
            at.refuse(("groups", index), f"{text} {SSM_RANGE}, or igmp_version = 3", "igmp_version")


def _can_be_joined(forward: Forward, at: Table, tunnels: Mapping[str, Tunnel]) -> None:
    pims = [tunnels[name].pim for name in forward.from_ if name in tunnels]
    for index, found in enumerate(forward.groups):
        if pims and all(pim is not None and not can_have_joins(found, pim) for pim in pims):
            text = f"no RP of {', '.join(forward.from_)} serves a group in {found}, nor is it in ssm_ranges"
            at.note(("groups", index), f"{text}: machines can join with sources only", "from", ("tunnels",))


def _static(forward: Forward, at: Table, tunnels: Mapping[str, Tunnel]) -> None:
    for index, group in enumerate(forward.static):
        where: KeyPath = ("static", index)
        if forward.groups and not any(group in found for found in forward.groups):
            at.refuse(where, f"{group} is in none of groups; allowed: a group in one of them", "groups")
        elif group in forward.static[:index]:
            at.refuse(where, f"{group} is there already; allowed: each group once")
        for name in forward.from_:
            pim = tunnels[name].pim if name in tunnels else None
            is_joined = name in tunnels and tunnels[name].upstream_protocol != "none"
            if is_joined and any(group in ssm for ssm in tunnels[name].ssm_ranges):
                text = f"{group} is SSM on {name} and has no source here; allowed: other groups, or [[groups]] with "
                at.refuse(where, f"{text}sources", "from", ("tunnels", name, "pim", "ssm_ranges"))
            elif pim is not None and not may_have_rp(group, pim):
                text = f"no RP serves {group} on {name}; allowed: a group in the range of an RP, or bootstrap = true or"
                at.refuse(where, f"{text} auto_rp = true", "from", ("tunnels", name, "pim"))


def _is_known(forward: Forward, at: Table) -> None:
    if forward.members_file is None and forward.members_max_age != _MEMBERS_MAX_AGE:
        at.note("members_max_age", "it has no effect without members_file", "members_file")
    if not (forward.querier or forward.static or forward.members_file):
        text = "no query is sent, and neither members_file nor static names a group: only what is reported here all the"
        at.note("querier", f"{text} same is forwarded", "static", "members_file")


def _times(forward: Forward, at: Table) -> None:
    response, interval = forward.query_response_interval, forward.query_interval
    if response >= interval:
        text = f"{response:g} s is not less than query_interval, {interval:g} s; allowed: less"
        at.refuse("query_response_interval", text, "query_interval")
    elif forward.igmp_version < 3 and response > _LONGEST_OF_V2:
        text = f"{response:g} s does not fit a query of IGMPv{forward.igmp_version}; allowed: at most 25.5 s"
        at.refuse("query_response_interval", text, "igmp_version")
