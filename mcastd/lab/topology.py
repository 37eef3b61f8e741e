"""The addresses of the scene (those of docs/from-the-article.md), and the configuration files of its parts. Pure."""

import json
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from msgspec.structs import replace

from mcastd.config.model import Config

CLOUD, INTERNET, DC, SOURCE, CLIENT = NODES = ("cloud", "internet", "dc", "source", "client")

VM, VM_PUBLIC, DC_PUBLIC = "10.1.1.246", "222.45.67.1", "177.54.214.20"
VM_SUBNET, CLIENT_ADDRESS = "192.168.50.1", "192.168.50.2"
VM_GATEWAY, DC_GATEWAY = "10.1.1.1", "177.54.214.1"
GRE_CLOUD, GRE_DC = "10.44.6.1", "10.44.7.1"
GRE_CLOUD_2 = "10.44.6.2"  # of the tunnel to a second data centre
TUNNEL = "gre1"
TUNNEL_CLOUD, TUNNEL_DC = "10.44.4.6/30", "10.44.4.5/30"
TCP_CLOUD, TCP_CLOUD_HOST, TCP_DC = "10.45.8.16/28", "10.45.8.17", "100.15.30.0/24"
RP, SOURCE_ADDRESS = "100.15.30.253", "100.15.30.10"
RP_GROUPS = "239.0.0.0/8"
GROUP, PORT = "239.1.1.1", 5001
PROPOSAL = "aes256-sha256-modp2048"
CHILD_GRE, CHILD_TCP = "dc-tun-gre", "dc-tun-tcp"
CISCO_MTU_USERSPACE = 1376  # what fits into charon's TUN device with ESP in user space
XFRM_INTERFACE, IF_ID = "ipsec1", 7


@dataclass(frozen=True)
class Mode:
    """A topology: TOML for the CHILD_SA and the tunnel, and the tunnel's MTU with the kernel's ESP."""

    child: str
    tunnel: str
    mtu: int


_LOOPBACKS = f"""\
local = "{GRE_CLOUD}"
remote = "{GRE_DC}"
keepalive.reply = true"""

MODES = {
    "tunnel": Mode(f'local_ts = "{GRE_CLOUD}/32"\nremote_ts = "{GRE_DC}/32"', _LOOPBACKS, 1398),
    "transport": Mode('mode = "transport"', f'local = "{VM}"\nremote = "{DC_PUBLIC}"\nkeepalive.reply = true', 1418),
    "interface": Mode(f'mode = "interface"\nif_id = {IF_ID}\ninterface = "{XFRM_INTERFACE}"', _LOOPBACKS, 1398),
    "none": Mode(f'mode = "interface"\nif_id = {IF_ID}', 'encapsulation = "none"', 1422),
}


@dataclass(frozen=True)
class DcIpsec:
    """The data centre's IPsec settings; the failure tests change one field each.

    Selectors that are None are those of the cloud's configuration.
    """

    psk: str
    ike_proposal: str = PROPOSAL
    esp_proposal: str = PROPOSAL
    gre_local_ts: str | None = None
    gre_remote_ts: str | None = None

    def __repr__(self) -> str:
        """Without the PSK."""
        return f"DcIpsec({self.ike_proposal}, {self.esp_proposal}, {self.gre_local_ts} === {self.gre_remote_ts})"


# ``ip -batch`` lines for each node, in this order; a name in braces is replaced by that node's namespace.
LINKS = {
    INTERNET: f"""
        link set lo up
        link add cloud0 type veth peer name eth0 netns {{cloud}}
        link add dc0 type veth peer name eth0 netns {{dc}}
        address add {VM_GATEWAY}/24 dev cloud0
        address add {DC_GATEWAY}/24 dev dc0
        link set cloud0 up
        link set dc0 up
    """,
    DC: f"""
        link set lo up
        link add lan0 type veth peer name eth0 netns {{source}}
        address add {DC_PUBLIC}/24 dev eth0
        address add {GRE_DC}/32 dev lo
        address add {RP}/24 dev lan0
        link set eth0 up
        link set lan0 up
        route add default via {DC_GATEWAY}
    """,
    CLOUD: f"""
        link set lo up
        link add eth1 type veth peer name eth0 netns {{client}}
        address add {VM}/24 dev eth0
        address add {VM_SUBNET}/24 dev eth1
        address add {TCP_CLOUD_HOST}/32 dev lo
        link set eth0 up
        link set eth1 up
        route add default via {VM_GATEWAY}
    """,
    SOURCE: f"""
        link set lo up
        address add {SOURCE_ADDRESS}/24 dev eth0
        link set eth0 up
        route add default via {RP}
    """,
    CLIENT: f"""
        link set lo up
        address add {CLIENT_ADDRESS}/24 dev eth0
        link set eth0 up
        route add default via {VM_SUBNET}
    """,
}

