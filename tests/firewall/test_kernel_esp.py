"""The guard over the kernel's own ESP, in every topology: good packets pass both ways, and none passes in the clear."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from msgspec.structs import replace

from mcastd.config.model import Child, Mode
from mcastd.firewall import rules
from mcastd.net import bpf
from mcastd.system import sockets
from tests.firewall.test_rules import child, config, tunnel
from tests.lab.pim_scene import open_tap, read_tap
from tests.namespaces import DEADLINE, Namespace, join

pytestmark = [pytest.mark.root, pytest.mark.kernel("gre", "esp", "nftables", "xfrm-interface")]

OUTER = ("192.0.2.1", "192.0.2.2")
INNER = ("10.44.6.1", "10.44.7.1")
TUNNEL = ("10.44.4.6", "10.44.4.5")
KEYS = f"enc cbc(aes) 0x{'11' * 32} auth-trunc hmac(sha256) 0x{'22' * 32} 128"
XFRM = "xfrm7"
GRE = bytes.fromhex("00006559") + b"seen by nobody"


@dataclass(frozen=True)
class Topology:
    """How GRE is carried. ``ends`` are its endpoints, ``selector`` what of it the policy is for."""

    mode: Mode
    ends: tuple[str, str]
    selector: str = ""

    @property
    def ident(self) -> str:
        return f"{self.mode}{' ' if self.selector else ''}{self.selector}"


TOPOLOGIES = [
    Topology("tunnel", INNER),
    Topology("tunnel", INNER, "proto gre"),
    Topology("transport", OUTER, "proto gre"),
    Topology("interface", INNER),
]


class Side:
    """One of two hosts, which have the same GRE and the same SAs between them; ``number`` is 0 here and 1 there."""

    def __init__(self, made: Namespace, number: int, topology: Topology) -> None:
        self.made, self.number, self.topology = made, number, topology
        self.outer, self.peer = OUTER[number], OUTER[1 - number]
        self.local, self.remote = topology.ends[number], topology.ends[1 - number]
        if self.local != self.outer:
            made.batch(f"address add {self.local}/32 dev lo", self._route("add", f"via {self.peer}"))
        self.bind = "if_id 7" if topology.mode == "interface" else ""
        if self.bind:
            made.batch(f"link add {XFRM} type xfrm dev lo if_id 7", f"link set {XFRM} up")

    def protect(self) -> None:
        """Install SAs and policies, as charon would, and the route to an XFRM interface."""
        mode = "transport" if self.topology.mode == "transport" else "tunnel"
        commands = []
        for source, destination, spi in (
            (self.outer, self.peer, self.number),
            (self.peer, self.outer, 1 - self.number),
        ):
            state = f"src {source} dst {destination} proto esp spi {0x1000 + spi} mode {mode} {self.bind} {KEYS}"
            commands.append(f"xfrm state add {state}")
        for direction, source, destination, tunnel_ends in (
            ("out", self.local, self.remote, (self.outer, self.peer)),
            ("in", self.remote, self.local, (self.peer, self.outer)),
        ):
            policy = f"src {source}/32 dst {destination}/32 {self.topology.selector} dir {direction} {self.bind}"
            template = f"tmpl src {tunnel_ends[0]} dst {tunnel_ends[1]} proto esp mode {mode}"
            commands.append(f"xfrm policy add {policy} {template}")
        self.made.batch(*commands, *([self._route("replace", f"dev {XFRM}")] if self.bind else []))

    def expose(self) -> None:
        """Take them away, as charon's end may."""
        back = [self._route("replace", f"via {self.peer}")] if self.bind else []
        self.made.batch("xfrm state flush", "xfrm policy flush", *back)

    def _route(self, verb: str, way: str) -> str:
        return f"route {verb} {self.remote}/32 {way} src {self.local}"

    def guard(self, *, on: bool) -> None:
        """Put the table in place that this side's configuration makes."""
        ends: dict[str, Any] = {"local": IPv4Address(self.local), "remote": IPv4Address(self.remote)}
        made = config(self.child(), tunnels=(tunnel(**ends),), guard=on)
        peer = replace(made.peers[0], local=IPv4Address(self.outer), remote=IPv4Address(self.peer))
        self.nft(rules.replacement(rules.table(replace(made, peers=(peer,)))))

    def nft(self, text: str) -> None:
        argv = ["ip", "netns", "exec", self.made.name, "nft", "-f", "-"]
        subprocess.run(argv, input=text, text=True, check=True)

    def child(self, **changes: Any) -> Child:
        bound: dict[str, Any] = {"interface": XFRM} if self.bind else {}
        ends: dict[str, Any] = {"local_ts": IPv4Network(self.local), "remote_ts": IPv4Network(self.remote)}
        return child(mode=self.topology.mode, **ends, **bound, **changes)


