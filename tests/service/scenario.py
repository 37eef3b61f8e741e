"""Run in a machine with systemd: the package is installed, and its service run in the lab's VM.

    python -m tests.service.scenario DATAPATH RATE RESULTS

The service is the package's own, and charon is Debian's strongswan.service, but for drop-ins that put both into the
network namespace that is the VM. What was seen after each step is a line of JSON.
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
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD, GROUP, TUNNEL
from mcastd.status import Status

CONFIG, KEYS, RUNTIME = Path("/etc/mcastd.toml"), Path("/etc/mcastd"), Path("/run/mcastd")
CONFFILE, VICI = Path("/etc/strongswan.d/mcastd.conf"), Path("/run/charon.vici")
SAME, NEWER, FIRST = Path("build/same.deb"), Path("build/newer.deb"), Path("build/first.deb")
BY_COMMAND = "239.1.1.9"
SLOW = 3
"""Seconds that charon takes to start at boot."""
OFTEN = frozenset({"flapping", "changed_by_another_program"})
"""What stays for a minute after charon, whose unit runs ``swanctl --load-all``, was restarted three times in one."""
_PATIENCE = 120.0
_LATE = 10.0


def run(*argv: str) -> tuple[int, str]:
    """A command's exit status, and what it printed."""
    done = subprocess.run(argv, text=True, capture_output=True, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()


def shown(unit: str, name: str) -> str:
    """A property of a unit."""
    return run("systemctl", "show", f"--property={name}", "--value", unit)[1]


def drop_in(unit: str, name: str, text: str) -> None:
    """A drop-in for a unit's section Service."""
    folder = Path(f"/etc/systemd/system/{unit}.service.d")
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.conf").write_text(f"[Service]\n{text}\n")


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
        index = self._scene.exec(CLOUD, ["cat", f"/sys/class/net/{TUNNEL}/ifindex"])
        common = {
            "step": step, "pid": self._pid(), "lost": feed.lost, "duplicates": feed.duplicates,
            "joined": sorted(self._scene.dc.joined()), "neighbor_uptime": uptime, "ifindex": index.stdout.strip(),
        }  # fmt: skip
        self._results.write(json.dumps(common | facts) + "\n")
        self._results.flush()

    def _pid(self, unit: str = "mcastd") -> int:
        return int(shown(unit, "MainPID") or 0)

    def _status(self) -> Status | None:
        try:
            return msgspec.json.decode(control.ask(RUNTIME / "control.sock", "status", timeout=30.0), type=Status)
        except ControlError:
            return None

    def _wait_until_healthy(self, but_for: frozenset[str] = frozenset()) -> None:
        def is_healthy() -> bool:
            status = self._status()
            return status is not None and bool(status.groups) and {one.code for one in status.problems} <= but_for

        wait_for("health", is_healthy, _PATIENCE, 0.1)

    def _wait_for_more(self) -> None:
        before = self._scene.feed.received()[GROUP].received
        wait_for("the feed", lambda: self._scene.feed.received()[GROUP].received > before + 300, _PATIENCE)

    def install(self, package: Path) -> None:
        """Let strongswan.service be the VM's charon, install the package beside it, and configure it for the scene."""
        for unit in ("mcastd", "mcastd-cleanup", "strongswan"):
            drop_in(unit, "lab", f"NetworkNamespacePath=/run/netns/{self._scene.namespace(CLOUD)}")
        (charon,) = (one for one in self._scene.state.record.processes if one.name == f"charon-{CLOUD}")
        self._scene.stop(charon)
        run("systemctl", "start", "strongswan")
        # The machine around this one may not let packages start services; and no test here reads a manual page.
        for path in (Path("/usr/sbin/policy-rc.d"), Path("/var/lib/man-db/auto-update")):
            path.unlink(missing_ok=True)
        status, printed = run("dpkg", "--install", str(package))
        enabled = run("systemctl", "is-enabled", "mcastd")[1]
        key = KEYS / "psk"
        shutil.copy(self._scene.folder / CLOUD / "psk", key)
        key.chmod(0o640)
        text = re.sub(r"(vici_socket|strongswan_conf) = .*\n", "", self._scene.config.read_text())
        text = re.sub(r"runtime_dir = .*", f'datapath = "{self._datapath}"', text)
        self._text = re.sub(r"psk_file = .*", f'psk_file = "{key}"', text)
        CONFIG.write_text(self._text)
        for path in (key, CONFIG):
            shutil.chown(path, group="mcastd")
        sockets = [VICI.group()]
        run("systemctl", "restart", "strongswan")
        sockets.append(VICI.group())
        self._note("install", status=status, printed=printed, enabled=enabled, sockets=sockets)

    def start(self) -> None:
        """Enable and start; the feed arrives, and a group is joined by command."""
        status, printed = run("systemctl", "enable", "--now", "mcastd")
        self._wait_until_healthy()
        self._wait_for_more()
        run("mcastd", "join", BY_COMMAND)
        wait_for("the join", lambda: BY_COMMAND in self._scene.dc.joined())
        process = Path(f"/proc/{self._pid()}/status").read_text()
        text = shown("mcastd", "StatusText")
        found = self._status()
        datapaths = [tunnel.datapath for tunnel in found.tunnels] if found else []
        warnings = run("journalctl", "--unit=mcastd", "--priority=warning", "--output=cat", "--quiet", "--no-pager")[1]
        self._note(
            "start", status=status, printed=printed, text=text, process=process, datapaths=datapaths, warnings=warnings
        )

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
        before = self._pid()
        os.kill(before, number)
        wait_for("a successor", lambda: self._pid() not in (0, before), _PATIENCE, 0.2)
        self._wait_until_healthy()
        self._wait_for_more()
        self._note(step)

    def upgrade(self, step: str, *dpkg: str | Path, stopped: bool = False) -> None:
        """Have dpkg(1) do what its arguments say, without a terminal to answer a question on."""
        status, printed = run("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", *map(str, dpkg))
        if not stopped:
            self._wait_until_healthy()
            self._wait_for_more()
        found = self._status()
        self._note(
            step, status=status, printed=printed, version=found.version if found else None,
            active=run("systemctl", "is-active", "mcastd")[1], enabled=run("systemctl", "is-enabled", "mcastd")[1],
            conffile=CONFFILE.read_text(),
        )  # fmt: skip

    def first_release(self, package: Path) -> None:
        """Put the first release in its place, which starts with nothing of another one, and join by command."""
        CONFIG.write_text(self._text.replace("follow = false\n", ""))  # which it does not know
        status, printed = run("dpkg", "--force-confold", "--force-downgrade", "--install", str(package))
        run("systemctl", "start", "mcastd")
        wait_for("the join", lambda: GROUP in self._scene.dc.joined(), _PATIENCE, 0.2)
        self._wait_for_more()
        run("mcastd", "join", BY_COMMAND)
        wait_for("the join", lambda: BY_COMMAND in self._scene.dc.joined())
        self._wait_for_more()
        version = json.loads(run("mcastd", "status", "--json")[1])["version"]
        self._note("first release", status=status, printed=printed, version=version)

    def configure(self) -> None:
        """Write the configuration again that a step has changed."""
        CONFIG.write_text(self._text)

    def lose_charon(self, step: str, lose: Callable[[], object]) -> None:
        """Make charon restart, and wait until the feed is back."""
        before, began = self._pid("strongswan"), time.monotonic()
        lose()
        wait_for("another charon", lambda: self._pid("strongswan") not in (0, before), _PATIENCE, 0.2)
        self._wait_until_healthy(OFTEN)
        self._wait_for_more()
        self._note(step, took=time.monotonic() - began)

    def boot(self) -> None:
        """Stop charon and the service in one go, and start what is enabled in another, charon slowly."""
        run("systemctl", "enable", "mcastd", "strongswan")
        run("systemctl", "stop", "mcastd", "strongswan")
        left = {"stopped_joined": sorted(self._scene.dc.joined()), "stopped_neighbors": self._scene.dc.neighbors()}
        drop_in("strongswan", "slow", f"ExecStartPre=/bin/sleep {SLOW}")
        run("systemctl", "daemon-reload")
        status, printed = run("systemctl", "isolate", "multi-user.target")
        times = {
            unit: [int(shown(unit, f"{name}TimestampMonotonic")) / 1e6 for name in ("InactiveExit", "ActiveEnter")]
            for unit in ("strongswan", "mcastd")
        }
        failed = run("systemctl", "list-units", "--failed", "--plain", "--no-legend")[1]
        verified = run("systemd-analyze", "verify", "mcastd.service", "mcastd-cleanup.service", "strongswan.service")
        self._wait_until_healthy()
        self._wait_for_more()
        self._note("boot", status=status, printed=printed, times=times, failed=failed, verified=verified, **left)

    def without_charon(self) -> None:
        """Start without charon, and let it come late."""
        run("systemctl", "stop", "mcastd", "strongswan")
        run("systemctl", "mask", "strongswan")
        status, printed = run("systemctl", "start", "mcastd")
        active, text = run("systemctl", "is-active", "mcastd")[1], shown("mcastd", "StatusText")
        doctor = self._scene.exec(CLOUD, ["/usr/bin/mcastd", "doctor", "--config", str(CONFIG)]).stdout
        wait_for("charon is late", lambda: (found := self._status()) and found.uptime > _LATE, _PATIENCE, 0.2)
        journal = run("journalctl", "--unit=mcastd", f"_PID={self._pid()}", "--output=cat", "--no-pager")[1]
        self._note(
            "without charon", status=status, printed=printed, active=active, text=text, doctor=doctor, journal=journal
        )
        run("systemctl", "unmask", "strongswan")
        began = time.monotonic()
        run("systemctl", "start", "strongswan")
        self._wait_until_healthy()
        self._wait_for_more()
        self._note("late charon", took=time.monotonic() - began)

    def stop_charon(self) -> None:
        """Stop charon, and start it again."""
        run("systemctl", "stop", "strongswan")
        wait_for("a problem", lambda: (found := self._status()) and found.charon, _PATIENCE, 0.2)
        wait_for("the SAs to go", lambda: not self._scene.dc.security_associations(), _PATIENCE, 0.2)
        self._note("charon stops", active=run("systemctl", "is-active", "mcastd")[1])
        self.lose_charon("charon starts", lambda: run("systemctl", "start", "strongswan"))

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
        with CONFFILE.open("a") as file:
            file.write("# the administrator's\n")
        scenario.upgrade("question", "--install", NEWER)
        scenario.upgrade("upgrade", "--force-confold", "--configure", "mcastd")
        run("systemctl", "disable", "mcastd")
        scenario.upgrade("downgrade", "--force-confold", "--install", SAME)
        scenario.lose_charon("charon restarts", lambda: run("systemctl", "restart", "strongswan"))
        scenario.stop_charon()
        scenario.lose_charon("charon is killed", lambda: run("systemctl", "kill", "--signal=KILL", "strongswan"))
        scenario.boot()
        scenario.without_charon()
        scenario.stop("stop")
        if sys.version_info[:2] == (3, 11):
            scenario.first_release(FIRST)
            scenario.upgrade("from the first release", "--force-confold", "--install", SAME)
            scenario.stop("stop after the first release")
            scenario.configure()
        scenario.upgrade("reinstall", "--install", SAME, stopped=True)
        scenario.stop("stop after a crash", scenario.crash)
        scenario.remove()


if __name__ == "__main__":
    main()
