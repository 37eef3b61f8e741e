"""What does not go together in a file whose values are each fine by themselves."""

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import combinations, product

from mcastd.config import nat, peers, topologies
from mcastd.config.lines import KeyPath
from mcastd.config.model import MAX_JOINS, Child, Config, Group, Pim, Tunnel
from mcastd.config.mtu import PATH_MTU, USERSPACE_LINK_MTU, gre_header, largest_mtu
from mcastd.config.peers import children_of, paths
from mcastd.config.proposals import esp_of_proposal
from mcastd.config.report import Report, dotted, shown
from mcastd.config.value_types import LINK_LOCAL_GROUPS
from mcastd.net.gre import GreOptions


def find(config: Config, report: Report) -> None:
    """Report every contradiction; values that are wrong by themselves take no part."""
    children = dict(children_of(config.peers))
    peers.find(config, report)
    nat.find(children, report)
    topologies.find(config, report)
    for tunnel in config.tunnels:
        path = ("tunnels", tunnel.name)
        _endpoints(tunnel, path, children, report)
        _mtu(tunnel, path, children, config.daemon.datapath == "userspace", report)
        if tunnel.pim is not None:
            _pim(tunnel, tunnel.pim, (*path, "pim"), report)
    _tunnel_pairs(config.tunnels, report)
    _groups(config, report)


def _endpoints(tunnel: Tunnel, path: KeyPath, children: dict[KeyPath, Child], report: Report) -> None:
    if tunnel.local == tunnel.remote:
        text = f"it is the same as local, {tunnel.local}; allowed: the other side's GRE endpoint"
        report.contradiction((*path, "remote"), text, (*path, "local"))
    _addresses(tunnel, path, report)
    if tunnel.child is None:
        if not report.is_wrong((*path, "child")):
            report.note(path, "it has no child: GRE goes in the clear")
        return
    found = _child(tunnel.child, children)
    if found is None:
        names = ", ".join(sorted(child.name for child in children.values())) or "none is defined"
        report.contradiction((*path, "child"), f"there is no child {shown(tunnel.child)}; allowed: {names}")
        return
    child_path, child = found
    if tunnel.encapsulation == "none" or child.mode == "transport":  # topologies has more to say of these
        return
    for key, end, selector in (("local", tunnel.local, child.local_ts), ("remote", tunnel.remote, child.remote_ts)):
        if end not in selector:
            text = f"{end} is outside {key}_ts of {child.name}; allowed: an address in {selector}"
            report.contradiction((*path, key), text, (*child_path, f"{key}_ts"))


def _child(name: str, children: dict[KeyPath, Child]) -> tuple[KeyPath, Child] | None:
    return next(((path, child) for path, child in children.items() if child.name == name), None)


def _addresses(tunnel: Tunnel, path: KeyPath, report: Report) -> None:
    _further_addresses(tunnel, path, report)
    peer, own, where = tunnel.peer_address, tunnel.address, (*path, "peer_address")
    if peer is None:
        return
    network = own.network
    if _is_own(peer, tunnel):
        text = f"{peer} is our own address; allowed: the other side's"
        report.contradiction(where, text, *paths(path, "address", "addresses"))
    elif network.prefixlen == 32:
        return
    elif peer not in network:
        report.contradiction(where, f"{peer} is outside {network}; allowed: an address in it", (*path, "address"))
    elif network.prefixlen < 31 and peer in (network.network_address, network.broadcast_address):
        text = f"{peer} is the network or broadcast address of {network}; allowed: an address between"
        report.contradiction(where, text, (*path, "address"))


def _further_addresses(tunnel: Tunnel, path: KeyPath, report: Report) -> None:
    taken: dict[IPv4Address, KeyPath] = {tunnel.address.ip: (*path, "address")}
    for place, address in enumerate(tunnel.addresses):
        where: KeyPath = (*path, "addresses", place)
        first = taken.setdefault(address.ip, where)
        if first != where:
            text = f"{address.ip} is {dotted(first)} already; allowed: further addresses, each once"
            report.contradiction(where, text, first)


def _is_own(address: IPv4Address, tunnel: Tunnel) -> bool:
    return any(address == own.ip for own in tunnel.own_addresses)


