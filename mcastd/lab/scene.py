"""The scene as an object: build it, look at it, break parts of it, take it down. ``lab`` and its tests use it alike."""

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
from mcastd.lab import topology
from mcastd.lab.charon import list_sas, start_charons, wait_for_charons
from mcastd.lab.commands import command, require_programs, undisturbed, wait_for
from mcastd.lab.datacentre import DataCentre
from mcastd.lab.feed import Feed
from mcastd.lab.filters import Filters
from mcastd.lab.places import Options, Places
from mcastd.lab.state import Process, end
from mcastd.lab.topology import CLOUD, PLACES, DcIpsec
from mcastd.status import Status

_GOING_DOWN = 10.0
_DAEMON = "mcastd"
_POLL = 0.05


class Scene(Places):
    """One scene. As a context manager it is built, without the daemon, on entering and gone on leaving.

    ``dc`` is the other side, ``feed`` the streams, ``psk`` the agreed key, ``exec_time`` when the daemon was last
    started (monotonic).
    """

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options or Options())
        self.psk = secrets.token_urlsafe(24)
        self.dc = DataCentre(self, DcIpsec(self.psk))
        self.feed = Feed(self)
        self._filters = Filters(self)
        self.exec_time = 0.0
        self._daemon: Process | None = None

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(self) -> None:
        """Build everything but the daemon; what a crash left of an earlier scene is cleared away first.

        Raises LabError, and then leaves nothing behind either.
        """
        if os.geteuid() != 0:
            raise LabError("the lab makes network namespaces and needs root: sudo mcastd lab ...")
        require_programs()
        self._take()
        try:
            self._build()
        except LabError as error:
            casualties = self.casualties()
            self.down()
            raise LabError(f"{error}{casualties}") from error
        except BaseException:
            self.down()
            raise

    def _take(self) -> None:
        self.ours.lock()
        try:
            record = self.ours.record
            if record.kept and all(process.alive for process in record.processes if process.name != _DAEMON):
                raise LabError("the lab is up already: `mcastd lab down` first, or look around with `mcastd lab exec`")
            self.ours.refuse_foreign([self.namespace(place) for place in PLACES])
        except BaseException:
            self.ours.unlock()
            raise

    def _build(self) -> None:
        self.ours.clear()
        for folder in ("log", "cloud", "dc", "dc/frr"):
            (self.folder / folder).mkdir()
        for place in PLACES:
            self.ours.make_namespace(self.namespace(place))
        self._lay_cables()
        self._write_config()
        userspace_esp = start_charons(self)
        self.feed.send(*self.options.groups)
        self.dc.start(topology.CISCO_MTU_USERSPACE if userspace_esp else None)
        wait_for_charons(self)
        self.feed.receive(*self.options.groups)
        if list_sas(self, CLOUD) or self.dc.security_associations() or self.dc.neighbors():
            raise LabError("there is an SA or a PIM neighbour before mcastd was started")

    def _lay_cables(self) -> None:
        without_ipv6 = topology.WITHOUT_IPV6 if topology.IPV6.exists() else {}
        for place in PLACES:
            sysctls = without_ipv6 | topology.SYSCTLS[place]
            script = "\n".join(f"echo {value} > /proc/sys/net/{name}" for name, value in sysctls.items())
            self.command(place, ["sh", "-ec", script])
        names = {place: self.namespace(place) for place in PLACES}
        for place, lines in topology.LINKS.items():
            command(["ip", "-n", names[place], "-batch", "-"], text=lines.format(**names))
        self._filters.start()

    def _write_config(self) -> None:
        psk, runtime = self.folder / CLOUD / "psk", self.folder / CLOUD / "run"
        psk.touch(0o600)
        psk.write_text(self.psk + "\n")
        runtime.mkdir()
        vici, groups = self.vici(CLOUD), self.options.groups
        strongswan = self.strongswan_conf(CLOUD)
        text = topology.mcastd_toml(
            vici=vici, strongswan=strongswan, runtime=runtime, psk_file=psk, groups=groups, mode=self.options.mode
        )
        self.config.write_text(text if self._filters.nftables else topology.without_firewall(text))

    def keep(self) -> None:
        """Leave the scene up when this process ends."""
        self.ours.record.kept = True
        self.ours.save()
        self.ours.unlock()

    def attach(self) -> None:
        """Use a scene that ``lab up`` left; raises LabError if there is none."""
        self.ours.load()
        if not self.ours.record.kept:
            raise LabError("the lab is not up: `mcastd lab up` first")

    def down(self) -> None:
        """Take everything down and leave nothing behind; also what a crash left. Signals wait until it is done."""
        with undisturbed():
            self.ours.lock()
            record = self.ours.record
            end({one.pid for one in record.processes if one.name == _DAEMON and one.alive}, signal.SIGTERM, _GOING_DOWN)
            self.ours.clear(self.children())
            self.reap()
            self.ours.unlock()

    def start_daemon(
        self,
        argv: Sequence[str] = ("mcastd", "run"),
        environment: dict[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        """Start mcastd, by ``argv`` and as ``start`` does. The data centre's tunnel is as after ``no shutdown``."""
        self.dc.no_shutdown()
        self.exec_time = time.monotonic()
        self._daemon = self.start(CLOUD, _DAEMON, argv, environment, descriptors)

    def stop_daemon(self, number: signal.Signals = signal.SIGTERM) -> int | None:
        """Send the daemon, if it runs, a signal that ends it, and wait; returns its exit status.

        Raises LabError if it does not end.
        """
        daemon, self._daemon = self._daemon, None
        return self.stop(daemon, number, _GOING_DOWN) if daemon is not None else None

    @property
    def daemon(self) -> Process:
        """The daemon's process; raises LabError if none was started."""
        if self._daemon is None:
            raise LabError("no mcastd was started in the scene")
        return self._daemon

    def status(self) -> Status:
        """What the daemon says of itself; raises ControlError if it does not."""
        answer = control.ask(self.folder / CLOUD / "run" / "control.sock", "status", timeout=30.0)
        return msgspec.json.decode(answer, type=Status)

    def wait_for_status(self, what: str, ready: Callable[[Status], object], patience: float = 60.0) -> Status:
        """Ask the daemon until its answer satisfies ``ready``; raises LabError after ``patience`` seconds."""
        answers: list[Status] = []

        def satisfied() -> bool:
            with suppress(ControlError):
                answers.append(self.status())
                return bool(ready(answers[-1]))
            return False

        wait_for(what, satisfied, patience, _POLL)
        return answers[-1]

    def block(self, *ports: int) -> None:
        """Let the internet lose UDP to these ports; without ports, none."""
        self._filters.block(*ports)

    def leaked(self) -> int:
        """How many GRE packets the internet has seen in the clear."""
        return self._filters.leaked()
