"""The hops of IPsec: IKE_SA, CHILD_SA, leak guard, ESP on the wire and, last of all hops, loss of ESP packets."""

from collections.abc import Collection, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from msgspec.structs import replace

from mcastd.problems import ProblemCode
from mcastd.status import ChildStatus, PeerStatus
from mcastd.tools.doctor import firewall
from mcastd.tools.doctor.facts import Esp, Facts, TunnelView
from mcastd.tools.doctor.finding import Cause, Finding, Note, Side, about, either, here, there
from mcastd.tools.doctor.hops import INCOMING, LOOPBACK, OUTGOING, Found, dropping
from mcastd.tools.doctor.hops.routing import way_out

_SOME: Final = 3  # packets
_ECHOES: Final = 2  # that the doctor sends into a tunnel
_MUCH, _SOME_LOSS = 4, 100  # lost is one packet in so many: with much little else works, with less it is a note
_NAT_T: Final = 4500
_STRICT, _LOOSE = 1, 2  # rp_filter
_IKE: Final = ("500", "4500", "isakmp", "ipsec-nat-t")  # as rules name its ports
UNANSWERED: Final = ("attempt_timeout", "ike_sa_unanswered", "no_answer", "udp_4500_blocked")
"""The codes of a problem that what this host loses may explain."""


class Ipsec(Cause):
    """What the hops of IPsec can find."""

    NO_WAY = here(
        "packets to the peer do not reach the next hop: no route, a silent gateway, or a wrong local address",
        "ip address; ip route get {remote} from {local}; ip rule; ip neigh; ip link: correct what is wrong",
    )
    PORT_TAKEN = here(
        "charon cannot use the UDP port of IKE, because another program, for instance a second IKE daemon, holds it",
        "stop and disable that program (strongswan-starter, libreswan, racoon), then systemctl restart strongswan",
    )
    IKE_NOT_SENT = here(
        "charon cannot send IKE to the peer: there is no route, or it does not have its UDP ports",
        "ip route get {remote} from {local}; ss -ulnp 'sport = 500 or sport = 4500'; journalctl -u strongswan",
    )
    IKE_DROPPED_HERE = here(
        "IKE of the peer arrives at this host, and its firewall drops it (PREROUTING, INPUT) before charon gets it",
        "allow UDP 500 and 4500 from {remote} in the firewall of this host",
    )
    IKE_HELD_BACK = here(
        "the firewall of this host drops IKE to the peer (OUTPUT, POSTROUTING)",
        "allow UDP 500 and 4500 to {remote} in the firewall of this host",
    )
    PEER_RP_FILTER = here(
        "what comes from the peer is dropped by the reverse path filter: it arrives on another interface than the one "
        "by which answers leave",
        "ip route get {remote} from {local}: lead answers out of {interface} (a route, or an ip rule), or set "
        "net.ipv4.conf.{interface}.rp_filter and net.ipv4.conf.all.rp_filter to 2",
    )
    AUTHENTICATION = either(
        "the two sides do not have the same pre-shared key, an identity differs, or a certificate is not accepted",
        "compare the PSK with theirs byte by byte, including blanks, and the identities: ours is {local_id}, theirs "
        "must be {remote_id}; ask which identity and key they have configured for {local_id}. With certificates: "
        "compare validity and issuers, and check the clock (timedatectl)",
    )
    PROPOSAL = either(
        "the two sides have no algorithm proposal in common",
        "set proposals to what was agreed; ask for encryption, integrity, DH or PFS group, IKE version",
    )
    SELECTORS = either(
        "the other side has no such traffic selectors (on a Cisco: the access list of the crypto map)",
        "compare local_ts and remote_ts with what was agreed; ask for the access list: the exact mirror image",
    )
    HOST_CANNOT = here(
        "charon has negotiated the SA, but this host cannot use it",
        "put an address inside local_ts on an interface (snat_loopback = true does it), or change local_ts",
    )
    UDP_4500_BLOCKED = either(
        "IKE starts on UDP 500 and continues, behind a NAT, on UDP 4500, where packets are lost",
        "allow UDP 4500 to and from {remote} in security group and firewall; ask them to allow it, too",
    )
    NO_ANSWER = either(
        "the peer does not answer: packets are blocked on the path, the peer is down, or it expects another address",
        "allow UDP 500 and 4500 to and from {remote} in the security group and in this host's firewall; ask the other "
        "side whether packets from {local_id} arrive, and whether that is their peer address for us",
    )
    NOT_UP = either(
        "charon has not established it",
        "wait a few seconds and run the doctor again; journalctl -u mcastd -u strongswan has charon's messages",
    )
    FIREWALL_FAILED = here(
        "without the guard GRE could leave unencrypted, so the tunnels that need it stay down",
        "install nftables, or remove what the message names; `mcastd firewall` prints the rules",
    )
    GRE_ARRIVES_IN_THE_CLEAR = there(
        "the other side sends GRE that its IPsec does not encrypt, or another host spoofs it; it is dropped",
        "ask: does the crypto map's access list permit this GRE, and is the map on the outgoing interface?",
    )
    GRE_LEAVES_IN_THE_CLEAR = here(
        "the CHILD_SA is up, but no IPsec policy of this host matches the tunnel's packets; they are dropped",
        "compare local and remote with the selectors of the CHILD_SA (ip xfrm policy); look for rules and routes of "
        "other programs that lead them elsewhere (ip rule, ip route get {remote}), and for their NAT rules",
    )
    TRANSLATED = here(
        "NAT of another program gives packets that are for IPsec another source, so that no IPsec policy matches them: "
        "they are dropped by the guard or, without it, leave unencrypted",
        "exclude what goes to {remote_ts} from that rule: iptables -t nat -I POSTROUTING -m policy --dir out --pol "
        "ipsec -j ACCEPT, or its like; then conntrack -D -d {remote}, since a connection keeps what it began with",
    )
    ESP_HELD_BACK = here(
        "encrypted packets are lost inside this host: its firewall (OUTPUT, POSTROUTING) or a qdisc drops them on the "
        "way out",
        "look for drops in `nft list ruleset`, `iptables-save -c`, `tc -s qdisc`; allow UDP 4500 and ESP to {remote}",
    )
    REPLAY_WINDOW = either(
        "packets are reordered on the path; the kernel drops those that come later than the replay window allows",
        "raise peers.{peer}.children.{child}.replay_window; ask the provider why packets are reordered",
    )
    NO_INBOUND_POLICY = here(
        "what is decrypted is dropped, since the kernel has no inbound policy for it (XfrmInNoPols): another program "
        "has removed it",
        "ip xfrm policy: is there one with `dir in` and the selectors of {child}? Stop what flushes it; then "
        "`swanctl --terminate --ike {peer}`, after which mcastd establishes it again",
    )
    NOT_DECRYPTED = either(
        "ESP that arrives is dropped: by this host's firewall (INPUT), since charon or the kernel is too slow, since "
        "it is damaged (XfrmInStateProtoError), or since the other side uses an unknown SA",
        "look for drops in `nft list ruleset` and `iptables -L INPUT -v`; allow UDP 4500 and ESP from {remote}. For "
        "an unknown SA: `swanctl --terminate --ike {peer}`, or ask for `clear crypto sa`",
    )
    LOST_ON_THE_WAY = either(
        "packets are lost between the two gateways, by the sequence numbers of ESP one in four (`esp`) or one in a "
        "hundred (`loss`): the line or a policer is at its limit, or a security device drops some",
        "ask the other side and the provider: is the line to {remote} at its limit, are there output drops? A VM has "
        "a limit of packets per second, too",
    )