def _mtu(tunnel: Tunnel, path: KeyPath, children: dict[KeyPath, Child], userspace: bool, report: Report) -> None:
    where = (*path, "mtu")
    if tunnel.mtu is None:
        return
    found = _child(tunnel.child, children) if tunnel.child is not None else None
    if tunnel.child is not None and found is None:
        return
    gre = gre_header(tunnel)
    involved = list(paths(path, "child", "encapsulation", *GreOptions.__struct_fields__))
    if found is None:
        largest = largest_mtu(PATH_MTU, None, gre=gre)
        why = "GRE without IPsec"
    else:
        child_path, child = found
        involved += paths(child_path, "proposals", "mode")
        adds = [esp for proposal in child.proposals for esp in esp_of_proposal(proposal)]
        largest = min((largest_mtu(PATH_MTU, esp, mode=child.mode, encap=True, gre=gre) for esp in adds), default=0)
        why = f"{child.mode} mode, {' or '.join(child.proposals)}, ESP in UDP"
        if userspace and largest > (lower := largest_mtu(USERSPACE_LINK_MTU, None, gre=gre)):
            largest, why = lower, f"ESP in user space, whose link has {USERSPACE_LINK_MTU}"
    if tunnel.mtu > largest:
        text = f'{tunnel.mtu} does not fit a path of {PATH_MTU} bytes ({why}); allowed: at most {largest}, or "auto"'
        report.contradiction(where, text, *involved)


def _pim(tunnel: Tunnel, pim: Pim, path: KeyPath, report: Report) -> None:
    neighbor, where, address = pim.neighbor, (*path, "neighbor"), (*path[:2], "address")
    own = tuple(paths(path[:2], "address", "addresses"))
    if neighbor is not None and not report.is_wrong(where):
        if _is_own(neighbor, tunnel):
            report.contradiction(where, f"{neighbor} is our own address; allowed: the other side's", *own)
        elif not any(neighbor in one.network for one in tunnel.own_addresses) and not report.is_wrong(address):
            report.note(where, f"{neighbor} is outside {tunnel.address.network}, the network of the tunnel")
        if pim.accept_neighbors and not any(neighbor in prefix for prefix in pim.accept_neighbors):
            text = f"{neighbor} is in none of accept_neighbors; allowed: an address in one of them"
            report.contradiction(where, text, (*path, "accept_neighbors"))
    if pim.static_neighbor and neighbor is None:
        report.contradiction((*path, "static_neighbor"), "there is no neighbor; allowed: false, or name one", where)
    if pim.hello_holdtime < pim.hello_period:
        text = f"{pim.hello_holdtime:g} s is less than hello_period, {pim.hello_period:g} s; allowed: more"
        report.contradiction((*path, "hello_holdtime"), text, (*path, "hello_period"))
    for source, is_used in (("bootstrap", pim.bootstrap), ("auto_rp", pim.auto_rp)):
        if source in pim.rp_preference and not is_used:
            text = f"{source} is not used; allowed: other words, or set {source} = true as well"
            report.contradiction((*path, "rp_preference"), text, (*path, source))
    _rp_ranges(tunnel, pim, path, report)


def _rp_ranges(tunnel: Tunnel, pim: Pim, path: KeyPath, report: Report) -> None:
    taken: dict[IPv4Network, KeyPath] = {}
    for index, rp in enumerate(pim.rp):
        rp_path = (*path, "rp", index)
        if _is_own(rp.address, tunnel):
            text = f"{rp.address} is our own address; allowed: the rendezvous point of the other side"
            report.contradiction((*rp_path, "address"), text, *paths(path[:2], "address", "addresses"))
        for place, range_ in enumerate(rp.groups):
            where = (*rp_path, "groups", place)
            first = taken.setdefault(range_, where)
            if first != where:
                text = f"{range_} has an RP at line {report.line(first)} already; allowed: one RP for a range"
                report.contradiction(where, text, first)
            elif any(range_.subnet_of(ssm) for ssm in pim.ssm_ranges):
                report.contradiction(
                    where,
                    f"{range_} is SSM, which has no RP; allowed: ranges outside ssm_ranges",
                    (*path, "ssm_ranges"),
                )
            elif range_.subnet_of(LINK_LOCAL_GROUPS):
                report.contradiction(
                    where, f"{range_} never leaves its link; allowed: ranges outside {LINK_LOCAL_GROUPS}"
                )


