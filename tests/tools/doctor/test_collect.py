"""What the doctor reads of the host, from a kernel that has it."""

import subprocess
from collections.abc import Callable
from ipaddress import IPv4Address

import pytest

from mcastd.system.netlink import Netlink
from mcastd.tools.doctor import collect
from tests.namespaces import Namespace

pytestmark = pytest.mark.root

RULES = """
table inet closed { chain in { type filter hook input priority 0; policy drop; }; }
table ip open { chain in { type filter hook input priority 0; }; chain out { type filter hook output priority 0; }; }
"""


def test_the_chains_of_input_that_drop(namespace: Callable[[], Namespace]) -> None:
    host = namespace()
    assert host.call(collect._dropping_chains) == ()
    host.call(lambda: subprocess.run(["nft", RULES], check=True))
    assert host.call(collect._dropping_chains) == ("inet closed in",)


def test_charons_table_without_its_rule(namespace: Callable[[], Namespace]) -> None:
    host = namespace()

    async def missing() -> bool:
        async with Netlink() as netlink:
            return await collect._rule_220_missing(netlink)

    host.ip("rule", "add", "pref", "220", "table", "220")
    assert host.run(missing) is False
    host.ip("route", "add", "192.0.2.1", "dev", "lo", "proto", "static", "table", "220")
    assert host.run(missing) is False
    host.ip("rule", "del", "pref", "220")
    assert host.run(missing) is True


def test_each_address_with_its_interface(namespace: Callable[[], Namespace]) -> None:
    host = namespace()
    host.ip("address", "add", "192.0.2.1/32", "dev", "lo")

    async def addresses() -> dict[IPv4Address, str]:
        async with Netlink() as netlink:
            return await collect._addresses(netlink)

    assert host.run(addresses)[IPv4Address("192.0.2.1")] == "lo"
