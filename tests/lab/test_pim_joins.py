"""Join and leave, channels, and a change of the RP: what FRR makes of what we send."""

import socket
from collections.abc import Iterator

import pytest

from mcastd.lab.commands import command, wait_for
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD, DC, GROUP, RP, RP_GROUPS, TUNNEL, TUNNEL_CLOUD
from tests.lab.pim_scene import (
    HELLO,
    JOIN_PRUNE,
    PEER,
    PIM,
    Tap,
    as_new,
    configure,
    inside,
    mcastd,
    option_of,
    standing,
    start,
    wait_for_end,
    wait_for_more,
)
from tests.pim.test_auto_rp_packet import MAPPING

pytestmark = pytest.mark.root

ANOTHER = "239.1.1.2"
SSM = "232.1.1.1"
ONE, TWO = "100.15.30.11", "100.15.30.12"
NEW_RP = "100.15.30.252"


@pytest.fixture(scope="module")
def standing_scene() -> Iterator[Scene]:
    with standing() as scene:
        yield scene


@pytest.fixture
def scene(standing_scene: Scene) -> Iterator[Scene]:
    with as_new(standing_scene) as scene:
        yield scene


@pytest.fixture
def tap(scene: Scene) -> Iterator[Tap]:
    """PIM as it passes the data centre's end of the tunnel."""
    with Tap(scene, DC, PIM) as tap:
        yield tap


def test_hello_comes_before_the_first_join(scene: Scene, tap: Tap) -> None:
    start(scene)
    ours = [packet.pim_type for packet in tap.packets() if not packet.outgoing]
    assert ours[0] == HELLO
    assert JOIN_PRUNE in ours


def address_lists(tap: Tap) -> list[bytes | None]:
    """Option 24 of each of our Hellos."""
    ours = [packet for packet in tap.packets() if not packet.outgoing and packet.pim_type == HELLO]
    return [option_of(hello, 24) for hello in ours]


def test_further_addresses_are_on_the_tunnel_and_in_the_hellos(scene: Scene, tap: Tap) -> None:
    start(scene)
    assert set(address_lists(tap)) == {None}
    before = scene.config.read_text()
    further = 'addresses = ["10.44.5.1/24", "10.44.5.2/32"]'
    scene.config.write_text(before.replace(f"\n[tunnels.{TUNNEL}.pim]", f"{further}\n\n[tunnels.{TUNNEL}.pim]"))
    mcastd(scene, "reload")
    there = scene.command(CLOUD, ["ip", "-brief", "-4", "address", "show", "dev", TUNNEL]).split()[2:]
    assert there == [TUNNEL_CLOUD, "10.44.5.1/24", "10.44.5.2/32"]
    listed = bytes.fromhex("0100 0a2c0501 0100 0a2c0502")
    wait_for("a Hello with the Address List", lambda: listed in address_lists(tap))
    wait_for("what FRR makes of it", lambda: "10.44.5.2" in scene.dc.frr("show ip pim secondary"))
    wait_for_more(scene)
    scene.config.write_text(before)
    mcastd(scene, "reload")
    wait_for("a Hello without it", lambda: address_lists(tap)[-1] is None)
    there = scene.command(CLOUD, ["ip", "-brief", "-4", "address", "show", "dev", TUNNEL]).split()[2:]
    assert there == [TUNNEL_CLOUD]


def test_auto_rp_through_the_tunnel_is_heard_and_not_used(scene: Scene) -> None:
    start(scene)
    sender = inside(scene.namespace(DC), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(PEER))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 16)
        # Not from port 496, as a Cisco sends it: FRR 10 has that port.
        sender.bind((PEER, 0))
        sender.sendto(MAPPING, ("224.0.1.40", 496))
    status = scene.wait_for_status("Auto-RP", lambda status: status.tunnels[0].pim and status.tunnels[0].pim.auto_rp)
    pim = status.tunnels[0].pim
    assert pim is not None
    assert [(said.groups, said.rp, said.sender) for said in pim.auto_rp] == [
        ("239.0.0.0/8", "10.1.1.1", PEER),
        ("239.192.0.0/16", "10.1.1.2", PEER),
        ("239.255.0.0/16", None, PEER),
    ]
    assert [group.rp for group in status.groups] == [RP]
    shown = scene.exec(CLOUD, ["mcastd", "status"])
    assert "Auto-RP (not used): RP 10.1.1.1 for 239.0.0.0/8" in shown.stdout


@pytest.mark.alone
def test_join_starts_a_stream_and_leave_ends_it_at_once(scene: Scene, tap: Tap) -> None:
    sender = scene.feed.send(ANOTHER)
    try:
        start(scene)
        scene.feed.receive(ANOTHER)
        mcastd(scene, "join", ANOTHER)
        wait_for("FRR's join", lambda: scene.dc.joined() == {GROUP, ANOTHER})
        wait_for_more(scene, ANOTHER)
        assert scene.feed.received()[ANOTHER].lost == 0
        tap.clear()
        mcastd(scene, "leave", ANOTHER)
        # FRR, with nobody else on the link, waits for no override.
        wait_for("FRR has pruned", lambda: scene.dc.joined() == {GROUP}, 1.0)
        wait_for_end(scene, ANOTHER)
        wait_for_more(scene)
        assert scene.feed.received()[GROUP].lost == 0
        last = [record for record in tap.records() if record.group == ANOTHER][-1]
        assert (sorted(last.joined), sorted(last.pruned)) == ([], [f"*@{RP}"])
    finally:
        scene.stop(sender)


