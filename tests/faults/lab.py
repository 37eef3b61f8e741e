"""The lab of the faults: a scene with the daemon as a service, and what can be done to and asked of it."""

import os
import shutil
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from mcastd import control
from mcastd.errors import ControlError, LabError
from mcastd.lab.commands import command, wait_for
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD, GROUP
from mcastd.status import Status
from tests.faults.vici_proxy import ViciProxy
from tests.lab.datapath import RATE
from tests.lab.service_manager import ServiceManager

_HOST = """
ip -o link | sed 's/^[0-9]*: //; s/ state .*//; s/NO-CARRIER,//; s/,LOWER_UP//'
ip -o -4 addr | sed 's/^[0-9]*: //; s/ *valid_lft.*//'
ip route show table all; ip rule; nft list ruleset; cd /proc/sys/net/ipv4 && grep -s . conf/*/rp_filter ip_forward
"""
_PROMPT = 5.0  # seconds within which status must answer; while charon hangs it waits for it


class LabNotReadyError(LabError):
    """The path did not become healthy before anything was injected."""


class Lab:
    """A scene, and its daemon as a service. A context manager."""

    def __init__(self, prefix: str = "mcastd-faults", groups: tuple[str, ...] = (GROUP,), rate: float = RATE) -> None:
        self.scene = Scene(Options(prefix=prefix, groups=groups, rate=rate))
        self.set_up = ExitStack()  # what ends when the daemon has ended
        self.injected = ExitStack()  # what ends with the fault
        self.configuration = ""  # of the daemon, before a fault changes it
        self.found: frozenset[str] = frozenset()  # the host before the daemon started
        self.proxy: ViciProxy | None = None  # between the daemon and charon, where a fault has set one up
        self.module = "mcastd"  # what is run as the daemon
        self._manager: ServiceManager | None = None

    def __enter__(self) -> Self:
        self._break_nft()
        self.scene.up()
        self.configuration = self.scene.config.read_text()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.injected.close()
            self.set_up.close()
        finally:
            if self._manager is not None:
                self._manager.close()
            self.scene.down()

    def _break_nft(self) -> None:
        """Put a program before nft(8) that fails while a file exists (``nft_broken``)."""
        programs = self.scene.folder.parent / "mcastd-faults-bin"
        path = os.environ["PATH"].removeprefix(f"{programs}:")  # of a lab before this one
        real = shutil.which("nft", path=path)
        programs.mkdir(exist_ok=True)
        (programs / "nft").write_text(f'#!/bin/sh\n[ ! -e "{programs}/broken" ] || exit 1\nexec {real} "$@"\n')
        (programs / "nft").chmod(0o755)
        self.nft_broken = programs / "broken"
        os.environ["PATH"] = f"{programs}:{path}"

    @property
    def runtime(self) -> Path:
        """The daemon's runtime directory."""
        return self.scene.folder / CLOUD / "run"

    @property
    def manager(self) -> ServiceManager:
        """What has started the daemon."""
        if self._manager is None:
            raise LabError("no daemon was started")
        return self._manager

    def start(self) -> None:
        """Start the daemon; returns when its feed arrives and all is well. Raises LabNotReadyError.

        What an earlier fault has left unreadable for people is removed: it is not of this one.
        """
        for kept in self.runtime.glob("*.unreadable"):
            if kept.is_dir() and not kept.is_symlink():
                shutil.rmtree(kept)
            else:
                kept.unlink()
        self.found = self.host()
        self._manager = ServiceManager(self.scene, module=self.module)
        try:
            self._manager.start()
            if self.next_packet(30.0) is None:
                raise LabError("the feed does not arrive")
            self.scene.wait_for_status("health is ok", lambda status: status.health == "ok", 30.0)
        except LabError as error:
            raise LabNotReadyError(str(error)) from error

    def stop(self) -> tuple[str, ...]:
        """End the daemon by SIGTERM; returns what differs on the host from before its start."""
        manager, self._manager = self._manager, None
        if manager is not None:
            try:
                manager.stop(signal.SIGTERM)
            finally:
                manager.close()
        now = self.host()
        return tuple(sorted(now - self.found) + [f"missing: {line}" for line in sorted(self.found - now)])

    def host(self) -> frozenset[str]:
        """What the VM has: links, addresses, routes, rules, nftables, sysctls, and what charon has, a line each."""
        lines = self.sh(CLOUD, _HOST)
        for what in ("--list-sas", "--list-conns"):
            lines += self.scene.command(CLOUD, ["swanctl", what])
        files = {entry.name for entry in self.runtime.iterdir()} if self.runtime.exists() else set()
        # The lock file stays, since whoever waits for it may hold it open.
        lines += "\n".join(f"file {name}" for name in files - {"lock"})
        return frozenset(line.strip() for line in lines.splitlines() if line.strip())

    def sh(self, node: str, script: str) -> str:
        """Run a shell script in a node; returns its output. Raises LabError if it fails."""
        return self.scene.command(node, ["sh", "-ec", script])

    def host_command(self, argv: list[str]) -> str:
        """Run a program outside of the nodes. Raises LabError if it fails."""
        return command(argv)

    def mcastd(self, *arguments: str) -> str:
        """Run a command of mcastd, whatever its exit status; returns its output."""
        return self.scene.exec(CLOUD, ["mcastd", *arguments]).stdout

    def edit(self, old: str, new: str) -> None:
        """Change the daemon's configuration, without a reload."""
        text = self.scene.config.read_text()
        if old not in text:
            raise LabError(f"the configuration has no {old!r}")
        self.scene.config.write_text(text.replace(old, new, 1))

    def daemon(self) -> int:
        """The process of the daemon."""
        return self.scene.daemon.pid

    def status(self) -> Status | None:
        """The daemon's status; None if it does not answer promptly."""
        try:
            answer = control.ask(self.runtime / "control.sock", "status", timeout=_PROMPT)
        except (ControlError, OSError):
            return None
        return msgspec.json.decode(answer, type=Status)

    def received(self) -> tuple[int, int, float]:
        """Packets of the feed that the application has received, those that it lacks, and when the last came."""
        found = self.scene.feed.received()[GROUP]
        return found.received, found.lost, found.last or 0.0

    def next_packet(self, timeout: float) -> float | None:
        """Wait until the feed arrives; returns when (monotonic), or None."""
        before, _, _ = self.received()
        try:
            wait_for("the feed", lambda: self.received()[0] > before, timeout, 0.05)
        except LabError:
            return None
        return time.monotonic()
