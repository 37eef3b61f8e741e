"""The leak guard, both ways, by what a capture in the internet holds; and IGMP, by what one at the data centre holds.

The same runs with the guard off, where the capture must hold what the guard is there to keep away.
"""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from signal import SIGKILL

import pytest

from mcastd.lab import topology
from mcastd.lab.charon import start_charon
from mcastd.lab.commands import listening, wait_for
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CHILD_GRE, CLOUD, DC, GRE_CLOUD, GRE_DC, GROUP, INTERNET
from mcastd.status import FirewallStatus
from tests.lab.datapath import RATE, assert_datapath
from tests.lab.pim_scene import IGMP, UDP, Seen, Tap, inside, mcastd, received, wait_for_more
from tests.lab.spoof import way_in

pytestmark = pytest.mark.root

GRE = socket.IPPROTO_GRE
IP_TRANSPARENT = 19
SPOOFED = "100.15.30.99"
ANOTHER = "239.1.1.2"
# Frame relay: nobody here takes it for anything.
PAYLOAD = bytes.fromhex("00006559") + b"not for others' eyes"


def ip(protocol: int, source: str, destination: str, payload: bytes) -> bytes:
    """An IPv4 packet, whose checksum the kernel or nobody looks at."""
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0)
    total = sum(struct.unpack("!10H", head + socket.inet_aton(source) + socket.inet_aton(destination)))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return head[:10] + struct.pack("!H", checksum) + socket.inet_aton(source) + socket.inet_aton(destination) + payload


class Talker:
    """Programs on the VM that send GRE to the far endpoint all the time, by every kind of socket that there is.

    The kernel writes the IP header, or the program does: such packets are of no protocol to a policy for GRE.
    """

    def __init__(self, scene: Scene) -> None:
        self.sent = 0
        self._ended = threading.Event()
        self._sockets = inside(scene.namespace(CLOUD), self._open)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _open(self) -> list[socket.socket]:
        opened = [socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol) for protocol in (GRE, socket.IPPROTO_RAW)]
        # The endpoint's address, whether it is there by now or not.
        opened[0].setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
        opened[0].bind((GRE_CLOUD, 0))
        return opened

    def _run(self) -> None:
        packets = (PAYLOAD, ip(GRE, GRE_CLOUD, GRE_DC, PAYLOAD))
        while not self._ended.wait(5 / RATE):
            for sock, packet in zip(self._sockets, packets, strict=True):
                with suppress(OSError):
                    sock.sendto(packet, (GRE_DC, 0))
            self.sent += 1

    def wait_for_more(self) -> None:
        """Return when it has gone on for half a second more."""
        before = self.sent
        wait_for("more GRE of others", lambda: self.sent > before + RATE / 10)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        for sock in self._sockets:
            sock.close()


@contextmanager
def talking(scene: Scene) -> Iterator[Talker]:
    talker = Talker(scene)
    try:
        yield talker
    finally:
        talker.close()


def firewall(scene: Scene) -> FirewallStatus:
    found = scene.status().firewall
    assert found is not None
    return found


def configure(scene: Scene, *, guard: bool) -> None:
    scene.config.write_text(f"{scene.config.read_text()}\n[firewall]\nguard = {str(guard).lower()}\n")


def everything_is_up(scene: Scene) -> None:
    scene.wait_for_status("everything is up", lambda status: status.healthy, 60.0)
    wait_for_more(scene)


def spi(scene: Scene) -> str | None:
    children = [child for peer in scene.status().peers for child in peer.children if child.name == CHILD_GRE]
    return children[0].spi_out if children[0].state == "up" else None


@pytest.mark.also_kernel("nftables")
@pytest.mark.parametrize("guard", [True, False], ids=["guard on", "guard off"])
def test_no_gre_is_ever_in_the_clear(scene: Scene, guard: bool) -> None:
    configure(scene, guard=guard)
    with Tap(scene, INTERNET, GRE, "cloud0") as wire:

        def seen() -> list[str]:
            found = [packet.data[:48].hex() for packet in wire.packets()]
            wire.clear()
            return found[:2]

        scene.start_daemon()
        scene.wait_for_status("its table is in place", lambda status: status.firewall and status.firewall.in_place)
        with talking(scene) as talker:
            everything_is_up(scene)
            seen_at = {"start": seen()}

            before = spi(scene)
            scene.command(CLOUD, ["swanctl", "--rekey", "--child", CHILD_GRE])
            wait_for("the rekey", lambda: spi(scene) not in (before, None))
            talker.wait_for_more()
            seen_at["rekey"] = seen()

            scene.kill("charon-cloud", SIGKILL)
            wait_for("charon's end", lambda: not listening(scene.vici(CLOUD)))
            scene.wait_for_status("the daemon has noticed", lambda status: not status.healthy)
            talker.wait_for_more()
            # What the kernel still holds of SAs goes as well.
            scene.command(CLOUD, ["sh", "-c", "ip xfrm state flush; ip xfrm policy flush"])
            talker.wait_for_more()
            seen_at["charon killed"] = seen()
            start_charon(scene, CLOUD)
            everything_is_up(scene)
            seen_at["charon restarted"] = seen()

            counted = firewall(scene).leaks_out
            scene.stop_daemon(SIGKILL)
            talker.wait_for_more()
            scene.command(CLOUD, ["swanctl", "--terminate", "--ike", "dc", "--force"])
            talker.wait_for_more()
            seen_at["daemon killed"] = seen()
            scene.start_daemon()
            everything_is_up(scene)
            seen_at["daemon restarted"] = seen()
            counted_later = firewall(scene).leaks_out

        # Without the daemon, what others send is theirs to guard.
        assert scene.stop_daemon() == 0, scene.tail("mcastd")
        seen_at["stop"] = seen()
    if guard:
        assert not any(seen_at.values()), seen_at
        assert 0 < counted < counted_later
    else:
        assert seen_at["charon killed"], seen_at
        assert seen_at["daemon killed"], seen_at
        assert counted == counted_later == 0