# Strict reverse path filtering in the VM is the most difficult setting.
SYSCTLS = {
    CLOUD: {"ipv4/conf/all/rp_filter": "1", "ipv4/conf/default/rp_filter": "1", "ipv4/ip_forward": "0"},
    INTERNET: {"ipv4/conf/all/rp_filter": "0", "ipv4/conf/default/rp_filter": "0", "ipv4/ip_forward": "1"},
    DC: {"ipv4/conf/all/rp_filter": "0", "ipv4/conf/default/rp_filter": "0", "ipv4/ip_forward": "1"},
    SOURCE: {"ipv4/conf/all/rp_filter": "0", "ipv4/conf/default/rp_filter": "0", "ipv4/ip_forward": "0"},
    CLIENT: {"ipv4/conf/all/rp_filter": "0", "ipv4/conf/default/rp_filter": "0", "ipv4/ip_forward": "0"},
}
# The segment behind the VM, on demand: a bridge, and on it the VM's eth1, the client and other nodes.
LAN, HOST_V2, HOST_V1, ROUTER, SECOND = LAN_NODES = ("lan", "hostv2", "hostv1", "router", "second")
_LAN_ADDRESSES = {
    HOST_V2: "192.168.50.3",
    HOST_V1: "192.168.50.4",
    ROUTER: "192.168.30.1",  # lower than the VM's address: it wins an election of the querier
    SECOND: "192.168.40.1",
}
SECOND_TUNNEL, SECOND_VM, SECOND_DC = "gre2", "10.99.0.2", "10.99.0.1"
SECOND_CLOUD_ADDRESS, SECOND_DC_ADDRESS = "10.44.5.6/30", "10.44.5.5/30"
SYSCTLS |= {
    LAN: {"ipv4/ip_forward": "0"},
    HOST_V2: {"ipv4/conf/all/force_igmp_version": "2"},
    HOST_V1: {"ipv4/conf/all/force_igmp_version": "1"},
    ROUTER: SYSCTLS[INTERNET],
    SECOND: SYSCTLS[CLIENT],
}


def links(lan: tuple[str, ...] = (), *, snooping: bool = True) -> dict[str, str]:
    """The ``ip -batch`` lines of each node, with the nodes ``lan`` on a segment behind the VM, if there are any."""
    if not lan:
        return LINKS
    ports = {CLOUD: "eth1", CLIENT: "eth0", SECOND: "eth1", HOST_V2: "eth0", HOST_V1: "eth0", ROUTER: "eth0"}
    bridge = f"link set lo up\nlink add br0 type bridge mcast_snooping {int(snooping)}\nlink set br0 up\n"
    for node in (CLOUD, CLIENT, *lan):
        bridge += f"link add {node} type veth peer name {ports[node]} netns {{{node}}}\nlink set {node} master br0 up\n"
    found = {LAN: bridge}
    for node in lan:
        port = ports[node]
        found[node] = f"link set lo up\naddress add {_LAN_ADDRESSES[node]}/16 dev {port}\nlink set {port} up\n"
    found |= LINKS
    if SECOND in lan:  # its tunnel is not encrypted
        found[SECOND] += f"""
            link add eth0 type veth peer name vm2 netns {{dc}}
            address add {SECOND_VM}/30 dev eth0
            link set eth0 up
            route add default via {SECOND_DC}
        """
        found[DC] += f"address add {SECOND_DC}/30 dev vm2\nlink set vm2 up\n"
    found[CLOUD] = found[CLOUD].replace("link add eth1 type veth peer name eth0 netns {client}", "")
    for node, address in ((CLOUD, VM_SUBNET), (CLIENT, CLIENT_ADDRESS)):
        found[node] = found[node].replace(f"{address}/24", f"{address}/16")
    return found


