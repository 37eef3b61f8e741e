"""The keepalive agent over sockets in memory, in virtual time and without root."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from typing import Any, cast

from msgspec.structs import replace

from mcastd.config.model import Keepalive, Tunnel
from mcastd.keepalive.agent import KeepaliveAgent
from mcastd.keepalive.packet import Endpoints, KeepaliveTunnel, endpoints, request
from mcastd.net import ipv4
from mcastd.status import KeepaliveStatus
from tests.fakes.clock import simulated, until
from tests.fakes.gre_socket import FakeGreSocket
from tests.fakes.memory import MemoryLog
from tests.loops import looping
from tests.tunnel.agents import tunnel

TUNNEL = tunnel()
ENDS = endpoints(TUNNEL)
FAR = Endpoints(ENDS.remote, ENDS.local)  # the same tunnel as the far end has it
OURS = tunnel(keepalive=Keepalive(period=10.0, retries=3))


class Bench:
    """An agent, the sockets that it has opened, and what it has logged."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.sockets: list[FakeGreSocket] = []
        self.refuses: int | None = None  # what opening a socket fails with
        self.changes = 0
        self.agent = KeepaliveAgent(log=self.log.logger, on_change=self._changed, open_socket=self._open)

    def _changed(self) -> None:
        self.changes += 1

    def _open(self, ends: Endpoints) -> socket.socket:
        if self.refuses is not None:
            raise OSError(self.refuses, "refused")
        self.sockets.append(FakeGreSocket(ends))
        return cast("socket.socket", self.sockets[-1])

    async def want(self, desired: Tunnel = TUNNEL, *, present: bool = True, up: bool = True) -> None:
        self.agent.configure((KeepaliveTunnel(desired, endpoints(desired), present, up),))
        await self.agent.settled()

    @property
    def socket(self) -> FakeGreSocket:
        return self.sockets[-1]

    async def ask(self, times: int = 1, every: float = 0.0) -> None:
        """The far end sends keepalives."""
        for _ in range(times):
            self.socket.arrives(request(FAR))
            await asyncio.sleep(every or 0.001)

    def answer(self) -> None:
        """The far end answers the last of our requests: it sends on what is inside."""
        self.socket.arrives(ipv4.parse(self.socket.sent[-1][4:]).payload.tobytes())

    def status(self) -> KeepaliveStatus:
        return self.agent.status(asyncio.get_running_loop().time())["gre1"]

    def codes(self) -> list[str]:
        return [problem.code for problem in self.agent.problems()]


@contextlib.asynccontextmanager
async def running(**changes: Any) -> AsyncIterator[Bench]:
    bench = Bench()
    async with looping(bench.agent.run()):
        try:
            await bench.want(**changes)
            yield bench
        finally:
            await bench.agent.close()


@simulated
async def test_a_request_is_answered_with_what_is_inside() -> None:
    async with running() as bench:
        await bench.ask()
        assert bench.socket.sent == [bytes(4)]
        await bench.ask(2, every=5.0)
        status = bench.status()
        assert (status.answered, status.dropped, status.stopped) == (3, {}, False)
        assert status.last_age is not None
        assert 5.0 <= status.last_age < 5.1
        assert bench.log.events() == ["keepalives_answered"]


@simulated
async def test_the_far_ends_keepalives_stop_and_come_again() -> None:
    async with running() as bench:
        await bench.ask(3, every=10.0)
        before = bench.changes
        took = await until(lambda: bench.status().stopped)
        assert 20.9 < took < 21.1, "three of ten seconds are missing, with a second to spare"
        assert bench.changes == before + 1
        assert bench.agent.keepalives_stopped() == {"gre1"}
        assert bench.codes() == ["keepalives_stopped"]
        await bench.ask()
        assert not bench.status().stopped
        assert bench.changes == before + 2
        assert not bench.agent.keepalives_stopped()
        assert bench.codes() == []
        assert bench.log.events() == ["keepalives_answered", "keepalives_stopped", "keepalives_answered"]


