"""The composition root: one configuration, the agents, one task group, signals, reload, going down."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import msgspec

from mcastd import __version__
from mcastd.config.agreement import carrier
from mcastd.config.load import Loaded, load, read_certificates, read_psk
from mcastd.config.model import Child, Config, Peer, Tunnel, digest
from mcastd.config.mtu import Esp
from mcastd.config.proposals import esp_of_proposal, esp_of_sa
from mcastd.control import ControlServer
from mcastd.errors import ConfigError, ControlRefused, McastdError, Problem
from mcastd.firewall.agent import FirewallAgent
from mcastd.handover import COMMAND, Handover
from mcastd.health import problems, summary
from mcastd.ipsec.agent import IpsecAgent
from mcastd.ipsec.messages import PeerWithKey
from mcastd.ipsec.state import ChildView, IpsecDesired
from mcastd.ipsec.vici import ViciSocket
from mcastd.keepalive.agent import KeepaliveAgent, KeepaliveTunnel
from mcastd.keepalive.packet import endpoints
from mcastd.pim.agent import PimAgent, PimInterface
from mcastd.pim.prefix_table import in_ranges
from mcastd.status import GroupStatus, KeepaliveStatus, PimStatus, Status, TunnelStatus
from mcastd.system import capabilities, runtime, sockets
from mcastd.system.fdstore import FdStore
from mcastd.system.journal import Journal
from mcastd.system.ledger import Ledger
from mcastd.system.log import Logger
from mcastd.system.notify import notify, reloading
from mcastd.system.watchdog import feed_watchdog
from mcastd.tunnel.agent import LinkView, TunnelAgent
from mcastd.tunnel.mtu import Carrier

_CLOSE_TIMEOUT = 5.0
_SETTLE_TIMEOUT = 10.0
_TELL_AFTER = 0.2
HAND_OVER = signal.SIGUSR2


class Daemon:
    """All that ``mcastd run`` is. ``started`` is when the process began (monotonic), ``journal`` where ``log`` goes."""

    def __init__(self, path: Path, loaded: Loaded, log: Logger, started: float, journal: Journal | None) -> None:
        self._path = path
        self._config = loaded.config
        self._digest = digest(loaded.config)
        self._notes = loaded.notes
        self._log = log
        self._started = started
        self._journal = journal
        self._stop = asyncio.Event()
        self._leaves_standing = False
        self._reloading = asyncio.Lock()
        self._generations: dict[str, int] = {}
        self._keys: tuple[PeerWithKey, ...] = ()
        self._restarts: dict[str, tuple[int, str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._telling: asyncio.TimerHandle | None = None
        directory = loaded.config.daemon.runtime_dir
        self._lock = runtime.claim(directory)
        ledger = Ledger(directory / "ledger.json")
        rng = random.Random(os.urandom(16))
        self._ipsec = IpsecAgent(
            charon=ViciSocket(loaded.config.daemon.vici_socket),
            esp_sockets=sockets,
            ledger=ledger,
            log=log,
            on_change=self._children_changed,
            rng=rng,
        )
        self._firewall = FirewallAgent(ledger=ledger, log=log, on_change=self._children_changed)
        self._tunnels = TunnelAgent(ledger=ledger, log=log, on_change=self._links_changed, store=FdStore.inherited(log))
        self._keepalive = KeepaliveAgent(log=log, on_change=self._tell_systemd, on_reinitiate=self._reinitiate)
        self._pim = PimAgent(log=log, on_change=self._pim_changed, rng=rng)
        self._handover = Handover(directory / "handover.json", self._pim, log)
        self._control = ControlServer(
            loaded.config.daemon.control_socket,
            {
                "status": self._answer_status,
                "reload": self._answer_reload,
                "join": self._answer_join,
                "leave": self._answer_leave,
            },
        )

    async def run(self, *, once: bool = False) -> None:
        """Bring everything up and keep it so until SIGTERM or SIGINT; then put back what was found.

        HAND_OVER ends it too, but leaves everything standing for a successor. ``once`` stops as soon as all is settled.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        # Held back since the process began: the configuration that was read may be the old one.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        loop.add_signal_handler(HAND_OVER, self._hand_over)
        # While the table of the former file, which may be another one, still guards them.
        await self._tunnels.remove_others(self._config)
        self._handover.take_over([tunnel.name for tunnel in self._config.tunnels if tunnel.pim is not None])
        self._firewall.configure(self._config)
        self._configure(self._config, _with_keys(self._config))
        try:
            async with asyncio.TaskGroup() as group:
                # Before anything of ours could send.
                tasks = [group.create_task(self._firewall.run())]
                await self._firewall.settled()
                tasks += [group.create_task(agent.run()) for agent in (self._ipsec, self._tunnels, self._pim)]
                await self._control.start()
                tasks += [
                    group.create_task(self._become_ready(once)),
                    group.create_task(feed_watchdog(self._turned, self._log)),
                ]
                await self._stop.wait()
                notify("STOPPING=1")
                if self._leaves_standing:
                    self._log.info("handing_over")
                else:
                    self._log.info("stopping")
                    # Prunes and goodbye need the path, so they go first, while everything still stands.
                    await self._close("pim", self._pim.close())
                for task in tasks:
                    task.cancel()
        finally:
            self._keepalive.close()
            if not self._leaves_standing:
                await self._close("tunnels", self._tunnels.close())
                await self._close("ipsec", self._ipsec.close())
                await self._close("firewall", self._firewall.close())
                self._handover.forget()
            await self._control.close()
            os.close(self._lock)

    async def _become_ready(self, once: bool) -> None:
        """READY is when the configuration is applied; that the far ends answer is another matter."""
        await self._settled()
        self._tell_now()
        notify("READY=1")
        took = round((time.monotonic() - self._started) * 1000)
        self._log.info("ready", config=str(self._path), took_ms=took)
        if once:
            self._stop.set()

    async def _settled(self) -> None:
        """Return when every agent has carried out the last configure, each after those below it."""
        await self._ipsec.settled()
        await self._tunnels.settled()
        await self._pim.settled()

    def _turned(self) -> dict[str, float]:
        """When the loops of the agents last came around."""
        return {"firewall": self._firewall.turned, "ipsec": self._ipsec.wake.turned, "tunnels": self._tunnels.turned}

    def _hand_over(self) -> None:
        self._leaves_standing = True
        self._stop.set()

    def _configure(self, config: Config, peers: tuple[PeerWithKey, ...]) -> None:
        self._config = config
        self._digest = digest(config)
        # What goes, says goodbye while its link still stands; what comes is joined when its link is up.
        self._links_changed()
        self._tunnels.configure(config)
        self._keys = peers
        self._children_changed()

    def _children_changed(self) -> None:
        self._ipsec.configure(IpsecDesired(self._keys, dict(self._restarts), self._firewall.guards()))
        self._tunnels.carry(
            {child.name: self._carrier(peer, child) for peer in self._config.peers for child in peer.children}
        )
        self._tell_systemd()

    def _carrier(self, peer: Peer, child: Child) -> Carrier:
        view = self._ipsec.children().get(child.name)
        configured = max(
            (esp for proposal in child.proposals for esp in esp_of_proposal(proposal)),
            key=lambda esp: esp.iv + esp.block + esp.icv,
        )
        if view is None or not view.up or not self._firewall.lets(child.name):
            generation = view.up_count if view else 0
            return Carrier(False, generation, configured, child.mode, True, peer.remote)
        return Carrier(True, view.up_count, _negotiated(view) or configured, child.mode, bool(view.encap), peer.remote)

    def _links_changed(self) -> None:
        links = {tunnel.name: self._tunnels.link(tunnel.name) for tunnel in self._config.tunnels}
        self._keepalive.configure(
            tuple(
                self._keepalives_of(tunnel, links[tunnel.name])
                for tunnel in self._config.tunnels if tunnel.encapsulation == "gre"
            )
        )  # fmt: skip
        interfaces = []
        for tunnel in self._config.tunnels:
            link = links[tunnel.name]
            # A path that was up once and is away keeps its PIM state, which ages by itself; it is told when it is back.
            if tunnel.pim is not None and link is not None and (link.up or tunnel.name in self._generations):
                interfaces.append(
                    PimInterface(tunnel.name, link.index, link.mtu, link.address, link.secondary, tunnel.pim)
                )
        self._pim.configure(tuple(interfaces), self._config.groups)
        for interface in interfaces:
            link = links[interface.name]
            if link is not None and link.up:
                known = self._generations.get(interface.name)
                self._generations[interface.name] = link.generation
                if known is not None and known != link.generation:
                    self._pim.relink(interface.name)
        for name in self._generations.keys() - {interface.name for interface in interfaces}:
            del self._generations[name]
        self._handover.remember()
        self._tell_systemd()

    def _pim_changed(self) -> None:
        self._handover.remember()
        self._tell_systemd()

    def _keepalives_of(self, tunnel: Tunnel, link: LinkView | None) -> KeepaliveTunnel:
        ends = endpoints(tunnel, *(carrier(self._config, tunnel) or ()))
        return KeepaliveTunnel(tunnel, ends, present=link is not None, up=link is not None and link.up)

    def _reinitiate(self, tunnel: str) -> None:
        child = next((one.child for one in self._config.tunnels if one.name == tunnel), None)
        if child is not None:
            number, _ = self._restarts.get(child, (0, ""))
            self._restarts[child] = number + 1, f"the path of {tunnel} is dead"
            self._children_changed()

    def _hang_up(self) -> None:
        async def reload() -> None:
            try:
                await self._reload()
            except McastdError as error:
                problems = error.problems if isinstance(error, ConfigError) else (error,)
                for problem in problems:
                    self._log.error("reload_refused", problem=str(problem))

        task = asyncio.get_running_loop().create_task(reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self) -> str:
        async with self._reloading:
            began = time.monotonic()
            notify(reloading())
            try:
                loaded = await asyncio.to_thread(load, self._path)
                peers = _with_keys(loaded.config)
                self._refuse_fixed(loaded.config)
                log_notes(self._log, loaded.notes)
                self._notes = loaded.notes
                async with asyncio.timeout(_SETTLE_TIMEOUT):
                    # What goes is guarded until it has gone.
                    self._firewall.configure(loaded.config, leaving=self._config)
                    await self._firewall.settled()
                    self._configure(loaded.config, peers)
                    await self._settled()
                    self._firewall.configure(loaded.config)
                    await self._firewall.settled()
            except TimeoutError:
                raise McastdError(
                    f"the configuration was read, but is not applied after {_SETTLE_TIMEOUT:.0f} s"
                ) from None
            finally:
                notify("READY=1")
            took = round((time.monotonic() - began) * 1000)
            self._log.info("reloaded", config=str(self._path), took_ms=took)
            notes = self._ipsec.status(time.monotonic()).notes
            for note in notes:
                self._log.warning("configuration_note", note=note)
            return "\n".join([f"reloaded {self._path} in {took} ms", *(f"note: {note}" for note in notes)])

    def _refuse_fixed(self, config: Config) -> None:
        """Refuse what a running daemon cannot change about itself."""
        old, new = self._config.daemon, config.daemon
        fixed = [
            Problem(
                str(self._path), 1, f"daemon.{key}", f"is {before} while the daemon runs; restart it to change this"
            )
            for key in ("runtime_dir", "vici_socket", "datapath")
            if (before := getattr(old, key)) != getattr(new, key)
        ]
        if fixed:
            raise ConfigError(tuple(fixed))

    async def _answer_reload(self, _arguments: dict[str, Any]) -> str:
        return await self._reload()

    async def _answer_join(self, arguments: dict[str, Any]) -> str:
        group, source, tunnel = self._join_arguments(arguments)
        pims = {one.name: one.pim for one in self._config.tunnels if one.pim is not None}
        # Also while the tunnel is down, and PIM does not know its ranges yet.
        if source is None and in_ranges(group, pims[tunnel].ssm_ranges):
            raise ControlRefused(f"{group} is source-specific: name the source to join")
        self._pim.join(group, source, tunnel, origin=COMMAND)
        self._handover.remember()
        return "joined"

    async def _answer_leave(self, arguments: dict[str, Any]) -> str:
        self._pim.leave(*self._join_arguments(arguments), origin=COMMAND)
        self._handover.remember()
        return "left"

    def _join_arguments(self, arguments: dict[str, Any]) -> tuple[IPv4Address, IPv4Address | None, str]:
        try:
            group = IPv4Address(arguments.get("group", ""))
            source = IPv4Address(arguments["source"]) if arguments.get("source") else None
        except ValueError as error:
            raise ControlRefused(f"{error}; a group and a source are IPv4 addresses") from error
        names = [tunnel.name for tunnel in self._config.tunnels if tunnel.pim is not None]
        tunnel = arguments.get("tunnel") or (names[0] if len(names) == 1 else None)
        if tunnel not in names:
            said = f"tunnel {tunnel} is not one with PIM" if tunnel else "name the tunnel"
            raise ControlRefused(f"{said}; those with PIM are: {', '.join(names) or 'none'}")
        return group, source, tunnel

    async def _answer_status(self, _arguments: dict[str, Any]) -> Status:
        await asyncio.gather(self._ipsec.refresh(), self._firewall.refresh())
        return self.status()

    def status(self) -> Status:
        """Everything, as it is now."""
        now = time.monotonic()
        ipsec = self._ipsec.status(now)
        peers, charon = ipsec.peers, ipsec.charon
        plain = self._tunnels.status()
        tunnels = tuple(
            _with(plain[tunnel.name], self._keepalive.status(tunnel.name, now), self._pim.status(tunnel.name, now))
            for tunnel in self._config.tunnels
        )
        groups = tuple(
            _seen_through(group, plain[group.tunnel]) for group in self._pim.groups(now) if group.tunnel in plain
        )
        firewall = self._firewall.status()
        down = tuple(
            problems(charon.text if charon else None, peers, tunnels, groups, firewall, capabilities.missing())
        )
        log_note = [f"log: {self._journal.problem}"] if self._journal and self._journal.problem else []
        return Status(
            version=__version__,
            pid=os.getpid(),
            uptime=now - self._started,
            healthy=not down,
            summary=summary(down, peers, tunnels, groups),
            config_file=str(self._path),
            config_digest=self._digest,
            charon=charon.text if charon else None,
            charon_code=charon.code if charon else None,
            firewall=firewall,
            peers=peers,
            tunnels=tunnels,
            groups=groups,
            notes=(*(f"{note.key}: {note.text}" for note in self._notes), *ipsec.notes, *log_note),
        )

    def _tell_systemd(self) -> None:
        """Say in one line how things are, shortly after a change; several changes together are one line."""
        if "NOTIFY_SOCKET" in os.environ and self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(_TELL_AFTER, self._tell_now)

    def _tell_now(self) -> None:
        self._telling = None
        notify(f"STATUS={self.status().summary}")

    async def _close(self, what: str, closing: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await closing
        except TimeoutError:
            self._log.error("teardown_timeout", part=what, seconds=_CLOSE_TIMEOUT)
        except McastdError as error:
            self._log.error("teardown_failed", part=what, problem=str(error))


def log_notes(log: Logger, notes: tuple[Problem, ...]) -> None:
    """Log what is worth knowing about a file that is valid."""
    for note in notes:
        log.warning("configuration_note", note=str(note))


def _with_keys(config: Config) -> tuple[PeerWithKey, ...]:
    return tuple(PeerWithKey(peer, read_psk(peer), read_certificates(peer)) for peer in config.peers)


def _negotiated(view: ChildView) -> Esp | None:
    return esp_of_sa(view.encr_alg, view.integ_alg) if view.encr_alg else None


def _with(tunnel: TunnelStatus, keepalive: KeepaliveStatus | None, pim: PimStatus | None) -> TunnelStatus:
    return msgspec.structs.replace(tunnel, keepalive=keepalive, pim=pim)


def _seen_through(group: GroupStatus, tunnel: TunnelStatus) -> GroupStatus:
    if tunnel.state == "up" or group.state != "joined":
        return group
    return msgspec.structs.replace(group, state="not joined", problem=f"tunnel {tunnel.name} is {tunnel.state}")