_CODES: Final[tuple[tuple[Cause, tuple[ProblemCode, ...]], ...]] = (
    (Ipsec.AUTHENTICATION, ("certificate_issuer_unknown", "certificate_key_mismatch", "certificate_not_pinned")),
    (Ipsec.AUTHENTICATION, ("certificate_or_identity", "certificate_untrusted")),
    (Ipsec.AUTHENTICATION, ("peer_identity", "peer_psk", "psk_or_identity")),
    (Ipsec.PROPOSAL, ("esp_proposal", "ike_proposal")),
    (Ipsec.SELECTORS, ("traffic_selectors",)),
    (Ipsec.HOST_CANNOT, ("host_cannot", "local_address_missing")),
    (Ipsec.UDP_4500_BLOCKED, ("ike_sa_unanswered", "udp_4500_blocked")),
    (Ipsec.NO_ANSWER, ("no_answer",)),
)
"""The causes for the codes of a peer's or a CHILD_SA's problem."""
_NEGOTIATION: Final[Mapping[ProblemCode | None, Cause]] = {code: cause for cause, codes in _CODES for code in codes}


def ike(facts: Facts) -> Found:
    """Every peer has an IKE_SA."""
    for peer in (one for one in facts.peers if one.active_because is not None):
        yield Note(text=f"of several gateways {peer.name} is used: {peer.active_because}", subject=peer.name)
    for peer in (one for one in facts.peers if one.state != "up"):
        yield from about(_down(facts, peer), peer.name)


