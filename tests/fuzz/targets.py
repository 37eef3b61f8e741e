"""What is fuzzed: every decoder, and the machines of PIM and IGMP behind them. Only DecodeError may come out."""

from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from random import Random

from mcastd.config.model import Group, Pim, RpRange
from mcastd.errors import DecodeError
from mcastd.igmp.group import MAX_SOURCES
from mcastd.igmp.querier import MAX_QUERIERS, Querier
from mcastd.igmp.settings import IgmpInterface
from mcastd.ipsec import vici
from mcastd.keepalive.packet import Endpoints, carried
from mcastd.keepalive.reflect import reflect
from mcastd.net import gre, ipv4, nfnetlink
from mcastd.net import igmp as igmp_packet
from mcastd.net.checksum import internet_checksum
from mcastd.net.gre import GreOptions
from mcastd.pim import auto_rp_packet, messages, packet
from mcastd.pim.auto_rp_cache import MAX_MAPPINGS
from mcastd.pim.bootstrap_rps import MAX_RPS, MAX_SCOPES
from mcastd.pim.neighbor import MAX_NEIGHBORS
from mcastd.pim.settings import PimInterface
from mcastd.streams.table import key
from tests.igmp.encoders import seal as seal_igmp
from tests.pim.encoders import seal
from tests.simulator.world import WantedRouter

UPSTREAM, LEAF, OTHER = (IPv4Address(f"10.44.4.{n}") for n in (5, 6, 7))
ENDPOINTS = Endpoints(IPv4Address("10.44.6.1"), IPv4Address("10.44.7.1"))
KEYED = Endpoints(ENDPOINTS.local, ENDPOINTS.remote, GreOptions(0x28), (IPv4Address("222.45.67.1"),))
PIM = Pim(neighbor=UPSTREAM, bootstrap=True, auto_rp=True, rp=(RpRange(address=IPv4Address("100.15.30.253")),))
GROUPS = tuple(Group(group=IPv4Address("239.1.2.0") + n, tunnel="gre1") for n in range(8))
FAILED = Path(".fuzz/failed")
HISTORY = FAILED / "machine-history"
_LIFE = 5000  # messages after which the machine is begun anew, so that a crash can be repeated


def decoder(decode: Callable[[bytes], object]) -> Callable[[bytes], None]:
    """A target of one decoder."""

    def run(data: bytes) -> None:
        try:
            decode(data)
        except DecodeError:
            return

    return run


def write_history(path: Path, history: list[bytes]) -> None:
    """Keep messages in the order they came: one alone does not repeat what happened."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(len(data).to_bytes(4) + data for data in history))


def read_history(path: Path) -> list[bytes]:
    """What ``write_history`` wrote."""
    held, found = path.read_bytes(), []
    while held:
        length = int.from_bytes(held[:4])
        found.append(held[4 : 4 + length])
        held = held[4 + length :]
    return found


class Machine:
    """The router, fed with messages whose checksum is repaired, and Auto-RP; what it keeps must stay bounded."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._history: list[bytes] = []
        self._now = 1000.0
        self._router = WantedRouter(Random(1))
        self._router.want((PimInterface("gre1", 7, 1398, LEAF, (), PIM),), GROUPS, self._now)

    def __call__(self, data: bytes) -> None:
        """The first byte says from whom, to whom, how much later and of which protocol the rest, a message, comes."""
        if len(data) < 5:
            return
        if len(self._history) == _LIFE:
            self._begin()
        self._history.append(data)
        try:
            self._take(data)
        except Exception:
            write_history(HISTORY, self._history)
            raise

    def _take(self, data: bytes) -> None:
        how, message = data[0], seal(data[1] & 0x0F, data[5:], flags=data[2])
        self._now += (0.0, 0.001, 1.0, 40.0)[how >> 6]
        source = (UPSTREAM, OTHER, LEAF, IPv4Address(0x0A320000 + len(self._history) % 1000))[how & 3]
        destination = (packet.ALL_PIM_ROUTERS, LEAF)[how >> 2 & 1]
        if how & 8:
            effects = self._router.auto_rp_received("gre1", source, data[1:], self._now)
        else:
            effects = self._router.received("gre1", source, destination, message, self._now)
        interface = self._router.interfaces["gre1"]
        assert len(effects) < 300
        assert len(interface.neighbors) <= MAX_NEIGHBORS + 1
        assert len(interface.rps.auto_rp.mappings()) <= MAX_MAPPINGS
        zones = interface.rps.bootstrap.zones()
        assert len(zones) <= MAX_SCOPES
        assert all(sum(len(known.rps) for known in zone.ranges.values()) <= MAX_RPS for zone in zones.values())


