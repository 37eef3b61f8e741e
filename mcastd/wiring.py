"""What each agent should do: a pure function for each, of the configuration and of what the other agents have up.

The only place where the state of one agent becomes the input of another. Everything here is a state and not a command:
that a CHILD_SA is to be established again, or that the path under a PIM interface came back, is a number that has
grown, and the agent acts when it differs from the number that it has acted on.

    ipsec      CHILD_SAs up, algorithms     -> tunnels     carriers: MTU, and whether a tunnel may send
    firewall   the guard is in place        -> tunnels     a CHILD_SA whose guard is missing does not carry
                                            -> ipsec       early ESP may be replayed
    ipsec      CHILD_SAs up                 -> firewall    drops of the guard are a problem
    tunnels    links up, addresses, MTU     -> keepalive, pim, igmp_host, igmp, follow, forward, meter
    pim        rendezvous points            -> follow, forward   which groups can be joined
    igmp       elections                    -> forward     on which links this host forwards
    igmp_host  its sockets                  -> follow      which sockets are not those of applications
    keepalive  a path is dead               -> ipsec       establish its CHILD_SA again
               the far end's arrive         -> ipsec       what is up without charon
               how much is wanted           -> streams     what is expected to arrive
    meter      sequence numbers             -> streams     what was missing in each second
    streams    what arrives, is decrypted   -> ipsec       what is up without charon; is a silent path's peer there?
                                            -> tunnels     another way to a peer works
                                            -> pim, igmp_host
                                            -> igmp        what would be forwarded arrives: queries are allowed
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from ipaddress import IPv4Address

import msgspec

from mcastd.config.downstream import Forward
from mcastd.config.gateways import config_in_use
from mcastd.config.model import Child, Config, Peer, Tunnel
from mcastd.config.other_side import carrier
from mcastd.config.proposals import esp_of_proposal, esp_of_sa
from mcastd.firewall import rules
from mcastd.firewall.rules import FirewallDesired, unguarded
from mcastd.follow.members import SocketFilter
from mcastd.follow.settings import FollowDesired, FollowedTunnel, no_sockets
from mcastd.forward.desired import ForwardDesired, ForwardTunnel
from mcastd.igmp.settings import Election, IgmpDesired
from mcastd.igmp_host.desired import IgmpHostDesired, IgmpHostLink
from mcastd.ipsec.gateways import used_and_idle
from mcastd.ipsec.messages import PeerWithKey
from mcastd.ipsec.state import ChildView, IpsecDesired
from mcastd.keepalive.packet import KeepaliveTunnel, endpoints
from mcastd.membership import NONE
from mcastd.meter.desired import MeterDesired
from mcastd.net.xfrm import Sa
from mcastd.paths import Order
from mcastd.pim.settings import ArrivedOn, HasArrived, PimDesired, PimInterface
from mcastd.streams.desired import (
    ChildArrival,
    Numbers,
    StreamsDesired,
    TunnelArrival,
    no_numbers,
    no_sas,
    no_stream,
    nothing_lost,
)
from mcastd.streams.feeds import WantedSince, never_wanted
from mcastd.tunnel.desired import LinkView, TunnelsDesired
from mcastd.tunnel.mtu import Carrier
from mcastd.wanted import Rps


def no_rp(_tunnel: str, _group: IPv4Address) -> bool:
    """The answer while no rendezvous point has been learned."""
    return False


class Up(msgspec.Struct, frozen=True):
    """What the agents report of each other's inputs."""

    guard_in_place: bool = False
    # By the CHILD_SA's name, all that are configured.
    children: Mapping[str, ChildView] = msgspec.field(default_factory=dict)
    # By the CHILD_SA's name, by which SA each that is up receives now: another one after each rekeying.
    sas: Callable[[], Mapping[str, Sa]] = no_sas
    # What GRE in user space has dropped, by the name of a counter.
    lost: Callable[[], Mapping[str, int]] = nothing_lost
    numbers: Numbers = no_numbers
    # By the tunnel's name, those that exist.
    links: Mapping[str, LinkView] = msgspec.field(default_factory=dict)
    # By the tunnel's name, how often the CHILD_SA of a dead path was to be established again.
    dead_paths: Mapping[str, int] = msgspec.field(default_factory=dict)
    # The tunnels on which our keepalives are not answered, and those that have a PIM neighbour.
    paths_dead: frozenset[str] = frozenset()
    neighbors: frozenset[str] = frozenset()
    # The tunnels on which the far end's keepalives have stopped, and those whose PIM neighbour's Hello is overdue.
    keepalives_stopped: frozenset[str] = frozenset()
    hello_overdue: frozenset[str] = frozenset()
    # The tunnels on which the far end's keepalives arrive.
    keepalives_arriving: frozenset[str] = frozenset()
    # By the tunnel's name, how many joins are desired, and whether they include a source (None: any) and a group.
    joins: Mapping[str, int] = msgspec.field(default_factory=dict)
    is_joined: Callable[[str, IPv4Address | None, IPv4Address], bool] = no_stream
    # Since when a group has been wanted on any tunnel.
    wanted_since: WantedSince = never_wanted
    # By the tunnel's and by the CHILD_SA's name, what arrives; empty until it is known.
    arrivals: Mapping[str, TunnelArrival] = msgspec.field(default_factory=dict)
    decrypted: Mapping[str, ChildArrival] = msgspec.field(default_factory=dict)
    # Whether packets of a source (None: any) for a group have just arrived on a tunnel; None while it is not counted.
    has_arrived: HasArrived | None = None
    # Whether a group has a rendezvous point on a tunnel, and by its name how often those that were learned changed.
    has_rp: Callable[[str, IPv4Address], bool] = no_rp
    rp_changes: Mapping[str, int] = msgspec.field(default_factory=dict)
    # The tunnels of groups that have several, each with these groups, and which tunnel carries them.
    several: Mapping[str, frozenset[IPv4Address]] = msgspec.field(default_factory=dict)
    carrying: Mapping[Order, str] = msgspec.field(default_factory=dict)
    # With which filters sockets of mcastd have joined a group on a tunnel.
    own_sockets: Callable[[str, IPv4Address], Sequence[SocketFilter]] = no_sockets
    # By the downstream interface's name, how the election of the querier stands; of those that are there.
    elections: Mapping[str, Election] = msgspec.field(default_factory=dict)
    # The text of the nftables table that is known to be in place, which matters where it is not the desired one.
    standing: str = ""


