"""GRE in user space between two ends of sockets, without root."""

import asyncio
import contextlib
import errno
import os
import struct
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from mcastd.errors import HostError
from mcastd.links import Gre
from mcastd.net import ipv4
from mcastd.net.gre import PROTOCOL_IPV4, GreHeader, GreOptions
from mcastd.tunnel.userspace import Pump
from tests.fakes.clock import simulated
from tests.fakes.kernel import FakeKernel

NEAR, FAR = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
# An IPv4 packet without a payload, from the far end of the tunnel to ours.
INNER = bytes.fromhex("45000014000000004011") + bytes(2) + bytes([10, 44, 4, 5, 10, 44, 4, 6])
CMD = bytes.fromhex("0800010100010000")


class Ends:
    """A pump, its TUN interface and the far end."""

    def __init__(self, kernel: FakeKernel, options: GreOptions) -> None:
        self.kernel = kernel
        self.options = options
        self.pump = Pump("gre1", Gre(NEAR, FAR, options), devices=kernel.devices)
        self.pump.start(asyncio.get_running_loop())
        self.pump.forwarding = True
        self.link = kernel.links["gre1"]
        kernel.set_link("gre1", up=True)

    async def receive(self, *packets: bytes) -> list[bytes]:
        """The far end sends GRE; returns what comes out of the tunnel."""
        before = len(self.link.received)
        for packet in packets:
            self.kernel.arrive(packet, FAR, NEAR)
        await turn()
        return self.link.received[before:]

    async def send(self, *packets: bytes) -> list[bytes]:
        """The host sends into the tunnel; returns the GRE that leaves."""
        before = len(self.kernel.sent)
        for packet in packets:
            self.kernel.send_into("gre1", packet)
        await turn()
        left = self.kernel.sent[before:]
        assert all((local, remote) == (NEAR, FAR) for local, remote, _ in left)
        return [packet for *_, packet in left]

    @property
    def dropped(self) -> dict[str, int]:
        return dict(self.pump.dropped)


async def turn() -> None:
    """Let the loop read what has arrived."""
    for _ in range(5):
        await asyncio.sleep(0.0)


@contextlib.asynccontextmanager
async def ends(key: int | None = None, **options: bool) -> AsyncIterator[Ends]:
    kernel = FakeKernel()
    made = Ends(kernel, GreOptions(key, **options))
    try:
        yield made
    finally:
        made.pump.close()
        made.pump.close()  # which is a no-op
        assert "gre1" not in kernel.links
        kernel.close()


@pytest.mark.parametrize(
    ("key", "options"),
    [
        (None, {}),
        (0, {}),
        (0x28, {}),
        (None, {"checksum": True}),
        (None, {"sequence": True}),
        (0x28, {"checksum": True, "sequence": True}),
    ],
)
@simulated
async def test_packets_pass_both_ways(key: int | None, options: dict[str, bool]) -> None:
    async with ends(key, **options) as both:
        for number in range(3):
            (left,) = await both.send(INNER)
            header = both.options.header(PROTOCOL_IPV4, number if both.options.sequence else None)
            assert left == header.encode(INNER)
            assert await both.receive(left) == [INNER]
        assert await both.send(*[INNER] * 100) != []  # more than one batch
        assert both.dropped == {}


@simulated
async def test_nothing_leaves_while_it_is_not_forwarding() -> None:
    async with ends() as both:
        both.pump.forwarding = False
        assert await both.send(INNER, INNER) == []
        assert both.dropped == {"child_down": 2}
        assert both.pump.lost() == {"socket_full": 0}
        assert await both.receive(GreHeader(PROTOCOL_IPV4).encode(INNER)) == [INNER]
        both.pump.forwarding = True
        assert len(await both.send(INNER)) == 1


@pytest.mark.parametrize(
    ("code", "reason"), [(errno.EPERM, "firewall"), (errno.ENOBUFS, "send_enobufs"), (0, "send_error")]
)
@simulated
async def test_what_the_host_refuses_to_send_is_counted(code: int, reason: str) -> None:
    async with ends() as both:
        both.kernel.refuses_sending = code
        assert await both.send(INNER) == []
        assert both.dropped == {reason: 1}
        both.kernel.refuses_sending = None
        assert len(await both.send(INNER)) == 1


