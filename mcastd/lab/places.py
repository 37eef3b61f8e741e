"""The places of a scene, and what runs in them."""

import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mcastd.errors import LabError
from mcastd.lab import topology
from mcastd.lab.commands import command, python, undisturbed
from mcastd.lab.state import Ours, Process, end
from mcastd.lab.topology import DC


@dataclass(frozen=True, kw_only=True)
class Options:
    """What scenes differ in. A group is ``GROUP`` or ``GROUP@SOURCE``; ``rate`` is a second, the period in seconds.

    ``mode`` is one of ``topology.MODES``; ``drop_in`` gives charon the settings that mcastd cannot make through VICI.
    """

    prefix: str = "mcastd"
    groups: tuple[str, ...] = (topology.GROUP,)
    rate: float = 1000.0
    keepalive_period: float = 1.0
    mode: str = "tunnel"
    drop_in: bool = True


class Places:
    """Network namespaces, the folder of the scene, and the processes that were started in them."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.folder = Path(f"/run/{options.prefix}-lab")
        self.config = self.folder / "mcastd.toml"
        self.ours = Ours(self.folder)
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def namespace(self, place: str) -> str:
        """The name of a place's network namespace."""
        return f"{self.options.prefix}-{place}"

    def vici(self, place: str) -> Path:
        """The VICI socket of a place's charon."""
        return self.folder / place / "charon.vici"

    def strongswan_conf(self, place: str) -> Path:
        """The settings of a place's charon."""
        return self.folder / place / "strongswan.conf"

    def argv(self, place: str, argv: Sequence[str]) -> list[str]:
        """A command line for a place: vtysh, swanctl and mcastd find the ones of the scene."""
        program, *rest = argv
        if program == "vtysh":
            argv = [program, "--vty_socket", str(self.folder / DC / "frr"), *rest]
        elif program == "swanctl":
            settings = f"STRONGSWAN_CONF={self.strongswan_conf(place)}"
            argv = ["env", settings, program, *rest, "--uri", f"unix://{self.vici(place)}"]
        elif program == "mcastd":
            argv = python("mcastd", *rest)
        return ["ip", "netns", "exec", self.namespace(place), *argv]

    def environment(self) -> dict[str, str]:
        """The environment of what runs in the scene: mcastd's own package, the scene's configuration."""
        package = Path(__file__).parents[2]
        return {**os.environ, "PYTHONPATH": str(package), "MCASTD_CONFIG": str(self.config)}

    def exec(self, place: str, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command in a place to its end, whatever its exit status."""
        line = self.argv(place, argv)
        return subprocess.run(
            line, capture_output=True, text=True, check=False, env=self.environment(), start_new_session=True
        )

    def command(self, place: str, argv: Sequence[str], *, text: str | None = None) -> str:
        """Run a command in a place and return what it printed; raises LabError if it fails."""
        return command(self.argv(place, argv), text=text)

    def start(
        self,
        place: str,
        name: str,
        argv: Sequence[str],
        environment: dict[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> Process:
        """Start a process in a place; what it prints goes to ``log/NAME.log`` in the scene's folder.

        It inherits ``descriptors``, under their numbers.
        """
        with self.log(name).open("ab") as log, undisturbed() as mask:
            child = subprocess.Popen(
                self.argv(place, argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment() | (environment or {}),
                start_new_session=True,
                pass_fds=descriptors,
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, mask),
            )
            self._children[child.pid] = child
            return self.ours.add_process(name, child.pid)

    def log(self, name: str) -> Path:
        """The log of one process."""
        return self.folder / "log" / f"{name}.log"

    def stop(self, process: Process, number: signal.Signals = signal.SIGTERM, patience: float = 5.0) -> int | None:
        """End a process and wait for it; returns its exit status. Raises LabError if it does not end."""
        if process.alive and not end({process.pid}, number, patience):
            raise LabError(f"{process.name}: still there {patience:.0f} s after {number.name}")
        child = self._children.pop(process.pid, None)
        return child.wait() if child else None

    def kill(self, name: str, number: signal.Signals) -> None:
        """Send a signal to every process of that name."""
        for process in self.ours.record.processes:
            if process.name == name and process.alive:
                os.kill(process.pid, number)

    def casualties(self) -> str:
        """The parts, other than mcastd, that have ended by themselves, each with the end of its log."""
        dead = {process.name for process in self.ours.record.processes if not process.alive} - {"mcastd"}
        return "".join(f"\n{name} has ended:\n{self.tail(name)}" for name in sorted(dead))

    def tail(self, name: str, lines: int = 15) -> str:
        """The last lines of the log of one process."""
        try:
            return "\n".join(f"  {line}" for line in self.log(name).read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def children(self) -> set[int]:
        """The pids of what this object started."""
        return set(self._children)

    def reap(self) -> None:
        """Collect the children that have ended."""
        for child in self._children.values():
            child.wait()
        self._children.clear()