class Inputs(msgspec.Struct, frozen=True):
    """All that the agents' desired states follow from.

    ``leaving`` is, while a reload is carried out, the configuration before it, whose tunnels are guarded until they are
    gone. ``active`` are the gateways that are in use, by the name of the first one of those of the same side.
    """

    config: Config
    peers: tuple[PeerWithKey, ...]
    up: Up
    leaving: Config | None = None
    active: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def in_use(self) -> Config:
        """The configuration without the gateways that stand by."""
        return config_in_use(self.config, self.active)


def firewall(inputs: Inputs) -> FirewallDesired:
    """The table depends on the file alone, so that neither a crash nor a link that flaps opens the guard."""
    up = frozenset(name for name, view in inputs.up.children.items() if view.up)
    return FirewallDesired(inputs.config, inputs.leaving, up)


def ipsec(inputs: Inputs) -> IpsecDesired:
    """The peers, the CHILD_SAs that pretend to carry a dead path, and what those decrypt that are up."""
    restarts = {
        tunnel.child: (number, f"the path of {tunnel.name} is dead")
        for tunnel in inputs.config.tunnels
        if tunnel.child is not None and (number := inputs.up.dead_paths.get(tunnel.name, 0))
    }
    replay_allowed = inputs.up.guard_in_place and inputs.config.firewall.guard
    used, idle = used_and_idle(inputs.peers, inputs.active)
    return IpsecDesired(used, restarts, replay_allowed, _receiving(inputs), _probes(inputs), idle)


def tunnels(inputs: Inputs) -> TunnelsDesired:
    """The tunnels, by the CHILD_SA's name what carries each, and the peers that are heard."""
    unguarded, config = _unguarded(inputs), inputs.in_use
    carriers = {
        child.name: _carrier(peer, child, inputs.up.children.get(child.name), child.name not in unguarded)
        for peer in config.peers
        for child in peer.children
    }
    return TunnelsDesired(config, carriers, _heard(inputs), inputs.up.carrying)


def keepalive(inputs: Inputs) -> tuple[KeepaliveTunnel, ...]:
    """The GRE tunnels, each with what is known of its link."""
    return tuple(
        _keepalives(inputs.config, tunnel, inputs.up.links.get(tunnel.name))
        for tunnel in inputs.config.tunnels
        if tunnel.encapsulation == "gre"
    )


def joining(config: Config) -> list[str]:
    """The tunnels on which groups are joined, by PIM or by IGMP."""
    return [tunnel.name for tunnel in config.tunnels if tunnel.upstream_protocol != "none"]


