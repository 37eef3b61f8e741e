"""What a CHILD_SA is for, beside the NAT of other programs: it leaves as the selectors have it, or not at all.

A cable named ``ipsec0`` stands for ESP in user space, whose interface tells; ``test_kernel_esp`` has the kernel's own.
"""

import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mcastd.config.model import Child, Config
from mcastd.firewall import rules
from mcastd.net import bpf
from mcastd.system import sockets
from tests.firewall.test_agent import running
from tests.firewall.test_rules import child, config
from tests.namespaces import DEADLINE, Namespace, join

pytestmark = pytest.mark.root

INSIDE, NATTED, SERVER, PEER = "10.45.8.18", "10.45.8.17", "100.15.30.5", "177.54.214.20"
HOST, CLIENT = "10.1.1.246", "172.17.0.2"
MASQUERADES = {
    "docker's": 'ip saddr 172.17.0.0/16 oifname != "docker0" masquerade',
    "by interface": 'oifname { "veth0", "ipsec0" } masquerade',
}
SELECTORS: dict[str, Any] = {"local_ts": IPv4Network("10.45.8.16/28"), "remote_ts": IPv4Network("100.15.30.0/24")}
CHILD = child(**SELECTORS, snat=IPv4Address(NATTED))
WITHOUT_SNAT = child(**SELECTORS)
AROUND_THE_PEER = child(local_ts=IPv4Network("0.0.0.0/0"), remote_ts=IPv4Network("177.54.0.0/16"))


class Packet(NamedTuple):
    """A packet on the wire, in the clear."""

    source: str
    destination: str


