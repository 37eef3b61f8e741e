"""Rules for ``[[groups]]``."""

from collections import Counter
from ipaddress import IPv4Address, IPv4Network

from mcastd.config.downstream import MAX_JOINS
from mcastd.config.line_numbers import KeyPath
from mcastd.config.model import SSM_RANGE, Config, Group, Pim, Tunnel
from mcastd.config.report import Report, Table, shown


def check(config: Config, report: Report) -> None:
    """Apply every rule to every group."""
    _can_move(config, report)
    tunnels = {tunnel.name: tunnel for tunnel in config.tunnels}
    joined: dict[tuple[object, ...], KeyPath] = {}
    joins: Counter[str] = Counter()
    noted: set[object] = set()
    for index, group in enumerate(config.groups):
        at = report.table("groups", index)
        _tunnels(group, at, noted)
        _joined_once(group, at, joined, report)
        _not_too_many(group, at, joins)
        for place, name in enumerate(group.tunnels):
            key: KeyPath = ("tunnels", place) if group.several else ("tunnel",)
            if (tunnel := tunnels.get(name)) is None:
                names = ", ".join(sorted(tunnels)) or "none is defined"
                at.refuse(key, f"there is no tunnel {shown(name)}; allowed: {names}", "tunnels", ("tunnels",))
            else:
                _on_tunnel(group, tunnel, key, at, report, noted)


def _can_move(config: Config, report: Report) -> None:
    can_move = config.paths.dead or config.paths.max_silence is not None
    if not can_move and any(len(group.several) > 1 and group.use == "first" for group in config.groups):
        text = 'groups with use = "first" never move: no sign makes their tunnel dead, and silence does not either'
        report.table("paths").note("dead", text, "max_silence")


def _tunnels(group: Group, at: Table, noted: set[object]) -> None:
    """One tunnel, or several with how they are used."""
    if group.tunnel and group.several:
        at.refuse("tunnels", "there is tunnel, too; allowed: one of the two keys", "tunnel")
    for place, name in enumerate(group.several):
        if name in group.several[:place]:
            at.refuse(("tunnels", place), f"{shown(name)} is there twice; allowed: each once")
    if group.use == "all" and len(group.several) < 2:
        at.note("use", 'it has no effect with one tunnel; "all" joins on each of several tunnels', "tunnels")
    elif group.use == "all" and group.several not in noted:
        noted.add(group.several)  # it is said of the first
        text = f"every socket that has joined {group.group} gets its packets {len(group.several)} times, once by each"
        at.note("use", f'{text} of {", ".join(group.several)}; "first" joins it on one of them', "tunnels")


def _on_tunnel(group: Group, tunnel: Tunnel, key: KeyPath, at: Table, report: Report, noted: set[object]) -> None:
    """What a group is on one of its tunnels."""
    if len(group.tunnels) > 1 and tunnel.rp_filter == "strict" and tunnel.name not in noted:
        noted.add(tunnel.name)
        text = (
            f'{tunnel.name} has rp_filter = "strict", which drops what arrives by it while another tunnel has the route'
        )
        strict = ("tunnels", tunnel.name, "rp_filter")
        at.refuse(key, f'{text} to the source; allowed: tunnels with "loose"', strict)
    if tunnel.pim is not None and not group.sources:
        _rp_of_every_source(group, tunnel.pim, at, report.table("tunnels", tunnel.name, "pim"))
    elif tunnel.upstream_protocol == "none" and tunnel.upstream is None:
        if tunnel.name in noted:
            return  # it is said of the first
        noted.add(tunnel.name)
        text = f"{tunnel.name} joins nothing, since it has no table pim: groups are only expected to arrive"
        at.note("group", f'{text}; upstream = "none" states that it is meant', key, ("tunnels", tunnel.name))
    elif tunnel.upstream == "igmp" and not group.sources and group.group in SSM_RANGE:
        text = f"{group.group} is SSM and needs at least one source; allowed: sources = [...] with addresses"
        at.refuse("sources", text, "group", ("tunnels", tunnel.name, "upstream"))


def _joined_once(group: Group, at: Table, joined: dict[tuple[object, ...], KeyPath], report: Report) -> None:
    for place, source in enumerate(group.sources or (None,)):
        where: KeyPath = ("sources", place) if source else ("group",)
        for name in dict.fromkeys(group.tunnels):
            first = joined.setdefault((group.group, source, name), at[where])
            if first != at[where]:
                text = f"{group.group} from {source or 'every source'} is joined at {report.line(first, at[where])}"
                text += " already; allowed: once on a tunnel"
                at.refuse(where, text, "group", "tunnel", "tunnels", "sources", first)
                break


def _not_too_many(group: Group, at: Table, joins: Counter[str]) -> None:
    for name in dict.fromkeys(group.tunnels):
        before = joins[name]
        joins[name] += len(group.sources) or 1
        if before <= MAX_JOINS < joins[name]:
            text = f"with this group there are more than {MAX_JOINS} joins on {name}; allowed: at most that"
            at.refuse("group", text, "tunnel", "tunnels", "sources")


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