def test_the_last_origin_prunes(scene: Scene, tap: Tap) -> None:
    start(scene)
    mcastd(scene, "join", GROUP)
    tap.clear()
    mcastd(scene, "leave", GROUP)
    mcastd(scene, "join", ANOTHER)
    wait_for("another one's Join", lambda: ANOTHER in {record.group for record in tap.records()})
    assert not any(record.pruned for record in tap.records())
    assert GROUP in scene.dc.joined()


@pytest.mark.alone
def test_a_channel_is_joined_from_its_source_only_and_follows_the_list(scene: Scene, tap: Tap) -> None:
    one, two = f"{SSM}@{ONE}", f"{SSM}@{TWO}"
    senders = [scene.feed.send(SSM, source=source) for source in (ONE, TWO)]
    try:
        configure(scene, groups=(GROUP, one))
        start(scene)
        scene.feed.receive(one, two)
        wait_for_more(scene, one)
        assert scene.dc.joined() == {GROUP, one}
        assert scene.feed.received()[two].received == 0
        tap.clear()
        configure(scene, groups=(GROUP, two))
        mcastd(scene, "reload")
        wait_for("FRR has changed over", lambda: scene.dc.joined() == {GROUP, two})
        wait_for_more(scene, two)
        wait_for_end(scene, one, two)
        told = [(record.joined, record.pruned) for record in tap.records() if record.group == SSM]
        pruned = next(number for number, (_, pruned) in enumerate(told) if pruned)
        assert told[pruned][1] == {ONE}
        assert any(TWO in joined for joined, _ in told[: pruned + 1]), "Join before Prune"
        assert not any(ONE in joined for joined, _ in told[pruned:])
        assert not any("*" in entry for r in tap.records() if r.group == SSM for entry in r.joined | r.pruned)
        assert SSM not in {entry.partition("@")[0] for entry in scene.dc.joined() if "@" not in entry}
        assert scene.feed.received()[two].lost == 0
    finally:
        for sender in senders:
            scene.stop(sender)


@pytest.fixture
def two_rps(scene: Scene) -> Iterator[Scene]:
    """The data centre has a second address that can be the RP."""
    ip = ["ip", "-n", scene.namespace(DC), "address"]
    command([*ip, "add", f"{NEW_RP}/32", "dev", "lo"])
    frr(scene, "interface lo", "ip pim")
    wait_for("PIM on lo", lambda: scene.dc.frr_json("show ip pim interface").get("lo", {}).get("state") == "up")
    yield scene
    serve_rp(scene, RP)
    frr(scene, "interface lo", "no ip pim")
    command([*ip, "del", f"{NEW_RP}/32", "dev", "lo"])


def frr(scene: Scene, *lines: str) -> None:
    """Configure FRR."""
    options = [part for line in ("configure terminal", *lines) for part in ("-c", line)]
    scene.command(DC, ["vtysh", *options])


def rps(scene: Scene) -> set[str]:
    return set(scene.dc.frr_json("show ip pim rp-info"))


def serve_rp(scene: Scene, address: str) -> None:
    """Make this FRR's one RP."""
    others = rps(scene) - {address}
    frr(scene, *(f"no ip pim rp {other} {RP_GROUPS}" for other in others), f"ip pim rp {address} {RP_GROUPS}")
    wait_for("FRR's RP", lambda: rps(scene) == {address})


@pytest.mark.alone
@pytest.mark.parametrize("first", ["us", "the data centre"])
def test_a_change_of_the_rp_loses_nothing(two_rps: Scene, tap: Tap, first: str) -> None:
    scene = start(two_rps)
    tap.clear()

    def change_ours() -> None:
        configure(scene, rp=NEW_RP)
        mcastd(scene, "reload")

    def change_theirs() -> None:
        serve_rp(scene, NEW_RP)

    for change in (change_ours, change_theirs) if first == "us" else (change_theirs, change_ours):
        change()
        wait_for_more(scene)
    wait_for("the Join to the new RP", lambda: any(f"*@{NEW_RP}" in record.joined for record in tap.records()))
    # FRR obeys a Prune(*,G) whatever RP it names: the old one's must not be sent, the new one's Join replaces it.
    assert not any(record.pruned for record in tap.records())
    entries = scene.dc.frr_json("show ip pim join")[TUNNEL][GROUP]
    assert set(entries) == {"*"}
    states = scene.dc.frr_json("show ip pim upstream")[GROUP]
    assert states["*"]["rpfAddress"] == NEW_RP or states["*"]["inboundInterface"] == "lo"
    found = scene.feed.received()[GROUP]
    assert (found.lost, found.duplicates) == (0, 0)
    joined = scene.status().groups[0]
    assert (joined.rp, joined.state) == (NEW_RP, "joined")