class Scene:
    """The VM with a container, the network beyond its interface, and whether the CHILD_SA is up."""

    def __init__(self, vm: Namespace, beyond: Namespace, container: Namespace) -> None:
        self.vm, self.container, self.beyond = vm, container, beyond
        join(vm, f"{HOST}/24", beyond, "10.1.1.1/24")
        vm.batch(
            "route add default via 10.1.1.1",
            f"address add {INSIDE}/32 dev lo",
            f"address add {NATTED}/32 dev lo",
            f"link add ipsec0 type veth peer name ipsec0 netns {beyond.name}",
            f"link add docker0 type veth peer name veth0 netns {container.name}",
            "address add 172.17.0.1/16 dev docker0",
            "address add 10.9.9.1/32 dev ipsec0",
            "link set ipsec0 up",
            "link set docker0 up",
        )
        container.batch(f"address add {CLIENT}/16 dev veth0", "link set veth0 up", "route add default via 172.17.0.1")
        beyond.batch("link set ipsec0 up", *(f"address add {one}/32 dev lo" for one in (SERVER, PEER)))
        subprocess.run(["ip", "netns", "exec", vm.name, "sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)
        accepted = bpf.accept_protocol(socket.IPPROTO_UDP)
        self._wire = beyond.call(lambda: sockets.packets_on("veth0", accepted))
        self._ipsec = beyond.call(lambda: sockets.packets_on("ipsec0", accepted))

    def nft(self, text: str) -> None:
        subprocess.run(["ip", "netns", "exec", self.vm.name, "nft", "-f", "-"], input=text, text=True, check=True)

    def rules(self, wanted: Config, change: Callable[[str], str] = str) -> None:
        self.nft(change(rules.replacement(rules.table(wanted))))

    def another_program(self, rule: str) -> None:
        """Registers its chain after ours, so that of equal priorities it is asked first."""
        self.nft(f"table ip theirs {{ chain c {{ type nat hook postrouting priority srcnat; {rule}\n}}\n}}")

    def up(self) -> None:
        """Route what the CHILD_SA is for to the interface of user-space ESP, as charon does."""
        self.vm.ip("route", "add", "100.15.30.0/24", "dev", "ipsec0")

    def down(self) -> None:
        self.vm.ip("route", "del", "100.15.30.0/24", "dev", "ipsec0")

    def send(self, source: str, destination: str = SERVER, port: int = 5000, own_port: int = 0) -> None:
        """One datagram, by a connection of its own unless ``own_port`` says which."""

        def act() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, suppress(PermissionError):
                sock.bind((source, own_port))
                sock.sendto(b"datagram", (destination, port))

        {CLIENT: self.container, SERVER: self.beyond}.get(source, self.vm).call(act)

    def in_the_clear(self) -> list[Packet]:
        return _read(self._wire)

    def encrypted(self) -> list[Packet]:
        return _read(self._ipsec)

    def counts(self) -> int:
        """What the guard of the CHILD_SA has dropped."""
        listed = ["ip", "netns", "exec", self.vm.name, "nft", "list", "counter", "ip", "mcastd", "leak-child-c"]
        shown = subprocess.run(listed, check=True, capture_output=True, text=True).stdout
        return int(shown.split("packets ")[1].split()[0])

    def close(self) -> None:
        self._wire.close()
        self._ipsec.close()


def _read(sock: socket.socket) -> list[Packet]:
    """What has passed; a packet that was sent over a cable is at its other end when the call returns."""
    found = []
    with suppress(BlockingIOError):
        while True:
            source, destination = struct.unpack_from("!4s4s", sock.recv(2048), 12)
            found.append(Packet(socket.inet_ntoa(source), socket.inet_ntoa(destination)))
    return found


@pytest.fixture
def scene(namespace: Callable[[], Namespace]) -> Iterator[Scene]:
    made = Scene(namespace(), namespace(), namespace())
    yield made
    made.close()


@pytest.mark.parametrize("masquerade", MASQUERADES)
@pytest.mark.parametrize("protected", [True, False], ids=["before srcnat", "at srcnat"])
def test_snat_wins_whatever_the_order_of_registration(scene: Scene, masquerade: str, protected: bool) -> None:
    """With the priority of the others the same packets get the address of theirs."""
    scene.rules(config(CHILD), str if protected else lambda text: text.replace("srcnat - 10", "srcnat"))
    scene.another_program(MASQUERADES[masquerade])
    scene.up()
    for source in (CLIENT, HOST, INSIDE):
        scene.send(source)
    sources = [packet.source for packet in scene.encrypted()]
    assert (sources == [NATTED, NATTED, INSIDE]) is protected
    assert scene.in_the_clear() == []


@pytest.mark.parametrize("masquerade", [*MASQUERADES, None])
@pytest.mark.parametrize("protected", [True, False], ids=["guard on", "guard off"])
@pytest.mark.parametrize("wanted", [CHILD, WITHOUT_SNAT], ids=["snat", "without snat"])
def test_what_a_child_is_for_never_leaves_in_the_clear(
    scene: Scene, masquerade: str | None, protected: bool, wanted: Child
) -> None:
    scene.rules(config(wanted, guard=protected))
    if masquerade:
        scene.another_program(MASQUERADES[masquerade])
    senders = [INSIDE, CLIENT, HOST] if wanted is CHILD else [INSIDE]

    def send() -> list[Packet]:
        for source in senders:
            scene.send(source)
        return scene.in_the_clear()

    before_it_is_up = send()
    scene.up()
    assert send() == []
    assert len(scene.encrypted()) == len(senders)
    scene.down()
    after = send()
    assert len(before_it_is_up) == len(after) == (0 if protected else len(senders))
    if protected:
        assert scene.counts() == 2 * len(senders)


def test_where_another_nat_rule_was_first_what_it_translated_is_dropped(scene: Scene) -> None:
    """A connection that is older than our table, and one that no NAT sees."""
    scene.another_program(MASQUERADES["by interface"])
    for source in (CLIENT, INSIDE):
        scene.send(source, own_port=4000)
    assert {packet.source for packet in scene.in_the_clear()} == {HOST}
    scene.rules(config(CHILD))
    for source in (CLIENT, INSIDE):
        scene.send(source, own_port=4000)
    assert scene.in_the_clear() == []
    assert scene.counts() == 2
    scene.nft("table ip raw { chain c { type filter hook prerouting priority raw; notrack\n}\n}")
    scene.send(CLIENT)
    assert scene.in_the_clear() == []


def test_connections_that_are_older_than_the_table_are_translated_by_it(scene: Scene, tmp_path: Path) -> None:
    """By the agent; without it they are dropped, as above."""
    scene.another_program(MASQUERADES["by interface"])
    scene.up()
    for source in (CLIENT, INSIDE):
        scene.send(source, own_port=4000)
    assert not {packet.source for packet in scene.encrypted()} & {NATTED, INSIDE}

    async def main() -> None:
        async with running(tmp_path) as agent:
            await agent.want(config(CHILD))

    scene.vm.run(main)
    for source in (CLIENT, INSIDE):
        scene.send(source, own_port=4000)
    assert [packet.source for packet in scene.encrypted()] == [NATTED, INSIDE]


def test_what_no_child_is_for_is_left_alone(scene: Scene) -> None:
    scene.rules(config(WITHOUT_SNAT))
    others = [(HOST, SERVER), (CLIENT, SERVER), (INSIDE, "100.15.31.5"), (INSIDE, PEER)]
    for ends in others:
        scene.send(*ends)
    assert scene.in_the_clear() == [Packet(*ends) for ends in others]
    assert scene.counts() == 0


def test_what_carries_the_sas_leaves_where_the_selectors_cover_the_peer(scene: Scene) -> None:
    scene.rules(config(AROUND_THE_PEER))
    scene.send(HOST, "177.54.214.21")
    assert scene.in_the_clear() == []
    for port in (500, 4500, 33434):
        scene.send(HOST, PEER, port)
    assert scene.in_the_clear() == [Packet(HOST, PEER)] * 3
    between = child(mode="transport", local_ts=IPv4Network(HOST), remote_ts=IPv4Network(PEER))
    scene.rules(config(between))
    for port in (500, 4500, 33434):
        scene.send(HOST, PEER, port)
    assert scene.in_the_clear() == [Packet(HOST, PEER)] * 2
    assert scene.counts() == 1


def test_an_answer_to_a_connection_from_outside_the_sa_is_left_alone(scene: Scene) -> None:
    """SNAT does not translate it, so no CHILD_SA is for it."""
    scene.rules(config(CHILD))
    with scene.vm.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
        server.bind((HOST, 6000))
        server.settimeout(DEADLINE)
        scene.send(SERVER, HOST, 6000)
        answer, client = server.recvfrom(100)
        server.sendto(answer, client)
    assert Packet(HOST, SERVER) in scene.in_the_clear()
