"""The commands that make a machine a receiver of an overlay, as a shell script. Pure."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network

import msgspec


class Receiver(msgspec.Struct, frozen=True):
    """A receiver: the overlay's device, VNI and UDP port; whom it joins at; its own addresses.

    ``address`` is that on the overlay, with the prefix length, and ``local`` the machine's own, which the kernel
    chooses without; both can be words in angle brackets, for the reader to replace. ``groups`` are what it can join.
    """

    device: str
    vni: int
    port: int
    head_ends: tuple[IPv4Address, ...]
    address: str
    local: str | None = None
    groups: tuple[IPv4Network, ...] = ()


def script(receiver: Receiver) -> str:
    """The commands, each group of them with what it is for; raises IndexError without a head end."""
    device = receiver.device
    first, *others = map(str, receiver.head_ends)
    local = f" local {receiver.local}" if receiver.local else ""
    groups = receiver.groups or (IPv4Network("224.0.0.0/4"),)
    parts = [
        f"# A receiver of the overlay {device}, as root.\n"
        f"# To undo it: ip link del {device} && nft delete table ip {device}",
        "# VXLAN has no authentication: what comes for this VNI from others than its head end is dropped.\n"
        f"nft -f - <<'END'\n{_filter(receiver)}END",
        f"ip link add {device} type vxlan id {receiver.vni} dstport {receiver.port} remote {first}{local}\n"
        f"ip address add {receiver.address} dev {device}\n"
        f"ip link set {device} up",
        _reports_to(device, others),
        "# The sources are not behind this device: where the host checks their path strictly, it would drop the feed.\n"
        f"sysctl -q -w net.ipv4.conf.{device}.rp_filter=2",
        "# For applications that join without naming an interface:\n"
        + "\n".join(f"# ip route add {group} dev {device}" for group in groups),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _reports_to(device: str, others: Sequence[str]) -> str:
    """The other head ends, which one has to be able to take over from the first."""
    lines = [f"bridge fdb append 00:00:00:00:00:00 dev {device} dst {other}" for other in others]
    return "\n".join(["# The head ends that take over have to know what is joined here:", *lines]) if lines else ""


def _filter(receiver: Receiver) -> str:
    # At the hook "input" a packet is whole: of one in fragments, prerouting does not see the VNI.
    allowed = ", ".join(map(str, receiver.head_ends))
    return f"""\
table ip {receiver.device} {{
    chain input {{
        type filter hook input priority filter - 10;
        udp dport {receiver.port} @th,96,24 {receiver.vni} ip saddr != {{ {allowed} }} drop
    }}
}}
"""
