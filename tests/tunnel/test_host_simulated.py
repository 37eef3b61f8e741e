"""Whatever the host has, a link becomes what is desired, and then nothing more is done."""

from contextlib import closing
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mcastd.config.model import Tunnel
from mcastd.links import Xfrm
from mcastd.net.gre import GreOptions
from mcastd.tunnel.addresses import Entry, addresses
from mcastd.tunnel.desired import LinkDesired, TunGre, gre
from mcastd.tunnel.host import Host
from tests.fakes.clock import run
from tests.fakes.kernel import FakeKernel
from tests.fakes.memory import MemoryLedger
from tests.fakes.netlink import FakeNetlink
from tests.fakes.service_manager import FakeServiceManager
from tests.tunnel.test_addresses import FURTHER, INTERFACES, PEERS

ENDS = st.sampled_from([IPv4Address("10.44.6.1"), IPv4Address("10.44.7.1")])
KEYS = st.none() | st.sampled_from((0, 40))
TUNNELS = st.builds(
    Tunnel, name=st.just("gre1"), local=ENDS, remote=ENDS, address=INTERFACES, peer_address=PEERS,
    addresses=st.lists(FURTHER, unique=True, max_size=3).map(tuple),
    gre=st.builds(GreOptions, KEYS, st.booleans(), st.booleans(), st.sampled_from((64, 255))),
)  # fmt: skip


def link_of(tunnel: Tunnel, kind: str, mtu: int, up: bool, rp_filter: str | None) -> LinkDesired:
    desired = LinkDesired("gre1", gre(tunnel), mtu, up, tunnel.local, addresses(tunnel), rp_filter)
    if kind == "xfrm":
        return replace(desired, parameters=Xfrm(7), endpoint=None)
    return replace(desired, parameters=TunGre(gre(tunnel))) if kind == "tun" else desired


DESIRED = st.builds(
    link_of,
    tunnel=TUNNELS,
    kind=st.sampled_from(("gre", "tun", "xfrm")),
    mtu=st.sampled_from((1200, 1376, 1398, 1476)),
    up=st.booleans(),
    rp_filter=st.none() | st.sampled_from(("1", "2")),
)
DAMAGE = st.fixed_dictionaries(
    {
        "mtu": st.sampled_from((1200, 1398, 1500)),
        "up": st.booleans(),
        "multicast": st.booleans(),
    }
)


@given(
    st.lists(DESIRED, min_size=1, max_size=3),
    DAMAGE,
    st.lists(st.tuples(INTERFACES, PEERS) | st.tuples(FURTHER, st.none()), max_size=3),
    st.booleans(),
)
def test_every_state_of_the_host_becomes_the_desired_one(
    desired: list[LinkDesired], damage: dict[str, int], foreign: list[Entry], crash: bool
) -> None:
    async def main() -> None:
        ledger, netlink = MemoryLedger(), FakeNetlink(kernel)

        def process() -> Host:
            return Host(netlink, kernel.sysctls, kernel.devices, ledger, manager.store(), lambda *_: None)

        host = process()
        async with netlink:
            for one in (*desired, desired[0]):
                before = kernel.links.get("gre1")
                was_up = before is not None and before.up
                same = before is not None and kept(host, one)
                link = await host.match(one)
                found = kernel.links["gre1"]
                assert link == found.shown()
                assert (found.mtu, found.multicast, found.alias) == (one.mtu, True, "made by mcastd")
                assert found.up == (one.up or (was_up and found is before))
                assert found is before or not same
                assert set(found.addresses) == set(one.addresses)
                assert found.addresses[0] == one.addresses[0]
                assert one.rp_filter in (None, kernel.sysctls.read("net/ipv4/conf/gre1/rp_filter"))
                if isinstance(one.parameters, TunGre):
                    assert host.pumps["gre1"].gre == one.parameters.gre
                else:
                    assert (found.parameters, host.pumps) == (one.parameters, {})
                assert not found.solicited
                changes = list(netlink.changed)
                await host.match(one)
                assert netlink.changed == changes

                # Of an MTU that grows past 1280 meanwhile the agent would know nothing.
                mtu = damage["mtu"] if found.mtu >= 1280 else found.mtu
                kernel.set_link("gre1", mtu=mtu, multicast=bool(damage["multicast"]))
                if not damage["up"]:
                    kernel.set_link("gre1", up=False)
                for entry in foreign:
                    add(kernel, entry)
                found.solicited = False
                if crash:
                    for pump in host.pumps.values():
                        pump.close()
                    host = process()
            await host.remove("gre1")
            assert kernel.names() == {"lo", "eth0"}
            assert "link" not in ledger.copy()
            assert not manager.kept

    kernel, manager = FakeKernel(), FakeServiceManager()
    with closing(kernel), closing(manager):
        run(main())


def kept(host: Host, desired: LinkDesired) -> bool:
    """Whether the link need not be made again."""
    pump = host.pumps.get("gre1")
    return pump is not None and desired.parameters == TunGre(pump.gre)


def add(kernel: FakeKernel, entry: Entry) -> None:
    try:
        kernel.add_address("gre1", entry)
    except FileExistsError:
        return
