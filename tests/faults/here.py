"""What this host loses itself: each looks like the other side's fault, and the doctor must not say so."""

from functools import partial

from mcastd.lab.topology import CLOUD, GROUP, PORT, SOURCE_ADDRESS, TUNNEL, TUNNEL_DC
from tests.faults.fault import Fault, Group, Step
from tests.faults.path import ARRIVAL
from tests.faults.steps import both, edit, mcastd, sh

_here = partial(
    Fault,
    group=Group.PATH,
    lost=None,
    codes=("not_delivered", "guard_drops", *ARRIVAL),
    health=("degraded", "down"),
    until_shown=True,
    ours=True,
)


def _rule(hook: str, match: str, verdict: str = "drop") -> Step:
    chain = f"chain c {{ type filter hook {hook} priority -10; {match} counter {verdict}; }}"
    return sh(CLOUD, f"nft 'table ip another {{ {chain}; }}'")


_RULE_GONE = sh(CLOUD, "nft delete table ip another")


def _address(change: str, address: str) -> Step:
    return sh(CLOUD, f"ip address {change} {address.partition('/')[0]}/32 dev lo")


FAULTS = (
    _here(
        name="esp-dropped-in",
        what="a rule of nft drops UDP 500 and 4500 on the way into this host",
        inject=_rule("input", "udp sport { 500, 4500 }"),
        undo=_RULE_GONE,
        doctor=("not_decrypted", "ike_dropped_here"),
    ),
    _here(
        name="esp-dropped-out",
        what="a rule of nft drops UDP 4500 on the way out of this host",
        inject=_rule("output", "udp dport 4500"),
        undo=_RULE_GONE,
        lasts=30.0,  # the far end goes on sending until it misses keepalives
        doctor=("esp_held_back",),
        recovery=15.0,
    ),
    _here(
        name="esp-source-changed",
        what="a rule of nft gives UDP 4500 another source on the way out of this host",
        inject=_rule("postrouting", "udp dport 4500 ip saddr set 10.1.1.99", "accept"),
        undo=_RULE_GONE,
        lasts=30.0,  # the far end goes on sending until it misses keepalives
        doctor=("wrong_source",),
        recovery=15.0,
    ),
    _here(
        name="gre-dropped-legacy",
        what="a rule of iptables-legacy drops GRE on the way into this host",
        inject=sh(CLOUD, "iptables-legacy -I INPUT -p 47 -j DROP"),
        undo=sh(CLOUD, "iptables-legacy -D INPUT -p 47 -j DROP"),
        doctor=("gre_dropped_here",),
    ),
    _here(
        name="feed-dropped-here",
        what="a rule of nft drops the feed's UDP port on the way into this host",
        inject=_rule("input", f"ip daddr {GROUP} udp dport {PORT}"),
        undo=_RULE_GONE,
        doctor=("dropped_here",),
    ),
    _here(
        name="feed-thinned-here",
        what="a rule of nft drops one in ten of the feed's packets on the way into this host",
        inject=_rule("input", f"ip daddr {GROUP} udp dport {PORT} numgen random mod 10 < 1"),
        undo=_RULE_GONE,
        codes=(),
        health=("ok", "degraded"),
        doctor=("dropped_here",),
        lost=2.0,
    ),
    _here(
        name="pim-dropped-in",
        what="a rule of nft drops PIM on the way into this host; the neighbour's Holdtime has not ended yet",
        inject=_rule("input", "ip protocol 103"),
        undo=_RULE_GONE,
        lasts=32.0,  # a Hello comes every 30 s, and the second one that is missing shows in status
        codes=(),
        health=("ok", "degraded"),
        doctor=("pim_dropped_here",),
        lost=0.2,
    ),
    _here(
        name="neighbor-on-lo",
        what="another program adds the neighbour's address to lo",
        inject=_address("add", TUNNEL_DC),
        undo=_address("del", TUNNEL_DC),
        lasts=5.0,
        codes=(),
        health=("ok", "degraded"),
        doctor=("neighbor_is_local",),
        lost=0.2,
    ),
    _here(
        name="source-on-lo",
        what="another program adds the address of the feed's source to lo",
        inject=_address("add", SOURCE_ADDRESS),
        undo=_address("del", SOURCE_ADDRESS),
        doctor=("martian_source",),
    ),
    _here(
        name="keepalives-not-answered",
        what="keepalive.reply is set to false; three keepalives later their side of the tunnel goes down",
        inject=both(edit("keepalive.reply = true", "keepalive.reply = false"), mcastd("reload")),
        undo=both(edit("keepalive.reply = false", "keepalive.reply = true"), mcastd("reload")),
        codes=(),
        lasts=3.0,
        health=("ok", "degraded", "down"),
        doctor=("keepalive_reply_off",),
        recovery=15.0,
    ),
    _here(
        name="tunnel-in-vrf",
        what="another program puts the tunnel's interface into a VRF",
        inject=sh(CLOUD, f"ip link add vrf0 type vrf table 10; ip link set vrf0 up; ip link set {TUNNEL} master vrf0"),
        undo=sh(CLOUD, f"ip link set {TUNNEL} nomaster; ip link del vrf0"),
        codes=("tunnel_in_vrf", "not_delivered", *ARRIVAL),
        doctor=("tunnel_in_vrf",),
        needs=("vrf",),
        recovery=35.0,
    ),
)