def _tunnel_pairs(tunnels: tuple[Tunnel, ...], report: Report) -> None:
    ends: dict[tuple[object, ...], KeyPath] = {}
    for tunnel in tunnels:
        if tunnel.encapsulation == "none":
            continue
        path: KeyPath = ("tunnels", tunnel.name)
        first = ends.setdefault((tunnel.local, tunnel.remote, tunnel.gre.key), path)
        if first != path:
            text = f"it has the same local, remote and key as {dotted(first)}; allowed: tunnels that differ in one"
            report.contradiction(
                path, text, *paths(path, "local", "remote", "key"), *paths(first, "local", "remote", "key")
            )
    for one, other in combinations(tunnels, 2):
        for (first, theirs), (where, ours) in product(_networks(one), _networks(other)):
            if theirs.network.overlaps(ours.network):
                text = f"{ours} overlaps {dotted(first)}, {theirs}; allowed: a network of its own"
                report.contradiction(where, text, first)


def _networks(tunnel: Tunnel) -> Iterator[tuple[KeyPath, IPv4Interface]]:
    yield ("tunnels", tunnel.name, "address"), tunnel.address
    for place, address in enumerate(tunnel.addresses):
        yield ("tunnels", tunnel.name, "addresses", place), address


def _groups(config: Config, report: Report) -> None:
    tunnels = {tunnel.name: tunnel for tunnel in config.tunnels}
    joined: dict[tuple[object, ...], KeyPath] = {}
    joins: Counter[str] = Counter()
    for index, group in enumerate(config.groups):
        path: KeyPath = ("groups", index)
        _joined_once(group, path, joined, report)
        before = joins[group.tunnel]
        joins[group.tunnel] += len(group.sources) or 1
        if before <= MAX_JOINS < joins[group.tunnel]:
            text = f"with this group there are more than {MAX_JOINS} joins on {group.tunnel}; allowed: at most that"
            report.contradiction((*path, "group"), text, *paths(path, "tunnel", "sources"))
        tunnel = tunnels.get(group.tunnel)
        if tunnel is None:
            names = ", ".join(sorted(tunnels)) or "none is defined"
            text = f"there is no tunnel {shown(group.tunnel)}; allowed: {names}"
            report.contradiction((*path, "tunnel"), text, ("tunnels",))
        elif tunnel.pim is None:
            text = (
                f"{tunnel.name} has no PIM; allowed: a tunnel with a table [{dotted(('tunnels', tunnel.name, 'pim'))}]"
            )
            report.contradiction((*path, "tunnel"), text, ("tunnels", tunnel.name))
        elif not group.sources:
            _from_every_source(group, tunnel.pim, path, ("tunnels", tunnel.name, "pim"), report)


def _joined_once(group: Group, path: KeyPath, joined: dict[tuple[object, ...], KeyPath], report: Report) -> None:
    wanted: list[tuple[IPv4Address | None, KeyPath]] = [
        (source, (*path, "sources", place)) for place, source in enumerate(group.sources)
    ]
    for source, where in wanted or [(None, (*path, "group"))]:
        first = joined.setdefault((group.group, source, group.tunnel), where)
        if first != where:
            what = f"{group.group} from {source or 'every source'}"
            text = f"{what} is joined at line {report.line(first)} already; allowed: once on a tunnel"
            report.contradiction(where, text, *paths(path, "group", "tunnel", "sources"), first)


def _from_every_source(group: Group, pim: Pim, path: KeyPath, pim_path: KeyPath, report: Report) -> None:
    if any(group.group in ssm for ssm in pim.ssm_ranges):
        text = f"{group.group} is SSM and needs at least one source; allowed: sources = [...] with addresses"
        report.contradiction((*path, "sources"), text, (*path, "group"), (*pim_path, "ssm_ranges"))
    elif not (pim.bootstrap or pim.auto_rp) and not any(group.group in range_ for rp in pim.rp for range_ in rp.groups):
        text = (
            f"no RP serves {group.group}; allowed: a group in the range of an RP, "
            "bootstrap = true or auto_rp = true, or sources"
        )
        unsure = [(*pim_path, "rp", index, "groups") for index in range(len(pim.rp))]
        involved = (
            *paths(pim_path, "rp", "ssm_ranges", "bootstrap", "auto_rp"),
            *paths(path, "tunnel", "sources"),
            *unsure,
        )
        report.contradiction((*path, "group"), text, *involved)