class IgmpMachine(Machine):
    """A querier, fed with messages whose checksum is repaired; what it keeps must stay bounded."""

    def _begin(self) -> None:
        self._history: list[bytes] = []
        self._now = 1000.0
        own = IgmpInterface("eth1", OTHER, fast_leave=True, max_groups=20, max_groups_per_host=10)
        self._querier = Querier(own, self._now, allowed=False)

    def _take(self, data: bytes) -> None:
        how, message = data[0], seal_igmp(data[1:])
        self._now += (0.0, 0.1, 3.0, 60.0)[how >> 6]
        source = (LEAF, UPSTREAM, IPv4Address(0), IPv4Address(0x0A320000 + len(self._history) % 1000))[how & 3]
        querier = self._querier
        if how & 8:
            querier.allow_queries(self._now)
        with suppress(DecodeError):
            assert len(querier.receive(source, igmp_packet.decode(message), self._now)) < 200
        assert len(querier.advance(self._now)) < 500
        assert querier.next_deadline() > self._now
        assert len(querier.groups) <= 20
        assert len(querier.others) <= MAX_QUERIERS
        for group in querier.groups.values():
            desired = group.desired(self._now)
            assert desired == group.reported
            assert desired.any_source or desired.sources
            assert len(desired.sources) + len(desired.excluded) <= MAX_SOURCES


def keepalive_received(data: bytes) -> None:
    """A GRE packet of the far end to a tunnel with or without a key; a checksum in either header is repaired.

    The first byte says which tunnel, the others are the packet behind its outer IP header.
    """
    tunnel = KEYED if data[:1] == b"\x01" else ENDPOINTS
    packet = bytearray(data[1:])
    inner_at = 4 + sum(4 for flag in (0x80, 0x20, 0x10) if packet and packet[0] & flag) + 20
    for at in (inner_at + 8 if packet[2:4] == b"\x89\x09" else inner_at, 0):
        _repair_checksum(packet, at)
    outer = bytes((0x45, 0xC0)) + (20 + len(packet)).to_bytes(2, "big") + bytes((0, 0, 0, 0, 255, 47, 0, 0))
    inner = carried(outer + tunnel.remote.packed + tunnel.local.packed + packet, tunnel)
    if inner is not None:
        answer = reflect(inner, tunnel)
        assert len(answer.gre) <= 16
        assert carried(outer[:2] + (20 + len(answer.gre)).to_bytes(2, "big") + bytes(16) + answer.gre, tunnel) is None


def _repair_checksum(packet: bytearray, at: int) -> None:
    if len(packet) >= at + 8 and packet[at] & 0x80:
        packet[at + 4 : at + 6] = bytes(2)
        packet[at + 4 : at + 6] = internet_checksum(bytes(packet[at:])).to_bytes(2, "big")


def nftables_answer(data: bytes) -> None:
    """A datagram of the kernel, read as counters and as elements."""
    for message in nfnetlink.part(data).messages:
        with suppress(DecodeError):
            nfnetlink.counter(message)
        for element in nfnetlink.elements(message):
            with suppress(DecodeError):
                key(element)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "pim_header": decoder(packet.unseal),
    "pim_hello": decoder(packet.decode_hello),
    "pim_join_prune": decoder(packet.decode_join_prune),
    "pim_register": decoder(messages.decode_register),
    "pim_register_stop": decoder(messages.decode_register_stop),
    "pim_assert": decoder(messages.decode_assert),
    "pim_bootstrap": decoder(messages.decode_bootstrap),
    "pim_candidate_rp": decoder(messages.decode_candidate_rp),
    "auto_rp": decoder(lambda data: auto_rp_packet.decode_auto_rp(auto_rp_packet.decode_udp(data))),
    "pim_machine": Machine(),
    "igmp": decoder(igmp_packet.decode),
    "igmp_machine": IgmpMachine(),
    "ipv4": decoder(ipv4.parse),
    "gre": decoder(gre.decode),
    "keepalive": decoder(lambda data: reflect(data, ENDPOINTS)),
    "keepalive_gre": decoder(keepalive_received),
    "nfnetlink": decoder(nftables_answer),
    "vici": decoder(vici.decode_packet),
}
