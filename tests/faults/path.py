"""Faults of the path: in each of them nothing arrives, and status must say so."""

from functools import partial

from mcastd.lab.topology import (
    CLIENT_ADDRESS,
    CLOUD,
    DC,
    DC_PUBLIC,
    GRE_DC,
    INTERNET,
    TUNNEL,
    VM,
    VM_GATEWAY,
)
from tests.faults.fault import Fault, Group
from tests.faults.steps import both, charon_back, edit, kill, mcastd, sh, sysctl

ARRIVAL = ("all_silent", "child_sa_silent", "keepalives_stopped")
"""What shows within seconds when nothing arrives by the tunnel."""

_path = partial(Fault, group=Group.PATH, lost=None, codes=ARRIVAL, health=("degraded", "down"), until_shown=True)

_ONLY_IKE = """nft 'table inet another { chain input { type filter hook input priority filter; policy drop;
  ct state established,related accept
  udp dport { 500, 4500 } accept
}; }'"""
_DEFAULT = f"ip route replace default via {VM_GATEWAY}"
_VRF = "ip link add vrf0 type vrf table 10; ip link set vrf0 up; ip link set eth0 master vrf0"


def _loss(percent: int) -> Fault:
    rule = f'iifname "dc0" udp dport 4500 numgen random mod 100 < {percent} drop'
    chain = f"chain forward {{ type filter hook forward priority -1; {rule}; }}"
    return Fault(
        name=f"loss-{percent}",
        group=Group.PATH,
        what=f"{percent} % of the packets from the other side are lost on the path",
        inject=sh(INTERNET, f"nft 'table ip lossy {{ {chain}; }}'"),
        undo=sh(INTERNET, "nft delete table ip lossy"),
        lasts=10.0,
        lost=16.0 * (percent + 1) / 100,
        health=("ok", "degraded"),
        # Of the few echoes that the doctor sends one in a hundred is none.
        doctor=("lost_on_the_way",) if percent > 1 else (),
    )


FAULTS = (
    _path(
        name="input-policy-drop",
        what="a firewall of this host with policy drop accepts established connections, UDP 500 and 4500 alone",
        inject=sh(CLOUD, _ONLY_IKE),
        undo=sh(CLOUD, "nft delete table inet another"),
        codes=("not_delivered", *ARRIVAL),
        doctor=("dropped_here",),
    ),
    _path(
        name="peer-rule",
        what="an ip rule leads the peer's traffic to another interface",
        inject=sh(
            CLOUD,
            f"ip route add default via {CLIENT_ADDRESS} dev eth1 table 99; ip rule add to {DC_PUBLIC} table 99 pref 50",
        ),
        undo=sh(CLOUD, "ip rule del pref 50; ip route flush table 99"),
        codes=("route_to_peer", *ARRIVAL),
        doctor=("route_to_peer",),
    ),
    _path(
        name="remote-on-lo",
        what="another program adds the remote GRE endpoint to lo",
        inject=sh(CLOUD, f"ip address add {GRE_DC}/32 dev lo"),
        undo=sh(CLOUD, f"ip address del {GRE_DC}/32 dev lo"),
        codes=("remote_is_local", "guard_drops", *ARRIVAL),
        doctor=("remote_is_local",),
    ),
    _path(
        name="no-default-route",
        what="the default route is deleted",
        inject=sh(CLOUD, "ip route del default"),
        undo=sh(CLOUD, _DEFAULT),
        codes=("no_way", *ARRIVAL),
        doctor=("no_way",),
    ),
    _path(
        name="address-flushed",
        what="eth0 loses its address",
        inject=sh(CLOUD, "ip address flush dev eth0"),
        undo=sh(CLOUD, f"ip address add {VM}/24 dev eth0; {_DEFAULT}"),
        codes=("local_address_missing", "no_way", *ARRIVAL),
        doctor=("no_way",),
    ),
    _path(
        name="far-charon-dead",
        what="the other side's charon is killed, and started again",
        inject=kill("charon-dc"),
        undo=charon_back(DC),
        doctor=("nothing_comes_back", "no_answer", "silent"),
    ),
    _path(
        name="far-tunnel-shut",
        what="the other side's tunnel interface is shut down",
        inject=sh(DC, f"ip link set {TUNNEL} down"),
        undo=sh(DC, f"ip link set {TUNNEL} up"),
        doctor=("nothing_comes_back", "one_way", "gre_refused"),
    ),
    _path(
        name="far-pimd-dead",
        what="the other side's PIM daemon is killed, and started again",
        inject=kill("pimd"),
        undo=lambda lab: lab.scene.dc.start_pimd(),
        doctor=("silent",),
        recovery=35.0,  # FRR's first Hello, and it forgets what was joined before
    ),
    Fault(
        name="rule-220-deleted",
        group=Group.PATH,
        what="charon's ip rule of table 220, which leads into its ESP in user space, is deleted",
        inject=sh(CLOUD, "ip rule del pref 220"),
        undo=sh(CLOUD, "ip rule | grep -q ^220: || ip rule add pref 220 table 220"),
        lost=None,
        codes=("rule_220_missing", "guard_drops", *ARRIVAL),
        health=("degraded", "down"),
        doctor=("rule_220_missing",),
    ),
    Fault(
        name="rp-filter-changed",
        group=Group.PATH,
        what="another program sets rp_filter of the tunnel to strict",
        inject=sysctl(f"conf.{TUNNEL}.rp_filter", 1),
        lost=0.5,
    ),
    _path(
        name="path-cut",
        what="UDP 500 and 4500 are dropped on the path",
        inject=lambda lab: lab.scene.block(500, 4500),
        undo=lambda lab: lab.scene.block(),
        doctor=("nothing_comes_back", "no_answer"),
        recovery=12.0,
    ),
    _path(
        name="path-cut-briefly",
        what="UDP 500 and 4500 are dropped on the path for 3 seconds",
        inject=lambda lab: lab.scene.block(500, 4500),
        undo=lambda lab: lab.scene.block(),
        lasts=3.0,
        codes=(),
        health=("ok", "degraded"),
        lost=4.5,
        recovery=1.0,
    ),
    _path(
        name="vrf",
        what="the interface of the default route is put into a VRF",
        inject=sh(CLOUD, _VRF),
        undo=sh(CLOUD, f"ip link set eth0 nomaster; ip link del vrf0; {_DEFAULT}"),
        codes=("peer_in_vrf", *ARRIVAL),
        doctor=("peer_in_vrf",),
        needs=("vrf",),
    ),
    _path(
        name="gre-key",
        what="the tunnel has another GRE key here than there",
        inject=both(edit("keepalive.reply = true", "keepalive.reply = true\nkey = 40"), mcastd("reload")),
        undo=both(edit("\nkey = 40", ""), mcastd("reload")),
        codes=(*ARRIVAL, "nothing_ever_arrived", "pim_neighbor_missing"),
        doctor=("gre_key",),
        recovery=65.0,
    ),
    _loss(1),
    _loss(10),
    _loss(30),
)
