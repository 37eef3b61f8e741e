"""What each problem means, and what to change: the words of the findings, held in one place.

In braces stand the names that a hop fills in.
"""

from typing import Final, NamedTuple

from mcastd.tools.doctor.finding import Finding, Side


class Advice(NamedTuple):
    """Who has to change something, what the problem means, and what to change."""

    side: Side
    means: str
    change: str


ADVICE: Final[dict[str, Advice]] = {
    "configuration_refused": Advice(
        Side.HERE,
        "the file is refused whole: a daemon that runs keeps its old configuration, a new one does not start",
        "mend the lines, check with `mcastd check`, then `mcastd reload`",
    ),
    "not_privileged": Advice(
        Side.HERE,
        "the doctor cannot look at what passes on the tunnels",
        "run it as root: sudo mcastd doctor",
    ),
    "kernel_lacks": Advice(
        Side.HERE,
        "what the configuration asks for cannot be built here",
        "install the package, or a kernel that has the module (a cloud's minimal kernel lacks some: "
        "linux-modules-extra), or choose a mode that does without it",
    ),
    "daemon_silent": Advice(
        Side.HERE,
        "mcastd does not run, hangs, or runs with another configuration",
        "systemctl status mcastd; journalctl -u mcastd says why it ended; systemctl start mcastd; if it has only just "
        "been started, ask again",
    ),
    "charon_absent": Advice(
        Side.HERE,
        "strongSwan's daemon does not run or hangs, or mcastd may not use its socket",
        "install charon-systemd, systemctl restart strongswan; the socket is daemon.vici_socket of the configuration",
    ),
    "charon_unclear": Advice(
        Side.HERE,
        "strongSwan's daemon runs, but hangs, or says what mcastd cannot read; what it has may not be as last seen",
        "journalctl -u strongswan; if it goes on: systemctl restart strongswan, which takes the SAs down for a moment",
    ),
    "charon_refuses": Advice(
        Side.HERE,
        "charon does not take the connection that mcastd wants to load",
        "rename the peer, remove the other connection, or load the plugin for the algorithm that charon names",
    ),
    "authentication": Advice(
        Side.EITHER,
        "the two sides do not have the same pre-shared key (or certificate), or an identity differs",
        "compare the PSK with theirs, byte by byte (a blank counts), and the identities: we are {local_id}, they "
        "must be {remote_id}; ask them which identity and key they have for {local_id}. With certificates: their dates "
        "and issuers, and the clock (timedatectl)",
    ),
    "proposal": Advice(
        Side.EITHER,
        "the two sides share no set of algorithms",
        "set proposals to what was agreed; ask them: which encryption, integrity, DH or PFS group, which IKE version?",
    ),
    "selectors": Advice(
        Side.EITHER,
        "the other side has no entry with these traffic selectors: on a Cisco, the crypto map's access list",
        "compare local_ts and remote_ts with what was agreed (mcastd params); ask them for the access list: it "
        "must be the exact mirror image",
    ),
    "host_cannot": Advice(
        Side.HERE,
        "charon negotiated, but this host cannot use the result",
        "put an address inside local_ts on an interface (snat_loopback = true does it), or change local_ts",
    ),
    "udp_4500_blocked": Advice(
        Side.EITHER,
        "IKE begins on UDP 500 and goes on, behind a NAT, on UDP 4500, and there it is lost",
        "allow UDP 4500 to and from {remote} in the security group and in this host's firewall; ask them to allow"
        " it from our public address",
    ),
    "no_answer": Advice(
        Side.EITHER,
        "nothing comes back: packets are blocked on the way, the peer is down, or it expects another address",
        "allow UDP 500 and 4500 to and from {remote} in the security group and in this host's firewall; ask them:"
        " do they see packets from {local_id}, and is that their peer address for us?",
    ),
    "no_way": Advice(
        Side.HERE,
        "no packet of this host gets as far as the next hop towards the peer",
        "ip address; ip route get {remote} from {local}; ip rule; ip neigh: mend the address, the route, the rule or "
        "the gateway, and look whether the interface is up",
    ),
    "port_taken": Advice(
        Side.HERE,
        "charon cannot use the port of IKE, since another program has it: a second IKE daemon, for instance",
        "stop and disable that one (strongswan-starter, libreswan, racoon), then systemctl restart strongswan",
    ),
    "esp_held_back": Advice(
        Side.HERE,
        "what is encrypted is lost inside this host: its firewall drops it on the way out (OUTPUT, POSTROUTING)",
        "look for drops in `nft list ruleset` and `iptables -L OUTPUT -v`; allow UDP 4500 and protocol 50 (ESP) to "
        "{remote}",
    ),
    "not_decrypted": Advice(
        Side.EITHER,
        "ESP gets here and is thrown away: this host's firewall drops it (INPUT), charon or the kernel is too slow for "
        "it, it is damaged on the way (XfrmInStateProtoError), or the other side uses an SA that this side has not "
        "(any more)",
        "look for drops in `nft list ruleset` and `iptables -L INPUT -v`; allow UDP 4500 and protocol 50 (ESP) from "
        "{remote}. If it is the SA: `swanctl --terminate --ike {peer}` has it made anew, or ask them for `clear crypto "
        "sa`",
    ),
    "replay_window": Advice(
        Side.EITHER,
        "packets overtake each other on the way; the kernel drops those that come later than the window allows",
        "set peers.{peer}.children.{child}.replay_window to more; ask the provider why they are not kept in order",
    ),
    "lost_on_the_way": Advice(
        Side.EITHER,
        "packets are lost between the two gateways: the line or a policer is full, or a security device drops some",
        "ask them, and the provider: is the line to {remote} full, does their interface count output drops? A VM has a "
        "limit of packets a second, too",
    ),
    "not_up": Advice(
        Side.EITHER,
        "charon has not brought it up",
        "wait a few seconds and ask again; journalctl -u mcastd -u strongswan has charon's words",
    ),
    "firewall_failed": Advice(
        Side.HERE,
        "without the guard GRE could leave in the clear, so the tunnels that need it stay down",
        "install nftables, or remove what the message names; docs/configuration.md, [firewall]; mcastd firewall prints "
        "the rules",
    ),
    "gre_arrives_in_the_clear": Advice(
        Side.THERE,
        "the other side sends GRE that its IPsec does not take, or somebody spoofs it; it is not let in",
        "ask them: does the access list of the crypto map permit GRE between the two endpoints, and is the map on the "
        "interface that GRE leaves by?",
    ),
    "gre_leaves_in_the_clear": Advice(
        Side.HERE,
        "the child is up, and yet no IPsec policy of this host takes the tunnel's packets; they are not let out",
        "compare local and remote of the tunnel with the child's selectors (ip xfrm policy), and look for routes or "
        "NAT rules of others that lead them around IPsec",
    ),
    "not_loaded": Advice(
        Side.HERE,
        "the file was changed after the daemon read it",
        "mcastd reload",
    ),
    "tunnel_down": Advice(
        Side.HERE,
        "nothing can pass on the tunnel: somebody else changes it, or the host refuses what mcastd asks of it",
        "ip -d link show {tunnel}; stop what else manages the interface (NetworkManager, systemd-networkd, a "
        "script); mcastd puts it right within 30 s",
    ),
    "no_multicast_flag": Advice(
        Side.HERE,
        "routing daemons refuse such an interface, and the kernel has no multicast routes on it",
        "ip link set {tunnel} multicast on; stop what else manages the interface; mcastd puts it right within 30 s",
    ),
    "gre_key": Advice(
        Side.EITHER,
        "the kernel gives a GRE packet to the tunnel of the same key only",
        "set tunnels.{tunnel}.key to theirs, or ask them for the same `tunnel key` as ours",
    ),
    "gre_dropped_here": Advice(
        Side.HERE,
        "GRE is decrypted, and lost before the interface: this host's firewall drops protocol 47, or what comes "
        "is not GRE between the configured endpoints",
        "look for drops in `nft list ruleset` and `iptables -L -v`; allow protocol 47 from {remote} to {local}; "
        "compare local and remote of the tunnel with their `tunnel destination` and `tunnel source`",
    ),
    "nothing_comes_back": Advice(
        Side.EITHER,
        "the SAs are up, and nothing comes through them: the other side's tunnel is down, its routing does not "
        "lead into the crypto map, GRE is not allowed inside, it has lost its SAs (a restart), or ESP is lost on the "
        "way",
        "ask them: is their tunnel interface up, with source {remote} and destination {local}? Does the crypto "
        "map's access list permit GRE, do the counters of `show crypto ipsec sa` rise? If they do: allow UDP 4500 in "
        "the security group, and ask the provider",
    ),
    "not_encrypted": Advice(
        Side.HERE,
        "what is sent into the tunnel does not get as far as IPsec: this host's firewall drops GRE (OUTPUT), or no "
        "IPsec policy takes it, or one of somebody else's takes it instead",
        "look for drops in `nft list ruleset` and `iptables -L OUTPUT -v`; allow protocol 47 to {remote}; ip xfrm "
        "policy: is ours there, and before others? ip rule, ip route get {remote}",
    ),
    "gre_refused": Advice(
        Side.EITHER,
        "GRE gets there, and there is no tunnel that takes it: key, checksums or endpoints differ, or it is down",
        "ask them for `show interface tunnel`: is it up, what are its source, destination and key? Compare with local, "
        "remote and key of tunnels.{tunnel}",
    ),
    "gre_options": Advice(
        Side.EITHER,
        "a GRE packet with other options than the tunnel is set to is dropped",
        "set tunnels.{tunnel}.checksum and tunnels.{tunnel}.sequence as they have them, or ask them for `tunnel "
        "checksum` and `tunnel sequence-datagrams` as ours",
    ),
    "mtu": Advice(
        Side.EITHER,
        "larger packets are lost on the way, silently",
        'set tunnels.{tunnel}.mtu = "auto", or lower, and ask them for the same `ip mtu` on their tunnel',
    ),
    "keepalive_reply_off": Advice(
        Side.HERE,
        "their side of the tunnel is down, or goes down after three of these, while everything looks well here",
        "set keepalive.reply = true",
    ),
    "keepalive_inner_address": Advice(
        Side.EITHER,
        "the answer that they ask for is not between our GRE endpoints, so it is not given; their side of the "
        "tunnel goes down, while everything looks well here",
        "if a NAT makes them know us by another address, add that to keepalive.inner_addresses; else compare "
        "local and remote of the tunnel with their `tunnel destination` and `tunnel source`",
    ),
    "keepalive_key": Advice(
        Side.EITHER,
        "their key inside differs from ours, so no answer is given; their side of the tunnel goes down, while "
        "everything looks well here",
        "compare tunnels.{tunnel}.key with their `tunnel key`",
    ),
    "keepalive_rate": Advice(
        Side.HERE,
        "they come faster than keepalive.max_per_second",
        "raise it, or ask them for a longer period",
    ),
    "keepalive_dropped": Advice(
        Side.EITHER,
        "their side of the tunnel is down, or goes down after three of these, while everything looks well here",
        "mcastd trace shows the packets themselves",
    ),
    "path_dead": Advice(
        Side.EITHER,
        "packets are lost on the way there or back although the SAs are up, or the other side does not answer "
        "keepalives: only a Cisco and mcastd do",
        "mcastd trace shows whether they leave and what comes back; against another Linux machine set "
        "keepalive.period = 0",
    ),
    "sending_refused": Advice(
        Side.HERE,
        "this host does not let mcastd's own packets out: `Operation not permitted`, or eperm, is its firewall "
        "(OUTPUT), unreachable is its routes",
        "look for drops in `nft list ruleset` and `iptables -L OUTPUT -v`: allow protocols 47 (GRE) and 103 (PIM), the "
        "latter on {tunnel}; ip route",
    ),
    "pim_not_running": Advice(
        Side.HERE,
        "its socket could not be opened",
        "journalctl -u mcastd says why; CAP_NET_RAW is needed",
    ),
    "hello_refused": Advice(
        Side.EITHER,
        "what they send is not accepted as a neighbour's Hello",
        "for neighbor_not_accepted add their address to pim.accept_neighbors; docs/pim.md has the other reasons, "
        "mcastd trace shows the packets",
    ),
    "wrong_neighbor": Advice(
        Side.EITHER,
        "Joins name the configured neighbour, which nobody on the link is, so nobody acts on them",
        "set tunnels.{tunnel}.pim.neighbor to the address that is heard, or leave it out; or ask them for the "
        "address that was agreed",
    ),
    "no_neighbor": Advice(
        Side.EITHER,
        "the other side does not speak PIM on its tunnel, its side of the tunnel is down (unanswered keepalives "
        "do that), or PIM (protocol 103) is not allowed on it, or into this host",
        "look for drops of protocol 103 in `nft list ruleset`; ask them for `ip pim sparse-mode` on the tunnel "
        "interface, for `show ip pim interface` and `show interface tunnel` (line protocol up?), and whether an access "
        "list on the tunnel permits pim",
    ),
    "no_rp": Advice(
        Side.EITHER,
        "a group that is joined from every source needs to know its rendezvous point",
        "ask them for the RP of {group} (`show ip pim rp mapping`) and write it into tunnels.{tunnel}.pim.rp; or "
        "set bootstrap = true if they announce it so; or join with sources",
    ),
    "not_joined": Advice(
        Side.EITHER,
        "the upstream neighbour has not been asked for it",
        "wait for the neighbour's next Hello (30 s), or name the right one in pim.neighbor",
    ),
    "silent": Advice(
        Side.THERE,
        "the source is silent, or sends more rarely than that; or the other side has another RP for the group or no "
        "route to the source, or its router has not put its tunnel into the outgoing interfaces",
        "ask them: is the source sending now, with a TTL that is large enough, and datagrams no larger than the `ip "
        "mtu` of their tunnel? Does `show ip mroute {group}` on "
        "{upstream} have the tunnel among the outgoing interfaces, and {where}?",
    ),
    "rp_filter": Advice(
        Side.HERE,
        "the kernel drops them silently: tcpdump shows them, applications see none",
        'set tunnels.{tunnel}.rp_filter = "loose" and net.ipv4.conf.all.rp_filter to other than 1 (the larger of '
        'the two counts), or route the sources through the tunnel: tunnels.{tunnel}.routes = ["groups", '
        '"{source}/32"]',
    ),
    "martian_source": Advice(
        Side.HERE,
        "the kernel drops what comes from outside with an address of its own (a martian)",
        "ip address; ip route get {source}: take the address off this host, or ask them for another source",
    ),
    "wrong_interface": Advice(
        Side.HERE,
        "membership is by interface: what comes in on the tunnel is not for that application",
        "let it join on {tunnel} (address {address}); if it names no interface, have the route to the group "
        'there: "groups" in tunnels.{tunnel}.routes',
    ),
    "nobody_joined": Advice(
        Side.HERE,
        "the stream arrives here and ends: the kernel has nobody to give it to",
        "start the application, in this network namespace; it must join {group} (IP_ADD_MEMBERSHIP) on {tunnel}; for "
        "more than 20 groups of one socket, raise net.ipv4.igmp_max_memberships",
    ),
    "bound_to_unicast": Advice(
        Side.HERE,
        "a socket gets what is for the address that it is bound to: a group's, or any (0.0.0.0), but not a unicast one",
        "let the application bind to 0.0.0.0 or to {group}, port {port}",
    ),
    "wrong_port": Advice(
        Side.EITHER,
        "somebody has joined the group, but listens on another port",
        "let the application bind to port {port}, or ask them which port was meant",
    ),
    "socket_full": Advice(
        Side.HERE,
        "the application reads more slowly than the stream comes, or has too little buffer for its bursts",
        "a larger SO_RCVBUF in the application (net.core.rmem_max must allow it), or a faster application",
    ),
    "source_filtered": Advice(
        Side.HERE,
        "an application that joins with sources gets only what those send",
        "let it join {group} with the source that sends, or with none (IP_ADD_MEMBERSHIP)",
    ),
    "no_socket_takes_it": Advice(
        Side.HERE,
        "an application has joined, and its socket takes nothing of it: it is bound to another interface "
        "(SO_BINDTODEVICE), or connected to somebody who does not send",
        "ss -ulnp: let it bind to {tunnel}, or to no interface, and not be connected; with IP_MULTICAST_ALL off, the "
        "same socket has to join",
    ),
    "fragments_lost": Advice(
        Side.EITHER,
        "a datagram that has lost a fragment is lost whole: some are lost on the way, or this host's firewall drops "
        "them",
        "look for drops in `nft list ruleset` (a later fragment has no ports); better, ask them for datagrams of "
        "{group} that fit the tunnel",
    ),
    "dropped_here": Advice(
        Side.HERE,
        "they are joined and routed rightly, and lost inside this host: its firewall drops them (PREROUTING, INPUT)",
        "look for drops in `nft list ruleset` and `iptables -L -v`, also `-t raw` and `-t mangle`; allow UDP to "
        "{group} on {tunnel}",
    ),
    "udp_checksum": Advice(
        Side.EITHER,
        "the kernel drops a datagram whose checksum is wrong: something on the way, or the source, is at fault",
        "ask them to look at a packet at the source; a checksum of 0 (none) is fine",
    ),
}


def found(hop: str, problem: str, saw: str, **words: object) -> Finding:
    """The finding for a problem: what a hop saw, and the advice with its words filled in."""
    advice = ADVICE[problem]
    change = advice.change.format(**words)
    return Finding(hop=hop, problem=problem, saw=saw, means=advice.means, change=change, side=advice.side)
