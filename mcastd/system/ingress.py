"""Classifiers on what arrives on an interface (tc-bpf(8)): attached, found and removed by rtnetlink.

Ours is known by its preference, handle and name; the name ends with the ID of the program, which pyroute2 has no word
for. It is in whatever qdisc for ingress is there (clsact or ingress), and
in a clsact of ours if there is none; other programs and their filters stay as they are.
"""

import errno
import os
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Final

from mcastd.errors import HostError
from mcastd.system.iproute import AsyncIPRoute, NetlinkError

_QDISC: Final = 0xFFFF0000  # the handle of clsact and of ingress
_INGRESS, _EGRESS = 0xFFFFFFF2, 0xFFFFFFF3  # TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS and _EGRESS)
_PREFERENCE: Final = 77
_HANDLE: Final = 1
_ETH_P_IP: Final = 0x0800
_NAME: Final = "mcastd_meter-"
_GONE: Final = (errno.ENOENT, errno.ENODEV, errno.EINVAL)


async def attach(index: int, program: int, number: int) -> bool | None:
    """Let a program, given by its descriptor and ID, look at what arrives, in place of our own that is there.

    Returns None if it does already, else whether a qdisc was made for it. Raises HostError, also where another program
    has a filter in our place.
    """
    async with _netlink() as netlink:
        there = await _filters(netlink, index, _INGRESS)
        ours = _ours(there)
        if ours == number:
            return None
        if ours is None and any(one["info"] >> 16 == _PREFERENCE for one in there):
            raise HostError(f"filter: another program has one with preference {_PREFERENCE}")
        made = await _done(netlink.tc("add", "clsact", index), errno.EEXIST)
        await _done(
            netlink.tc(
                "replace-filter", "bpf", index, handle=_HANDLE, fd=program, name=f"{_NAME}{number}", parent=_INGRESS,
                prio=_PREFERENCE, protocol=_ETH_P_IP, direct_action=True,
            )
        )  # fmt: skip
    return made


async def detach(index: int) -> None:
    """Remove our program; that it is not there is no error. Raises HostError."""
    async with _netlink() as netlink:
        if _ours(await _filters(netlink, index, _INGRESS)) is None:
            return
        await _done(
            netlink.tc(
                "del-filter", "bpf", index, handle=_HANDLE, parent=_INGRESS, prio=_PREFERENCE, protocol=_ETH_P_IP
            ),
            *_GONE,
        )  # fmt: skip


async def remove_qdisc(index: int) -> None:
    """Remove the qdisc, unless another program has put a filter into it. Raises HostError."""
    async with _netlink() as netlink:
        for parent in (_INGRESS, _EGRESS):
            if await _filters(netlink, index, parent):
                return
        await _done(netlink.tc("del", "clsact", index), *_GONE)


@asynccontextmanager
async def _netlink() -> AsyncIterator[AsyncIPRoute]:
    netlink = AsyncIPRoute()
    try:
        await netlink.setup_endpoint()
        yield netlink
    except OSError as error:
        raise HostError(f"netlink: {error.strerror}") from error
    finally:
        netlink.close()


async def _filters(netlink: AsyncIPRoute, index: int, parent: int) -> list[Any]:
    try:
        return [one async for one in await netlink.get_filters(index=index, parent=parent)]
    except NetlinkError as error:
        if error.code in _GONE:
            return []
        raise HostError(f"filters: {os.strerror(error.code)}") from error


def _ours(filters: list[Any]) -> int | None:
    """The ID of our program among filters."""
    for one in filters:
        options = one.get("TCA_OPTIONS")
        name = options.get("TCA_BPF_NAME") if options is not None else None
        if one["handle"] == _HANDLE and one["info"] >> 16 == _PREFERENCE and name and name.startswith(_NAME):
            return int(name.removeprefix(_NAME))
    return None


async def _done(request: Awaitable[Any], *accepted: int) -> bool:
    """Whether a request was done; an accepted error is none."""
    try:
        await request
    except NetlinkError as error:
        if error.code in accepted:
            return False
        raise HostError(f"filter: {os.strerror(error.code)}") from error
    return True
