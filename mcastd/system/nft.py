"""nftables: transactions by nft(8), and by netlink what a table is now and notifications of changes."""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Final

from mcastd.errors import HostError
from mcastd.system import netfilter
from mcastd.system.nft_listing import counts, table
from mcastd.system.sockets import configuring

__all__ = ["changes", "counts", "table", "transaction"]

_NFNLGRP_NFTABLES: Final = 7
_TIMEOUT: Final = 10.0  # seconds for one run of nft


async def transaction(text: str) -> None:
    """Apply commands in the language of nft(8), all or none. Raises HostError with nft's reason."""
    environment = {**os.environ, "LC_ALL": "C"}
    pipe: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.PIPE)
    try:
        process = await asyncio.create_subprocess_exec("nft", "-f", "-", env=environment, **pipe)
    except FileNotFoundError:
        raise HostError("nft: no such program; install the package nftables") from None
    except OSError as error:
        raise HostError(f"nft: {error.strerror}") from error
    except RuntimeError as error:  # no thread for the child process
        raise HostError(f"nft: {error}") from error
    try:
        async with asyncio.timeout(_TIMEOUT):
            _, complaint = await process.communicate(text.encode())
    except TimeoutError:
        raise HostError(f"nft: no answer within {_TIMEOUT:.0f} s") from None
    finally:
        # A transaction that was given up must not be applied later.
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        reason = complaint.decode(errors="replace").strip().partition("\n")[0] or f"exit status {process.returncode}"
        raise HostError(f"nft: {reason}")


@contextmanager
def changes(name: str) -> Iterator[AsyncIterator[None]]:
    """Receive a notification from the kernel after each change that may concern a table, our own changes included.

    Changes are noticed from the moment that the context is entered, which raises HostError if they cannot be.
    """
    try:
        with configuring(socket.AF_NETLINK, socket.SOCK_RAW, netfilter.NETLINK) as sock:
            sock.bind((0, 1 << (_NFNLGRP_NFTABLES - 1)))
    except OSError as error:
        raise HostError(f"nftables: the kernel reports no changes: {error.strerror}") from error
    with sock:
        yield _changes(sock, name.encode() + b"\0")


async def _changes(sock: socket.socket, mark: bytes) -> AsyncIterator[None]:
    while True:
        try:
            messages = await asyncio.get_running_loop().sock_recv(sock, 1 << 16)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            messages = mark  # messages were lost; the table may have been named in one of them
        if mark in messages:
            yield
