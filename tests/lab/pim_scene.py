"""What the tests of PIM in the lab share: a scene of their own, taps on its interfaces, and Debian's pimd."""

import ctypes
import errno
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import msgspec
import pytest
from scapy.config import conf as scapy_conf
from scapy.contrib import pim as scapy_pim
from scapy.layers.inet import IP

from mcastd.errors import LabError
from mcastd.lab import topology
from mcastd.lab.commands import wait_for
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.lab.state import Process
from mcastd.lab.topology import CLOUD, DC, GROUP, TUNNEL
from mcastd.net import bpf
from mcastd.system import sockets
from tests.lab.datapath import RATE, assert_datapath

T = TypeVar("T")

PIM, UDP, IGMP = 103, 17, 2
HELLO, JOIN_PRUNE = 0, 3
PIMD = Path(__file__).parents[2] / ".cache" / "pimd" / "usr" / "sbin" / "pimd"
PEER = topology.TUNNEL_DC.partition("/")[0]
LEAF = topology.TUNNEL_CLOUD.partition("/")[0]

_CLONE_NEWNET = 0x40000000
_ETH_P_ALL = 3
_PACKET_OUTGOING = 4
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("qq")
_RECEIVE_BUFFER = 64 << 20


def inside(namespace: str, function: Callable[[], T]) -> T:
    """Call a function in a network namespace, by a thread of its own; sockets that it opens stay there."""

    def enter() -> None:
        descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(descriptor)

    with ThreadPoolExecutor(1, initializer=enter) as thread:
        return thread.submit(function).result()


@dataclass(frozen=True)
class Seen:
    """A packet as it passed: when (monotonic, by the kernel's stamp), which way, and from the IP header on."""

    when: float
    outgoing: bool
    data: bytes

    @property
    def source(self) -> str:
        return socket.inet_ntoa(self.data[12:16])

    @property
    def pim_type(self) -> int:
        return self.data[20] & 0x0F

    def records(self) -> list["Record"]:
        """The records of a Join/Prune, as scapy reads them."""
        scapy_conf.max_list_count = 256
        found = IP(self.data)[scapy_pim.PIMv2JoinPrune]
        return [
            Record(group.gaddr, _entries(group.join_ips), _entries(group.prune_ips), found.holdtime)
            for group in found.jp_ips
        ]


@dataclass(frozen=True)
class Record:
    """One group of a Join/Prune; a source is ``*`` and the RP for (*,G)."""

    group: str
    joined: frozenset[str]
    pruned: frozenset[str]
    holdtime: int


def _entries(sources: list[scapy_pim.PIMv2JoinPruneAddrsBase]) -> frozenset[str]:
    return frozenset(f"*@{source.src_ip}" if source.wildcard else source.src_ip for source in sources)


