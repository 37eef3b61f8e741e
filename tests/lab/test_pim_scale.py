"""Many groups: FRR has every one of them, and every refresh renews them all."""

import contextlib
import math
import socket
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest

from mcastd.config.model import Group, Pim, RpRange
from mcastd.lab.commands import wait_for
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD, GROUP, RP, TUNNEL
from mcastd.pim.settings import PimInterface
from tests.frr import Frr
from tests.lab.pim_scene import (
    JOIN_PRUNE,
    LEAF,
    PEER,
    PIM,
    Seen,
    Tap,
    as_new,
    configure,
    frr_joined,
    mcastd,
    open_tap,
    read_tap,
    standing,
    start,
    wait_for_more,
)
from tests.namespaces import Namespace, join, until
from tests.pim.agents import running

pytestmark = pytest.mark.root

ANOTHER = "239.200.0.1"
# What a message has around its single-source groups of 20 bytes each: IP header, PIM header, upstream neighbour.
OVERHEAD, RECORD = 34, 20
Maker = Callable[[], Namespace]


def groups(count: int, first: str = "239.7.0.0") -> tuple[str, ...]:
    return tuple(str(IPv4Address(first) + number) for number in range(count))


@pytest.fixture(scope="module")
def standing_scene() -> Iterator[Scene]:
    with standing() as scene:
        yield scene


@pytest.fixture
def scene(standing_scene: Scene) -> Iterator[Scene]:
    with as_new(standing_scene) as scene:
        yield scene


def holdtimes(scene: Scene) -> list[int]:
    """Seconds until each (*,G) that is joined expires at FRR, which shows MM:SS."""
    found = scene.dc.frr_json("show ip pim join")[TUNNEL]
    entries = [found[group]["*"] for group in found if "." in group]
    expire = [entry["expire"].split(":") for entry in entries if entry["channelJoinName"] == "JOIN"]
    return [int(minutes) * 60 + int(seconds) for minutes, seconds in expire]


@pytest.mark.alone
def test_2000_groups_are_all_joined_and_one_more_costs_one_message(scene: Scene) -> None:
    many = (GROUP, *groups(2000))
    configure(scene, groups=many, pim="join_repeats = 0")
    start(scene)
    wait_for("FRR has them all", lambda: frr_joined(scene) == set(many))
    with Tap(scene, CLOUD, PIM) as tap:
        mcastd(scene, "join", ANOTHER)
        wait_for("FRR has one more", lambda: frr_joined(scene) == {*many, ANOTHER})
        mcastd(scene, "leave", ANOTHER)
        wait_for("FRR has pruned it", lambda: frr_joined(scene) == set(many))
        wait_for_more(scene)
        told = [(r.group, sorted(r.joined), sorted(r.pruned)) for p in tap.joins() for r in p.records()]
        assert len(tap.joins()) == 2
        assert told == [(ANOTHER, [f"*@{RP}"], []), (ANOTHER, [], [f"*@{RP}"])]
    assert scene.feed.received()[GROUP].lost == 0


@pytest.mark.alone
def test_a_refresh_renews_all_of_300_groups_in_the_fewest_messages(scene: Scene) -> None:
    many = (GROUP, *groups(300))
    period, holdtime = 3, 10
    configure(scene, groups=many, pim=f"join_repeats = 0\njoin_prune_period = {period}")
    start(scene)
    wait_for("FRR has them all", lambda: frr_joined(scene) == set(many))
    mtu = scene.status().tunnels[0].mtu
    assert mtu is not None
    with Tap(scene, CLOUD, PIM) as tap:
        wait_for("a refresh", lambda: len(tap.records()) >= len(many), 2 * period)
        refreshed = time.monotonic()
        # Were one not renewed, it would not become younger by waiting.
        wait_for("all are renewed", lambda: min(holdtimes(scene)) >= holdtime - 2, 1.5)
        messages, records = tap.joins(), tap.records()
        assert sorted(record.group for record in records) == sorted(many)
        assert {record.holdtime for record in records} == {holdtime}
        assert len(messages) == math.ceil(len(many) / ((mtu - OVERHEAD) // RECORD))
        assert max(len(message.data) for message in messages) <= mtu
    # FRR would have let go of all of them by now, had the refreshes not come.
    wait_for("a life without refresh is over", lambda: time.monotonic() - refreshed > holdtime + 1)
    assert frr_joined(scene) == set(many)
    wait_for_more(scene)
    assert scene.feed.received()[GROUP].lost == 0


@contextlib.contextmanager
def upstream(namespace: Maker) -> Iterator[tuple[Namespace, Namespace, Frr]]:
    """FRR on a link whose MTU has room for more than 255 groups in one message, which no tunnel has."""
    cloud, dc = namespace(), namespace()
    join(cloud, f"{LEAF}/30", dc, f"{PEER}/30")
    for side in (cloud, dc):
        side.ip("link", "set", "veth0", "mtu", "9000")
    dc.ip("addr", "add", f"{RP}/32", "dev", "lo")
    frr = Frr(dc, f"ip pim rp {RP} 239.0.0.0/8\ninterface veth0\n ip pim\ninterface lo\n ip pim\n")
    try:
        yield cloud, dc, frr
    finally:
        frr.close()


@pytest.mark.parametrize(("count", "sizes"), [(255, [255]), (256, [255, 1]), (511, [255, 255, 1])])
def test_a_message_holds_at_most_255_groups(namespace: Maker, count: int, sizes: list[int]) -> None:
    wanted = tuple(Group(group=IPv4Address(group), tunnel="veth0") for group in groups(count))
    config = Pim(
        neighbor=IPv4Address(PEER),
        rp=(RpRange(address=IPv4Address(RP), groups=(IPv4Network("239.0.0.0/8"),)),),
        join_repeats=0,
        join_prune_period=2.0,
    )

    async def main() -> None:
        interface = PimInterface("veth0", socket.if_nametoindex("veth0"), 9000, IPv4Address(LEAF), (), config)
        async with running() as pim:
            await pim.want(interface, wanted)
            await until(lambda: len(frr.joins()) == count, f"{count} joins")
            read_tap(tap)
            passed: list[Seen] = []

            def refreshed() -> bool:
                passed.extend(packet for packet in read_tap(tap) if packet.pim_type == JOIN_PRUNE)
                return sum(len(packet.records()) for packet in passed) >= count

            await until(refreshed, "a refresh")
            assert [len(packet.records()) for packet in passed] == sizes
            assert len({record.group for packet in passed for record in packet.records()}) == count
            assert len(frr.joins()) == count

    with upstream(namespace) as (cloud, dc, frr):
        tap = dc.call(lambda: open_tap("veth0", PIM))
        try:
            cloud.run(main)
        finally:
            tap.close()
