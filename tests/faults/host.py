"""Changes of the host by other programs, most of which mcastd undoes."""

from functools import partial

from mcastd.lab.topology import CLOUD, GRE_CLOUD, TUNNEL, VM_GATEWAY
from tests.faults.fault import Fault, Group
from tests.faults.path import ARRIVAL
from tests.faults.steps import sh, sysctl

_host = partial(Fault, group=Group.HOST)
_FLAPS = """for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do
  ip link set gre1 down; sleep 0.4; ip link set gre1 up 2>/dev/null; sleep 0.2
done"""
_MASQUERADE = (
    "nft 'table ip docker { chain post { type nat hook postrouting priority srcnat - 1; oifname eth0 masquerade; }; }'"
)
_DEFAULT = f"ip route replace default via {VM_GATEWAY}"


def _routes(count: int) -> str:
    """A script that adds so many routes to a table that nothing looks at."""
    return f"""
    seq 0 {count - 1} | awk '{{ print "route add 10." 128 + int($1 / 65536) "." int($1 / 256) % 256 "." $1 % 256 \\
      "/32 via {VM_GATEWAY} table 77" }}' | ip -batch -"""


FAULTS = (
    _host(
        name="tunnel-deleted",
        what="the tunnel's interface is deleted",
        inject=sh(CLOUD, f"ip link del {TUNNEL}"),
        lost=5.0,
        health=("ok", "degraded", "down"),
    ),
    _host(
        name="tunnel-down",
        what="the tunnel's interface is set down",
        inject=sh(CLOUD, f"ip link set {TUNNEL} down"),
        lost=1.0,
        health=("ok", "degraded", "down"),
    ),
    _host(
        name="tunnel-address",
        what="the tunnel's address is removed",
        inject=sh(CLOUD, f"ip address flush dev {TUNNEL}"),
        lost=1.0,
        health=("ok", "degraded"),
    ),
    _host(
        name="tunnel-mtu",
        what="the tunnel's MTU is changed",
        inject=sh(CLOUD, f"ip link set {TUNNEL} mtu 1200"),
        lost=0.1,
    ),
    _host(
        name="tunnel-multicast",
        what="the tunnel's MULTICAST flag is taken away",
        inject=sh(CLOUD, f"ip link set {TUNNEL} multicast off"),
        lost=0.5,
    ),
    _host(
        name="tunnel-flaps",
        what="another program sets the tunnel down and up for ten seconds",
        inject=lambda lab: lab.injected.callback(lab.scene.stop, lab.scene.start(CLOUD, "fault", ["sh", "-c", _FLAPS])),
        lasts=12.0,
        lost=None,
        codes=("flapping", "changed_by_another_program"),
        within=10.0,
        health=("degraded", "down"),
    ),
    _host(
        name="endpoint-removed",
        what="the local GRE endpoint is removed from lo",
        inject=sh(CLOUD, f"ip address del {GRE_CLOUD}/32 dev lo"),
        lost=1.0,
        health=("ok", "degraded", "down"),
    ),
    _host(
        name="eth0-flap",
        what="eth0 goes down for a second",
        inject=sh(CLOUD, f"ip link set eth0 down; sleep 1; ip link set eth0 up; {_DEFAULT}"),
        lost=4.0,
        health=("ok", "degraded"),
    ),
    _host(
        name="wrong-arp",
        what="the gateway gets a wrong hardware address",
        inject=sh(CLOUD, f"ip neigh replace {VM_GATEWAY} lladdr 02:00:00:00:00:99 dev eth0 nud permanent"),
        undo=sh(CLOUD, f"ip neigh del {VM_GATEWAY} dev eth0"),
        lasts=12.0,
        lost=None,
        codes=ARRIVAL,
        within=7.0,  # without answers, their line goes down after three keepalives
        health=("degraded", "down"),
    ),
    _host(
        name="ruleset-flushed",
        what="nft flush ruleset",
        inject=sh(CLOUD, "nft flush ruleset"),
        lost=1.0,
        health=("ok", "degraded"),
    ),
    _host(
        name="ruleset-flushed-often",
        what="nft flush ruleset every second",
        inject=sh(CLOUD, "for n in 1 2 3 4 5 6 7 8; do nft flush ruleset; sleep 1; done"),
        lost=None,
        codes=("changed_by_another_program", "flapping"),
        health=("ok", "degraded", "down"),
    ),
    _host(
        name="masquerade",
        what="another program masquerades all that leaves eth0",
        inject=sh(CLOUD, _MASQUERADE),
        undo=sh(CLOUD, "nft delete table ip docker"),
    ),
    _host(
        name="rp-filter-often",
        what="another program sets rp_filter of the tunnel to strict ten times",
        inject=sh(
            CLOUD,
            f"for n in 1 2 3 4 5 6 7 8 9 0; do echo 1 >/proc/sys/net/ipv4/conf/{TUNNEL}/rp_filter; sleep 0.5; done",
        ),
        lost=2.0,
        codes=("changed_by_another_program",),
        health=("degraded",),
    ),
    _host(
        name="routes-500",
        what="500 routes are added at once",
        inject=sh(CLOUD, _routes(500)),
        undo=sh(CLOUD, "ip route flush table 77"),
    ),
    _host(
        name="routes-20000",
        what="20,000 routes are added at once",
        inject=sh(CLOUD, _routes(20000)),
        undo=sh(CLOUD, "ip route flush table 77"),
        lost=0.2,
    ),
    _host(
        name="rp-filter-off-on",
        what="rp_filter of the tunnel is set to 0",
        inject=sysctl(f"conf.{TUNNEL}.rp_filter", 0),
        lost=0.5,  # the filter of all interfaces is strict, and holds where a tunnel's own says less
    ),
)
