"""Network namespaces for tests that need a real kernel: made, entered by a thread of its own, and removed."""

import asyncio
import ctypes
import itertools
import os
import subprocess
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

DEADLINE = 60.0
_CLONE_NEWNET = 0x40000000
_numbers = itertools.count()


def ip(*arguments: str) -> str:
    """Run ip(8); returns what it prints."""
    return subprocess.run(("ip", *arguments), check=True, capture_output=True, text=True).stdout


def sysctl(namespace: "Namespace", name: str) -> str:
    return subprocess.run(
        ("ip", "netns", "exec", namespace.name, "cat", f"/proc/sys/{name}"), check=True, capture_output=True, text=True
    ).stdout.strip()


class Namespace:
    """One network namespace. The test's own thread never enters it."""

    def __init__(self) -> None:
        self.name = f"mcastd-test-{os.getpid()}-{next(_numbers)}"
        ip("netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def remove(self) -> None:
        ip("netns", "del", self.name)

    def ip(self, *arguments: str) -> str:
        """Run ip(8) inside."""
        return ip("-n", self.name, *arguments)

    def execute(self, command: str) -> None:
        """Run a command inside."""
        subprocess.run(("ip", "netns", "exec", self.name, *command.split()), check=True)

    def batch(self, *commands: str) -> None:
        """Run these commands of ip(8) inside, by one process: in an emulated machine, each takes half a second."""
        subprocess.run(("ip", "-n", self.name, "-batch", "-"), input="\n".join(commands), check=True, text=True)

    def call(self, function: Callable[[], T]) -> T:
        """Call a function inside, in a thread made for it; sockets that it opens stay inside."""
        with ThreadPoolExecutor(1, initializer=self._enter) as thread:
            return thread.submit(function).result()

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine inside."""
        return self.call(lambda: asyncio.run(main()))

    def _enter(self) -> None:
        descriptor = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(descriptor)


def join(one: Namespace, one_address: str, other: Namespace, other_address: str) -> None:
    """Lay a cable between two namespaces: ``veth0`` on both sides, with these addresses."""
    one.ip("link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", other.name)
    for side, address in ((one, one_address), (other, other_address)):
        side.batch("link set veth0 addrgenmode none", f"addr add {address} dev veth0", "link set veth0 up")


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for something that happens in this event loop or in the kernel; fails at a generous deadline."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"not in {DEADLINE:.0f} s: {what}"
        await asyncio.sleep(0.01)
