"""Traces packets of the tunnels and their peers through nftables, for ``--trace-firewall``.

The rules that ask the kernel for it are in a table that it removes with the process that owns it (``flags owner``). It
is the only thing that the doctor changes on the host.
"""

import asyncio
import shutil
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final

from mcastd.config.model import Config

_NAME: Final = "mcastd_doctor"
_LIMIT: Final = "limit rate 30/second burst 10 packets"  # of each kind, since each rule that it passes is a message
_FIRST: Final = "-450"  # before conntrack, and before what other programs have
_READY: Final = 1.0  # seconds for nft(8) to begin


def table(config: Config) -> str:
    """The table, in one line, as nft(8) takes it from its prompt."""
    peers = _set(peer.remote for peer in config.peers)
    ends = _set(tunnel.remote for tunnel in config.tunnels if tunnel.encapsulation == "gre")
    links = _set(f'"{tunnel.name}"' for tunnel in config.tunnels)
    kinds = {
        "prerouting": (
            f"ip saddr {peers}",
            f"ip protocol 47 ip saddr {ends}",
            f"iifname {links} ip protocol 103",
            f"iifname {links} ip daddr 224.0.0.0/4 ip protocol 17",
        ),
        "output": (f"ip daddr {peers}", f"ip protocol 47 ip daddr {ends}", f"oifname {links} ip protocol 103"),
    }
    chains = (
        f"chain {hook} {{ type filter hook {hook} priority {_FIRST}; "
        + "".join(f"{one} {_LIMIT} meta nftrace set 1; " for one in matches if "{  }" not in one)
        + "}"
        for hook, matches in kinds.items()
    )
    return f"add table inet {_NAME} {{ flags owner; {' '.join(f'{chain};' for chain in chains)} }}"


def _set(elements: Iterable[object]) -> str:
    return f"{{ {', '.join(sorted({str(one) for one in elements}))} }}"


class Trace:
    """What ``nft monitor trace`` has said; complete when the block of ``tracing`` has ended."""

    text = ""


@asynccontextmanager
async def tracing(config: Config) -> AsyncIterator[Trace]:
    """Trace for as long as the block lasts; nothing where there is no nft(8), or it refuses."""
    trace = Trace()
    nft = shutil.which("nft") or shutil.which("nft", path="/sbin:/usr/sbin")
    if nft is None:
        yield trace
        return
    # If this process is killed, so is the one that has the table.
    owned = [nft, "--interactive"]
    if (setpriv := shutil.which("setpriv")) is not None:
        owned = [setpriv, "--pdeathsig", "KILL", *owned]
    monitor = await asyncio.create_subprocess_exec(nft, "monitor", "trace", stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL)
    reader = asyncio.create_task(_read(monitor))
    owner = await asyncio.create_subprocess_exec(*owned, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL)
    try:
        assert owner.stdin is not None
        owner.stdin.write(table(config).encode() + b"\n")
        await owner.stdin.drain()
        await asyncio.sleep(_READY)
        yield trace
    finally:
        for process in (owner, monitor):
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        trace.text = await reader


async def _read(monitor: Process) -> str:
    assert monitor.stdout is not None
    return (await monitor.stdout.read()).decode(errors="replace")
