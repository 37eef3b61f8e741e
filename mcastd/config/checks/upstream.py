"""Rules for how a tunnel joins groups, and for which applications."""

from mcastd.config.checks.groups import can_have_joins
from mcastd.config.model import Config, Tunnel
from mcastd.config.report import Report, Table, dotted
from mcastd.config.value_types import LINK_LOCAL_GROUPS


def check(config: Config, report: Report) -> None:
    """Apply every rule to every tunnel."""
    for tunnel in config.tunnels:
        at = report.table("tunnels", tunnel.name)
        _protocol(tunnel, at)
        for key in ("follow", "follow_except"):
            _ranges(tunnel, key, at)
        _can_follow(tunnel, at)
        if isinstance(tunnel.follow, bool) and not tunnel.follow and tunnel.follow_except:
            at.refuse("follow_except", "nothing is followed; allowed: only where follow is not false", "follow")
        for index, found in enumerate(tunnel.follow if isinstance(tunnel.follow, tuple) else ()):
            if any(found.subnet_of(one) for one in tunnel.follow_except):
                text = f"nothing of {found} is followed, since follow_except has it"
                at.note(("follow", index), text, "follow_except")


def _protocol(tunnel: Tunnel, at: Table) -> None:
    if tunnel.upstream == "pim" and tunnel.pim is None:
        table = dotted((*at.path, "pim"))
        at.refuse("upstream", f'there is no table [{table}]; allowed: "igmp" or "none", or add the table')
    elif tunnel.upstream in ("igmp", "none") and tunnel.pim is not None:
        at.refuse("upstream", 'the tunnel has a table pim; allowed: "pim", or remove the table', "pim")


def _can_follow(tunnel: Tunnel, at: Table) -> None:
    for index, found in enumerate(tunnel.follow if isinstance(tunnel.follow, tuple) else ()):
        if tunnel.pim is not None and not can_have_joins(found, tunnel.pim):
            text = f"no RP serves a group in {found}, and it is not in ssm_ranges: joins need a source there"
            at.note(("follow", index), text, ("tunnels", tunnel.name, "pim"))


def _ranges(tunnel: Tunnel, key: str, at: Table) -> None:
    ranges = getattr(tunnel, key)
    for index, found in enumerate(ranges if isinstance(ranges, tuple) else ()):
        if found.subnet_of(LINK_LOCAL_GROUPS):
            text = f"{found} never leaves its link; allowed: ranges outside {LINK_LOCAL_GROUPS}"
            at.refuse((key, index), text)