@simulated
async def test_keepalives_are_not_missing_while_the_path_is_down_or_they_are_not_to_be_answered() -> None:
    async with running() as bench:
        await bench.ask(3, every=10.0)
        await bench.want(up=False)
        await asyncio.sleep(1000.0)
        assert bench.codes() == []
        await bench.want()
        took = await until(lambda: bench.codes() == ["keepalives_stopped"], seconds=60)
        assert 30.9 < took < 31.1
        await bench.want(replace(TUNNEL, keepalive=Keepalive(reply=False)))
        assert bench.codes() == []


@simulated
async def test_those_that_are_not_to_be_answered_any_more_do_not_stop() -> None:
    async with running() as bench:
        await bench.ask(3, every=10.0)
        await bench.want(replace(TUNNEL, keepalive=Keepalive(reply=False)))
        await asyncio.sleep(100.0)
        assert "keepalives_stopped" not in bench.log.events()
        await bench.want()
        took = await until(lambda: bench.codes() == ["keepalives_stopped"], seconds=60)
        assert 30.9 < took < 31.1


@simulated
async def test_a_period_of_a_minute_is_no_alarm() -> None:
    async with running() as bench:
        await bench.ask(4, every=60.0)
        assert (bench.log.events(), bench.codes()) == (["keepalives_answered"], [])
        assert 119.0 < await until(lambda: bench.codes() == ["keepalives_stopped"], seconds=180) < 122.0


@simulated
async def test_it_is_said_whether_the_far_ends_keepalives_arrive() -> None:
    async with running() as bench:
        assert bench.agent.keepalives_arriving() == frozenset()
        await bench.ask(3, every=10.0)
        assert bench.agent.keepalives_arriving() == {"gre1"}
        await bench.want(up=False)
        assert bench.agent.keepalives_arriving() == frozenset()
        await bench.want()
        before = bench.changes
        await bench.ask(3, every=10.0)
        assert bench.agent.keepalives_arriving() == {"gre1"}
        assert bench.changes == before + 1
        await until(lambda: bench.status().stopped)
        assert bench.agent.keepalives_arriving() == frozenset()


@simulated
async def test_two_that_come_close_together_raise_no_alarm() -> None:
    async with running() as bench:
        await bench.ask(3, every=10.0)
        await bench.ask(2, every=0.4)
        await asyncio.sleep(15.0)
        assert not bench.status().stopped


@simulated
async def test_what_is_not_answered_is_counted_by_reason() -> None:
    async with running() as bench:
        foreign = replace(FAR, remote=IPv4Address("203.0.113.9"))
        elsewhere = replace(foreign, local=IPv4Address("203.0.113.1"))  # another tunnel through this one: data
        for packet in (request(elsewhere), request(foreign), b"\x00\x00", bytes(4)):
            bench.socket.arrives(packet)
        await until(lambda: sum(bench.status().dropped.values()) == 3)
        assert bench.status().dropped == {"inner_source": 1, "gre_short": 1, "unasked": 1}
        assert bench.socket.sent == []
        silent = replace(TUNNEL, keepalive=Keepalive(reply=False))
        await bench.want(silent)
        await bench.ask()
        await bench.want(up=False)
        await bench.ask()
        assert [bench.status().dropped[reason] for reason in ("reply_off", "child_down")] == [1, 1]
        await bench.want()
        bench.socket.error = errno.ENOBUFS
        await bench.ask()
        assert bench.status().dropped["enobufs"] == 1
        assert bench.status().answered == 0


@simulated
async def test_icmp_errors_are_no_keepalives_without_an_answer() -> None:
    async with running() as bench:
        assert (bench.status().icmp_errors, bench.status().icmp_age) == ({}, None)
        bench.socket.unreadable = [errno.ECONNREFUSED]
        await bench.ask()
        assert (bench.status().answered, bench.status().icmp_errors) == (1, {"econnrefused": 1})
        bench.socket.pending = errno.ENOPROTOOPT
        await bench.ask()
        assert len(bench.socket.sent) == bench.status().answered == 2
        assert bench.status().icmp_errors == {"econnrefused": 1, "enoprotoopt": 1}
        await asyncio.sleep(70.0)
        assert 70.0 <= (bench.status().icmp_age or 0.0) < 70.1
        assert bench.status().dropped == {}


