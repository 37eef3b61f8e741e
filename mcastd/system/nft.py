"""nftables by way of nft(8): transactions, what a table is now, and word from the kernel of every change to it."""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec

from mcastd.errors import HostError

_NETLINK_NETFILTER = 12
_NFNLGRP_NFTABLES = 7
_TIMEOUT = 10.0
_LIVE = ("handle", "packets", "bytes")


@dataclass(frozen=True, slots=True)
class Table:
    """A table as the kernel has it. ``structure`` is all but handles and counts; ``counts`` are packets and bytes."""

    structure: str
    counts: dict[str, tuple[int, int]]


async def transaction(text: str) -> None:
    """Carry out commands of nft(8), all of them or none; raises HostError with nft's reason."""
    await _nft("-f", "-", text=text)


async def table(name: str) -> Table | None:
    """One table of the family ``ip``, or None. Raises HostError."""
    try:
        answer = msgspec.json.decode(await _nft("-j", "list", "table", "ip", name))
    except _NoSuchTableError:
        return None
    except msgspec.DecodeError as error:
        raise HostError(f"nft: its answer is no JSON ({error})") from error
    structure, counts = [], {}
    for entry in answer["nftables"]:
        ((kind, body),) = entry.items()
        if kind == "counter":
            counts[body["name"]] = (body["packets"], body["bytes"])
        if kind != "metainfo":
            structure.append({kind: {key: value for key, value in body.items() if key not in _LIVE}})
    return Table(msgspec.json.encode(structure).decode(), counts)


class _NoSuchTableError(HostError):
    """There is no table of that name."""


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
        # Whoever gives up waiting must not find later that it was done after all.
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return output
    reason = complaint.decode(errors="replace").strip().partition("\n")[0] or f"exit status {process.returncode}"
    if "list" in arguments and reason.endswith(os.strerror(errno.ENOENT)):
        raise _NoSuchTableError(reason)
    raise HostError(f"nft: {reason}")


def events() -> socket.socket:
    """A socket that hears of every change to nftables in this network namespace; raises HostError."""
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER)
    except OSError as error:
        raise HostError(f"nftables: the kernel tells nothing of them: {error.strerror}") from error
    try:
        sock.bind((0, 1 << (_NFNLGRP_NFTABLES - 1)))
    except OSError as error:
        sock.close()
        raise HostError(f"nftables: the kernel tells nothing of them: {error.strerror}") from error
    return sock


async def changes(sock: socket.socket, name: str) -> AsyncIterator[None]:
    """Yield for each batch of messages that names a table, for ever, ours included; a false alarm is harmless.

    An overrun of the socket (ENOBUFS) loses messages, not meaning: it yields too.
    """
    mark = name.encode() + b"\0"
    while True:
        try:
            messages = await asyncio.get_running_loop().sock_recv(sock, 1 << 16)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            messages = mark
        if mark in messages:
            yield