def pim(inputs: Inputs) -> PimDesired:
    """PIM on the tunnels that have been up once.

    On a path that is down its state is kept, and ages by itself; when it comes back, ``up_count`` has grown.
    """
    arrived = inputs.up.has_arrived
    interfaces = [
        PimInterface(
            name=tunnel.name,
            ifindex=link.index,
            mtu=link.mtu,
            address=link.address,
            secondary=link.secondary,
            config=tunnel.pim,
            up=link.up,
            up_count=link.up_count,
            silences=inputs.up.arrivals.get(tunnel.name, TunnelArrival()).silences,
            has_arrived=arrived and ArrivedOn(arrived, tunnel.name),
        )
        for tunnel in inputs.config.tunnels
        if tunnel.pim is not None and (link := inputs.up.links.get(tunnel.name)) is not None and link.up_count
    ]
    tunnels = tuple(tunnel.name for tunnel in inputs.config.tunnels if tunnel.pim is not None)
    return PimDesired(tuple(interfaces), tunnels)


def igmp_host(inputs: Inputs) -> IgmpHostDesired:
    """The tunnels on which sockets of ours join groups, as soon as their interface exists."""
    tunnels = tuple(tunnel.name for tunnel in inputs.config.tunnels if tunnel.upstream_protocol == "igmp")
    up = inputs.up
    held = tuple(name for name in up.several if name not in tunnels)
    links = tuple(
        IgmpHostLink(name, link.index, link.up_count, up.arrivals.get(name, TunnelArrival()).silences, name in held)
        for name in (*tunnels, *held)
        if (link := up.links.get(name)) is not None
    )
    return IgmpHostDesired(links, tunnels, held)


def follow(inputs: Inputs) -> FollowDesired:
    """Applications on the tunnels whose interfaces exist, and where their groups can be joined."""
    followed = [
        FollowedTunnel(
            name=tunnel.name,
            ifindex=link.index,
            address=link.address,
            follow=tunnel.follow,
            follow_except=tunnel.follow_except,
            limit=tunnel.follow_limit,
            linger=tunnel.linger,
            igmpv3=tunnel.upstream_protocol != "igmp",
            reports_logged=inputs.config.firewall.guard and rules.drops_igmp_at_once(tunnel),
            ssm_ranges=tunnel.ssm_ranges,
            rps=_rps(inputs, tunnel),
            carried=inputs.up.several.get(tunnel.name, NONE),
            own_sockets=partial(inputs.up.own_sockets, tunnel.name),
        )
        for tunnel in inputs.config.tunnels
        if (link := inputs.up.links.get(tunnel.name)) is not None
    ]
    return FollowDesired(tuple(followed), tuple(tunnel.name for tunnel in inputs.config.tunnels))


def _rps(inputs: Inputs, tunnel: Tunnel) -> Rps:
    """By which rendezvous points groups are joined on a tunnel."""
    ranges = tuple(groups for rp in tunnel.pim.rp for groups in rp.groups) if tunnel.pim is not None else ()
    changes, has = inputs.up.rp_changes.get(tunnel.name, 0), partial(inputs.up.has_rp, tunnel.name)
    return Rps(tunnel.upstream_protocol == "pim", ranges, changes, has)


def igmp(inputs: Inputs) -> IgmpDesired:
    """The downstream interfaces; where nothing could be forwarded yet, no query displaces a router that can."""
    config, up = inputs.config, inputs.up
    tunnels = {name for name, link in up.links.items() if link.up}
    ready = {name for name in tunnels if _brings(up, name)}
    waiting = frozenset(one.name for one in config.downstream if not tunnels & set(one.from_))
    quiet = frozenset(one.name for one in config.downstream if not ready & set(one.from_)) - waiting
    return IgmpDesired(config.downstream, waiting, quiet)


def _brings(up: Up, tunnel: str) -> bool:
    """Whether what is joined on a tunnel arrives, or nothing is joined."""
    arrival = up.arrivals.get(tunnel)
    return arrival is not None and (arrival.receiving or not up.joins.get(tunnel))


def streams(inputs: Inputs) -> StreamsDesired:
    """What is counted, and what is expected to arrive."""
    up = inputs.up
    children = {name: view.up_count for name, view in up.children.items() if view.up}
    known = up.is_joined, up.wanted_since, up.sas, up.lost, up.numbers
    return StreamsDesired(inputs.config, children, up.joins, *known)


def meter(inputs: Inputs) -> MeterDesired:
    """The interfaces whose streams are measured, and the feeds, some of which have sequence numbers."""
    links = {
        tunnel.name: link.index
        for tunnel in inputs.config.tunnels
        if (link := inputs.up.links.get(tunnel.name)) is not None
    }
    return MeterDesired(inputs.config.streams.meter == "auto", links, inputs.config.feeds)


