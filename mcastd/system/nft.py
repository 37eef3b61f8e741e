"""nftables: transactions and listings by nft(8), and the kernel's notifications of changes."""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from mcastd.errors import HostError
from mcastd.system.sockets import configuring

_NETLINK_NETFILTER: Final = 12
_NFNLGRP_NFTABLES: Final = 7
_TIMEOUT: Final = 10.0  # seconds for one run of nft
_VARIABLE: Final = ("handle", "packets", "bytes")  # of a table's objects, what changes while the rules stay the same


@dataclass(frozen=True, slots=True)
class Table:
    """A table as the kernel lists it.

    ``structure`` is the listing without handles and counters; ``counts`` are packets and bytes by the counter's name.
    """

    structure: str
    counts: dict[str, tuple[int, int]]


async def transaction(text: str) -> None:
    """Apply commands in the language of nft(8), all or none. Raises HostError with nft's reason."""
    await _nft("-f", "-", text=text)


async def table(name: str) -> Table | None:
    """List a table of the family ``ip`` without the elements of its sets; None if it does not exist.

    Raises HostError.
    """
    try:
        answer = msgspec.json.decode(await _nft("-j", "-t", "list", "table", "ip", name))
    except _NoSuchTableError:
        return None
    except msgspec.DecodeError as error:
        raise HostError(f"nft: the listing is not valid JSON ({error})") from error
    structure, counts = [], {}
    for entry in answer["nftables"]:
        ((kind, body),) = entry.items()
        if kind == "counter":
            counts[body["name"]] = (body["packets"], body["bytes"])
        if kind != "metainfo":
            structure.append({kind: {key: value for key, value in body.items() if key not in _VARIABLE}})
    return Table(msgspec.json.encode(structure).decode(), counts)


class _NoSuchTableError(HostError):
    """The table does not exist."""


async def _nft(*arguments: str, text: str = "") -> bytes:
    environment = {**os.environ, "LC_ALL": "C"}
    pipe: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.PIPE)
    try:
        process = await asyncio.create_subprocess_exec("nft", *arguments, env=environment, **pipe)
    except FileNotFoundError:
        raise HostError("nft: no such program; install the package nftables") from None
    except OSError as error:
        raise HostError(f"nft: {error.strerror}") from error
    try:
        async with asyncio.timeout(_TIMEOUT):
            output, complaint = await process.communicate(text.encode())
    except TimeoutError:
        raise HostError(f"nft: no answer within {_TIMEOUT:.0f} s") from None
    finally:
        # A transaction that was given up must not be applied later.
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return output
    reason = complaint.decode(errors="replace").strip().partition("\n")[0] or f"exit status {process.returncode}"
    if "list" in arguments and reason.endswith(os.strerror(errno.ENOENT)):
        raise _NoSuchTableError(reason)
    raise HostError(f"nft: {reason}")


@contextmanager
def changes(name: str) -> Iterator[AsyncIterator[None]]:
    """Receive a notification from the kernel after each change that may concern a table, our own changes included.

    Changes are noticed from the moment that the context is entered, which raises HostError if they cannot be.
    """
    try:
        with configuring(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as sock:
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
