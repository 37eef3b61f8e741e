"""What the control socket answers: the commands that ask the running daemon, or change it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from typing import Any

import msgspec
from msgspec.structs import replace

from mcastd import wiring
from mcastd.composition import Composition
from mcastd.control import Handler
from mcastd.errors import ControlRefused, HostError, McastdError
from mcastd.group_status import GroupReport
from mcastd.handover import Handover
from mcastd.metrics.shown import Scrape
from mcastd.status import Status
from mcastd.wanted import COMMAND, require_joinable


class Commands:
    """The handlers, by the command's name. ``reload`` and ``status`` do what their names say."""

    def __init__(
        self,
        agents: Composition,
        handover: Handover,
        reload: Callable[[], Awaitable[str]],
        status: Callable[[], Awaitable[Status]],
    ) -> None:
        self._agents = agents
        self._handover = handover
        self._reload = reload
        self._status = status

    def handlers(self) -> dict[str, Handler]:
        """What ControlServer is given."""
        return {
            "status": self._on_status,
            "group": self._on_group,
            "streams": self._on_streams,
            "reload": self._on_reload,
            "join": self._on_join,
            "leave": self._on_leave,
            "use": self._on_use,
        }

    async def scrape(self) -> Scrape:
        """What a page of metrics is made of; the streams are read once for all of it."""
        agents = self._agents
        await asyncio.gather(agents.ipsec.refresh(), agents.firewall.refresh(), agents.forward.refresh())
        measured = await agents.meter.read(None)
        report, streams = await agents.streams.report(None, None, measured, compare=False)
        not_measured = agents.meter.status(time.monotonic())
        report = replace(report, not_measured=not_measured, pairs=tuple(measured.pairs(None)))
        return Scrape(time.time(), await self._status(), report, streams)

    async def _on_status(self, _arguments: dict[str, Any]) -> Status:
        await self._agents.refresh()
        return await self._status()

    async def _on_group(self, arguments: dict[str, Any]) -> GroupReport:
        group = _address(arguments.get("group", ""))
        await asyncio.gather(self._agents.streams.refresh(), self._agents.forward.refresh())
        return await self._agents.group(group, time.monotonic())

    async def _on_streams(self, arguments: dict[str, Any]) -> msgspec.Raw:
        """The report, encoded in parts: there may be tens of thousands of streams."""
        streams, seconds = self._agents.streams, arguments.get("since")
        if arguments.get("reset"):
            await streams.reset()
            await self._agents.meter.reset()
        group = _address(arguments["group"]) if arguments.get("group") else None
        if not isinstance(seconds, int | float | None):
            raise ControlRefused("since is a number of seconds")
        if not isinstance(history := arguments.get("history") or 0.0, int | float):
            raise ControlRefused("history is a number of seconds")
        measured = await self._agents.meter.read(group)
        report, parts = await streams.report(group, seconds, measured, history=history)
        pairs = tuple(measured.pairs(group))
        report = replace(report, not_measured=self._agents.meter.status(time.monotonic()), pairs=pairs)
        encoded = []
        for part in parts:
            encoded.append(msgspec.json.encode(part)[1:-1])
            await asyncio.sleep(0)
        head = msgspec.json.encode(report).removesuffix(b"]}")  # the streams are its last field
        return msgspec.Raw(head + b",".join(filter(None, encoded)) + b"]}")

    async def _on_reload(self, _arguments: dict[str, Any]) -> str:
        return await self._reload()

    async def _on_join(self, arguments: dict[str, Any]) -> str:
        group, source, tunnel = self._entry(arguments)
        ranges = next(one.ssm_ranges for one in self._agents.config.tunnels if one.name == tunnel)
        require_joinable(group, source, ranges)
        self._agents.wanted.join(tunnel, group, source, COMMAND)
        self._handover.joined(group, source, tunnel)
        return self._saved("joined", group, source, "it will be forgotten at a restart")

    async def _on_leave(self, arguments: dict[str, Any]) -> str:
        group, source, tunnel = self._entry(arguments)
        if not self._agents.wanted.leave(tunnel, group, source, COMMAND):
            others = ", ".join(self._agents.wanted.of(tunnel).origins(group, source))
            entry = f"{group}" if source is None else f"{group} from {source}"
            hint = f"; it is desired by: {others}" if others else ""
            raise McastdError(f"{entry} was not joined on {tunnel} by command{hint}")
        self._handover.left(group, source, tunnel)
        return self._saved("left", group, source, "it will be joined again after a restart")

    async def _on_use(self, arguments: dict[str, Any]) -> str:
        hold, name = arguments.get("hold"), str(arguments.get("name") or "")
        if not isinstance(hold, int | float | None):
            raise ControlRefused("hold is a number of seconds")
        group = _address(arguments["group"]) if arguments.get("group") else None
        config, gateways = self._agents.config, self._agents.gateways
        is_peer = any(name == peer.name for peer in config.peers)
        is_tunnel = any(name == tunnel.name for tunnel in config.tunnels)
        if gateways.has(name) or (is_peer and not is_tunnel):
            if hold is not None or group is not None:
                raise ControlRefused(f"{name} is a peer; hold and group are for tunnels")
            return self._agents.use(name)
        done = self._agents.file_groups.use(name, hold, group)
        self._handover.remember()
        return done

    def _saved(self, done: str, group: IPv4Address, source: IPv4Address | None, otherwise: str) -> str:
        """What was done. Raises HostError if it was done, and the next process will not know of it."""
        if not self._handover.is_saved(group, source):
            raise HostError(f"{done}; but {otherwise}: {self._handover.problem}")
        return done

    def _entry(self, arguments: dict[str, Any]) -> tuple[IPv4Address, IPv4Address | None, str]:
        """The group, the source or None, and the tunnel that the arguments name."""
        group = _address(arguments.get("group", ""))
        source = _address(arguments["source"]) if arguments.get("source") else None
        names = wiring.joining(self._agents.config)
        tunnel = arguments.get("tunnel") or (names[0] if len(names) == 1 else None)
        if tunnel not in names:
            wrong = f"tunnel {tunnel} is not one with PIM or IGMP" if tunnel else "name the tunnel"
            raise ControlRefused(f"{wrong}; those with PIM or IGMP are: {', '.join(names) or 'none'}")
        return group, source, tunnel


def _address(text: object) -> IPv4Address:
    try:
        return IPv4Address(str(text))
    except ValueError as error:
        raise ControlRefused(f"{error}; a group and a source are IPv4 addresses") from error
