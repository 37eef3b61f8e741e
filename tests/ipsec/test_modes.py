"""Transport mode through a 1:1 NAT, and XFRM interfaces: what needs the kernel's ESP, with two real charons."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import msgspec
import pytest

from mcastd.config.model import Child, Peer
from tests.ipsec.agents import running
from tests.ipsec.charons import CLOUD, DC, Charon, Scene, article, clean, ip, load, mirrored, until

pytestmark = [pytest.mark.root, pytest.mark.kernel("gre", "esp", "nftables-nat", "xfrm-interface")]

VM = "10.1.1.246"
EVERYTHING = IPv4Network("0.0.0.0/0")
ESP = ("aes256-sha256",)
PATIENCE = 120.0
NAT = f"""
table ip gateway {{
    chain prerouting {{
        type nat hook prerouting priority dstnat;
        iifname "dc0" ip daddr {CLOUD} dnat to {VM}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        oifname "dc0" ip saddr {VM} snat to {CLOUD}
    }}
}}
"""


class Behind(Scene):
    """The scene with a 1:1 NAT before the cloud, and ESP in the kernel."""

    def __init__(self, folder: Path, tag: str) -> None:
        super().__init__(folder, tag)
        self.cloud = Charon(folder, self.cloud.namespace, kernel_esp=True)
        self.dc = Charon(folder, self.dc.namespace, kernel_esp=True)
        self.gateway = f"mcastd-test-{tag}-gateway"

    def build(self) -> None:
        gateway = self.gateway
        for name in (self.cloud.namespace, self.dc.namespace, gateway):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        for name, link, address, via in (
            (self.cloud.namespace, "cloud0", f"{VM}/24", "10.1.1.1"),
            (self.dc.namespace, "dc0", f"{DC}/24", "177.54.214.1"),
        ):
            ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", link, "netns", gateway)
            ip("-n", name, "addr", "add", address, "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", gateway, "addr", "add", f"{via}/24", "dev", link)
            ip("-n", gateway, "link", "set", link, "up")
            ip("-n", name, "route", "add", "default", "via", via)
        inside(gateway, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        inside(gateway, "nft", "-f", "-", text=NAT)
        self.cloud.start()
        self.dc.start()
        self.cloud.wait_ready()
        self.dc.wait_ready()

    def remove(self) -> None:
        super().remove()
        subprocess.run(("ip", "netns", "del", self.gateway), check=False, capture_output=True)


def inside(namespace: str, *argv: str, text: str | None = None) -> str:
    line = ("ip", "netns", "exec", namespace, *argv)
    return subprocess.run(line, check=True, capture_output=True, text=True, input=text).stdout


async def pinged(namespace: str, address: str, *, answer: bool = True) -> None:
    """Ping until there is an answer, or until there is none."""
    ping = ("ip", "netns", "exec", namespace, "ping", "-c", "1", "-W", "1", address)
    async with asyncio.timeout(PATIENCE):
        while True:
            process = await asyncio.create_subprocess_exec(*ping, stdout=asyncio.subprocess.DEVNULL)
            if (await process.wait() == 0) is answer:
                return


@pytest.fixture(scope="module")
def _behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    behind = Behind(tmp_path_factory.mktemp("behind"), f"{os.getpid()}")
    try:
        behind.build()
        yield behind
    finally:
        behind.remove()


@pytest.fixture
def behind(_behind: Behind) -> Behind:
    asyncio.run(clean(_behind.cloud))
    asyncio.run(clean(_behind.dc))
    return _behind


def ours(*children: Child) -> Peer:
    # An attempt that is given up, since the machine is slow, leaves the other side with SAs that it goes on using.
    return article(local=IPv4Address(VM), children=children, initiate_timeout=2 * PATIENCE)


def theirs(*children: Child) -> Peer:
    """What the data centre has: the public address, and what it sees of the children."""
    return msgspec.structs.replace(mirrored(ours(*children)), remote=IPv4Address(CLOUD))


def interface(if_id: int) -> Child:
    fields = {"local_ts": EVERYTHING, "remote_ts": EVERYTHING, "proposals": ESP}
    return Child(name=f"on-{if_id}", mode="interface", if_id=if_id, replay_window=256, **fields)  # type: ignore[arg-type]  # a test passes what the struct takes


def test_transport_mode_carries_gre_through_a_nat_by_its_private_address(behind: Behind, ledger: Path) -> None:
    child = Child(
        name="gre",
        local_ts=IPv4Network(VM),
        remote_ts=IPv4Network(DC),
        proposals=ESP,
        mode="transport",
        protocol="gre",
    )
    for name, local, remote, address in (
        (behind.cloud.namespace, VM, DC, "10.44.4.6/30"),
        (behind.dc.namespace, DC, CLOUD, "10.44.4.5/30"),
    ):
        ip("-n", name, "link", "add", "gre1", "type", "gre", "local", local, "remote", remote, "ttl", "255")
        ip("-n", name, "addr", "add", address, "dev", "gre1")
        ip("-n", name, "link", "set", "gre1", "up")

    async def test() -> None:
        there = msgspec.structs.replace(child, local_ts=IPv4Network(CLOUD))
        await load(behind.dc, theirs(there))
        async with running(behind, ledger) as agent:
            agent.start(ours(child))
            await until(lambda: agent.up("gre"), "the child", PATIENCE)
            view = agent.agent.children()["gre"]
            assert (agent.status().children[0].mode, view.encap) == ("transport", True)
            assert "proto gre" in inside(behind.cloud.namespace, "ip", "xfrm", "policy")
            await pinged(behind.cloud.namespace, "10.44.4.5")
            await agent.agent.refresh()
            assert agent.status().children[0].packets_in > 0

    asyncio.run(test())


def test_a_child_is_bound_to_its_xfrm_interface_and_has_its_replay_window(behind: Behind, ledger: Path) -> None:
    for name, address in ((behind.cloud.namespace, "10.9.0.1/30"), (behind.dc.namespace, "10.9.0.2/30")):
        ip("-n", name, "link", "add", "ipsec7", "type", "xfrm", "dev", "eth0", "if_id", "7")
        ip("-n", name, "addr", "add", address, "dev", "ipsec7")
        ip("-n", name, "link", "set", "ipsec7", "up")

    async def test() -> None:
        await load(behind.dc, theirs(interface(7)))
        async with running(behind, ledger) as agent:
            agent.start(ours(interface(7)))
            await until(lambda: agent.up("on-7"), "the child", PATIENCE)
            (child,) = agent.status().children
            assert (child.mode, child.if_id, child.replay_window) == ("interface", 7, 256)
            assert "replay_window 256" in inside(behind.cloud.namespace, "ip", "xfrm", "state")
            await pinged(behind.cloud.namespace, "10.9.0.2")
            await agent.agent.refresh()
            assert agent.status().children[0].packets_in > 0

            # Another if_id is another child: the one on 7 goes, and what is sent there with it.
            agent.want(ours(interface(8)))
            await agent.agent.settled()
            await pinged(behind.cloud.namespace, "10.9.0.2", answer=False)

    asyncio.run(test())