def _down(facts: Facts, peer: PeerStatus) -> Found:
    """Why a peer has no IKE_SA."""
    if (no_way := _no_way(facts, peer)) is not None:
        yield Ipsec.NO_WAY.found(f"peer {peer.name} is not up: {no_way}", remote=peer.remote, local=peer.local)
    if facts.port_holders:
        held = ", ".join(f"UDP {port} is held by {who}" for port, who in sorted(facts.port_holders.items()))
        yield Ipsec.PORT_TAKEN.found(f"peer {peer.name} is not up: {held}, not by strongSwan's charon-systemd")
    yield from _ike_here(facts, peer, peer)
    yield _not_up(f"peer {peer.name}", peer, peer)


def _ike_here(facts: Facts, peer: PeerStatus, why: PeerStatus | ChildStatus) -> Found:
    """IKE that this host loses itself, where the peer seems not to answer."""
    remote, names = IPv4Address(peer.remote), {"remote": peer.remote, "local": peer.local}
    if why.problem_code == "ike_not_sent":
        yield Ipsec.IKE_NOT_SENT.found(f"peer {peer.name} is not up: {why.problem}", **names)
    arrived, delivered = (facts.control.of(kind, "ike", remote) for kind in ("arrived", "delivered"))
    if arrived and not delivered:
        saw = f"{arrived} packets of IKE came from {remote} in {facts.seconds:.1f} s, and none was delivered"
        interfaces = {one.interface for one in facts.control.arrived if one[:2] == ("ike", remote)}
        yield from _reverse_path(facts, peer, interfaces, saw)
        yield Ipsec.IKE_DROPPED_HERE.found(saw + dropping(facts, arrived), **names)
    if delivered or why.problem_code not in UNANSWERED:
        return
    ways = facts.control.ways.get(remote, frozenset())
    yield from way_out(facts, peer, ways, f"peer {peer.name} is not up: {why.problem}; IKE leaves")
    way = facts.routes.get(remote)
    for cause, hooks in ((Ipsec.IKE_DROPPED_HERE, INCOMING), (Ipsec.IKE_HELD_BACK, OUTGOING)):
        if (rule := firewall.naming(facts.rules, hooks, _IKE, remote, way.interface if way else None)) is not None:
            saw = f"peer {peer.name} is not up: {why.problem}; {firewall.described(rule)} drops IKE"
            yield cause.found(saw, **names)


def _reverse_path(facts: Facts, peer: PeerStatus, interfaces: Collection[str], saw: str) -> Found:
    """The filter drops what arrives where the route back does not lead (strict), or where there is none (loose)."""
    way = facts.routes.get(IPv4Address(peer.remote))
    for name in sorted(interfaces):
        mode = facts.proc.rp_filter.get(name, 0)
        if (mode == _STRICT and (way is None or way.interface != name)) or (mode == _LOOSE and way is None):
            back = f"the route back is by {way.interface}" if way else "there is no route back"
            saw = f"{saw}; they arrive on {name}, where rp_filter is {mode}, and {back}"
            yield Ipsec.PEER_RP_FILTER.found(saw, remote=peer.remote, local=peer.local, interface=name)


def child_sa(facts: Facts) -> Found:
    """Every CHILD_SA is up."""
    for peer in facts.peers:
        for child in (one for one in peer.children if one.state != "up"):
            yield from about(_ike_here(facts, peer, child), child.name)
            what = f"CHILD_SA {child.name} ({child.local_ts} === {child.remote_ts})"
            yield _not_up(what, child, peer).on(child.name)


def _not_up(what: str, why: PeerStatus | ChildStatus, peer: PeerStatus) -> Finding:
    saw = f"{what} is not up: {why.problem or 'the first attempt is still in progress'}"
    cause = _NEGOTIATION.get(why.problem_code, Ipsec.NOT_UP)
    return cause.found(saw, local_id=peer.local_id, remote_id=peer.remote_id, remote=peer.remote)


def _no_way(facts: Facts, peer: PeerStatus) -> str | None:
    """Why packets to a peer do not reach the next hop."""
    remote = IPv4Address(peer.remote)
    if remote not in facts.routes:
        return None
    if facts.addresses and IPv4Address(peer.local) not in facts.addresses:
        return f"{peer.local}, the configured local address, is not an address of this host"
    way = facts.routes[remote]
    if way is None:
        return f"there is no route from {peer.local} to {remote}"
    if way.interface == LOOPBACK:
        return f"{remote} is an address of this host"
    hop = f"{way.gateway}, the gateway to {remote}," if way.gateway else f"{remote}, on the link by the routes,"
    return f"{hop} does not answer on {way.interface} (ARP)" if way.unresolved else None


