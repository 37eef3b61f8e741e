"""Run in a machine with systemd: the package is installed, and its service run in the lab's VM.

    python -m tests.service.scenario DATAPATH RATE RESULTS

The service is the package's own, but for a drop-in that puts it into the network namespace that is the VM. What was
seen after each step is a line of JSON.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import msgspec

from mcastd import control
from mcastd.errors import ControlError
from mcastd.lab.commands import wait_for
from mcastd.lab.places import Options
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD, GROUP, TUNNEL
from mcastd.status import Status

CONFIG, KEYS, RUNTIME = Path("/etc/mcastd.toml"), Path("/etc/mcastd"), Path("/run/mcastd")
BY_COMMAND = "239.1.1.9"
_PATIENCE = 120.0


def run(*argv: str) -> tuple[int, str]:
    """A command's exit status, and what it printed."""
    done = subprocess.run(argv, text=True, capture_output=True, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()


class Scenario:
    """The steps, in order."""

    def __init__(self, scene: Scene, datapath: str, results: IO[str]) -> None:
        self._scene = scene
        self._datapath = datapath
        self._results = results
        self._text = ""

    def _note(self, step: str, **facts: Any) -> None:
        feed = self._scene.feed.received()[GROUP]
        uptime = self._scene.dc.frr_json("show ip pim neighbor").get(TUNNEL, {}).get("10.44.4.6", {}).get("upTime")
        shown = self._scene.exec(CLOUD, ["cat", f"/sys/class/net/{TUNNEL}/ifindex"])
        common = {
            "step": step, "pid": self._pid(), "lost": feed.lost, "duplicates": feed.duplicates,
            "joined": sorted(self._scene.dc.joined()), "neighbor_uptime": uptime, "ifindex": shown.stdout.strip(),
        }  # fmt: skip
        self._results.write(json.dumps(common | facts) + "\n")
        self._results.flush()

    def _pid(self) -> int:
        return int(run("systemctl", "show", "--property=MainPID", "--value", "mcastd")[1] or 0)

    def _status(self) -> Status | None:
        try:
            return msgspec.json.decode(control.ask(RUNTIME / "control.sock", "status"), type=Status)
        except ControlError:
            return None

    def _wait_until_healthy(self) -> None:
        wait_for("health", lambda: (status := self._status()) is not None and status.healthy, _PATIENCE, 0.1)

    def _wait_for_more(self) -> None:
        before = self._scene.feed.received()[GROUP].received
        wait_for("the feed", lambda: self._scene.feed.received()[GROUP].received > before + 300, _PATIENCE)

    def install(self, package: Path) -> None:
        """Install the package, and configure it for the scene."""
        status, printed = run("dpkg", "--install", str(package))
        enabled = run("systemctl", "is-enabled", "mcastd")[1]
        key = KEYS / "psk"
        shutil.copy(self._scene.folder / CLOUD / "psk", key)
        key.chmod(0o640)
        text = re.sub(r"runtime_dir = .*", f'datapath = "{self._datapath}"', self._scene.config.read_text())
        self._text = re.sub(r"psk_file = .*", f'psk_file = "{key}"', text)
        CONFIG.write_text(self._text)
        for path in (key, CONFIG, self._scene.vici(CLOUD)):
            shutil.chown(path, group="mcastd")
        for unit in ("mcastd", "mcastd-cleanup"):
            folder = Path(f"/etc/systemd/system/{unit}.service.d")
            folder.mkdir()
            namespace = f"/run/netns/{self._scene.namespace(CLOUD)}"
            (folder / "lab.conf").write_text(f"[Service]\nNetworkNamespacePath={namespace}\n")
        run("systemctl", "mask", "strongswan")  # the lab has charons of its own
        run("systemctl", "daemon-reload")
        self._note("install", status=status, printed=printed, enabled=enabled)

    def start(self) -> None:
        """Enable and start; the feed arrives, and a group is joined by command."""
        status, printed = run("systemctl", "enable", "--now", "mcastd")
        self._wait_until_healthy()
        self._wait_for_more()
        run("mcastd", "join", BY_COMMAND)
        wait_for("the join", lambda: BY_COMMAND in self._scene.dc.joined())
        process = Path(f"/proc/{self._pid()}/status").read_text()
        shown = run("systemctl", "show", "--property=StatusText", "--value", "mcastd")[1]
        found = self._status()
        datapaths = [tunnel.datapath for tunnel in found.tunnels] if found else []
        self._note("start", status=status, printed=printed, text=shown, process=process, datapaths=datapaths)

    def reload(self) -> None:
        """Reload a good file, and one that is refused."""
        good, _ = run("systemctl", "reload", "mcastd")
        CONFIG.write_text(self._text.replace(GROUP, "10.0.0.1"))
        bad, _ = run("systemctl", "reload", "mcastd")
        CONFIG.write_text(self._text)
        active = run("systemctl", "is-active", "mcastd")[1]
        journal = run("journalctl", "--unit=mcastd", "--output=cat", "--no-pager")[1]
        self._wait_for_more()
        self._note("reload", good=good, bad=bad, active=active, journal=journal)

    def restart(self) -> None:
        """systemctl restart."""
        run("systemctl", "restart", "mcastd")
        self._wait_until_healthy()
        self._wait_for_more()
        self._note("restart")

    def lose(self, step: str, number: signal.Signals) -> None:
        """Send the process a signal, and wait until systemd has put another in its place."""
        before, began = self._pid(), time.monotonic()
        os.kill(before, number)
        wait_for("a successor", lambda: self._pid() not in (0, before), _PATIENCE, 0.2)
        self._wait_until_healthy()
        self._wait_for_more()
        self._note(step, before=before, took=time.monotonic() - began)

    def stop(self, step: str, before: Callable[[], object] = lambda: None) -> None:
        """systemctl stop, and what is left; ``before`` is done right before."""
        before()
        run("systemctl", "stop", "mcastd")
        cleanup = ("systemctl", "is-active", "mcastd-cleanup")
        wait_for("the cleanup", lambda: run(*cleanup)[1] in ("inactive", "failed"), _PATIENCE, 0.2)
        self._note(
            step, files=sorted(path.name for path in RUNTIME.iterdir()), sas=self._scene.dc.security_associations(),
            neighbors=self._scene.dc.neighbors(), links=self._scene.exec(CLOUD, ["ip", "-brief", "link"]).stdout,
        )  # fmt: skip

    def crash(self) -> None:
        """Start, and kill."""
        run("systemctl", "start", "mcastd")
        self._wait_until_healthy()
        os.kill(self._pid(), signal.SIGKILL)

    def remove(self) -> None:
        """Explain, remove, purge."""
        explained = run("journalctl", "-x", "--unit=mcastd", "--no-pager")[1]
        removed, _ = run("dpkg", "--remove", "mcastd")
        kept = CONFIG.exists() and (KEYS / "psk").exists()
        purged, _ = run("dpkg", "--purge", "mcastd")
        left = [str(path) for path in (Path("/usr/lib/mcastd"), Path("/usr/bin/mcastd"), RUNTIME) if path.exists()]
        self._note("remove", removed=removed, kept=kept, purged=purged, left=left, explained=explained)


def main() -> None:
    """Do the steps."""
    datapath, rate, results = sys.argv[1:]
    (package,) = Path("build").glob("mcastd_*.deb")
    options = Options(prefix="mcastd-service", keepalive_period=120.0, rate=float(rate))
    with Scene(options) as scene, Path(results).open("w") as file:
        scenario = Scenario(scene, datapath, file)
        scenario.install(package)
        scenario.start()
        scenario.reload()
        scenario.restart()
        scenario.lose("crash", signal.SIGKILL)
        scenario.lose("watchdog", signal.SIGSTOP)
        scenario.stop("stop")
        scenario.stop("stop after a crash", scenario.crash)
        scenario.remove()


if __name__ == "__main__":
    main()
