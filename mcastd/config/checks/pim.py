"""Rules for ``[tunnels.NAME.pim]``."""

from ipaddress import IPv4Address, IPv4Network

from mcastd.config.line_numbers import KeyPath
from mcastd.config.model import Config, Pim, Tunnel
from mcastd.config.report import Report, Table
from mcastd.config.value_types import LINK_LOCAL_GROUPS


def check(config: Config, report: Report) -> None:
    """Apply every rule to every tunnel with PIM."""
    for tunnel in config.tunnels:
        if tunnel.pim is not None:
            at, own = report.table("tunnels", tunnel.name, "pim"), report.table("tunnels", tunnel.name)
            _neighbor(tunnel, tunnel.pim, at, own)
            _accepted(tunnel, tunnel.pim, at, own)
            _ranges(tunnel.pim, at)
            _hello_holdtime(tunnel.pim, at)
            _rp_preference(tunnel.pim, at)
            _rp_addresses(tunnel, tunnel.pim, at, own)
            _rp_ranges(tunnel.pim, at, report)


def _neighbor(tunnel: Tunnel, pim: Pim, at: Table, own: Table) -> None:
    if pim.static_neighbor and pim.neighbor is None:
        at.refuse("static_neighbor", "there is no neighbor; allowed: false, or name one", "neighbor")
    if pim.neighbor is None:
        return
    if pim.neighbor in (address.ip for address in tunnel.own_addresses):
        text = f"{pim.neighbor} is our own address; allowed: the other side's"
        at.refuse("neighbor", text, *own.keys("address", "addresses"))
    elif not any(pim.neighbor in address.network for address in tunnel.own_addresses):
        text = f"{pim.neighbor} is outside {tunnel.address.network}, the network of the tunnel"
        at.note("neighbor", text, own["address"])
    elif any(_is_no_host(pim.neighbor, address.network) for address in tunnel.own_addresses):
        text = f"{pim.neighbor} is the network or broadcast address of {tunnel.address.network}"
        at.refuse("neighbor", f"{text}; allowed: an address between", *own.keys("address", "addresses"))
    if pim.accept_neighbors and not any(pim.neighbor in prefix for prefix in pim.accept_neighbors):
        text = f"{pim.neighbor} is in none of accept_neighbors; allowed: an address in one of them"
        at.refuse("neighbor", text, "accept_neighbors")


def _is_no_host(address: IPv4Address, network: IPv4Network) -> bool:
    return network.prefixlen < 31 and address in (network.network_address, network.broadcast_address)


def _accepted(tunnel: Tunnel, pim: Pim, at: Table, own: Table) -> None:
    for index, prefix in enumerate(pim.accept_neighbors):
        if prefix.prefixlen == 32 and prefix[0] in (address.ip for address in tunnel.own_addresses):
            text = f"{prefix[0]} is our own address; allowed: the other side's"
            at.refuse(("accept_neighbors", index), text, *own.keys("address", "addresses"))
        elif not any(prefix.overlaps(address.network) for address in tunnel.own_addresses):
            text = f"{prefix} is outside {tunnel.address.network}, the network of the tunnel"
            at.note(("accept_neighbors", index), text, *own.keys("address", "addresses"))


def _ranges(pim: Pim, at: Table) -> None:
    for index, found in enumerate(pim.ssm_ranges):
        if found.subnet_of(LINK_LOCAL_GROUPS):
            text = f"{found} never leaves its link; allowed: ranges outside {LINK_LOCAL_GROUPS}"
            at.refuse(("ssm_ranges", index), text)
    if pim.auto_rp_agents and not pim.auto_rp:
        text = "auto_rp is not used; allowed: leave it out, or set auto_rp = true as well"
        at.refuse("auto_rp_agents", text, "auto_rp")


def _hello_holdtime(pim: Pim, at: Table) -> None:
    if pim.hello_holdtime < pim.hello_period:
        text = f"{pim.hello_holdtime:g} s is less than hello_period, {pim.hello_period:g} s; allowed: more"
        at.refuse("hello_holdtime", text, "hello_period")
    elif pim.hello_holdtime < 2 * pim.hello_period:
        text = f"the neighbor drops us if one Hello is lost; common are {3.5 * pim.hello_period:g} s, 3.5 hello_period"
        at.note("hello_holdtime", text, "hello_period")


def _rp_preference(pim: Pim, at: Table) -> None:
    for source, is_used in (("bootstrap", pim.bootstrap), ("auto_rp", pim.auto_rp)):
        if source in pim.rp_preference and not is_used:
            text = f"{source} is not used; allowed: other words, or set {source} = true as well"
            at.refuse("rp_preference", text, source)


def _rp_addresses(tunnel: Tunnel, pim: Pim, at: Table, own: Table) -> None:
    for index, rp in enumerate(pim.rp):
        if rp.address in (address.ip for address in tunnel.own_addresses):
            text = f"{rp.address} is our own address; allowed: the rendezvous point of the other side"
            at.refuse(("rp", index, "address"), text, *own.keys("address", "addresses"))


def _rp_ranges(pim: Pim, at: Table, report: Report) -> None:
    taken: dict[IPv4Network, KeyPath] = {}
    ranges = (
        (("rp", index, "groups", place), found)
        for index, rp in enumerate(pim.rp)
        for place, found in enumerate(rp.groups)
    )
    for where, found in ranges:
        first = taken.setdefault(found, at[where])
        if first != at[where]:
            text = f"{found} has an RP at {report.line(first)} already; allowed: one RP for a range"
            at.refuse(where, text, first)
        elif any(found.subnet_of(ssm) for ssm in pim.ssm_ranges):
            text = f"{found} is SSM, which has no RP; allowed: ranges outside ssm_ranges"
            at.refuse(where, text, "ssm_ranges")
        elif found.subnet_of(LINK_LOCAL_GROUPS):
            text = f"{found} never leaves its link; allowed: ranges outside {LINK_LOCAL_GROUPS}"
            at.refuse(where, text)