def leak_guard(facts: Facts) -> Found:
    """The guard is in place, and drops nothing while the CHILD_SAs are up."""
    guard = facts.status.firewall if facts.status else None
    if guard is None:
        return
    if guard.problem is not None:
        yield Ipsec.FIREWALL_FAILED.found(guard.problem)
    before = facts.before.firewall if facts.before else None
    arriving = guard.leaks_in - (before.leaks_in if before else 0)
    if arriving:
        saw = f"{arriving} GRE packets came unencrypted from a far endpoint in {facts.seconds:.1f} s, and were dropped"
        yield from (Ipsec.GRE_ARRIVES_IN_THE_CLEAR.found(saw).on(name) for name in _without_gre(facts))
    for name, count in guard.leaks_by_child.items():
        if (more := count - (before.leaks_by_child.get(name, 0) if before else 0)) > 0:
            saw = f"{more} packets for CHILD_SA {name} would have left unencrypted in {facts.seconds:.1f} s"
            yield from about(translated(facts, name, saw), name)
    leaving = guard.leaks_out - (before.leaks_out if before else 0)
    if leaving:
        saw = f"{leaving} GRE packets would have left unencrypted in {facts.seconds:.1f} s, and were dropped"
        for view in facts.views():
            if view.tunnel.name in _without_gre(facts):
                yield from about(translated(facts, view.tunnel.child, saw), view.tunnel.name)
                clear = Ipsec.GRE_LEAVES_IN_THE_CLEAR.found(saw + route_to_remote(view), remote=view.tunnel.remote)
                yield clear.on(view.tunnel.name)


def translated(facts: Facts, name: str | None, saw: str) -> Found:
    """NAT of another program that fits what a CHILD_SA is for."""
    for peer in facts.config.peers if facts.config else ():
        for child in (one for one in peer.children if one.name == name):
            sources = [child.local_ts, *([IPv4Network(child.snat)] if child.snat else [])]
            if (rule := firewall.translating(facts.rules, sources)) is not None:
                saw = f"{saw}; {firewall.described(rule)} may give them another source than the SA's {child.local_ts}"
                yield Ipsec.TRANSLATED.found(saw, remote_ts=child.remote_ts, remote=child.remote_ts)


def _without_gre(facts: Facts) -> list[str]:
    """The tunnels that a packet of GRE outside of IPsec may be of: those on which nothing arrives, or else all."""
    views = [view for view in facts.views() if view.tunnel.encapsulation == "gre"]
    return [view.tunnel.name for view in views if not view.seen.received] or [view.tunnel.name for view in views]


def route_to_remote(view: TunnelView) -> str:
    """Where the routes to the remote endpoint of a tunnel lead, as the end of a sentence."""
    remote, routes = view.tunnel.remote, view.seen.route_to
    if remote not in routes:
        return ""
    if routes[remote] == LOOPBACK:
        return f"; {remote} is an address of this host"
    return f"; the route to {remote} is by {routes[remote]}" if routes[remote] else f"; there is no route to {remote}"


def esp(facts: Facts) -> Found:
    """What the CHILD_SAs send leaves this host; what arrives for them is decrypted, and most of it arrives."""
    for peer in facts.peers:
        if any(map(facts.replaced, peer.children)) or not any(child.spi_in for child in peer.children):
            continue
        yield from about(_passes(facts, peer), peer.name)


def _passes(facts: Facts, peer: PeerStatus) -> Found:
    counts = [facts.passed(child) for child in peer.children]
    decrypted, sent = (sum(direction) for direction in zip(*counts, strict=True))
    arrived = _arrived(facts, peer)
    yield from _outwards(facts, peer, decrypted, sent)
    for child, one in arrived:
        if child.replay_window and one.late > child.replay_window:
            late = f"came {one.late} sequence numbers late; its replay_window is {child.replay_window}"
            yield Ipsec.REPLAY_WINDOW.found(f"a packet of {child.name} {late}", peer=peer.name, child=child.name)
    dropped = facts.proc.counters.get("Xfrm.InNoPols", 0)
    heard = any(view.seen.received for view in facts.views() if view.child in peer.children)
    if dropped and decrypted and not heard:
        saw = f"{decrypted} packets of {peer.name} were decrypted, and the kernel counted {dropped} XfrmInNoPols"
        yield Ipsec.NO_INBOUND_POLICY.found(saw, peer=peer.name, child=peer.children[0].name)
    yield from _inwards(facts, peer, sum(one.packets for _, one in arrived), decrypted)
    yield from _lost(facts, peer, _MUCH)


