"""``[forward.NAME]`` and ``[overlay.NAME]`` as frozen structs; ``mcastd.config.model`` has all others.

It says how keys are declared.
"""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from msgspec import Meta, Struct

from mcastd.config import value_types as values
from mcastd.config.schema import Implied

MAX_JOINS: Final = 20_000
"""On one interface: those of the file, and together with them those of commands, applications and hosts."""

ASKED_UNSEEN: Final = 256
"""Addresses of one prefix in ``members`` that are asked although nothing was heard of them: a query to each of them."""


class Forward(Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """``[forward.NAME]``: multicast routing from tunnels to machines behind an interface, which ask by IGMP."""

    name: str
    from_: Annotated[
        tuple[str, ...], values.array(values.text("name of a tunnel"), least=1), Implied("the only tunnel")
    ]
    """tunnels whose groups are forwarded; required if there are several"""
    groups: Annotated[tuple[IPv4Network, ...], values.array(values.prefix(values.MULTICAST))] = ()
    """groups that are forwarded; empty: all that the tunnels can join"""
    static: Annotated[tuple[IPv4Address, ...], values.array(values.GROUP_ADDRESS)] = ()
    """groups that are forwarded whether a machine asks for them or not"""
    members_file: Annotated[Path | None, values.file_path(absolute=True)] = None
    """file with groups that are wanted by machines whose IGMP does not come here"""
    members_max_age: Annotated[float, Meta(ge=1.0, le=86400.0)] = 300.0
    """time after which that file should have been written again"""
    igmp_version: Literal[3, 2, 1] = 3
    """IGMP version of the querier, which serves hosts of the older ones too"""
    querier: bool = True
    """send queries; false: a cloud's gateway does, and this host forwards"""
    query_interval: Annotated[float, Meta(ge=1.0, le=31744.0)] = 125.0
    """time between general queries"""
    robustness: Annotated[int, Meta(ge=1, le=7)] = 2
    """how many packets in a row may be lost, and one more"""
    query_response_interval: Annotated[float, Meta(ge=0.1, le=3174.0)] = 10.0
    """time in which hosts answer a general query"""
    last_member_query_interval: Annotated[float, Meta(ge=0.1, le=25.5)] = 1.0
    """time in which others answer when a host has left a group"""
    fast_leave: bool = False
    """stop at once when the last known host of a group leaves, without asking others"""
    ttl_threshold: Annotated[int, Meta(ge=1, le=254)] = 1
    """TTL that a packet has to exceed to be forwarded"""
    max_groups: Annotated[int, Meta(ge=1, le=MAX_JOINS)] = 4000
    """how many groups the machines may ask for"""
    max_groups_per_host: Annotated[int, Meta(ge=1, le=MAX_JOINS)] = 1000
    """how many groups each of them may ask for"""


class Overlay(Forward, frozen=True, kw_only=True, rename={"from_": "from"}):
    """``[overlay.NAME]``: a VXLAN interface, by which other machines receive. It has the keys of ``[forward.NAME]``.

    ``without`` those that make no sense here. ``mtu`` None is ``auto``: what fits the interface that has ``local``.
    """

    without: ClassVar = frozenset({"members_file", "members_max_age", "querier"})
    vni: Annotated[int, Meta(ge=1, le=2**24 - 1)]
    """VXLAN network identifier, the same on all machines"""
    local: IPv4Address
    """our address in the network that carries VXLAN"""
    address: IPv4Interface
    """our address on the overlay, from which machines are asked what they want"""
    members: Annotated[tuple[IPv4Network, ...], values.array(values.prefix(), least=1)]
    """addresses of the machines that may take part, where VXLAN is carried"""
    port: Annotated[int, values.integer(1, 65535)] = 4789
    """UDP port of VXLAN"""
    mtu: Annotated[int | None, values.auto(values.integer(576, 65485))] = None
    """MTU of the interface; auto: 50 less than that of the interface that has local"""
