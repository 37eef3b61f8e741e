"""Rules for ``[[groups]]``."""

from collections import Counter
from ipaddress import IPv4Address, IPv4Network

from mcastd.config.downstream import MAX_JOINS
from mcastd.config.line_numbers import KeyPath
from mcastd.config.model import SSM_RANGE, Config, Group, Pim
from mcastd.config.report import Report, Table, shown


def check(config: Config, report: Report) -> None:
    """Apply every rule to every group."""
    tunnels = {tunnel.name: tunnel for tunnel in config.tunnels}
    joined: dict[tuple[object, ...], KeyPath] = {}
    joins: Counter[str] = Counter()
    silent: set[str] = set()
    for index, group in enumerate(config.groups):
        at, tunnel = report.table("groups", index), tunnels.get(group.tunnel)
        _joined_once(group, at, joined, report)
        _not_too_many(group, at, joins)
        if tunnel is None:
            names = ", ".join(sorted(tunnels)) or "none is defined"
            at.refuse("tunnel", f"there is no tunnel {shown(group.tunnel)}; allowed: {names}", ("tunnels",))
        elif tunnel.pim is not None and not group.sources:
            _rp_of_every_source(group, tunnel.pim, at, report.table("tunnels", tunnel.name, "pim"))
        elif tunnel.upstream_protocol == "none" and tunnel.upstream is None:
            if tunnel.name in silent:
                continue  # it is said of the first
            silent.add(tunnel.name)
            text = f"{tunnel.name} joins nothing, since it has no table pim: groups are only expected to arrive"
            at.note("group", f'{text}; upstream = "none" states that it is meant', "tunnel", ("tunnels", tunnel.name))
        elif tunnel.upstream == "igmp" and not group.sources and group.group in SSM_RANGE:
            text = f"{group.group} is SSM and needs at least one source; allowed: sources = [...] with addresses"
            at.refuse("sources", text, "group", ("tunnels", tunnel.name, "upstream"))


def _joined_once(group: Group, at: Table, joined: dict[tuple[object, ...], KeyPath], report: Report) -> None:
    for place, source in enumerate(group.sources or (None,)):
        where: KeyPath = ("sources", place) if source else ("group",)
        first = joined.setdefault((group.group, source, group.tunnel), at[where])
        if first != at[where]:
            text = f"{group.group} from {source or 'every source'} is joined at {report.line(first, at[where])} already"
            at.refuse(where, f"{text}; allowed: once on a tunnel", "group", "tunnel", "sources", first)


def _not_too_many(group: Group, at: Table, joins: Counter[str]) -> None:
    before = joins[group.tunnel]
    joins[group.tunnel] += len(group.sources) or 1
    if before <= MAX_JOINS < joins[group.tunnel]:
        text = f"with this group there are more than {MAX_JOINS} joins on {group.tunnel}; allowed: at most that"
        at.refuse("group", text, "tunnel", "sources")


def _rp_of_every_source(group: Group, pim: Pim, at: Table, of_pim: Table) -> None:
    """A group without sources is outside the SSM ranges, and an RP serves it."""
    if any(group.group in ssm for ssm in pim.ssm_ranges):
        text = f"{group.group} is SSM and needs at least one source; allowed: sources = [...] with addresses"
        at.refuse("sources", text, "group", of_pim["ssm_ranges"])
    elif not may_have_rp(group.group, pim):
        text = f"no RP serves {group.group}; allowed: a group in the range of an RP, sources, or bootstrap = true or"
        involved = of_pim.keys("rp", "ssm_ranges", "bootstrap", "auto_rp")
        involved += [of_pim["rp", index, "groups"] for index in range(len(pim.rp))]
        at.refuse("group", f"{text} auto_rp = true", "tunnel", "sources", *involved)


def may_have_rp(group: IPv4Address, pim: Pim) -> bool:
    """Whether an RP of the file serves a group, or one that is learned may."""
    return pim.bootstrap or pim.auto_rp or any(group in groups for rp in pim.rp for groups in rp.groups)


def can_have_joins(range_: IPv4Network, pim: Pim) -> bool:
    """Whether a group in a range can be joined from every source, or is source-specific."""
    served = (*pim.ssm_ranges, *(groups for rp in pim.rp for groups in rp.groups))
    return pim.bootstrap or pim.auto_rp or any(range_.overlaps(one) for one in served)
