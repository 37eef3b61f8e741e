"""Run in a machine with systemd and without IPv6: the package's service meets what it does not expect.

    python -m tests.service.surprises DATAPATH RATE RESULTS

As tests/service/scenario.py, whose steps these are; with each, what surprises is taken away again.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mcastd.config.load import load
from mcastd.lab.commands import wait_for
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD, GROUP, VM_GATEWAY
from tests.service.scenario import BY_COMMAND, CONFIG, RUNTIME, Scenario, run

HOUR = 3600
_JOURNALD = [f"systemd-journald{name}" for name in (".socket", "-dev-log.socket", "-audit.socket", ".service")]
_DBUS = ["dbus.socket", "dbus.service"]
_DROP_IN = Path("/etc/systemd/system/mcastd.service.d/surprise.conf")


_NOT_SAVED = "ledger.json: No space left on device"


class Surprises(Scenario):
    """The steps, in order."""

    def install(self, package: Path) -> None:
        """As it is, with a Hello every 2 seconds."""
        super().install(package)
        self._text = self._text.replace(".pim]\n", '.pim]\nhello_period = "2s"\n')
        CONFIG.write_text(self._text)

    def without_ipv6(self) -> None:
        """Start on a kernel that has none, and show that it has none."""
        try:
            socket.socket(socket.AF_INET6).close()
            family = True
        except OSError:
            family = False
        self.start()
        self._note("without IPv6", family=family, sysctls=Path("/proc/sys/net/ipv6").exists())

    def read_only_etc(self) -> None:
        """Reload and restart while nothing in /etc can be written."""
        run("mount", "--bind", "/etc", "/etc")
        run("mount", "-o", "remount,bind,ro", "/etc")
        writable = os.access("/etc", os.W_OK)
        reloaded, _ = run("systemctl", "reload", "mcastd")
        self.restart()
        run("umount", "/etc")
        self._note("read-only /etc", writable=writable, reloaded=reloaded)

    def clock(self) -> None:
        """Set the clock an hour forward, and an hour back, each until the next Hello has been sent."""
        for step, seconds in (("an hour forward", HOUR), ("an hour back", -HOUR)):
            before, hellos = self._now(), self._hellos()
            run("date", "--set", f"{seconds} seconds")
            self._wait_for_hello(hellos)
            self._wait_for_more()
            self._note(step, before=before, after=self._now())

    def _now(self) -> dict[str, Any]:
        status = self._status()
        assert status is not None
        (pim,) = [tunnel.pim for tunnel in status.tunnels if tunnel.pim is not None]
        ages = {"daemon": status.uptime, "peer": status.peers[0].uptime, "neighbor": pim.neighbors[0].uptime}
        return {"healthy": status.healthy, "pid": status.pid, "expires_in": pim.neighbors[0].expires_in, "ages": ages}

    def _wait_for_hello(self, sent: int) -> None:
        wait_for("a Hello", lambda: self._hellos() > sent, poll=0.2)

    def _hellos(self) -> int:
        status = self._status()
        return sum(tunnel.pim.sent.get("hello", 0) for tunnel in status.tunnels if tunnel.pim) if status else 0

    def without_journald(self) -> None:
        """Reload, restart and refuse a file while journald is away, and let it come back."""
        with _masked(_JOURNALD):
            Path("/run/systemd/journal/socket").unlink(missing_ok=True)
            run("mcastd", "leave", BY_COMMAND)
            running = run("mcastd", "status")[1]
            self.restart()
            started = run("mcastd", "status")[1]
            CONFIG.write_text(self._text.replace(GROUP, "10.0.0.1"))
            run("systemctl", "restart", "mcastd")
            refused = run("systemctl", "status", "--no-pager", "mcastd")[1]
            CONFIG.write_text(self._text)
            self.restart()
        run("mcastd", "join", BY_COMMAND)
        log, journal = (RUNTIME / "log").read_text(), self._journal()
        after = run("mcastd", "status")[1]
        self._note(
            "without journald", running=running, started=started, refused=refused, log=log, journal=journal, after=after
        )

    def without_dbus(self) -> None:
        """Stop it where it runs, where it has crashed, and where its file was refused, without D-Bus."""
        with _masked(_DBUS):
            self.restart()
            self._note("restart without D-Bus", bus=run("busctl", "list")[0])
            self.stop("stop without D-Bus")
            self.stop("stop after a crash without D-Bus", self.crash)
            with _waiting_long():
                self.stop("stop while it waits to come back", self._crash_and_wait)
            self.stop("stop after a refused file", self._refuse)
            run("systemctl", "start", "mcastd")
            self._wait_until_healthy()

    def _crash_and_wait(self) -> None:
        self.crash()
        state = ("systemctl", "show", "--property=SubState", "--value", "mcastd")
        wait_for("the wait", lambda: run(*state)[1] == "auto-restart")

    def _refuse(self) -> None:
        """Restart with a file that is refused: everything stays."""
        run("systemctl", "start", "mcastd")
        self._wait_until_healthy()
        self._wait_for_more()
        before = self._scene.feed.received()[GROUP].lost
        CONFIG.write_text(self._text.replace(GROUP, "10.0.0.1"))
        run("systemctl", "restart", "mcastd")
        CONFIG.write_text(self._text)
        state = run("systemctl", "is-active", "mcastd")[1]
        self._wait_for_more()
        self._note("refused", state=state, text=self._text_of_status(), before=before)

    def _text_of_status(self) -> str:
        return run("systemctl", "show", "--property=StatusText", "--value", "mcastd")[1]

    def _journal(self) -> str:
        return run("journalctl", "--unit=mcastd", "--output=cat", "--no-pager")[1]

    def without_capabilities(self) -> None:
        """Start with neither."""
        with self._drop_in("AmbientCapabilities=\nCapabilityBoundingSet=\n"):
            text = self._text_of_status()
            self._note("without capabilities", text=text, journal=self._journal())

    def read_only_sysctls(self) -> None:
        """Start where /proc/sys cannot be written."""
        with self._drop_in("ReadWritePaths=\n"):
            self._note("read-only /proc/sys", text=run("mcastd", "status")[1])

    @contextmanager
    def _drop_in(self, lines: str) -> Iterator[None]:
        run("systemctl", "stop", "mcastd")
        _DROP_IN.write_text(f"[Service]\n{lines}")
        run("systemctl", "daemon-reload")
        started = run("systemctl", "start", "mcastd")
        assert started[0] == 0, started[1]
        yield
        _DROP_IN.unlink()
        run("systemctl", "daemon-reload")
        self.restart()

    def full(self) -> None:
        """Start, and stop, where /run/mcastd is full."""
        run("systemctl", "stop", "mcastd")
        run("mount", "-t", "tmpfs", "-o", "size=64k,mode=0755,uid=mcastd,gid=mcastd", "tmpfs", str(RUNTIME))
        run("dd", "if=/dev/zero", f"of={RUNTIME}/full", "bs=4k")
        started, _ = run("systemctl", "start", "mcastd")
        wait_for("what is not saved", lambda: (status := self._status()) is not None and _NOT_SAVED in status.summary)
        self._note("full", started=started, text=run("mcastd", "status")[1])
        (RUNTIME / "full").unlink()
        self._wait_until_healthy()
        run("dd", "if=/dev/zero", f"of={RUNTIME}/full", "bs=1k")
        self.stop("stop while it is full")
        run("umount", str(RUNTIME))
        run("systemctl", "start", "mcastd")
        self._wait_until_healthy()

    def without_route(self) -> None:
        """Start without a default route, which comes later, and without access to charon, which comes as well."""
        run("systemctl", "stop", "mcastd")
        self._scene.command(CLOUD, ["ip", "route", "delete", "default"])
        vici = load(CONFIG).config.daemon.vici_socket
        shutil.chown(vici, group="root")
        run("systemctl", "start", "mcastd")
        refused = run("mcastd", "status")[1]
        shutil.chown(vici, group="mcastd")
        self._scene.command(CLOUD, ["ip", "route", "add", "default", "via", VM_GATEWAY])
        self._wait_until_healthy()
        self._note("without a route", refused=refused)

    def hang_up(self) -> None:
        """Send SIGHUP as soon as there is a Python."""
        run("systemctl", "stop", "mcastd")
        run("systemctl", "start", "--no-block", "mcastd")
        wait_for("a Python", lambda: (pid := self._pid()) and Path(f"/proc/{pid}/comm").read_text() == "python3\n")
        before = self._pid()
        os.kill(before, signal.SIGHUP)
        self._wait_until_healthy()
        self._wait_for_more()
        self._note("SIGHUP", before=before)

    def second(self) -> None:
        """Start a second one, by hand, and let PID 1 execute itself again."""
        by_hand = subprocess.run(
            ["setpriv", "--reuid=mcastd", "--regid=mcastd", "--init-groups", "mcastd", "run"],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        run("systemctl", "daemon-reexec")
        self._wait_until_healthy()
        self._wait_for_more()
        self._note("second", status=by_hand.returncode, printed=by_hand.stderr)


@contextmanager
def _waiting_long() -> Iterator[None]:
    """The half a second that it waits before it comes back may be over before one has looked."""
    _DROP_IN.write_text("[Service]\nRestartSec=120s\n")
    run("systemctl", "daemon-reload")
    yield
    _DROP_IN.unlink()
    run("systemctl", "daemon-reload")


@contextmanager
def _masked(units: list[str]) -> Iterator[None]:
    run("systemctl", "mask", "--runtime", *units)
    run("systemctl", "stop", *units)
    yield
    run("systemctl", "unmask", "--runtime", *units)
    run("systemctl", "start", *units)


def main() -> None:
    """Do the steps."""
    datapath, rate, results = sys.argv[1:]
    (package,) = Path("build").glob("mcastd_*.deb")
    options = Options(prefix="mcastd-service", keepalive_period=120.0, rate=float(rate))
    with Scene(options) as scene, Path(results).open("w") as file:
        surprises = Surprises(scene, datapath, file)
        surprises.install(package)
        surprises.without_ipv6()
        surprises.read_only_etc()
        surprises.clock()
        surprises.second()
        surprises.without_journald()
        surprises.without_dbus()
        surprises.without_capabilities()
        surprises.read_only_sysctls()
        surprises.full()
        surprises.without_route()
        surprises.hang_up()


if __name__ == "__main__":
    main()
