"""The data centres of a scene: one, or two that send the same groups with the same sequence numbers. Pure.

The second is a copy of the first with addresses and an internet path of its own. Its source has the same address, as
where one publisher feeds two data centres, and so has its rendezvous point; it has no CHILD_SA but the tunnel's.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from mcastd.config.gateways import complete
from mcastd.config.model import Config
from mcastd.lab import topology
from mcastd.lab.topology import CHILD_GRE, DC, INTERNET, LINKS, SOURCE, TUNNEL

DC2, SOURCE2 = "dc2", "source2"
TUNNEL2 = "gre2"


@dataclass(frozen=True)
class Site:
    """A data centre: its node and that of its source, and what the VM's configuration calls it.

    ``link`` is its interface in the internet node; the processes of the second have ``suffix`` after their names.
    """

    node: str
    source: str
    peer: str
    child: str
    tunnel: str
    public: str
    link: str
    suffix: str = ""


FIRST = Site(DC, SOURCE, "dc", CHILD_GRE, TUNNEL, topology.DC_PUBLIC, "dc0")
SECOND = Site(DC2, SOURCE2, "dc2", "dc2-tun-gre", TUNNEL2, "198.51.100.20", "dc2", "2")
SITES = (FIRST, SECOND)
SECOND_GATEWAY = dataclasses.replace(SECOND, child=CHILD_GRE, tunnel=TUNNEL)
"""The second as another gateway of the first."""

SYSCTLS = {**topology.SYSCTLS, DC2: topology.SYSCTLS[DC], SOURCE2: topology.SYSCTLS[SOURCE]}
_GATEWAY, _GRE_DC = "198.51.100.1", "10.44.7.2"
_TUNNEL_CLOUD, _TUNNEL_DC = "10.44.5.6/30", "10.44.5.5"


def links(
    data_centres: int, lan: tuple[str, ...] = (), *, snooping: bool = True, gateways: bool = False
) -> dict[str, str]:
    """The ``ip -batch`` lines of each node: those of ``topology.links``, and those of a second data centre.

    As another gateway of the first one (``gateways``) it has the same endpoint of the tunnel.
    """
    found = topology.links(lan, snooping=snooping)
    if data_centres == 1:
        return found
    found = dict(found)
    found[INTERNET] += f"""
        link add {SECOND.link} type veth peer name eth0 netns {{{DC2}}}
        address add {_GATEWAY}/24 dev {SECOND.link}
        link set {SECOND.link} up
    """
    theirs = {
        f"{{{SOURCE}}}": f"{{{SOURCE2}}}",
        topology.DC_PUBLIC: SECOND.public,
        topology.DC_GATEWAY: _GATEWAY,
    }
    if not gateways:
        theirs[topology.GRE_DC] = _GRE_DC
    lines = LINKS[DC]
    for first, second in theirs.items():
        lines = lines.replace(first, second)
    return found | {DC2: lines, SOURCE2: LINKS[SOURCE]}


def of_site(config: Config, site: Site) -> Config:
    """What of the VM's configuration a data centre has the other side of: its peer, and its tunnel."""
    peers = tuple(complete(peer, config.peers) for peer in config.peers if peer.name == site.peer)
    return replace(config, peers=peers, tunnels=tuple(one for one in config.tunnels if one.name == site.tunnel))


def gateway_toml(psk_file: Path) -> str:
    """What the configuration has of a second gateway."""
    return f"""
[peers.{SECOND.peer}]
standby_for = "{FIRST.peer}"
remote = "{SECOND.public}"
remote_id = "{SECOND.public}"
psk_file = "{psk_file}"
"""


def second_toml(psk_file: Path, groups: tuple[str, ...], *, follow: bool) -> str:
    """What the configuration has of the second data centre, in tunnel mode and with PIM, and the groups on both."""
    return f"""
[peers.{SECOND.peer}]
local = "{topology.VM}"
remote = "{SECOND.public}"
local_id = "{topology.VM_PUBLIC}"
remote_id = "{SECOND.public}"
psk_file = "{psk_file}"
proposals = ["{topology.PROPOSAL}"]

[peers.{SECOND.peer}.children.{SECOND.child}]
local_ts = "{topology.GRE_CLOUD_2}/32"
remote_ts = "{_GRE_DC}/32"
proposals = ["{topology.PROPOSAL}"]

[tunnels.{TUNNEL2}]
{"" if follow else "follow = false"}
child = "{SECOND.child}"
local = "{topology.GRE_CLOUD_2}"
remote = "{_GRE_DC}"
keepalive.reply = true
address = "{_TUNNEL_CLOUD}"

[tunnels.{TUNNEL2}.pim]
neighbor = "{_TUNNEL_DC}"

[[tunnels.{TUNNEL2}.pim.rp]]
address = "{topology.RP}"
groups = ["{topology.RP_GROUPS}"]
""" + "".join(topology.group_toml(group, TUNNEL, TUNNEL2) for group in groups)