# Over the kernel's GRE and ESP: test_topologies.py, with the guard and, in the machine that has no nftables, without.
@pytest.mark.parametrize("guard", [True, False], ids=["guard on", "guard off"])
def test_no_igmp_reaches_the_data_centre(scene: Scene, guard: bool) -> None:
    configure(scene, guard=guard)
    with Tap(scene, DC, IGMP) as there:

        def arrived() -> list[Seen]:
            return [packet for packet in there.packets() if not packet.outgoing]

        scene.start_daemon()
        everything_is_up(scene)
        kept = firewall(scene).igmp_kept
        with Tap(scene, CLOUD, IGMP) as here:
            scene.feed.receive(ANOTHER)
            wait_for("the application's report", lambda: [p for p in here.packets() if p.outgoing])
        if guard:
            scene.wait_for_status("it is kept", lambda _: firewall(scene).igmp_kept > kept)
        else:
            wait_for("it arrives", lambda: any(socket.inet_aton(ANOTHER) in packet.data for packet in arrived()))
        # PIM's own goes where IGMP's does not.
        mcastd(scene, "join", ANOTHER)
        wait_for("FRR's join", lambda: scene.dc.joined() == {GROUP, ANOTHER})
        assert bool(arrived()) == (not guard)
        assert bool(firewall(scene).igmp_kept) == guard
    assert_datapath(scene)


COUNT = 20


@pytest.mark.parametrize("guard", [True, False], ids=["guard on", "guard off"])
def test_gre_that_was_not_decrypted_does_not_arrive(scene: Scene, guard: bool) -> None:
    """The far endpoint's address, a group that is joined: only that it came in the clear tells that it is spoofed."""
    configure(scene, guard=guard)
    scene.start_daemon()
    everything_is_up(scene)
    datagram = struct.pack("!HHHH", topology.PORT, topology.PORT, 28, 0) + bytes(20)
    packet = ip(GRE, GRE_DC, GRE_CLOUD, bytes.fromhex("00000800") + ip(UDP, SPOOFED, GROUP, datagram))
    with way_in(scene) as spoofer, Tap(scene, CLOUD, GRE, "eth0") as door, Tap(scene, CLOUD, UDP) as tunnel:
        for _ in range(COUNT):
            spoofer.sendto(packet, (GRE_CLOUD, 0))
        # Where the kernel decrypts, the true ones pass the door a second time.
        wait_for(
            "the packets at the VM's door", lambda: sum(packet[20:] in seen.data for seen in door.packets()) == COUNT
        )

        def arrived() -> int:
            return sum(packet.source == SPOOFED for packet in tunnel.packets())

        if guard:
            scene.wait_for_status("they are counted", lambda _: firewall(scene).leaks_in == COUNT)
        else:
            wait_for("they arrive", lambda: arrived() == COUNT)
            assert firewall(scene).leaks_in == 0
        # The true ones come all the while.
        before = received(scene)
        wait_for("the feed", lambda: received(scene) > before + 0.3 * RATE)
        assert arrived() == (0 if guard else COUNT)


def test_without_the_guard_the_tunnel_stays_down_and_the_status_says_why(scene: Scene) -> None:
    scene.command(CLOUD, ["nft", "add table ip mcastd"])
    try:
        scene.start_daemon()
        status = scene.wait_for_status("the problem", lambda status: status.firewall and status.firewall.problem)
        assert "firewall: a table ip mcastd exists" in status.summary
        scene.wait_for_status("the child", lambda _: spi(scene))
        status = scene.status()
        assert [tunnel.state for tunnel in status.tunnels] == ["waiting"]
        assert received(scene) == 0
        scene.command(CLOUD, ["nft", "delete table ip mcastd"])
        everything_is_up(scene)
    finally:
        scene.stop_daemon()
        assert "mcastd" not in scene.command(CLOUD, ["nft", "list", "tables"])


def test_a_flush_under_the_feed_is_repaired(running: Scene) -> None:
    def tables() -> dict[str, list[str]]:
        """The lines of each table, by its first one: two programs' tables may come back in another order."""
        found: dict[str, list[str]] = {}
        lines: list[str] = []
        for line in running.command(CLOUD, ["nft", "list", "ruleset"]).splitlines():
            if line.startswith("table "):
                lines = found[line] = []
            elif "packets" not in line:
                lines.append(line)
        return found

    before = tables()
    running.command(CLOUD, ["nft", "flush", "ruleset"])
    running.wait_for_status("the repair", lambda _: firewall(running).repairs == 1)
    assert tables()["table ip mcastd {"] == before["table ip mcastd {"]
    wait_for("the table that counts what arrives", lambda: tables() == before)
    wait_for_more(running)
