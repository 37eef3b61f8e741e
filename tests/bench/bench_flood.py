"""IGMP joins for 100,000 groups from one host, as fast as it can send for 10 seconds, and the joins of another host.

In namespaces, at a bridge: what the flood costs the loop of the daemon, its memory, and the other host.
"""

import asyncio
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path
from unittest import mock

from mcastd.net.igmp import Record, RecordType, V3Report
from tests.bench.figures import say, say_all
from tests.igmp.encoders import encode
from tests.igmp.test_agent import GROUP, VM, Running, joined, running
from tests.namespaces import DEADLINE, Namespace, until

SECONDS = 10
GROUPS, RECORDS = 100_000, 183
HOST, FLOODER = IPv4Address("10.1.1.20"), IPv4Address("10.1.1.66")
FIRST = IPv4Address("239.128.0.0")


def send() -> None:
    """The flood: what this file does as a program with an argument, in the namespace of the flooder."""
    groups = [Record(RecordType.TO_EX, FIRST + number) for number in range(GROUPS)]
    reports = [encode(V3Report(tuple(groups[start : start + RECORDS]))) for start in range(0, GROUPS, RECORDS)]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, FLOODER.packed)
        sock.connect(("224.0.0.22", 0))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        sent, end = 0, time.monotonic() + SECONDS
        while time.monotonic() < end:
            for report in reports:
                try:
                    sock.send(report)
                    sent += 1
                except OSError:
                    pass
    sys.stdout.write(f"{sent}\n")


@contextmanager
def longest_callbacks() -> Iterator[list[float]]:
    """The CPU time of each callback of the loop, in milliseconds."""
    found: list[float] = []
    run = asyncio.events.Handle._run

    def timed(handle: asyncio.events.Handle) -> None:
        began = time.thread_time()
        run(handle)
        found.append((time.thread_time() - began) * 1000)

    with mock.patch.object(asyncio.events.Handle, "_run", timed):
        yield found


def resident() -> float:
    """The memory of this process, in MB."""
    size = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert size is not None
    return int(size[1]) / 1024


async def measure(host: Namespace, sender: subprocess.Popen[str]) -> None:
    """One flood."""
    assert sender.stdin is not None
    assert sender.stdout is not None
    async with running() as igmp:
        await joins(igmp, host, 4, "before the flood")
        before, cpu, began = resident(), time.thread_time(), time.monotonic()
        with longest_callbacks() as callbacks:
            sender.stdin.write("go\n")
            sender.stdin.flush()
            await joins(igmp, host, 2 * (SECONDS - 1), "during the flood")
            sent = int(await asyncio.to_thread(sender.stdout.readline))
        used = (time.thread_time() - cpu) / (time.monotonic() - began)
        status = igmp.status()
        say("reports of the flood", sent / SECONDS, "a second")
        say("CPU of the daemon meanwhile", used * 100, "%")
        say("longest callback of the loop", max(callbacks), "ms", 20.0)
        say("memory that was added", resident() - before, "MB", 10.0)
        say("groups that are kept", status.groups, "", 4000)
        for reason, count in status.dropped.items():
            say(f"dropped: {reason}", count, "")


async def joins(igmp: Running, host: Namespace, count: int, when: str) -> None:
    """The other host joins a group every half a second."""
    found = []
    for number in range(count):
        group = GROUP + number + 50 * (when != "before the flood")
        began = time.monotonic()
        sock = await asyncio.to_thread(joined, host, group)
        with suppress(AssertionError):
            await until(lambda group=group: igmp.desired(group).any_source, "followed")  # type: ignore[misc]
        found.append((time.monotonic() - began) * 1000)
        await asyncio.sleep(max(0.0, began + 0.5 - time.monotonic()))
        sock.close()
    say_all(f"a join of another host, {when}", found, "ms")
    say(f"joins of another host that were not followed, {when}", sum(one >= 1000 * DEADLINE for one in found), "", 0)


def main() -> None:
    """Measure and print."""
    names = [Namespace() for _ in range(4)]
    vm, host, flooder, switch = names
    try:
        switch.batch("link add br0 type bridge mcast_snooping 0", "link set br0 up")
        for number, (end, address) in enumerate(((vm, VM), (host, HOST), (flooder, FLOODER))):
            switch.ip("link", "add", f"port{number}", "type", "veth", "peer", "name", "veth0", "netns", end.name)
            switch.batch(f"link set port{number} master br0", f"link set port{number} up")
            end.batch(f"addr add {address}/24 dev veth0", "link set veth0 up", "route add default dev veth0")
        command = ["ip", "netns", "exec", flooder.name, sys.executable, "-m", "tests.bench.bench_flood", "send"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sender:
            assert sender.stdout is not None
            sender.stdout.readline()
            vm.run(lambda: measure(host, sender))
    finally:
        for namespace in names:
            namespace.remove()


if __name__ == "__main__":
    send() if sys.argv[1:] == ["send"] else main()
