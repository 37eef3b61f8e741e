"""Many subnets here, one address there: TCP through the second child, as the article sets it up."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from mcastd.lab import topology
from mcastd.lab.commands import wait_for
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLIENT, CLOUD, SOURCE, TCP_CLOUD_HOST
from tests.lab.pim_scene import inside

pytestmark = pytest.mark.root

PORT = 7000
PATIENCE = 120.0
ANOTHER_SUBNET = "10.99.1.10"
SENT = bytes(range(256)) * 1024
MSS = 1382  # what fits a path of 1500 bytes inside ESP in UDP, less two headers of 20


def whole(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as file:
        return file.read(len(SENT))


class Server:
    """A TCP server behind the data centre: it sends back what it gets, and remembers from whom."""

    def __init__(self, scene: Scene) -> None:
        self.clients: list[str] = []
        self._listener = inside(scene.namespace(SOURCE), lambda: socket.create_server((topology.SOURCE_ADDRESS, PORT)))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, address = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(PATIENCE)
                self.clients.append(address[0])
                connection.sendall(whole(connection))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@contextmanager
def serving(scene: Scene) -> Iterator[Server]:
    server = Server(scene)
    try:
        yield server
    finally:
        server.close()


def talk(scene: Scene, place: str, source: str | None) -> int:
    """Send a quarter of a megabyte there and back, and return the connection's MSS."""

    def connect() -> socket.socket:
        origin = (source, 0) if source else None
        return socket.create_connection((topology.SOURCE_ADDRESS, PORT), PATIENCE, origin)

    with inside(scene.namespace(place), connect) as client:
        sender = threading.Thread(target=client.sendall, args=(SENT,))
        sender.start()
        received = whole(client)
        sender.join()
        assert received == SENT
        return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)


@pytest.fixture
def many_subnets(scene: Scene) -> Iterator[Scene]:
    """The VM with another address, without the one that SNAT is to put there; the file asks for all of it."""
    address = ["ip", "address", "add", f"{TCP_CLOUD_HOST}/32", "dev", "lo"]
    with ExitStack() as stack:
        scene.command(CLOUD, ["ip", "address", "add", f"{ANOTHER_SUBNET}/32", "dev", "lo"])
        stack.callback(scene.command, CLOUD, ["ip", "address", "del", f"{ANOTHER_SUBNET}/32", "dev", "lo"])
        scene.command(CLOUD, ["ip", "address", "del", f"{TCP_CLOUD_HOST}/32", "dev", "lo"])
        stack.callback(scene.command, CLOUD, address)
        child = f"[peers.dc.children.{topology.CHILD_TCP}]\n"
        snat = f'snat = "{TCP_CLOUD_HOST}"\nsnat_loopback = true\n'
        text = scene.config.read_text().replace(child, child + snat)
        scene.config.write_text(text + "\n[firewall]\nip_forward = true\n")
        # Before the address goes back to where the scene has it.
        stack.callback(scene.stop_daemon)
        yield scene


def forwarding(scene: Scene) -> str:
    return scene.command(CLOUD, ["cat", "/proc/sys/net/ipv4/ip_forward"]).strip()


def loopback(scene: Scene) -> set[str]:
    (link,) = json.loads(scene.command(CLOUD, ["ip", "-j", "address", "show", "dev", "lo"]))
    return {address["local"] for address in link["addr_info"]}


def one_by_one(scene: Scene, place: str) -> None:
    """Have TCP make the packets that are sent, and not larger ones to be cut on their way, which count as one."""
    for link in json.loads(scene.command(place, ["ip", "-j", "link"])):
        scene.command(place, ["ip", "link", "set", "dev", link["ifname"], "gso_max_segs", "1"])


@pytest.mark.also_kernel("nftables-nat")
def test_the_server_sees_one_client_whoever_connects(many_subnets: Scene) -> None:
    scene = many_subnets
    assert TCP_CLOUD_HOST not in loopback(scene)
    scene.start_daemon()
    scene.wait_for_status("everything is up", lambda status: status.healthy)
    assert TCP_CLOUD_HOST in loopback(scene)
    assert forwarding(scene) == "1"
    for place in (CLOUD, CLIENT):
        one_by_one(scene, place)
    with serving(scene) as server:
        callers = [
            (CLOUD, None),
            (CLOUD, topology.VM),
            (CLOUD, ANOTHER_SUBNET),
            (CLOUD, TCP_CLOUD_HOST),
            (CLIENT, None),
        ]
        sizes = [talk(scene, place, source) for place, source in callers]
        assert server.clients == [TCP_CLOUD_HOST] * len(callers)
        assert max(sizes) <= MSS
    firewall = scene.status().firewall
    assert firewall is not None
    assert firewall.snat_packets > len(SENT) // 1500
    assert firewall.mss_clamped >= 2
    assert scene.stop_daemon() == 0, scene.tail("mcastd")
    assert TCP_CLOUD_HOST not in loopback(scene)
    assert forwarding(scene) == "0"


def test_a_reload_adds_it_and_stops_forwarding(many_subnets: Scene) -> None:
    scene = many_subnets
    with_snat = scene.config.read_text()
    scene.config.write_text(with_snat.replace(f'snat = "{TCP_CLOUD_HOST}"\nsnat_loopback = true\n', ""))
    scene.command(CLOUD, ["ip", "address", "add", f"{TCP_CLOUD_HOST}/32", "dev", "lo"])
    try:
        scene.start_daemon()
        scene.wait_for_status("everything is up", lambda status: status.healthy)
        rules = ["nft", "list", "table", "ip", "mcastd"]
        assert f"snat to {TCP_CLOUD_HOST}" not in scene.command(CLOUD, rules)
        scene.config.write_text(with_snat)
        assert scene.exec(CLOUD, ["mcastd", "reload"]).returncode == 0
        assert f"snat to {TCP_CLOUD_HOST}" in scene.command(CLOUD, rules)
        with serving(scene) as server:
            talk(scene, CLIENT, None)
            assert server.clients == [TCP_CLOUD_HOST]
        wait_for("the feed", lambda: scene.feed.received()[topology.GROUP].received > 100)
        scene.config.write_text(with_snat.replace("ip_forward = true", "ip_forward = false"))
        assert scene.exec(CLOUD, ["mcastd", "reload"]).returncode == 0
        assert forwarding(scene) == "0"
    finally:
        scene.stop_daemon()
        # It was there before, so it is still there.
        scene.command(CLOUD, ["ip", "address", "del", f"{TCP_CLOUD_HOST}/32", "dev", "lo"])
