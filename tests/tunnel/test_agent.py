"""The tunnel agent on a real kernel, in a namespace. Where the kernel has GRE it is the kernel's, else a TUN's."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from mcastd.config.model import Child, Peer, Tunnel
from mcastd.config.proposals import Esp
from mcastd.tunnel.mtu import Carrier
from tests.namespaces import Namespace, join, sysctl, until
from tests.tunnel.agents import UP, running, tunnel

pytestmark = pytest.mark.root

ENDPOINT = "10.44.6.1"


@pytest.fixture
def host(namespace: Callable[[], Namespace]) -> Namespace:
    """A host with a cable and a default route, as a VM has."""
    made, internet = namespace(), namespace()
    join(made, "192.0.2.1/24", internet, "192.0.2.2/24")
    made.ip("route", "add", "default", "via", "192.0.2.2")
    return made


def has_kernel_gre(namespace: Namespace) -> bool:
    made = subprocess.run(
        (
            "ip",
            "-n",
            namespace.name,
            *["link", "add", "probe", "type", "gre", "local", "192.0.2.1", "remote", "192.0.2.2"],
        ),
        check=False,
        capture_output=True,
    )
    if made.returncode == 0:
        namespace.ip("link", "del", "probe")
    return made.returncode == 0


def shown(namespace: Namespace, *arguments: str) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = json.loads(namespace.ip("-json", "-details", *arguments))
    return answer


def link(namespace: Namespace, name: str = "gre1") -> dict[str, Any]:
    (found,) = [each for each in shown(namespace, "addr") if each["ifname"] == name]
    return found


def names(namespace: Namespace) -> set[str]:
    return {each["ifname"] for each in shown(namespace, "link")}


def addresses(namespace: Namespace, name: str) -> set[str]:
    return {f"{each['local']}/{each['prefixlen']}" for each in link(namespace, name)["addr_info"]}


def snapshot(namespace: Namespace) -> list[str]:
    """All that we might have changed, as ip(8) shows it."""
    return [namespace.ip(*words) for words in (("addr",), ("route", "show", "table", "all"), ("rule",))]


def test_everything_of_a_tunnel(host: Namespace, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(tunnel())
            found = link(host)
            kernel = has_kernel_gre(host)
            assert run.agent.status(0.0)["gre1"].datapath == ("kernel" if kernel else "userspace")
            assert found["linkinfo"]["info_kind"] == ("gre" if kernel else "tun")
            assert found["mtu"] == 1476
            assert {"UP", "MULTICAST", "POINTOPOINT"} <= set(found["flags"])
            assert found["ifalias"] == "made by mcastd"
            (address,) = found["addr_info"]  # and so no IPv6 link-local
            assert (address["local"], address["address"], address["prefixlen"]) == ("10.44.4.6", "10.44.4.5", 30)
            assert sysctl(host, "net/ipv4/conf/gre1/rp_filter") == "2"
            assert f"{ENDPOINT}/32" in addresses(host, "lo")
            view = run.agent.links().get("gre1")
            assert view is not None
            assert (view.index, view.mtu, view.address, view.up) == (
                found["ifindex"], 1476, IPv4Address("10.44.4.6"), True,
            )  # fmt: skip
            status = run.agent.status(0.0)["gre1"]
            assert (status.state, status.mtu, status.problem) == ("up", 1476, None)
            assert status.mtu_reason == "GRE on a path of 1500"
            before = snapshot(host)
            changes = run.changes
            await run.want(tunnel())
            assert snapshot(host) == before
            assert run.changes == changes
            await run.agent.close()
            assert names(host) == {"lo", "veth0"}
            assert f"{ENDPOINT}/32" not in addresses(host, "lo")
            assert not (tmp_path / "ledger.json").exists()

    host.run(main)


def test_closing_puts_back_what_was_there(host: Namespace, tmp_path: Path) -> None:
    before = snapshot(host)

    async def main() -> None:
        async with running(tmp_path) as run:
            other = tunnel(
                name="gre2", local=IPv4Address("10.44.6.2"), address=IPv4Interface("10.44.8.6/30"), peer_address=None
            )
            await run.want(tunnel(), other)
            assert {"gre1", "gre2"} <= names(host)
            await run.agent.close()

    host.run(main)
    assert snapshot(host) == before


def test_datapath_kernel_is_the_kernel_s_or_a_clear_problem(host: Namespace, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(tunnel(), datapath="kernel")
            status = run.agent.status(0.0)["gre1"]
            if has_kernel_gre(host):
                assert link(host)["linkinfo"]["info_kind"] == "gre"
                assert status.state == "up"
            else:
                assert names(host) == {"lo", "veth0"}
                assert (status.state, status.problem) == ("down", "this kernel has no GRE (no module ip_gre)")
                assert run.agent.links().get("gre1") is None
            await run.agent.close()

    host.run(main)


def test_datapath_userspace_is_a_tun_whatever_the_kernel_has(host: Namespace, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(tunnel(), datapath="userspace")
            assert link(host)["linkinfo"]["info_kind"] == "tun"
            assert run.agent.status(0.0)["gre1"].datapath == "userspace"
            await run.agent.close()

    host.run(main)


def test_the_link_waits_for_its_child_and_then_stays_up(host: Namespace, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(tunnel(), carrier=Carrier(up=False))
            assert "UP" not in link(host)["flags"]
            assert run.agent.status(0.0)["gre1"].state == "waiting"
            changes = run.changes
            await run.want(tunnel(), carrier=UP)
            assert "UP" in link(host)["flags"]
            assert run.agent.status(0.0)["gre1"].state == "up"
            assert run.changes > changes
            await run.want(tunnel(), carrier=Carrier(up=False, up_count=1))
            assert "UP" in link(host)["flags"]
            assert run.agent.status(0.0)["gre1"].state == "waiting"
            view = run.agent.links().get("gre1")
            assert view is not None
            assert not view.up
            await run.agent.close()

    host.run(main)


def test_the_mtu_follows_what_is_negotiated_and_the_link_below(host: Namespace, tmp_path: Path) -> None:
    esp = Carrier(up=True, up_count=1, esp=Esp(iv=16, block=16, icv=16), remote=IPv4Address("192.0.2.2"))

    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(tunnel(), carrier=esp)
            assert link(host)["mtu"] == 1398
            host.ip("link", "set", "veth0", "mtu", "1400")
            await until(lambda: link(host)["mtu"] == 1302, "the MTU of a path of 1400")
            reason = "ESP tunnel mode in UDP on a path of 1400"
            await until(lambda: run.agent.status(0.0)["gre1"].mtu_reason == reason, reason)
            await run.want(tunnel(mtu=1300), carrier=esp)
            assert link(host)["mtu"] == 1300
            assert run.agent.status(0.0)["gre1"].mtu_reason == "configured"
            await run.agent.close()

    host.run(main)


def test_a_deleted_link_is_made_again(host: Namespace, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(tunnel(), datapath="userspace")
            first = link(host)["ifindex"]
            for _ in range(2):
                host.ip("link", "del", "gre1")
                await until(lambda: "gre1" in names(host) and "UP" in link(host)["flags"], "gre1 again")
            assert link(host)["ifindex"] != first
            assert addresses(host, "gre1") == {"10.44.4.6/30"}
            await until(
                lambda: (view := run.agent.links().get("gre1")) and view.index == link(host)["ifindex"], "the new index"
            )
            assert open_tuns() == 1
            await run.agent.close()
            assert open_tuns() == 0

    host.run(main)


def open_tuns() -> int:
    """How many descriptors of /dev/net/tun this process holds."""
    return sum(each.is_symlink() and str(each.readlink()) == "/dev/net/tun" for each in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize(
    "damage",
    [
        ("addr", "del", "10.44.4.6", "peer", "10.44.4.5/30", "dev", "gre1"),
        ("addr", "flush", "dev", "gre1"),
        ("addr", "add", "10.99.0.1/24", "dev", "gre1"),
        ("link", "set", "gre1", "mtu", "1000"),
        ("link", "set", "gre1", "multicast", "off"),
        ("link", "set", "gre1", "down"),
        ("addr", "del", "10.44.6.1/32", "dev", "lo"),
    ],
    ids=" ".join,
)
def test_whatever_is_changed_under_us_is_repaired(host: Namespace, tmp_path: Path, damage: tuple[str, ...]) -> None:
    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(tunnel())
            before = whole(host)
            host.ip(*damage)
            assert whole(host) != before
            await until(lambda: whole(host) == before, "as it was")
            await run.agent.close()

    host.run(main)


def whole(namespace: Namespace) -> object:
    found = link(namespace)
    return found["mtu"], set(found["flags"]), addresses(namespace, "gre1"), addresses(namespace, "lo")


@pytest.mark.parametrize("kind", [("type", "veth", "peer", "name", "gre1-far"), ("type", "bridge")], ids=" ".join)
def test_a_link_that_we_did_not_make_is_refused_and_untouched(
    host: Namespace, tmp_path: Path, kind: tuple[str, ...]
) -> None:
    host.ip("link", "add", "gre1", *kind)
    before = snapshot(host)

    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(tunnel())
            status = run.agent.status(0.0)["gre1"]
            assert status.state == "down"
            assert "an interface gre1 exists and mcastd did not make it" in (status.problem or "")
            assert run.agent.links().get("gre1") is None
            assert snapshot(host) == before
            await run.want()
            await run.agent.close()

    host.run(main)
    assert snapshot(host) == before


def test_a_link_that_somebody_puts_in_the_place_of_ours_is_theirs(host: Namespace, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(tunnel())
        if "gre1" in names(host):
            host.ip("link", "del", "gre1")
        host.ip("link", "add", "gre1", "type", "bridge")
        async with running(tmp_path) as run:
            await run.want(tunnel())
            assert "mcastd did not make it" in (run.agent.status(0.0)["gre1"].problem or "")
            await run.agent.close()
        assert link(host)["linkinfo"]["info_kind"] == "bridge"
        assert f"{ENDPOINT}/32" not in addresses(host, "lo")

    host.run(main)


def test_a_foreign_link_that_goes_makes_room(host: Namespace, tmp_path: Path) -> None:
    host.ip("link", "add", "gre1", "type", "bridge")

    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(tunnel())
            host.ip("link", "del", "gre1")
            await until(lambda: run.agent.status(0.0)["gre1"].state == "up", "gre1 is ours")
            assert run.agent.status(0.0)["gre1"].problem is None
            await run.agent.close()

    host.run(main)


def test_an_endpoint_that_was_there_before_stays(host: Namespace, tmp_path: Path) -> None:
    host.ip("addr", "add", f"{ENDPOINT}/24", "dev", "veth0")

    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(tunnel())
            assert run.agent.status(0.0)["gre1"].state == "up"
            assert f"{ENDPOINT}/32" not in addresses(host, "lo")
            await run.agent.close()

    host.run(main)
    assert f"{ENDPOINT}/24" in addresses(host, "veth0")


def natted(*addresses: str) -> Peer:
    """A peer whose children have these addresses for SNAT, on the loopback."""
    ends: dict[str, Any] = {"local": IPv4Address("10.1.1.246"), "remote": IPv4Address("177.54.214.20")}
    children = tuple(
        Child(
            name=f"to-{address}",
            local_ts=IPv4Network(address),
            remote_ts=IPv4Network("100.15.30.0/24"),
            proposals=(),
            snat=IPv4Address(address),
            snat_loopback=True,
        )
        for address in addresses
    )
    return Peer(name="dc-tun", **ends, local_id="a", remote_id="b", proposals=(), children=children)


def test_an_address_that_two_want_stays_until_neither_does(host: Namespace, tmp_path: Path) -> None:
    """The loopback's addresses are the tunnels' endpoints and what SNAT asks for; they may be the same."""

    async def main() -> None:
        async with running(tmp_path) as run:

            async def on_loopback(*tunnels: Tunnel, loopbacks: tuple[str, ...]) -> set[str]:
                await run.want(*tunnels, peers=(natted(*loopbacks),))
                return {each for each in addresses(host, "lo") if each.endswith("/32")}

            assert await on_loopback(loopbacks=("10.45.8.17",)) == {"10.45.8.17/32"}
            assert await on_loopback(tunnel(), loopbacks=(ENDPOINT,)) == {f"{ENDPOINT}/32"}
            assert await on_loopback(tunnel(), loopbacks=()) == {f"{ENDPOINT}/32"}
            assert await on_loopback(loopbacks=(ENDPOINT,)) == {f"{ENDPOINT}/32"}
            host.ip("addr", "del", f"{ENDPOINT}/32", "dev", "lo")
            await until(lambda: f"{ENDPOINT}/32" in addresses(host, "lo"), "the address again")
            assert await on_loopback(loopbacks=()) == set()
            host.ip("addr", "add", "10.45.8.17/32", "dev", "veth0")
            assert await on_loopback(loopbacks=("10.45.8.17",)) == set()
            await run.agent.close()
            assert "10.45.8.17/32" in addresses(host, "veth0")

    host.run(main)


def test_a_reload_moves_addresses_and_takes_away_what_is_no_longer_wanted(host: Namespace, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(tunnel())
            index = link(host)["ifindex"]
            for address, peer in (("10.44.4.5/30", "10.44.4.6"), ("10.44.5.6/30", None), ("10.44.5.6/30", "10.44.5.5")):
                await run.want(tunnel(address=IPv4Interface(address), peer_address=IPv4Address(peer) if peer else None))
                (found,) = link(host)["addr_info"]
                assert (f"{found['local']}/{found['prefixlen']}", found.get("address")) == (address, peer)
                assert link(host)["ifindex"] == index
            await run.want(tunnel(local=IPv4Address("10.44.6.9")))
            assert addresses(host, "lo") == {"127.0.0.1/8", "::1/128", "10.44.6.9/32"}
            await run.want()
            assert names(host) == {"lo", "veth0"}
            assert addresses(host, "lo") == {"127.0.0.1/8", "::1/128"}
            assert run.agent.status(0.0) == {}
            assert run.agent.links().get("gre1") is None

    host.run(main)


SERVE = """
import asyncio, pathlib, sys
from tests.tunnel.agents import running, tunnel