@simulated
async def test_a_flood_is_answered_at_the_configured_rate() -> None:
    limited = replace(TUNNEL, keepalive=Keepalive(max_per_second=2.0))
    async with running(desired=limited) as bench:
        for _ in range(50):
            bench.socket.arrives(request(FAR))
        await until(lambda: bench.status().answered + sum(bench.status().dropped.values()) == 50)
        assert bench.status().dropped == {"rate": 48}
        await asyncio.sleep(1.0)
        await bench.ask()
        assert bench.status().answered == 3


@simulated
async def test_our_own_show_that_the_path_is_alive_dead_and_alive_again() -> None:
    async with running(desired=OURS) as bench:
        await until(lambda: bench.status().sent == 1)
        bench.answer()
        await until(lambda: bench.status().path == "alive")
        assert (bench.codes(), bench.agent.dead_paths()) == ([], {"gre1": 0})
        await until(lambda: bench.status().path == "dead")
        assert (bench.status().missed, bench.agent.dead_paths()) == (3, {"gre1": 1})
        assert bench.codes() == ["path_dead"]
        await until(lambda: bench.agent.dead_paths() == {"gre1": 2})
        bench.answer()
        await until(lambda: bench.status().path == "alive")
        assert (bench.codes(), bench.status().missed) == ([], 0)
        assert bench.log.events() == ["path_alive", "path_dead", "path_alive"]
        assert bench.status().rtt is not None


@simulated
async def test_nothing_is_sent_while_the_child_sa_is_down() -> None:
    async with running(desired=OURS, up=False) as bench:
        await asyncio.sleep(60.0)
        assert bench.socket.sent == []
        await bench.want(OURS)
        await until(lambda: len(bench.socket.sent) == 2)
        await bench.want(OURS, up=False)
        await asyncio.sleep(60.0)
        assert len(bench.socket.sent) == 2


@simulated
async def test_a_request_that_cannot_be_sent_is_counted() -> None:
    async with running(desired=OURS) as bench:
        bench.socket.error = errno.ENETUNREACH
        await until(lambda: bench.status().dropped.get("send_enetunreach") == 2)


@simulated
async def test_the_socket_follows_the_link_and_the_endpoints() -> None:
    async with running(present=False, up=False) as bench:
        assert bench.sockets == []
        await bench.want()
        await bench.want()
        assert len(bench.sockets) == 1
        moved = replace(TUNNEL, remote=IPv4Address("10.44.7.9"))
        await bench.want(moved)
        assert [one.closed for one in bench.sockets] == [True, False]
        await bench.want(moved, present=False, up=False)
        assert bench.socket.closed
        await bench.want(moved)
        assert len(bench.sockets) == 3
        bench.agent.configure(())
        await bench.agent.settled()
        assert bench.socket.closed
        assert bench.agent.status(0.0) == {}


@simulated
async def test_a_socket_that_cannot_be_opened_is_tried_again() -> None:
    bench = Bench()
    bench.refuses = errno.EPERM
    async with looping(bench.agent.run()):
        await bench.want(OURS)
        assert bench.log.events() == ["keepalive_socket_failed"]
        await asyncio.sleep(1.5)
        bench.refuses = None
        await until(lambda: bench.status().sent > 0)
        await bench.agent.close()


@simulated
async def test_an_error_of_the_socket_is_counted_and_reading_goes_on() -> None:
    async with running() as bench:
        bench.socket.unreadable.append(errno.ENOPROTOOPT)
        await bench.ask()
        await bench.ask()
        assert bench.status().icmp_errors == {"enoprotoopt": 1}
        assert bench.status().answered == 2


@simulated
async def test_the_same_again_is_no_work() -> None:
    async with running() as bench:
        turned = bench.agent.wake.turned
        await asyncio.sleep(5.0)
        await bench.want()
        assert bench.agent.wake.turned == turned
