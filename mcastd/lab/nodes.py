"""The nodes of a scene (network namespaces), and the processes in them."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mcastd.config.model import UpstreamProtocol
from mcastd.errors import LabError
from mcastd.lab import topology
from mcastd.lab.commands import command, python, signals_held
from mcastd.lab.sites import DC2, FIRST, SECOND_GATEWAY, SITES, SOURCE2, Site
from mcastd.lab.state import Process, SceneState, end


@dataclass(frozen=True, kw_only=True)
class Options:
    """How scenes differ. A group is ``GROUP`` or ``GROUP@SOURCE``; ``rate`` is in packets/s, the period in seconds.

    ``mode`` is one of ``topology.MODES``; ``drop_in`` gives charon the settings that VICI cannot set; ``upstream`` is
    how the VM joins. With nodes in ``lan`` (of ``topology.LAN_NODES``) there is a segment behind the VM, a bridge with
    or without IGMP snooping.
    ``follow`` is that what the applications join is joined for them, as without a word in the configuration.
    There may be two ``data_centres``, in tunnel mode with PIM; with ``gateways`` the second is another gateway of the
    first, with the same selectors and the same tunnel. As many machines as ``receivers`` receive by an overlay.
    """

    prefix: str = "mcastd"
    groups: tuple[str, ...] = (topology.GROUP,)
    rate: float = 1000.0
    keepalive_period: float = 1.0
    mode: str = "tunnel"
    drop_in: bool = True
    upstream: UpstreamProtocol = "pim"
    lan: tuple[str, ...] = ()
    snooping: bool = True
    follow: bool = False
    data_centres: int = 1
    receivers: int = 0
    gateways: bool = False


class Nodes:
    """Network namespaces, the folder of the scene, and the processes that were started in them."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.folder = Path(f"/run/{options.prefix}-lab")
        self.config = self.folder / "mcastd.toml"
        self.state = SceneState(self.folder)
        self._children: dict[int, subprocess.Popen[bytes]] = {}  # started by this object, by pid

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes of this scene."""
        lan = self.options.lan
        second = (DC2, SOURCE2) if len(self.sites) > 1 else ()
        return (*topology.NODES, *second, *((topology.LAN, *lan) if lan else ()))

    @property
    def sites(self) -> tuple[Site, ...]:
        """The data centres of this scene."""
        return (FIRST, SECOND_GATEWAY) if self.options.gateways else SITES[: self.options.data_centres]

    def namespace(self, node: str) -> str:
        """The name of a node's network namespace."""
        return f"{self.options.prefix}-{node}"

    def vici(self, node: str) -> Path:
        """The VICI socket of a node's charon."""
        return self.folder / node / "charon.vici"

    def strongswan_conf(self, node: str) -> Path:
        """The strongswan.conf of a node's charon."""
        return self.folder / node / "strongswan.conf"

    def argv(self, node: str, argv: Sequence[str]) -> list[str]:
        """The command line that runs ``argv`` in a node; vtysh, swanctl and mcastd use the sockets of the scene."""
        program, *rest = argv
        if program == "vtysh":
            argv = [program, "--vty_socket", str(self.folder / node / "frr"), *rest]
        elif program == "swanctl":
            settings = f"STRONGSWAN_CONF={self.strongswan_conf(node)}"
            argv = ["env", settings, program, *rest, "--uri", f"unix://{self.vici(node)}"]
        elif program == "mcastd":
            argv = python("mcastd", *rest)
        return ["ip", "netns", "exec", self.namespace(node), *argv]

    def environment(self) -> dict[str, str]:
        """The environment of processes in the scene: this mcastd package, the scene's configuration."""
        package = Path(__file__).parents[2]
        return {**os.environ, "PYTHONPATH": str(package), "MCASTD_CONFIG": str(self.config)}

    def exec(self, node: str, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command in a node and wait for it, whatever its exit status."""
        line = self.argv(node, argv)
        return subprocess.run(
            line, capture_output=True, text=True, check=False, env=self.environment(), start_new_session=True
        )

    def command(self, node: str, argv: Sequence[str], *, text: str | None = None) -> str:
        """Run a command in a node and return its output; raises LabError if it fails."""
        return command(self.argv(node, argv), text=text)

    def start(
        self,
        node: str,
        name: str,
        argv: Sequence[str],
        environment: dict[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> Process:
        """Start a process in a node; its output goes to ``log/NAME.log`` in the scene's folder.

        It inherits ``descriptors`` with unchanged numbers.
        """
        with self.log(name).open("ab") as log, signals_held() as mask:
            child = subprocess.Popen(
                self.argv(node, argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment() | (environment or {}),
                start_new_session=True,
                pass_fds=descriptors,
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, mask),
            )
            self._children[child.pid] = child
            return self.state.add_process(name, child.pid)

    def log(self, name: str) -> Path:
        """The log file of one process."""
        return self.folder / "log" / f"{name}.log"

    def stop(self, process: Process, number: signal.Signals = signal.SIGTERM, timeout: float = 60.0) -> int | None:
        """End a process and wait for it; returns its exit status.

        Raises LabError if it does not end, with how far it says it has come.
        """
        if process.alive and not end({process.pid}, number, timeout):
            now = time.strftime("%H:%M:%S")
            late = f"{process.name}: at {now} still running {timeout:.0f} s after {number.name}"
            raise LabError(f"{late}; its log ends with:\n{self.tail(process.name, 40)}")
        child = self._children.pop(process.pid, None)
        return child.wait() if child else None

    def kill(self, name: str, number: signal.Signals) -> None:
        """Send a signal to every process with that name."""
        for process in self.state.record.processes:
            if process.name == name and process.alive:
                os.kill(process.pid, number)

    def end(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop every process with that name."""
        for process in self.state.record.processes:
            if process.name == name and process.alive:
                self.stop(process, number)

    def ended_parts(self) -> str:
        """The processes other than mcastd that have ended unexpectedly, each with the end of its log."""
        dead = {process.name for process in self.state.record.processes if not process.alive} - {"mcastd"}
        return "".join(f"\n{name} has ended:\n{self.tail(name)}" for name in sorted(dead))

    def tail(self, name: str, lines: int = 15) -> str:
        """The last lines of the log of a process."""
        try:
            return "\n".join(f"  {line}" for line in self.log(name).read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def children(self) -> set[int]:
        """The pids of the processes that this object started."""
        return set(self._children)

    def reap(self) -> None:
        """Wait for the processes that this object started."""
        for child in self._children.values():
            child.wait()
        self._children.clear()