@simulated
async def test_igmp_that_the_firewall_refuses_is_no_other_loss() -> None:
    async with ends() as both:
        both.kernel.refuses_sending = errno.EPERM
        report = ipv4.encode(b"", IPv4Address("10.44.4.6"), IPv4Address("224.0.0.22"), protocol=ipv4.IGMP, tos=0, ttl=1)
        assert await both.send(report, INNER, b"\x45") == []
        assert both.dropped == {"firewall_igmp": 1, "firewall": 2}
        assert both.pump.lost() == {"socket_full": 0}


@pytest.mark.parametrize(
    ("code", "reason"),
    [(errno.ECONNREFUSED, "unreachable"), (errno.EHOSTUNREACH, "unreachable"), (errno.ENOMEM, "receive")],
)
@simulated
async def test_errors_that_icmp_reports_are_counted_and_not_fatal(code: int, reason: str) -> None:
    async with ends() as both:
        both.kernel.icmp_error(code)
        assert await both.receive(GreHeader(PROTOCOL_IPV4).encode(INNER)) == [INNER]
        assert both.dropped == {reason: 1}


@simulated
async def test_an_icmp_error_that_waits_costs_no_packet() -> None:
    async with ends() as both:
        both.kernel.pending_error = errno.ENOPROTOOPT
        assert len(await both.send(INNER)) == 1
        assert both.dropped == {"unreachable": 1}
        both.kernel.refuses_sending = errno.ECONNREFUSED
        assert await both.send(INNER) == []
        assert both.dropped == {"unreachable": 2, "send_econnrefused": 1}


# What the far end sends, without the outer IP header, and by what name it is dropped; an empty name: not counted.
HOSTILE = [
    (b"", "gre_short"),
    (b"\0", "gre_short"),
    (b"\0\0\x08", "gre_short"),
    (b"\x20\0\x08\0\0\0\0", "gre_short"),
    (b"\xb0\0\x08\0" + bytes(11), "gre_short"),
    (b"\x40\0\x08\0" + bytes(8), "gre_routing"),
    (b"\x30\x81\x88\x0b" + bytes(8), "gre_version"),
    (b"\x80\0\x08\0\0\0\0\0\x45", "gre_checksum"),
    (GreHeader(0x0800).encode(b"\x45" + bytes(19)), "gre_key"),
    (GreHeader(0x0800, key=0x29).encode(b"\x45" + bytes(19)), "gre_key"),
    (GreHeader(0x8909, key=0x28).encode(bytes(7)), "cmd_short"),
    (GreHeader(0x8909, key=0x28).encode(bytes(8)), "cmd_header"),
    (GreHeader(0x8909, key=0x28).encode(CMD + b"\x45" + bytes(19)), "gre_protocol"),
    (GreHeader(0x8909, key=0x28).encode(CMD + b"\x45" + bytes(8)), "gre_protocol"),
    (GreHeader(0x8909, key=0x28).encode(CMD + b"\x45" + bytes(8) + b"\x2f" + bytes(14)), ""),  # the reflector's
    (GreHeader(0x86DD, key=0x28).encode(b"\x60" + bytes(39)), "gre_protocol"),
    (GreHeader(0x0000, key=0x28).encode(b""), ""),
    (GreHeader(0x0800, key=0x28).encode(b""), "tun_einval"),
    (GreHeader(0x0800, key=0x28).encode(b"\xf5"), "tun_einval"),
]  # fmt: skip


@pytest.mark.parametrize(("packet", "reason"), HOSTILE)
@pytest.mark.parametrize("known", [False, True], ids=["first", "after a good one"])
@simulated
async def test_what_the_far_end_may_send_is_dropped_by_a_name_and_harms_nothing(
    packet: bytes, reason: str, known: bool
) -> None:
    async with ends(0x28) as both:
        good = GreHeader(0x0800, key=0x28).encode(INNER)
        if known:
            assert await both.receive(good) == [INNER]
        assert await both.receive(packet) == []
        assert both.dropped == ({reason: 1} if reason else {})
        is_lost = reason not in ("", "gre_protocol")  # what is not IPv4 is of no feed
        assert both.pump.lost() == {**({reason: 1} if is_lost else {}), "socket_full": 0}
        assert await both.receive(GreHeader(0x0800, key=0x28, sequence=1).encode(INNER), good) == [INNER, INNER]