IPV6 = Path("/proc/sys/net/ipv6")
"""Exists if the kernel has IPv6."""
WITHOUT_IPV6 = {"ipv6/conf/all/disable_ipv6": "1", "ipv6/conf/default/disable_ipv6": "1"}

# The cloud's internet gateway: 1:1 NAT, and nothing else passes.
GATEWAY = f"""
table ip gateway {{
    counter leaked_gre {{ }}
    set blocked {{ type inet_service; }}
    chain prerouting {{
        type nat hook prerouting priority dstnat;
        iifname != "cloud0" ip daddr {VM_PUBLIC} dnat to {VM}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        oifname != "cloud0" ip saddr {VM} snat to {VM_PUBLIC}
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
        ip protocol 47 counter name leaked_gre
        udp dport @blocked drop
        iifname "cloud0" ip saddr {VM} accept
        iifname != "cloud0" ip daddr {VM} ct status snat,dnat accept
    }}
}}
"""

GATEWAY_IPTABLES = f"""
*nat
-A PREROUTING ! -i cloud0 -d {VM_PUBLIC} -j DNAT --to-destination {VM}
-A POSTROUTING ! -o cloud0 -s {VM} -j SNAT --to-source {VM_PUBLIC}
COMMIT
*filter
:FORWARD DROP
:blocked -
-A FORWARD -p 47 -m comment --comment leaked_gre
-A FORWARD -j blocked
-A FORWARD -i cloud0 -s {VM} -j ACCEPT
-A FORWARD ! -i cloud0 -d {VM} -m conntrack --ctstate SNAT,DNAT -j ACCEPT
COMMIT
"""

# As with a crypto map, GRE to the other side leaves encrypted (in user space by another interface) or not at all.
CRYPTO_MAP = f"""
table ip crypto_map {{
    chain output {{
        type filter hook output priority filter;
        oifname "eth0" ip protocol 47 ip daddr {{ {GRE_CLOUD}, {GRE_CLOUD_2}, {VM_PUBLIC} }} rt ipsec missing drop
    }}
}}
"""
CRYPTO_MAP_IPTABLES = f"""
*filter
-A OUTPUT -o eth0 -d {GRE_CLOUD},{GRE_CLOUD_2},{VM_PUBLIC} -p 47 -m policy --dir out --pol none -j DROP
COMMIT
"""


DROP_INS = (Path(__file__).parents[2] / "packaging/strongswan.d/mcastd.conf", Path("/etc/strongswan.d/mcastd.conf"))
"""The strongSwan settings that mcastd recommends: in the source tree, or installed."""


def strongswan_conf(vici: Path, log: Path, *, userspace_esp: bool, drop_in: bool) -> str:
    """strongswan.conf of a node's charon; ``userspace_esp`` for kernels without ESP, ``drop_in`` as recommended."""
    kernel = ("kernel-libipsec " if userspace_esp else "") + "kernel-netlink"
    crypto = "random nonce openssl aes sha1 sha2 hmac kdf gmp pem pkcs1 x509 pubkey"
    included = "".join(f"include {path}\n" for path in DROP_INS) if drop_in else ""
    return f"""{included}
charon-systemd {{
    load = {crypto} {kernel} socket-default updown vici
    filelog {{ lab {{ path = {log}
        time_format = %H:%M:%S
        flush_line = yes
        default = 1 }} }}
    plugins {{ vici {{ socket = unix://{vici} }} }}
}}
swanctl {{ load = {crypto} }}
"""


def data_centre(cloud: Config, dc: DcIpsec, mtu: int | None = None) -> Config:
    """The cloud's configuration with the data centre's deviations, and with ``mtu`` for its tunnels if given."""
    peer = cloud.peers[0]
    changed = {"local_ts": dc.gre_remote_ts, "remote_ts": dc.gre_local_ts}
    selectors = {key: IPv4Network(value) for key, value in changed.items() if value is not None}
    children = tuple(
        replace(child, proposals=(dc.esp_proposal,), **(selectors if child.name == CHILD_GRE else {}))
        for child in peer.children
    )
    tunnels = tuple(replace(tunnel, mtu=mtu or tunnel.mtu) for tunnel in cloud.tunnels)
    return replace(cloud, peers=(replace(peer, proposals=(dc.ike_proposal,), children=children),), tunnels=tunnels)


