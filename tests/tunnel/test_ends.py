"""A tunnel of the agent against a far end that was made by hand: every way to write addresses, every option of GRE.

The far end is GRE by hand, or an XFRM interface with SAs that were agreed on beforehand.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from mcastd.config.model import Child, Peer, Tunnel
from mcastd.config.proposals import Esp
from mcastd.links import Gre
from mcastd.net.gre import GreOptions
from mcastd.tunnel.mtu import Carrier
from mcastd.tunnel.userspace import Pump
from tests.namespaces import Namespace, join, until
from tests.tunnel.agents import CHILD, running, tunnel
from tests.vm import abilities

pytestmark = pytest.mark.root

NEAR, FAR = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
LOOPBACK, FAR_LOOPBACK = IPv4Address("10.44.6.1"), IPv4Address("10.44.7.1")
IF_ID = 7
ESP = Esp(iv=16, block=16, icv=16)


@pytest.fixture
def near(namespace: Callable[[], Namespace]) -> Namespace:
    return namespace()


@pytest.fixture
def far(near: Namespace, namespace: Callable[[], Namespace]) -> Namespace:
    made = namespace()
    join(near, f"{NEAR}/24", made, f"{FAR}/24")
    return made


async def ping(side: Namespace, address: str, size: int = 56, seconds: int = 5) -> bool:
    argv = (
        "ip",
        "netns",
        "exec",
        side.name,
        "ping",
        "-c",
        "1",
        "-W",
        str(seconds),
        "-M",
        "do",
        "-s",
        str(size),
        address,
    )
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.DEVNULL)
    return await process.wait() == 0


async def reaches(side: Namespace, address: str, size: int = 56) -> bool:
    """Whether one of a few pings is answered: after an error the kernel's GRE answers the next ones with it as well."""
    return any([await ping(side, address, size) for _ in range(3)])


@contextlib.contextmanager
def far_end(far: Namespace, gre: Gre, *address: str) -> Iterator[None]:
    """The far end, of the kernel or, where that has no GRE, a pump on the loop of the calling thread.

    A pump would not do beside a kernel's GRE: that leaves the checksum to the card, and this cable has none.
    """
    pump = None
    if abilities.has("gre"):
        wanted = gre.options
        options = ["csum"] * wanted.checksum + ["seq"] * wanted.sequence
        options += ["key", str(wanted.key)] if wanted.key else []
        ends = ("local", str(gre.local), "remote", str(gre.remote), "ttl", str(wanted.ttl))
        far.ip("link", "add", "gre1", "type", "gre", *ends, *options)
    else:
        pump = far.call(lambda: Pump("gre1", gre))
        loop = asyncio.get_running_loop()
        far.call(lambda: pump.start(loop))
        pump.forwarding = True
    try:
        far.ip("link", "set", "gre1", "addrgenmode", "none", "up")
        far.ip("addr", "add", *address, "dev", "gre1")
        yield
    finally:
        if pump is None:
            far.ip("link", "del", "gre1")
        else:
            pump.close()


def over_the_cable(**changes: Any) -> Tunnel:
    return tunnel(local=NEAR, remote=FAR, **changes)


@pytest.mark.also_kernel
@pytest.mark.parametrize(
    ("ours", "peer", "theirs"),
    [
        ("10.44.4.6/30", None, ("10.44.4.5/30",)),
        ("10.44.4.6/30", "10.44.4.5", ("10.44.4.5/30",)),
        ("10.44.4.4/31", None, ("10.44.4.5/31",)),
        ("10.44.4.4/31", "10.44.4.5", ("10.44.4.5/31",)),
        ("10.44.4.6/32", "10.44.4.5", ("10.44.4.5", "peer", "10.44.4.6")),
    ],
)
def test_every_way_to_write_the_addresses_reaches_the_far_end(
    near: Namespace, far: Namespace, tmp_path: Path, ours: str, peer: str | None, theirs: tuple[str, ...]
) -> None:
    wanted = over_the_cable(address=IPv4Interface(ours), peer_address=IPv4Address(peer) if peer else None)

    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(wanted)
            with far_end(far, Gre(FAR, NEAR), *theirs):
                assert await ping(near, "10.44.4.5")
            await run.close()

    near.run(main)


@pytest.mark.also_kernel
@pytest.mark.parametrize(
    "options",
    [{"checksum": True}, {"sequence": True}, {"key": 40, "checksum": True, "sequence": True}],
    ids=lambda options: "+".join(options),
)
def test_the_options_of_gre_reach_an_end_that_expects_them(
    near: Namespace, far: Namespace, tmp_path: Path, options: dict[str, Any]
) -> None:
    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(over_the_cable(gre=GreOptions(**options)))
            mtu = 1476 - 4 * len(options)
            link = run.agent.links().get("gre1")
            assert link is not None
            assert link.mtu == mtu
            with far_end(far, Gre(FAR, NEAR, GreOptions(**options)), "10.44.4.5/30"):
                assert await ping(near, "10.44.4.5", mtu - 28)
            other = {"checksum": True} if "checksum" not in options else {}
            with far_end(far, Gre(FAR, NEAR, GreOptions(**other)), "10.44.4.5/30"):
                assert not await ping(near, "10.44.4.5", seconds=1)
            await run.close()

    near.run(main)


@pytest.mark.also_kernel
def test_a_successor_goes_on_with_the_sequence_numbers_that_the_far_end_has_seen(
    near: Namespace, far: Namespace, tmp_path: Path
) -> None:
    wanted = over_the_cable(gre=GreOptions(sequence=True))

    async def main() -> None:
        with far_end(far, Gre(FAR, NEAR, GreOptions(sequence=True)), "10.44.4.5/30"):
            async with running(tmp_path) as run:
                await run.want(wanted)
                for _ in range(4):
                    assert await ping(near, "10.44.4.5")
                left = run.left()
            async with running(tmp_path, left) as successor:
                await successor.want(wanted)
                assert await ping(near, "10.44.4.5")
                await successor.close()

    near.run(main)


