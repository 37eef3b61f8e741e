"""Capturing and replaying ESP without root: the kernel's filter is real, the sockets are not packet sockets."""

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator

import pytest

from mcastd.ipsec import early_esp
from mcastd.ipsec.esp_replay import PAUSE, EspReplay
from tests.fakes.clock import simulated
from tests.fakes.esp import FakeEspSockets
from tests.fakes.memory import MemoryLog
from tests.ipsec.test_early_esp import HOST, OTHER, PEER, SPI, esp, in_udp

NO_MEMORY = OSError(errno.ENOMEM, "Cannot allocate memory")
REFUSED = PermissionError(errno.EPERM, "Operation not permitted")


class Subject:
    """ESP replay, its sockets and its log."""

    def __init__(self) -> None:
        self.sockets = FakeEspSockets()
        self.log = MemoryLog()
        self.replay = EspReplay(self.log.logger, self.sockets)

    def watch(self, *listed: int) -> None:
        self.replay.watch({PEER}, {HOST}, set(listed))

    def reasons(self) -> list[str]:
        assert {record["event"] for record in self.log.records} <= {"early_esp_lost"}
        return [record["reason"] for record in self.log.records]


@contextlib.asynccontextmanager
async def watching(*listed: int) -> AsyncIterator[Subject]:
    subject = Subject()
    subject.watch(*listed)
    try:
        yield subject
    finally:
        subject.replay.close()
        subject.sockets.close()


@simulated
async def test_what_arrived_early_is_replayed_once_and_in_order() -> None:
    async with watching() as subject:
        subject.sockets.arrive(esp(number=1), in_udp(number=2), esp(OTHER), esp(number=3))
        subject.replay.keys_installed(SPI)
        assert subject.sockets.replayed == [esp(number=1), in_udp(number=2), esp(number=3)]
        subject.replay.keys_installed(SPI)
        assert len(subject.sockets.replayed) == 3
        subject.replay.keys_installed(OTHER)
        assert subject.sockets.replayed[3:] == [esp(OTHER)]


@simulated
async def test_it_is_read_while_it_arrives() -> None:
    """More than a socket's buffer takes."""
    async with watching() as subject:
        for number in range(1000):
            assert subject.sockets.arrive(esp(number=number))
            if not number % 50:
                await asyncio.sleep(0.001)
        subject.replay.keys_installed(SPI)
        assert len(subject.sockets.replayed) == 1000


@simulated
async def test_what_has_keys_is_not_captured_also_while_a_listing_is_older_than_the_keys() -> None:
    async with watching(OTHER) as subject:
        subject.sockets.arrive(esp(OTHER))
        subject.replay.keys_installed(SPI)
        subject.watch(OTHER)
        subject.sockets.arrive(esp(SPI))
        for spi in (OTHER, SPI):
            subject.replay.keys_installed(spi)
        assert subject.sockets.replayed == []
        await asyncio.sleep(early_esp.KEEP)
        subject.replay.keys_installed(OTHER)  # those of SPI are in no listing, and too long ago
        subject.watch()
        subject.sockets.arrive(esp(SPI))
        subject.replay.keys_installed(SPI)
        assert subject.sockets.replayed == [esp(SPI)]


@simulated
async def test_the_filter_is_replaced_only_where_it_changes() -> None:
    async with watching(SPI) as subject:
        subject.sockets.refused["attach_filter"] = NO_MEMORY
        subject.watch(SPI)
        assert subject.sockets.opened == 1
        subject.watch(OTHER)
        assert subject.sockets.opened == 2, "with the socket, where there is no memory for both"
        subject.sockets.arrive(esp(SPI), esp(OTHER))
        subject.replay.keys_installed(SPI)
        assert subject.sockets.replayed == [esp(SPI)]
        assert subject.reasons() == []


@simulated
async def test_without_peers_or_at_the_end_nothing_is_captured_and_nothing_kept() -> None:
    async with watching() as subject:
        for spi, stops in ((SPI, False), (OTHER, True)):
            subject.watch()
            subject.sockets.arrive(esp(spi))
            await asyncio.sleep(0.1)
            if stops:
                subject.replay.close()
            else:
                subject.replay.watch(frozenset(), frozenset(), frozenset())
            assert not subject.sockets.arrive(esp(spi))
            subject.watch()
            subject.replay.keys_installed(spi)
            assert subject.sockets.replayed == []