@simulated
async def test_what_lacks_the_agreed_options_or_is_old_is_counted_and_dropped() -> None:
    """The sequence numbers go across the end of their 32 bits, and one is lost there."""
    last = 2**32 - 1

    def sent(sequence: int | None, checksum: bool = True) -> bytes:
        return GreHeader(PROTOCOL_IPV4, None, sequence, checksum).encode(INNER)

    async with ends(checksum=True, sequence=True) as both:
        assert len(await both.receive(*map(sent, (last - 1, last - 1, last - 6, 1, last)))) == 2
        assert await both.receive(sent(None), sent(2, checksum=False), sent(2)[:-1] + b"x") == []
        assert both.dropped == {
            "gre_sequence_old": 3, "gre_sequence_missing": 1, "gre_checksum_missing": 1, "gre_checksum": 1,
        }  # fmt: skip
        assert await both.receive(sent(1), sent(2), sent(2)) == [INNER]
        assert both.dropped["gre_sequence_old"] == 5


@simulated
async def test_a_checksum_that_is_not_expected_is_dropped_and_a_number_is_not() -> None:
    async with ends() as both:
        assert await both.receive(GreHeader(PROTOCOL_IPV4, None, 5).encode(INNER)) == [INNER]
        assert await both.receive(GreHeader(PROTOCOL_IPV4, checksum=True).encode(INNER)) == []
        assert both.dropped == {"gre_checksum_unexpected": 1}


@simulated
async def test_a_tun_that_is_down_or_deleted_is_counted_and_not_read_again() -> None:
    async with ends() as both:
        good = GreHeader(PROTOCOL_IPV4).encode(INNER)
        both.kernel.set_link("gre1", up=False)
        assert await both.receive(good) == []
        assert both.dropped == {"tun_eio": 1}
        both.kernel.devices.refused["read_tun"] = errno.EIO
        both.kernel.set_link("gre1", up=True)
        await both.send(INNER)
        assert both.dropped["tun_eio"] > 1
        both.kernel.devices.refused.clear()
        await turn()
        both.pump.dropped.clear()
        both.kernel.delete_link("gre1")
        await turn()
        assert both.dropped == {"tun_ebadfd": 1}
        assert await both.receive(good) == []
        assert both.dropped == {"tun_ebadfd": 2}


@simulated
async def test_sequence_numbers_start_over_after_the_last() -> None:
    async with ends(sequence=True) as both:
        os.pwrite(both.pump.descriptors["sequence"], struct.pack("!I", 2**32 - 1), 0)
        numbers = [packet[4:8] for packet in await both.send(INNER, INNER)]
        assert numbers == [b"\xff" * 4, b"\0" * 4]


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("open_gre", "gre1: no GRE socket from 192.0.2.1 to 192.0.2.2: Operation not permitted"),
        ("open_tun", "gre1: no TUN interface of that name can be made: Operation not permitted"),
    ],
)
def test_what_the_host_refuses_has_a_reason_and_leaves_nothing_open(function: str, reason: str) -> None:
    kernel = FakeKernel()
    kernel.devices.refused[function] = errno.EPERM
    with pytest.raises(HostError, match=reason):
        Pump("gre1", Gre(NEAR, FAR, GreOptions(sequence=True)), devices=kernel.devices)
    kernel.devices.refused.clear()
    before = open_descriptors()
    left = {"tun": os.open("/dev/null", os.O_RDWR), "sequence": os.memfd_create("left")}
    kernel.delete_address("eth0", (IPv4Interface("192.0.2.1/24"), None))
    with pytest.raises(HostError, match="Cannot assign requested address"):
        Pump("gre1", Gre(NEAR, FAR, GreOptions(sequence=True)), left, kernel.devices)
    assert open_descriptors() == before
    assert kernel.names() == {"lo", "eth0"}
    kernel.close()


def test_without_memory_for_sequence_numbers_there_is_no_pump(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> int:
        raise OSError(errno.ENFILE, "Too many open files in system")

    kernel = FakeKernel()
    monkeypatch.setattr(os, "memfd_create", refuse)
    with pytest.raises(HostError, match="gre1: no memory for sequence numbers: Too many open files in system"):
        Pump("gre1", Gre(NEAR, FAR, GreOptions(sequence=True)), devices=kernel.devices)
    assert kernel.names() == {"lo", "eth0"}
    kernel.close()