def peers(**changes: Any) -> tuple[Peer, ...]:
    everything = IPv4Network("0.0.0.0/0")
    child = Child(
        name=CHILD, local_ts=everything, remote_ts=everything, proposals=("aes256-sha256",), mode="interface",
        if_id=IF_ID, **changes,
    )  # fmt: skip
    peer = Peer(
        name="dc", local=NEAR, remote=FAR, local_id="a", remote_id="b", proposals=("aes256-sha256-modp2048",),
        children=(child,),
    )  # fmt: skip
    return (peer,)


def agree(side: Namespace, here: IPv4Address, there: IPv4Address) -> None:
    """SAs and policies of the XFRM interface, as charon would install them."""
    keys = ("enc", "cbc(aes)", f"0x{'0' * 64}", "auth-trunc", "hmac(sha256)", f"0x{'0' * 64}", "128")
    for source, destination, direction, spi in ((here, there, "out", int(there)), (there, here, "in", int(here))):
        ends = ("src", str(source), "dst", str(destination), "proto", "esp")
        side.ip("xfrm", "state", "add", *ends, "spi", str(spi), "mode", "tunnel", *keys, "if_id", str(IF_ID))
        everything = ("src", "0.0.0.0/0", "dst", "0.0.0.0/0", "dir", direction, "if_id", str(IF_ID))
        side.ip("xfrm", "policy", "add", *everything, "tmpl", *ends, "mode", "tunnel")


def kinds(side: Namespace) -> dict[str, str]:
    links: list[dict[str, Any]] = json.loads(side.ip("-json", "-details", "link", "show"))
    return {each["ifname"]: each["linkinfo"]["info_kind"] for each in links if each.get("ifalias") == "made by mcastd"}


UP = Carrier(True, 1, ESP, "interface", False, FAR)


@pytest.mark.kernel("xfrm-interface", "gre", "esp")
def test_gre_on_an_xfrm_interface_is_encrypted_or_stays_here(near: Namespace, far: Namespace, tmp_path: Path) -> None:
    agree(far, FAR, NEAR)
    far.ip("link", "add", "ipsec1", "type", "xfrm", "if_id", str(IF_ID))
    far.ip("link", "set", "ipsec1", "up")
    far.ip("addr", "add", f"{FAR_LOOPBACK}/32", "dev", "lo")
    far.ip("route", "add", str(LOOPBACK), "dev", "ipsec1")
    far.ip("link", "add", "gre1", "type", "gre", "local", str(FAR_LOOPBACK), "remote", str(LOOPBACK), "ttl", "255")
    far.ip("addr", "add", "10.44.4.5/30", "dev", "gre1")
    far.ip("link", "set", "gre1", "up")

    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(tunnel(), carrier=UP, peers=peers(interface="ipsec1"))
            assert run.agent.status(0.0)["gre1"].problem is None
            assert kinds(near) == {"ipsec1": "xfrm", "gre1": "gre"}
            assert f"{FAR_LOOPBACK} dev ipsec1" in near.ip("route", "show", "proto", "103")
            assert not await ping(near, "10.44.4.5", seconds=1), "there is no SA"
            agree(near, NEAR, FAR)
            link = run.agent.links().get("gre1")
            assert link is not None
            assert link.mtu == 1414
            assert await reaches(near, "10.44.4.5", link.mtu - 28)
            near.ip("link", "del", "ipsec1")
            await until(lambda: f"{FAR_LOOPBACK} dev ipsec1" in near.ip("route", "show", "proto", "103"), "it is back")
            assert await reaches(near, "10.44.4.5")
            await run.close()
            assert kinds(near) == {}
            assert near.ip("route", "show", "proto", "103") == ""

    near.run(main)


@pytest.mark.kernel("xfrm-interface", "esp")
def test_without_gre_the_tunnel_is_the_xfrm_interface(near: Namespace, far: Namespace, tmp_path: Path) -> None:
    for side, here, there in ((near, NEAR, FAR), (far, FAR, NEAR)):
        agree(side, here, there)
    far.ip("link", "add", "ipsec1", "type", "xfrm", "if_id", str(IF_ID))
    far.ip("addr", "add", "10.44.4.5/30", "dev", "ipsec1")
    far.ip("link", "set", "ipsec1", "up")
    wanted = tunnel(name="ipsec1", encapsulation="none", local=NEAR, remote=FAR)

    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(wanted, carrier=UP, peers=peers())
            status = run.agent.status(0.0)["ipsec1"]
            assert (status.state, status.datapath, status.encapsulation) == ("up", "kernel", "none")
            assert (status.mtu, status.mtu_reason) == (1438, "ESP tunnel mode on a path of 1500")
            assert kinds(near) == {"ipsec1": "xfrm"}
            assert await ping(near, "10.44.4.5", 1438 - 28)
            await run.close()
            assert kinds(near) == {}

    near.run(main)


def test_a_kernel_without_xfrm_interfaces_is_a_clear_problem(near: Namespace, far: Namespace, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as run:
            await run.want(tunnel(), carrier=UP, peers=peers(interface="ipsec1"))
            status = run.agent.status(0.0)["gre1"]
            if abilities.has("xfrm-interface"):
                assert (status.state, status.problem) == ("up", None)
            else:
                assert status.state == "down"
                assert status.problem == "ipsec1: this kernel has no XFRM interfaces (no module xfrm_interface)"
                assert kinds(near) == {}
            await run.close()

    near.run(main)