@simulated
async def test_an_spi_that_is_lost_is_filtered_out_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_esp, "MAX_PER_SPI", 5)
    async with watching() as subject:
        subject.sockets.arrive(esp(OTHER), *(esp(number=number) for number in range(6)))
        await asyncio.sleep(0.1)
        added: list[bytes] = []
        genuine = early_esp.EarlyEsp.add

        def add(self: early_esp.EarlyEsp, packet: bytes, now: float) -> bool:
            added.append(packet)
            return genuine(self, packet, now)

        monkeypatch.setattr(early_esp.EarlyEsp, "add", add)
        subject.sockets.arrive(esp(), esp(OTHER, 2))
        await asyncio.sleep(0.1)
        assert added == [esp(OTHER, 2)]
        subject.replay.keys_installed(OTHER)
        assert subject.sockets.replayed == [esp(OTHER), esp(OTHER, 2)]


@simulated
async def test_in_a_flood_capturing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_esp, "MAX_RATE", 5)
    async with watching() as subject:
        for _ in range(2):
            subject.sockets.arrive(*(esp(number=number) for number in range(5)))
            await asyncio.sleep(PAUSE / 2)
            assert not subject.sockets.arrive(esp(7))
            subject.watch(OTHER)
            assert not subject.sockets.arrive(esp(7)), "a listing does not end the pause"
            await asyncio.sleep(PAUSE)
            assert subject.sockets.arrive(esp(7))
        subject.sockets.arrive(esp(OTHER + 1))
        subject.replay.keys_installed(OTHER + 1)
        assert subject.sockets.replayed == [esp(OTHER + 1)]
        await asyncio.sleep(PAUSE)
        subject.sockets.arrive(*(esp(number=number) for number in range(5)))
        await asyncio.sleep(0.1)
    await asyncio.sleep(2 * PAUSE)
    assert not subject.sockets.arrive(esp(7)), "it was closed in the pause"
    assert len(subject.reasons()) == 1


@pytest.mark.parametrize("what", ["packets_coming", "to_this_host", "sendto"])
@simulated
async def test_what_the_host_refuses_is_logged_once_an_hour(what: str) -> None:
    subject = Subject()
    subject.sockets.refused[what] = REFUSED
    for hour in range(2):
        for spi in (1, 2):
            subject.watch(spi + 2)
            subject.sockets.arrive(esp(spi), esp(spi, 2))
            subject.replay.keys_installed(spi)
        assert subject.reasons() == ["Operation not permitted"] * (hour + 1)
        await asyncio.sleep(3600.0)
    assert subject.sockets.replayed == []
    subject.sockets.refused.clear()
    subject.watch()
    subject.sockets.arrive(esp())
    subject.replay.keys_installed(SPI)
    assert subject.sockets.replayed == [esp()]
    subject.replay.close()
    subject.sockets.close()


@simulated
async def test_a_packet_that_cannot_be_sent_hinders_no_other() -> None:
    async with watching() as subject:
        genuine = subject.sockets._sendto

        def first_fails(packet: bytes, address: tuple[str, int]) -> None:
            subject.sockets._sendto = genuine  # type: ignore[method-assign]
            raise NO_MEMORY

        sent = iter((first_fails, genuine, genuine))
        subject.sockets._sendto = lambda *packet: next(sent)(*packet)  # type: ignore[method-assign]
        subject.sockets.arrive(esp(number=1), esp(number=2))
        subject.replay.keys_installed(SPI)
        assert subject.sockets.replayed == [esp(number=2)]
        assert subject.reasons() == ["Cannot allocate memory"]


@simulated
async def test_a_socket_that_fails_is_opened_again_with_the_next_listing() -> None:
    async with watching() as subject:
        subject.sockets.close()
        sock = subject.replay._sock
        assert sock is not None
        sock.shutdown(2)
        subject.replay._sock = Failing(sock)  # type: ignore[assignment]
        subject.replay.keys_installed(OTHER)
        assert subject.reasons() == ["Network is down"]
        assert subject.sockets.opened == 2


class Failing:
    """A socket that has an error to report."""

    def __init__(self, sock: object) -> None:
        self._sock = sock

    def recv(self, _size: int) -> bytes:
        raise OSError(errno.ENETDOWN, "Network is down")

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)