@dataclass(frozen=True)
class Senders:
    """What sends GRE on one side: the kernel's GRE, a raw socket of GRE, and one whose program writes the IP header."""

    kernel: socket.socket
    raw: socket.socket
    header_included: socket.socket
    side: Side

    def send(self) -> None:
        """One packet from each, if it is let."""
        with suppress(OSError):
            self.kernel.sendto(GRE, (TUNNEL[1], 5000))
        with suppress(OSError):
            self.raw.send(GRE)
        with suppress(OSError):
            self.header_included.sendto(self._header() + GRE, (self.side.remote, 0))

    def _header(self) -> bytes:
        ends = socket.inet_aton(self.side.local) + socket.inet_aton(self.side.remote)
        return bytes.fromhex("4500000000000000402f0000") + ends


@pytest.fixture(params=TOPOLOGIES, ids=lambda topology: topology.ident)
def sides(request: pytest.FixtureRequest, namespace: Callable[[], Namespace]) -> tuple[Side, Side]:
    here, there = namespace(), namespace()
    join(here, f"{OUTER[0]}/24", there, f"{OUTER[1]}/24")
    return Side(here, 0, request.param), Side(there, 1, request.param)


@pytest.fixture
def senders(sides: tuple[Side, Side]) -> Iterator[Senders]:
    here = sides[0]
    here.made.batch(
        f"link add gre1 type gre local {here.local} remote {here.remote} ttl 255",
        f"address add {TUNNEL[0]}/30 dev gre1",
        "link set gre1 up",
    )

    def make(protocol: int, kind: socket.SocketKind) -> socket.socket:
        return here.made.call(lambda: socket.socket(socket.AF_INET, kind, protocol))

    with ExitStack() as stack:
        made = Senders(
            stack.enter_context(make(0, socket.SOCK_DGRAM)),
            stack.enter_context(
                here.made.call(lambda: sockets.raw_gre(IPv4Address(here.local), IPv4Address(here.remote), 255, None))
            ),
            stack.enter_context(make(socket.IPPROTO_RAW, socket.SOCK_RAW)),
            here,
        )
        yield made


def heard(sock: socket.socket) -> int:
    count = 0
    with suppress(BlockingIOError):
        while sock.recv(2048):
            count += 1
    return count


