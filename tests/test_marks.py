"""A ledger that is damaged or gone: what carries mcastd's mark is taken over and taken down, and nothing else."""

import asyncio
import json
from collections.abc import Callable
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

import pytest
from msgspec.structs import replace

from mcastd.links import Rule
from mcastd.system import capabilities
from mcastd.system.ledger import Ledger
from mcastd.system.ledger_file import Value
from mcastd.tunnel.marks import ALIAS
from tests.composed import ARTICLE, Host, Process
from tests.fakes.clock import simulated, until
from tests.fakes.kernel import FakeRoute
from tests.fakes.memory import MemoryLedger

ROUTED = replace(
    ARTICLE, tunnels=(replace(ARTICLE.tunnels[0], routes=(IPv4Network("239.0.0.0/8"),), route_table=1000),)
)
ELSEWHERE = replace(ROUTED, tunnels=(replace(ROUTED.tunnels[0], route_table=2000),))
Damage = Callable[[dict[str, dict[str, Value]]], object]
WAYS: dict[str, Damage] = {
    "empty": lambda _: b"",
    "not JSON": lambda _: b'{"link": {"gre1": "ker',
    "binary": lambda _: bytes(range(256)),
    "an array": lambda found: [found],
    "no kinds": lambda _: {},
    "kinds that are no objects": lambda found: dict.fromkeys(found, 7),
    "values of other types": lambda found: {kind: dict.fromkeys(keys, 1.5) for kind, keys in found.items()},
    "values that mean something else": lambda found: {kind: dict.fromkeys(keys, "x") for kind, keys in found.items()},
    "keys that mean something else": lambda found: {kind: {"../x": None} for kind in found},
    "one kind is missing": lambda found: {kind: keys for kind, keys in found.items() if kind != "link"},
    "other kinds": lambda found: {f"x-{kind}": keys for kind, keys in found.items()},
    "a later version": lambda found: {**found, "format": {"version": 9, "digest": "x"}},
}


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "missing", lambda: ())


async def killed(host: Host) -> None:
    """A process brings everything up, and ends as by SIGKILL."""
    process = Process(host, ROUTED)
    process.start()
    await process.up()
    await process.end(leaves_standing=True)


async def taken_over(host: Host, config: object = ROUTED) -> Process:
    process = Process(host, config)  # type: ignore[arg-type]
    process.start()
    await process.up()
    return process


@pytest.mark.parametrize("kernel", [True, False], ids=["GRE of the kernel", "GRE in user space"])
@pytest.mark.parametrize("way", WAYS)
@simulated
async def test_whatever_happens_to_the_ledger_what_is_up_stays_up_and_nothing_is_left_in_the_end(
    tmp_path: Path, way: str, kernel: bool
) -> None:
    host = Host()
    host.kernel.unsupported = set() if kernel else {"gre"}
    try:
        await killed(host)
        index, sas = host.kernel.links["gre1"].index, host.charon.spis()
        damaged = WAYS[way](host.ledger.copy())
        file = tmp_path / "ledger.json"
        file.write_bytes(damaged if isinstance(damaged, bytes) else json.dumps(damaged).encode())
        host.ledger_file = Ledger(file)
        process = await taken_over(host)
        assert (host.kernel.links["gre1"].index, host.charon.spis()) == (index, sas)
        initiated = len(host.charon.asked("initiate"))
        await asyncio.sleep(60.0)
        assert len(host.charon.asked("initiate")) == initiated == 2, "of the first process alone"
        await process.end()
        assert host.is_empty(), (host.kernel.names(), host.kernel.loopback(), host.charon.conns, host.ledger.copy())
        assert not host.kernel.rules()
    finally:
        host.close()


@simulated
async def test_routes_of_another_table_are_found_by_their_protocol_where_the_file_changed_too() -> None:
    host = Host()
    try:
        await killed(host)
        assert host.kernel.through("gre1", 1000) == {"239.0.0.0/8"}
        host.ledger_file = MemoryLedger()
        process = await taken_over(host, ELSEWHERE)
        await until(lambda: not host.kernel.through("gre1", 1000), "the old table is empty")
        assert host.kernel.through("gre1", 2000) == {"239.0.0.0/8"}
        assert [rule.table for rule in host.kernel.rules()] == [2000]
        await process.end()
        assert not host.kernel.rules()
    finally:
        host.close()


@simulated
async def test_a_ledger_that_names_what_is_not_marked_does_not_have_it_removed() -> None:
    host = Host()
    try:
        kernel = host.kernel
        kernel.make_link("gre7", "gre", up=True)
        kernel.make_link("ipsec7", "xfrm")
        kernel.links["ipsec7"].alias = "of the administrator"
        kernel.add_address("lo", (IPv4Interface("192.0.2.9/32"), None))
        kernel.add_address("lo", (IPv4Interface("192.0.2.10/32"), None))
        kernel.add_route(FakeRoute(IPv4Network("198.51.100.0/24"), "eth0", 1000))
        rule = Rule(IPv4Network("10.0.0.0/8"), 1000, 100, 4)
        kernel.add_rule(rule)
        host.ledger = MemoryLedger(
            {
                "link": {"eth0": "kernel", "gre7": "kernel", "ipsec7": "xfrm", "lo": "userspace"},
                "endpoint": {"192.0.2.9/32": None, "192.0.2.10/32": "lo:mcastd", "192.0.2.1/32": None},
                "routes": {"eth0 1000": None, "gre7 1000": None},
                "rule": {"10.0.0.0/8 1000": None},
                "vici-conn": {"theirs": "x"},
            }
        )
        process = await taken_over(host)
        await process.end()
        assert kernel.names() == {"lo", "eth0", "gre7", "ipsec7"}
        assert kernel.loopback() == {"192.0.2.9/32", "192.0.2.10/32"}
        assert [route.prefix for route in kernel.routes(1000)] == [IPv4Network("198.51.100.0/24")]
        assert kernel.rules() == [rule]
        assert host.log.events().count("link_not_ours") == 4
        assert host.ledger.copy() == {}
    finally:
        host.close()


@simulated
async def test_an_address_that_0_1_0_recorded_without_a_label_is_inherited_and_removed() -> None:
    host = Host()
    try:
        host.kernel.add_address("lo", (IPv4Interface("10.44.6.1/32"), None))
        host.ledger = MemoryLedger({"endpoint": {"10.44.6.1/32": None}})
        process = await taken_over(host)
        assert host.kernel.links["lo"].labels[IPv4Interface("10.44.6.1/32"), None] == "lo"
        await process.end()
        assert host.is_empty()
    finally:
        host.close()


@simulated
async def test_an_address_of_another_program_that_the_configuration_names_is_left() -> None:
    host = Host()
    try:
        host.kernel.add_address("lo", (IPv4Interface("10.44.6.1/32"), None))
        process = await taken_over(host)
        await process.end()
        assert host.kernel.loopback() == {"10.44.6.1/32"}
    finally:
        host.close()


@simulated
async def test_a_link_whose_alias_another_program_changes_stays_ours() -> None:
    host = Host()
    try:
        process = await taken_over(host)
        host.kernel.links["gre1"].alias = "of the administrator"
        host.kernel.set_link("gre1", mtu=1300)
        await until(lambda: host.kernel.links["gre1"].alias == ALIAS, "its alias again")
        host.kernel.links["gre1"].alias = "of the administrator"
        await process.end()
        assert host.is_empty()
    finally:
        host.close()