def forward(inputs: Inputs) -> ForwardDesired:
    """The interfaces that are forwarded to, the tunnels, and on which links this host is the querier."""
    links = {name: link.index for name, link in inputs.up.links.items()}
    tunnels = {
        tunnel.name: ForwardTunnel(links.get(tunnel.name), tunnel.ssm_ranges, _rps(inputs, tunnel))
        for tunnel in inputs.config.tunnels
    }
    elections = inputs.up.elections
    queriers = frozenset(name for name, one in elections.items() if one.is_querier)
    return ForwardDesired(
        interfaces=inputs.config.downstream,
        tunnels=tunnels,
        queriers=queriers,
        others=frozenset(elections) - queriers,
        asking=frozenset(name for name, one in elections.items() if not one.is_complete),
        contending=frozenset(name for name, one in elections.items() if one.is_contending),
    )


def members(inputs: Inputs) -> tuple[Forward, ...]:
    """The downstream interfaces, some of which have a members file."""
    return inputs.config.forward


def metrics(inputs: Inputs) -> Config:
    """Where to listen, and which streams have names."""
    return inputs.config


def _receiving(inputs: Inputs) -> frozenset[str]:
    """The CHILD_SAs that decrypt packets, and with them those of the same peer that no tunnel goes through.

    What arrives by a tunnel has been decrypted, also where only interfaces are counted, or keepalives.
    """
    up, tunnels = inputs.up, {tunnel.child for tunnel in inputs.config.tunnels}
    proven = {name for name, child in up.decrypted.items() if child.receiving}
    proven |= {
        tunnel.child
        for tunnel in inputs.config.tunnels
        if tunnel.child is not None
        and (tunnel.name in up.keepalives_arriving or up.arrivals.get(tunnel.name, TunnelArrival()).receiving)
    }
    found = set[str]()
    for peer in inputs.config.peers:
        names = {child.name for child in peer.children}
        if names & proven:
            found |= names & proven | names - tunnels
    return frozenset(found)


def _heard(inputs: Inputs) -> frozenset[str]:
    """The peers whose packets are decrypted, while the keepalives on none of their tunnels have stopped."""
    receiving = {name for name, child in inputs.up.decrypted.items() if child.receiving}
    stopped = inputs.up.keepalives_stopped
    missed = {tunnel.child for tunnel in inputs.config.tunnels if tunnel.name in stopped}
    found = ((peer.name, {child.name for child in peer.children}) for peer in inputs.in_use.peers)
    return frozenset(name for name, children in found if children & receiving and not children & missed)


def _probes(inputs: Inputs) -> dict[str, tuple[int, str]]:
    """The CHILD_SAs that decrypted packets and do not now, while a tunnel through them has another sign of silence.

    Each with how often the streams of its tunnels fell silent, and the sign.
    """
    up, found = inputs.up, dict[str, tuple[int, str]]()
    for tunnel in inputs.config.tunnels:
        child = up.decrypted.get(tunnel.child or "", ChildArrival())
        arrival = up.arrivals.get(tunnel.name, TunnelArrival())
        if arrival.all_silent:
            reason = f"all streams of {tunnel.name} are silent"
        elif tunnel.name in up.keepalives_stopped:
            reason = f"the far end's keepalives on {tunnel.name} have stopped"
        elif tunnel.name in up.hello_overdue:
            reason = f"the Hello of the PIM neighbour on {tunnel.name} is overdue"
        else:
            continue
        if tunnel.child is not None and child.seen and child.quiet:
            silences, _ = found.get(tunnel.child, (0, ""))
            found[tunnel.child] = (silences + arrival.silences, reason)
    return found


def _unguarded(inputs: Inputs) -> frozenset[str]:
    """The CHILD_SAs whose tunnels need the guard and do not have it."""
    if inputs.up.guard_in_place:
        return frozenset()
    names = unguarded(inputs.config, inputs.up.standing)
    return frozenset(tunnel.child for tunnel in inputs.config.tunnels if tunnel.child and tunnel.name in names)


def _carrier(peer: Peer, child: Child, view: ChildView | None, is_guarded: bool) -> Carrier:
    """What a CHILD_SA is to what it carries: as negotiated or, before that, as configured."""
    configured = max(
        (esp for proposal in child.proposals for esp in esp_of_proposal(proposal)),
        key=lambda esp: esp.iv + esp.block + esp.icv,
    )
    if view is None or not view.up or not is_guarded:
        return Carrier(False, view.up_count if view else 0, configured, child.mode, True, peer.remote)
    negotiated = esp_of_sa(view.encr_alg, view.integ_alg) if view.encr_alg else None
    return Carrier(True, view.up_count, negotiated or configured, child.mode, bool(view.encap), peer.remote)


def _keepalives(config: Config, tunnel: Tunnel, link: LinkView | None) -> KeepaliveTunnel:
    ends = endpoints(tunnel, *(carrier(config, tunnel) or ()))
    return KeepaliveTunnel(tunnel, ends, present=link is not None, up=link is not None and link.up)