class Tap:
    """A packet socket on an interface of a place: the packets of one IP protocol since it was made."""

    def __init__(self, scene: Scene, place: str, protocol: int, interface: str = TUNNEL) -> None:
        self._packets: list[Seen] = []
        self._sock = inside(scene.namespace(place), lambda: open_tap(interface, protocol))

    def packets(self) -> list[Seen]:
        """All that has passed."""
        self._packets += read_tap(self._sock)
        return list(self._packets)

    def joins(self) -> list[Seen]:
        """The Join/Prune messages."""
        return [packet for packet in self.packets() if packet.pim_type == JOIN_PRUNE]

    def records(self) -> list[Record]:
        """The records of all Join/Prune messages."""
        return [record for packet in self.joins() for record in packet.records()]

    def clear(self) -> None:
        """Forget what has passed."""
        self.packets()
        self._packets.clear()

    def close(self) -> None:
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_tap(interface: str, protocol: int) -> socket.socket:
    """A packet socket for the packets of one IP protocol on an interface of this thread's network namespace."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
    sockets.attach_filter(sock, bpf.accept_protocol(protocol))
    sockets.enlarge_receive_buffer(sock, _RECEIVE_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    sock.bind((interface, _ETH_P_ALL))
    return sock


def read_tap(sock: socket.socket) -> list[Seen]:
    """What has passed since it was last read."""
    found: list[Seen] = []
    behind = time.time() - time.monotonic()
    while True:
        try:
            data, ancillary, _, address = sock.recvmsg(65535, 64)
        except BlockingIOError:
            return found
        except OSError as error:
            if error.errno != errno.ENETDOWN:
                raise
            continue  # the interface went down; it is heard again when it is up
        seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2][: _TIMESPEC.size])
        when = seconds + nanoseconds / 1e9 - behind
        found.append(Seen(when, address[2] == _PACKET_OUTGOING, data))


# The scene


@contextmanager
def standing(prefix: str = "mcastd-test-pim", groups: tuple[str, ...] = (GROUP,)) -> Iterator[Scene]:
    """A scene for the tests of one file."""
    with Scene(Options(prefix=prefix, groups=groups)) as scene:
        yield scene


@contextmanager
def as_new(scene: Scene) -> Iterator[Scene]:
    """The scene without a daemon; afterwards it is as before."""
    configuration = scene.config.read_text()
    scene.feed.stop_receiving()
    scene.feed.receive(*scene.options.groups)
    try:
        yield scene
    finally:
        scene.stop_daemon()
        # pytest shows it where the test has failed.
        sys.stdout.write(scene.tail("mcastd", 60))
        scene.config.write_text(configuration)


def start(scene: Scene) -> Scene:
    """Start the daemon; returns when its feed arrives."""
    scene.start_daemon()
    wait_for("the feed", lambda: scene.feed.received()[GROUP].received > 100)
    scene.wait_for_status("everything is up", lambda status: status.healthy)
    assert_datapath(scene)
    return scene


def configure(scene: Scene, *, groups: tuple[str, ...] = (GROUP,), rp: str | None = topology.RP, pim: str = "") -> None:
    """Write the configuration with these groups, this static RP, and lines for [tunnels.gre1.pim]."""
    text = scene.config.read_text()
    head = text[: text.index("[[")].rstrip()
    found = head[: head.index("neighbor = ")] + f'neighbor = "{PEER}"\n{pim}\n'
    if rp is not None:
        found += f'\n[[tunnels.{TUNNEL}.pim.rp]]\naddress = "{rp}"\ngroups = ["{topology.RP_GROUPS}"]\n'
    scene.config.write_text(found + "".join(topology.group_toml(group) for group in groups))


def mcastd(scene: Scene, *arguments: str) -> None:
    """Run a command of mcastd in the cloud; it must succeed."""
    answer = scene.exec(CLOUD, ["mcastd", *arguments])
    assert answer.returncode == 0, answer.stdout + answer.stderr


def frr_joined(scene: Scene) -> set[str] | None:
    """What FRR has joined on the tunnel; None while its pimd does not answer."""
    try:
        return scene.dc.joined()
    except (LabError, msgspec.DecodeError):
        return None


def received(scene: Scene, group: str = GROUP) -> int:
    """How many datagrams of a group the application has."""
    return scene.feed.received()[group].received


def wait_for_more(scene: Scene, group: str = GROUP, count: int = int(0.3 * RATE), patience: float = 60.0) -> None:
    """Return when the application has received more of a group."""
    before = received(scene, group)
    wait_for(f"{count} more of {group}", lambda: received(scene, group) >= before + count, patience)


def wait_for_end(scene: Scene, group: str, other: str = GROUP) -> None:
    """Return when a group has been silent for half a second in which another one was not."""

    def ended() -> bool:
        found = scene.feed.received()
        return (found[other].last or 0.0) - (found[group].last or 0.0) > 0.5

    wait_for(f"the end of {group}", ended)


def back_after_hello(pim: Tap, feed: Tap, generation_id: bytes) -> float | None:
    """Seconds from the other side's first Hello of another GenID to the feed's next packet; None if not yet."""
    hellos = [
        packet
        for packet in pim.packets()
        if not packet.outgoing and packet.pim_type == HELLO and generation_id_of(packet) not in (None, generation_id)
    ]
    if not hellos:
        return None
    arrived = [packet.when for packet in feed.packets() if packet.when >= hellos[0].when]
    return arrived[0] - hellos[0].when if arrived else None


def generation_id_of(hello: Seen) -> bytes | None:
    """The Generation ID of a Hello (RFC 7761, section 4.9.2), or None."""
    return option_of(hello, 20)


def option_of(hello: Seen, wanted: int) -> bytes | None:
    """The value of one option of a Hello, or None."""
    options = hello.data[24:]
    while len(options) >= 4:
        kind, length = struct.unpack_from("!HH", options)
        if kind == wanted:
            return options[4 : 4 + length]
        options = options[4 + length :]
    return None


# Debian's pimd as the data centre


class Troglobit:
    """Debian's pimd in the data centre, in place of FRR's."""

    def __init__(self, scene: Scene, configuration: str) -> None:
        if not PIMD.exists():
            pytest.fail(f"{PIMD} is missing: ./dev setup unpacks it")
        self._scene = scene
        conf = scene.folder / DC / "troglobit.conf"
        conf.write_text(f"phyint lan0 enable\nphyint {TUNNEL} enable\n{configuration}\n")
        # It takes the interfaces that are up, and the tunnel is down after keepalives that nobody answered.
        scene.dc.no_shutdown()
        link = ["ip", "-json", "link", "show", "dev", TUNNEL, "up"]
        wait_for("the tunnel", lambda: TUNNEL in scene.command(DC, link))
        # It keeps its pid under /run; in the mount namespace that ``ip netns exec`` gives, that is one of its own.
        alone = 'text=$(cat "$1") && mount -t tmpfs tmpfs /run && echo "$text" >/run/pimd && exec "$2" -fN -c/run/pimd'
        self.process: Process = scene.start(DC, "troglobit", ["sh", "-c", alone, "sh", str(conf), str(PIMD)])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it; by SIGTERM it says goodbye."""
        self._scene.stop(self.process, number)