def loss(facts: Facts) -> Found:
    """All ESP that the other side sends arrives. As the last hop, so that loss hides no other problem."""
    for peer in facts.peers:
        yield from about(_lost(facts, peer, _SOME_LOSS), peer.name)
    for peer in facts.peers:
        for _, one in _arrived(facts, peer):
            if one.missing:
                sent = one.missing + one.packets
                text = f"{one.missing} of {sent} ESP packets that {peer.remote} sent did not arrive"
                yield Note(text=text, subject=peer.name)


def _arrived(facts: Facts, peer: PeerStatus) -> list[tuple[ChildStatus, Esp]]:
    spis = {int(child.spi_in, 16): child for child in peer.children if child.spi_in}
    return [(spis[spi], one) for spi, one in facts.wire_in.sas.items() if spi in spis]


def _outwards(facts: Facts, peer: PeerStatus, decrypted: int, sent: int) -> Found:
    """What is sent leaves by an interface. If it does and packets arrive, the route is not questioned."""
    names = {"remote": peer.remote, "local": peer.local}
    left = {int(child.spi_out or "0", 16) for child in peer.children} & facts.wire_out.sas.keys()
    held = sent >= _ECHOES and facts.wire_out.complete and not left
    if (held or decrypted == 0) and (no_way := _no_way(facts, peer)) is not None:
        yield Ipsec.NO_WAY.found(no_way, **names)
    if held:
        saw = f"the CHILD_SAs of {peer.name} sent {sent} packets in {facts.seconds:.1f} s, and no ESP left this host"
        saw += xfrm_errors(facts, "Xfrm.Out") + dropping(facts, sent, OUTGOING)
        yield Ipsec.ESP_HELD_BACK.found(saw, **names)
    if not decrypted or any(view.seen.unanswered for view in facts.views() if view.child in peer.children):
        for spi in left:
            yield from way_out(facts, peer, facts.wire_out.sas[spi].ways, f"ESP to {peer.remote} leaves")


def _inwards(facts: Facts, peer: PeerStatus, arrived: int, decrypted: int) -> Found:
    """What arrived is decrypted by the end of the observation of the wire, which is the shorter one."""
    remote = IPv4Address(peer.remote)
    if not arrived and any(view.seen.received for view in facts.views() if view.child in peer.children):
        return  # by an SA that is being replaced, or by a second one
    unknown = {spi: one.packets for spi, one in facts.wire_in.sas.items() if one.peer == remote and not arrived}
    total = arrived or sum(unknown.values())
    enough = max(_SOME, total // 4) if decrypted or not arrived else 1
    if total - decrypted < enough or (decrypted and not facts.wire_in.complete):
        return
    saw = f"{total} ESP packets came from {remote} in {facts.seconds:.1f} s, and {decrypted} were decrypted"
    if unknown:
        saw += f"; charon has no SA with their SPI {min(unknown):08x} for {peer.name}"
    full = sum(socket.drops for socket in facts.proc.sockets if socket.port == _NAT_T)
    saw += f"; charon's socket was full for {full}" if full else ""
    interfaces = {one.interface for one in facts.wire_in.sas.values() if one.peer == remote}
    yield from _reverse_path(facts, peer, interfaces, saw)
    saw += xfrm_errors(facts, "Xfrm.In") + dropping(facts, total - decrypted)
    found = Ipsec.NOT_DECRYPTED.found(saw, remote=remote, peer=peer.name)
    damaged = facts.proc.counters.get("Xfrm.InStateProtoError", 0)
    yield found if unknown or damaged else replace(found, side=Side.HERE)


def xfrm_errors(facts: Facts, kind: str) -> str:
    """The kernel's IPsec error counters that rose (Documentation/networking/xfrm_proc.rst), to end a sentence."""
    risen = {name: count for name, count in facts.proc.counters.items() if name.startswith(kind) and count}
    return "".join(f"; the kernel counted {count} Xfrm{name.partition('.')[2]}" for name, count in risen.items())


def _lost(facts: Facts, peer: PeerStatus, one_in: int) -> Found:
    """Packets that are missing by the sequence numbers of ESP were lost after encryption."""
    arrived = [one for _, one in _arrived(facts, peer)]
    missing = sum(one.missing for one in arrived)
    sent = missing + sum(one.packets for one in arrived)
    if missing >= _SOME and missing * one_in >= sent:
        saw = f"{missing} of {sent} ESP packets that {peer.remote} sent did not arrive ({100 * missing / sent:.0f} %)"
        yield Ipsec.LOST_ON_THE_WAY.found(saw, remote=peer.remote)
