"""What the agents use of the host and the network."""

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec

from mcastd.config.model import Tunnel
from mcastd.firewall.agent import Conntrack
from mcastd.follow.kernel import Kernel
from mcastd.forward.kernel import MulticastRouting, MulticastSocket
from mcastd.igmp import kernel as igmp_kernel
from mcastd.igmp import transport as igmp_transport
from mcastd.igmp_host.agent import StorableSocket
from mcastd.ipsec.charon import Charon
from mcastd.ipsec.esp_replay import EspSockets
from mcastd.ipsec.vici import ViciSocket
from mcastd.keepalive.agent import open_socket
from mcastd.keepalive.packet import Endpoints
from mcastd.members.files import Files
from mcastd.meter.agent import Bpf, Ingress
from mcastd.overlay.kernel import Vxlan
from mcastd.pim.transport import GreTransport, OpenTransport, SocketTransport, Transport
from mcastd.streams.agent import Counters, Memberships
from mcastd.system import (
    bpf,
    conntrack,
    counters,
    file_changes,
    gre_devices,
    ingress,
    ipmr,
    memberships,
    multicast_addresses,
    netlink,
    nft,
    sockets,
    sysctl,
    vxlan,
)
from mcastd.system.fdstore import FdStore
from mcastd.system.ledger import Ledger
from mcastd.system.log import Logger
from mcastd.system.membership_socket import MembershipSocket
from mcastd.system.mroute import Mroute
from mcastd.system.nft_table import Nftables
from mcastd.system.sysctl import Sysctls
from mcastd.tunnel.kernel import Netlink
from mcastd.tunnel.userspace import GreDevices


class System(msgspec.Struct, frozen=True):
    """The functions and classes that reach it. The defaults are the real ones; tests replace them."""

    ledger: Callable[[Path], Ledger] = Ledger
    store: Callable[[Logger], FdStore] = FdStore.inherited
    sysctls: Sysctls = sysctl
    nftables: Nftables = nft
    conntrack: Conntrack = conntrack
    counters: Counters = counters
    bpf: Bpf = bpf
    ingress: Ingress = ingress
    memberships: Callable[[], Awaitable[Memberships]] = memberships.joined
    multicast_addresses: Kernel = multicast_addresses
    charon: Callable[[Path], Charon] = ViciSocket
    esp_sockets: EspSockets = sockets
    downstream_links: Callable[[], igmp_kernel.Links] = netlink.Netlink
    netlink: Callable[[], Netlink] = netlink.Netlink
    gre_devices: GreDevices = gre_devices
    vxlan: Vxlan = vxlan
    open_keepalive: Callable[[Endpoints], socket.socket] = open_socket
    open_pim: OpenTransport = SocketTransport
    open_igmp: igmp_kernel.OpenTransport = igmp_transport.SocketTransport
    open_pim_over_gre: Callable[[Tunnel], Transport] = GreTransport
    open_membership_socket: Callable[[int], StorableSocket] = MembershipSocket
    open_mroute: Callable[[int | None], MulticastSocket] = Mroute
    multicast: MulticastRouting = ipmr
    file_changes: Files = file_changes


REAL: Final = System()
"""The host itself."""
