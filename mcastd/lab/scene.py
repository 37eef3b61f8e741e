"""The scene as an object: build it, inspect it, break parts of it, remove it; for ``mcastd lab`` and the tests."""

import os
import secrets
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import msgspec

from mcastd import control
from mcastd.errors import ControlError, LabError
from mcastd.lab import sites, topology
from mcastd.lab.charon import list_sas, start_charons, wait_for_charons
from mcastd.lab.commands import command, require_programs, signals_held, wait_for
from mcastd.lab.datacentre import DataCentre
from mcastd.lab.feed import Feed
from mcastd.lab.filters import Filters
from mcastd.lab.lan import Lan
from mcastd.lab.nodes import Nodes, Options
from mcastd.lab.receivers import Receivers, overlay_toml
from mcastd.lab.sites import Site
from mcastd.lab.state import Process, end
from mcastd.lab.topology import CLOUD, DcIpsec
from mcastd.status import Status

_TEARDOWN_TIMEOUT = 60.0  # seconds for the daemon, which an emulated machine that is busy may need
_DAEMON = "mcastd"
_POLL = 0.05


class Scene(Nodes):
    """One scene. A context manager: built, without the daemon, on entering, and removed on leaving."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options or Options())
        self._psks = {site: secrets.token_urlsafe(24) for site in self.sites}  # of both sides
        self.psk = self._psks[sites.FIRST]
        self.data_centres = tuple(DataCentre(self, DcIpsec(psk), site) for site, psk in self._psks.items())
        self.dc = self.data_centres[0]  # the other side, or the first of two
        self.feed = Feed(self)  # the streams
        self.lan = Lan(self)  # the segment behind the VM, on demand
        self.receivers = Receivers(self)  # by an overlay, on demand
        self._filters = Filters(self)
        self.exec_time = 0.0  # when the daemon was last started (monotonic)
        self._daemon: Process | None = None

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(self) -> None:
        """Build everything but the daemon, after removing what a crash left of a previous scene.

        Raises LabError, after removing everything again.
        """
        if os.geteuid() != 0:
            raise LabError("the lab creates network namespaces and needs root: sudo mcastd lab ...")
        require_programs()
        self._take()
        try:
            self._build()
        except LabError as error:
            ended_parts = self.ended_parts()
            self.down()
            raise LabError(f"{error}{ended_parts}") from error
        except BaseException:
            self.down()
            raise

    def _take(self) -> None:
        self.state.lock()
        try:
            record = self.state.record
            if record.kept and all(process.alive for process in record.processes if process.name != _DAEMON):
                raise LabError("the lab is up already: run `mcastd lab down` first, or use it with `mcastd lab exec`")
            self.state.refuse_foreign([self.namespace(node) for node in self.nodes])
        except BaseException:
            self.state.unlock()
            raise

    def _build(self) -> None:
        self.state.clear()
        for folder in ("log", *self.nodes, *(f"{node}/frr" for node in self.nodes)):
            (self.folder / folder).mkdir()
        for node in self.nodes:
            self.state.make_namespace(self.namespace(node))
        self._connect_nodes()
        self.receivers.connect()
        self._write_config()
        self.receivers.set_up()
        userspace_esp = start_charons(self)
        for site in self.sites:
            self.feed.send(*self.options.groups, site=site)
        for dc in self.data_centres:
            dc.start(topology.CISCO_MTU_USERSPACE if userspace_esp else None)
        wait_for_charons(self)
        # From two data centres the feed comes by either tunnel, whatever the application has joined.
        self.feed.receive(*self.options.groups, from_all=len(self.sites) > 1)
        if list_sas(self, CLOUD) or any(dc.security_associations() or dc.neighbors() for dc in self.data_centres):
            raise LabError("an SA or a PIM neighbour exists before mcastd was started")

    def _connect_nodes(self) -> None:
        without_ipv6 = topology.WITHOUT_IPV6 if topology.IPV6.exists() else {}
        for node in self.nodes:
            sysctls = without_ipv6 | sites.SYSCTLS[node]
            script = "\n".join(f"echo {value} > /proc/sys/net/{name}" for name, value in sysctls.items())
            self.command(node, ["sh", "-ec", script])
        names = {node: self.namespace(node) for node in self.nodes}
        count, lan = len(self.sites), self.options.lan
        found = sites.links(count, lan, snooping=self.options.snooping, gateways=self.options.gateways)
        for node, lines in found.items():
            command(["ip", "-n", names[node], "-batch", "-"], text=lines.format(**names))
        self._filters.start()

    def _write_config(self) -> None:
        psk, runtime = self.folder / CLOUD / "psk", self.folder / CLOUD / "run"
        for site, key in self._psks.items():
            file = psk.with_name(f"psk{site.suffix}")
            file.touch(0o600)
            file.write_text(f"{key}\n")
        runtime.mkdir()
        vici, groups = self.vici(CLOUD), self.options.groups
        strongswan = self.strongswan_conf(CLOUD)
        text = topology.mcastd_toml(
            vici=vici,
            strongswan=strongswan,
            runtime=runtime,
            psk_file=psk,
            groups=() if self.options.data_centres > 1 else groups,
            mode=self.options.mode,
            follow=self.options.follow,
        )
        if self.options.upstream != "pim":
            text = topology.without_pim(text, self.options.upstream)
        if self.options.gateways:
            text += sites.gateway_toml(psk.with_name("psk2"))
        elif len(self.sites) > 1:
            text += sites.second_toml(psk.with_name("psk2"), groups, follow=self.options.follow)
        if self.receivers.names:
            text += overlay_toml(site.tunnel for site in self.sites)
        self.config.write_text(text if self._filters.nftables else topology.without_firewall(text))

    def keep(self) -> None:
        """Leave the scene up when this process ends."""
        self.state.record.kept = True
        self.state.save()
        self.state.unlock()

    def attach(self) -> None:
        """Use the scene of ``lab up``; raises LabError if there is none."""
        self.state.load()
        if not self.state.record.kept:
            raise LabError("the lab is not up: run `mcastd lab up` first")

    def down(self) -> None:
        """Remove everything, also what a crash left. Signals are blocked until it is done."""
        with signals_held():
            self.state.lock()
            record = self.state.record
            end(
                {one.pid for one in record.processes if one.name == _DAEMON and one.alive},
                signal.SIGTERM,
                _TEARDOWN_TIMEOUT,
            )
            self.state.clear(self.children())
            self.reap()
            self.state.unlock()

    def start_daemon(
        self,
        argv: Sequence[str] = ("mcastd", "run"),
        environment: dict[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        """Start mcastd with ``argv``, as ``start`` does; the data centres' line protocol is up before."""
        for dc in self.data_centres:
            dc.no_shutdown()
        self.exec_time = time.monotonic()
        self._daemon = self.start(CLOUD, _DAEMON, argv, environment, descriptors)

    def stop_daemon(self, number: signal.Signals = signal.SIGTERM) -> int | None:
        """Send a signal that ends the daemon, if it runs, and wait; returns its exit status.

        Raises LabError if it does not end.
        """
        daemon, self._daemon = self._daemon, None
        return self.stop(daemon, number, _TEARDOWN_TIMEOUT) if daemon is not None else None

    @property
    def daemon(self) -> Process:
        """The daemon's process; raises LabError if none was started."""
        if self._daemon is None:
            raise LabError("no mcastd was started in the scene")
        return self._daemon

    def status(self) -> Status:
        """The daemon's status; raises ControlError if it does not answer."""
        answer = control.ask(self.folder / CLOUD / "run" / "control.sock", "status", timeout=30.0)
        return msgspec.json.decode(answer, type=Status)

    def wait_for_status(self, what: str, ready: Callable[[Status], object], timeout: float = 60.0) -> Status:
        """Poll the daemon's status until it satisfies ``ready``; raises LabError after ``timeout`` seconds."""
        answers: list[Status] = []

        def satisfied() -> bool:
            # IndexError: the agents have not begun, and have no rows yet.
            with suppress(ControlError, IndexError):
                answers.append(self.status())
                return bool(ready(answers[-1]))
            return False

        wait_for(what, satisfied, timeout, _POLL)
        return answers[-1]

    def block(self, *ports: int) -> None:
        """Drop UDP to these ports in the internet node; without ports, drop nothing."""
        self._filters.block(*ports)

    def cut(self, site: Site, *, off: bool = True) -> None:
        """Cut a data centre off from the internet, which nothing announces, or connect it again."""
        self._filters.cut(site, off=off)

    def leaked(self) -> int:
        """How many unencrypted GRE packets have passed the internet node."""
        return self._filters.leaked()
