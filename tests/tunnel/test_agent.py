"""The tunnel agent on a real kernel, in a namespace. Where the kernel has GRE it is the kernel's, else a TUN's."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

import pytest

from tests.namespaces import Namespace, join, sysctl, until
from tests.tunnel.agents import running, tunnel

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
    empty = snapshot(host)

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
            await run.close()
            assert snapshot(host) == empty
            assert not (tmp_path / "ledger.json").exists()

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
            await run.close()
            assert open_tuns() == 0

    host.run(main)


def open_tuns() -> int:
    """How many descriptors of /dev/net/tun this process holds."""
    return sum(each.is_symlink() and str(each.readlink()) == "/dev/net/tun" for each in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize(
    "damage",
    [
        ("addr", "flush", "dev", "gre1"),
        ("link", "set", "gre1", "down"),
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
            await run.close()

    host.run(main)


def whole(namespace: Namespace) -> object:
    found = link(namespace)
    return found["mtu"], set(found["flags"]), addresses(namespace, "gre1"), addresses(namespace, "lo")


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
            assert "gre1" not in names(host)
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
    assert set(json.loads((tmp_path / "ledger.json").read_text())) == {"format", "link", "endpoint"}

    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(tunnel())
            assert run.agent.status(0.0)["gre1"].state == "up"
            await run.close()

    host.run(main)
    assert snapshot(host) == before