async def main():
    async with running(pathlib.Path(sys.argv[1])) as run:
        await run.want(tunnel())
        print(run.agent.status(0.0)["gre1"].state, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_after_a_kill_everything_is_adopted_and_put_back(host: Namespace, tmp_path: Path) -> None:
    before = snapshot(host)
    command = ("ip", "netns", "exec", host.name, sys.executable, "-c", SERVE, str(tmp_path))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        said = ""
        while not said.startswith("up"):
            said = process.stdout.readline()
            assert said, "it ended"
        process.send_signal(signal.SIGKILL)
    assert f"{ENDPOINT}/32" in addresses(host, "lo")
    assert set(json.loads((tmp_path / "ledger.json").read_text())) == {"link", "endpoint"}

    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(tunnel())
            assert run.agent.status(0.0)["gre1"].state == "up"
            await run.agent.close()

    host.run(main)
    assert snapshot(host) == before


def test_what_the_host_refuses_is_shown_until_it_works(host: Namespace, tmp_path: Path) -> None:

    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(tunnel(mtu=40))
            status = run.agent.status(0.0)["gre1"]
            assert status.problem == "link gre1: Invalid argument"
            assert status.state == "down"
            await run.want(tunnel(mtu=1300))
            assert run.agent.status(0.0)["gre1"].state == "up"
            await run.agent.close()

    host.run(main)


def test_without_a_route_it_waits_for_one_and_stirs_nothing_up(host: Namespace, tmp_path: Path) -> None:
    """An interface made and removed at every try would be a change that asks for the next try."""
    host.ip("route", "del", "default")

    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(tunnel(), datapath="userspace")
            assert "Network is unreachable" in (run.agent.status(0.0)["gre1"].problem or "")
            host.ip("link", "add", "probe", "type", "bridge")
            before = link(host, "probe")["ifindex"]
            await run.want(tunnel(), datapath="userspace")
            host.ip("link", "del", "probe")
            host.ip("link", "add", "probe", "type", "bridge")
            assert link(host, "probe")["ifindex"] == before + 1
            host.ip("route", "add", "default", "via", "192.0.2.2")
            await until(lambda: run.agent.status(0.0)["gre1"].state == "up", "up by the new route")
            await run.agent.close()

    host.run(main)