def mcastd_toml(
    *,
    vici: Path,
    strongswan: Path,
    runtime: Path,
    psk_file: Path,
    groups: tuple[str, ...],
    mode: str = "tunnel",
    follow: bool = True,
) -> str:
    """The daemon's configuration; a group is ``GROUP`` or, with a source, ``GROUP@SOURCE``."""
    text = f"""\
[daemon]
vici_socket = "{vici}"
strongswan_conf = "{strongswan}"
runtime_dir = "{runtime}"

[peers.dc]
local = "{VM}"
remote = "{DC_PUBLIC}"
local_id = "{VM_PUBLIC}"
remote_id = "{DC_PUBLIC}"
psk_file = "{psk_file}"
proposals = ["{PROPOSAL}"]

[peers.dc.children.{CHILD_GRE}]
{MODES[mode].child}
proposals = ["{PROPOSAL}"]

[peers.dc.children.{CHILD_TCP}]
local_ts = "{TCP_CLOUD}"
remote_ts = "{TCP_DC}"
proposals = ["{PROPOSAL}"]

[tunnels.{TUNNEL}]
child = "{CHILD_GRE}"
{MODES[mode].tunnel}
address = "{TUNNEL_CLOUD}"

[tunnels.{TUNNEL}.pim]
neighbor = "{TUNNEL_DC.split("/")[0]}"

[[tunnels.{TUNNEL}.pim.rp]]
address = "{RP}"
groups = ["{RP_GROUPS}"]
"""
    if not follow:
        text = text.replace(f"[tunnels.{TUNNEL}]\n", f"[tunnels.{TUNNEL}]\nfollow = false\n")
    return text + "".join(group_toml(group) for group in groups)


def without_firewall(text: str) -> str:
    """The configuration for a kernel without nftables: without the guard and MSS clamping."""
    for child in (CHILD_GRE, CHILD_TCP):
        text = text.replace(f"children.{child}]\n", f"children.{child}]\nmss = 0\n")
    return text.replace("[peers.dc]\n", "[firewall]\nguard = false\n\n[peers.dc]\n")


def without_pim(text: str, upstream: str) -> str:
    """The configuration with another ``upstream``, and a route to the sources in place of the RP."""
    start = text.index(f"[tunnels.{TUNNEL}.pim]")
    end = text.find("[[groups]]", start)
    routes = f'upstream = "{upstream}"\nroutes = ["groups", "{TCP_DC}"]\n\n'
    return text[:start].rstrip() + f"\n{routes}" + (text[end:] if end >= 0 else "")


def group_toml(group: str, *tunnels: str) -> str:
    """One ``[[groups]]`` entry for ``GROUP`` or ``GROUP@SOURCE``, on gre1 or on these tunnels."""
    address, _, source = group.partition("@")
    sources = f'sources = ["{source}"]\n' if source else ""
    where = f"tunnels = {json.dumps(tunnels)}" if tunnels else f'tunnel = "{TUNNEL}"'
    return f'\n[[groups]]\ngroup = "{address}"\n{where}\n{sources}'


def second_toml(*, vici: Path, strongswan: Path, runtime: Path) -> str:
    """The configuration of the daemon in the node ``second``: the same feed by a tunnel without IPsec."""
    return f"""\
[daemon]
vici_socket = "{vici}"
strongswan_conf = "{strongswan}"
runtime_dir = "{runtime}"

[tunnels.{SECOND_TUNNEL}]
local = "{SECOND_VM}"
remote = "{SECOND_DC}"
address = "{SECOND_CLOUD_ADDRESS}"

[tunnels.{SECOND_TUNNEL}.pim]
neighbor = "{SECOND_DC_ADDRESS.split("/")[0]}"

[[tunnels.{SECOND_TUNNEL}.pim.rp]]
address = "{RP}"
groups = ["{RP_GROUPS}"]
"""
