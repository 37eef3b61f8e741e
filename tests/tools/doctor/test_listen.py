"""The numbers of ESP, most from packets made by hand; that they come from the wire is the lab's to show."""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import closing
from functools import partial
from ipaddress import IPv4Address

import pytest

from mcastd.net import ipv4
from mcastd.tools.doctor.facts import Esp, Multicast, Way, Wire
from mcastd.tools.doctor.listen import ControlTap, DeliveryTap, EspTap, VxlanTap
from tests.namespaces import Namespace, join, until

pytestmark = pytest.mark.root

PEER = IPv4Address("177.54.214.20")


def esp(number: int, *, spi: int = 7, in_udp: bool = True) -> bytes:
    """The beginning of a packet from PEER."""
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 100, 0, 0, 64, 17 if in_udp else 50, 0, PEER.packed, bytes(4))
    return ip + (struct.pack("!HHHH", 4500, 4500, 80, 0) if in_udp else b"") + struct.pack("!II", spi, number)


def seen(*packets: bytes) -> Wire:
    async def take() -> Wire:
        with closing(EspTap(outgoing=False)) as tap:
            for packet in packets:
                tap.take(ipv4.parse(packet, truncated=True))
            return tap.wire()

    return asyncio.run(take())


def test_what_is_missing_between_the_first_and_the_last() -> None:
    assert seen(*map(esp, (1, 2, 5, 6))) == Wire({7: Esp(PEER, 4, missing=2)})


def test_esp_in_udp_and_by_itself() -> None:
    assert seen(esp(1, spi=8, in_udp=False), esp(1)).sas.keys() == {7, 8}


def test_how_late_the_latest_is() -> None:
    assert seen(*map(esp, (1, 9, *range(2, 9)))) == Wire({7: Esp(PEER, 9, late=7)})


def test_what_may_have_come_before_or_be_on_its_way_is_not_missing() -> None:
    # 3 and 4 came before the look, and 14 is late as 5 was.
    assert seen(*map(esp, (6, 5, 7, 8, 9, 10, 11, 12, 13, 15))).sas[7].missing == 0


def test_a_packet_that_shows_twice_is_one() -> None:
    assert seen(*map(esp, (1, 1, 2, 2))) == Wire({7: Esp(PEER, 2)})


def test_a_number_that_was_damaged_is_no_loss() -> None:
    assert seen(*map(esp, (1, 2, 1 << 31, 3))) == Wire({7: Esp(PEER, 3)})


def test_a_packet_that_is_cut_off_is_left_out() -> None:
    assert seen(esp(1)[:30], esp(1)) == Wire({7: Esp(PEER, 1)})


def test_where_packets_come_faster_than_they_are_taken_no_gap_means_anything(
    namespace: Callable[[], Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcastd.tools.doctor.listen._BUFFER", 1)

    async def look() -> Wire:
        with closing(EspTap(outgoing=False)) as tap, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 4500))
            for number in range(1000):
                sock.sendto(struct.pack("!II", 7, number), ("127.0.0.1", 4500))
            tap.drain()
            sock.sendto(struct.pack("!II", 7, 1000), ("127.0.0.1", 4500))
            return tap.wire()

    found = namespace().run(look)
    assert not found.complete
    assert 0 < found.sas[7].packets < 1000
    assert found.sas[7].missing == 0


def test_ike_that_arrives_and_what_of_it_is_delivered(namespace: Callable[[], Namespace]) -> None:
    """One packet passes, and one is dropped by a rule; the taps are read in the other namespace's event loop."""
    here, there = namespace(), namespace()
    join(here, "192.0.2.1/24", there, "192.0.2.2/24")
    here.execute("nft table ip a { chain b { type filter hook input priority 0; udp dport 4500 drop; }; }")

    def send(port: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("192.0.2.2", port))
            sock.sendto(bytes(28), ("192.0.2.1", port))

    async def look() -> tuple[ControlTap, ControlTap]:
        with closing(ControlTap()) as tap, closing(ControlTap(ipv4.UDP)) as delivered:
            for port in (500, 4500):
                await asyncio.to_thread(there.call, partial(send, port))
            await until(lambda: tap.arrived.total() == 2, "arrived")
            delivered.drain()
        return tap, delivered

    tap, delivered = here.run(look)
    assert {(one.protocol, one.address): count for one, count in tap.arrived.items()} == {
        ("ike", IPv4Address("192.0.2.2")): 2
    }
    assert delivered.arrived.total() == 1
    assert not tap.sent_ike.is_set()


def test_the_source_with_which_what_is_sent_leaves(namespace: Callable[[], Namespace]) -> None:
    """A rule of this host changes it."""
    here, there = namespace(), namespace()
    join(here, "192.0.2.1/24", there, "192.0.2.2/24")
    here.execute("nft table ip a { chain b { type filter hook postrouting priority 300; ip saddr set 192.0.2.9; }; }")

    async def look() -> list[frozenset[Way]]:
        peer = IPv4Address("192.0.2.2")
        with (
            closing(EspTap(outgoing=True)) as tap,
            closing(ControlTap()) as control,
            closing(VxlanTap(4789, [peer])) as vxlan,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        ):
            sock.sendto(struct.pack("!II", 7, 1), (str(peer), 4500))
            for port in (500, 4789, 4790):
                sock.sendto(bytes(28), (str(peer), port))
            sock.sendto(bytes(28), ("192.0.2.3", 4789))
            control.drain()
            return [tap.wire().sas[7].ways, control.ways()[peer], vxlan.ways()]

    for ways in here.run(look):
        assert [one.source for one in ways] == [IPv4Address("192.0.2.9")]


def test_what_is_delivered_faster_than_it_is_taken_is_not_exact(
    namespace: Callable[[], Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcastd.tools.doctor.listen._BUFFER", 1)
    host = namespace()
    host.ip("link", "set", "lo", "up", "multicast", "on")

    async def look() -> tuple[Multicast, Multicast]:
        with closing(DeliveryTap("lo")) as tap, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            group = socket.inet_aton("239.1.1.1") + socket.inet_aton("127.0.0.1")
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            found = []
            for count in (1, 1000):
                for _ in range(count):
                    sock.sendto(b"x", ("239.1.1.1", 5001))
                found.append(tap.arrived())
        return found[0], found[1]

    few, many = host.run(look)
    assert (sum(few.streams.values()), few.capped) == (1, False)
    assert sum(many.streams.values()) < 1001
    assert many.capped