def wait(ready: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE
    while not ready():
        assert time.monotonic() < end, what
        time.sleep(0.01)


class Wire:
    """What leaves a side in the clear. Not seen at the receiver, whose interface decrypted packets pass again."""

    def __init__(self, side: Side, protocol: int = socket.IPPROTO_GRE) -> None:
        self._sock = side.made.call(lambda: open_tap("veth0", protocol))
        self.leaked = 0

    def count(self) -> int:
        self.leaked += sum(packet.outgoing for packet in read_tap(self._sock))
        return self.leaked

    def close(self) -> None:
        self._sock.close()


@pytest.mark.parametrize("guard", [True, False], ids=["guard on", "guard off"])
def test_what_is_encrypted_passes_both_guards_and_nothing_else_does(
    sides: tuple[Side, Side], senders: Senders, guard: bool
) -> None:
    here, there = sides
    for side in sides:
        side.guard(on=guard)
        side.protect()
    receiver = there.made.call(lambda: sockets.raw_gre(IPv4Address(there.local), IPv4Address(there.remote), 255, None))
    with receiver, closing(Wire(here)) as wire:
        for _ in range(10):
            senders.send()
        arrived = 0

        def twenty() -> bool:
            nonlocal arrived
            arrived += heard(receiver)
            return arrived >= 20

        wait(twenty, "what the kernel's GRE and the raw socket sent")
        # A policy for GRE does not know for GRE what a program wrote the IP header of.
        unprotected = 10 if here.topology.selector else 0
        assert wire.count() == (0 if guard else unprotected)

        here.expose()
        for _ in range(10):
            senders.send()
        # What is sent has passed the interface, or was dropped, when the call returns.
        assert wire.count() == (0 if guard else unprotected + 30)


@pytest.mark.parametrize("guard", [True, False], ids=["guard on", "guard off"])
def test_what_was_not_decrypted_is_not_received(sides: tuple[Side, Side], senders: Senders, guard: bool) -> None:
    """There is no policy, which would refuse it as well."""
    _, there = sides
    there.guard(on=guard)
    receiver = there.made.call(lambda: sockets.raw_gre(IPv4Address(there.local), IPv4Address(there.remote), 255, None))
    door = there.made.call(lambda: sockets.packets_on("veth0", bpf.accept_protocol(socket.IPPROTO_GRE)))
    with receiver, door:
        for _ in range(10):
            senders.send()
        seen = 0

        def thirty() -> bool:
            nonlocal seen
            seen += heard(door)
            return seen >= 30

        wait(thirty, "the packets at the door")
        assert heard(receiver) == (0 if guard else 30)


DATA = ("10.45.8.17", "100.15.30.5")
CHILD_CASES = [
    pytest.param(Topology("tunnel", DATA), True, id="tunnel"),
    pytest.param(Topology("interface", DATA), True, id="interface"),
    pytest.param(Topology("transport", OUTER), True, id="transport"),
    pytest.param(Topology("tunnel", DATA), False, id="guard off"),
]


@pytest.mark.parametrize(("topology", "guard"), CHILD_CASES)
def test_what_a_child_is_for_leaves_encrypted_or_not_at_all(
    namespace: Callable[[], Namespace], topology: Topology, guard: bool
) -> None:
    """With SNAT, and beside the guard with a NAT rule of another program, which of equal priorities would be first."""
    here, there = namespace(), namespace()
    join(here, f"{OUTER[0]}/24", there, f"{OUTER[1]}/24")
    sides = Side(here, 0, topology), Side(there, 1, topology)
    side = sides[0]
    snat = {} if topology.mode == "transport" else {"snat": IPv4Address(side.local)}
    peer = {"local": IPv4Address(OUTER[0]), "remote": IPv4Address(OUTER[1])}
    made = config(side.child(**snat), guard=guard)
    side.nft(rules.replacement(rules.table(replace(made, peers=(replace(made.peers[0], **peer),)))))
    if guard:
        side.nft(
            'table ip theirs { chain c { type nat hook postrouting priority srcnat; oifname "veth0" masquerade\n}\n}'
        )
    sources = sorted({side.local, OUTER[0]})

    def send() -> None:
        for source in sources:
            with here.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock, suppress(OSError):
                sock.bind((source, 0))
                sock.sendto(b"datagram", (side.remote, 5000))

    with (
        there.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as receiver,
        closing(Wire(side, socket.IPPROTO_UDP)) as wire,
    ):
        receiver.bind((side.remote, 5000))
        receiver.settimeout(DEADLINE)
        send()
        assert wire.count() == (0 if guard else len(sources))
        if not guard:
            for _ in sources:
                receiver.recv(100)
        for one in sides:
            one.protect()
        before = wire.count()
        send()
        assert [receiver.recvfrom(100)[1][0] for _ in sources] == [side.local] * len(sources)
        assert wire.count() == before
        side.expose()
        send()
        assert wire.count() == before + (0 if guard else len(sources))
