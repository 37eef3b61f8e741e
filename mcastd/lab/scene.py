"""The scene as an object: build it, look at it, break parts of it, take it down. ``lab`` and its tests use it alike."""

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from mcastd import control
from mcastd.errors import LabError
from mcastd.lab import topology
from mcastd.lab.commands import command, python, require_programs, require_userspace_esp, wait_for, works
from mcastd.lab.receiver import ask as ask_receiver
from mcastd.lab.state import Ours, Process, end
from mcastd.lab.topology import CLOUD, DC, INTERNET, PLACES, SOURCE, DcIpsec
from mcastd.status import Status

_GOING_DOWN = 10.0
_FRR = Path("/usr/lib/frr")
# FRR writes crash logs under /var/tmp; in the mount namespace of its own that ``ip netns exec`` gives, they go nowhere.
_PRIVATE_TMP = ["sh", "-c", 'mount -t tmpfs tmpfs /var/tmp && exec "$@"', "sh"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What scenes differ in. A group is ``GROUP`` or ``GROUP@SOURCE``; ``rate`` is a second, the period in seconds."""

    prefix: str = "mcastd"
    groups: tuple[str, ...] = (topology.GROUP,)
    rate: float = 1000.0
    keepalive_period: float = 1.0


class StreamStats(msgspec.Struct, frozen=True):
    """What the application received of one group. Times are seconds, monotonic; ``lost`` are gaps after the first."""

    group: str
    source: str | None
    received: int
    lost: int
    duplicates: int
    first: float | None
    last: float | None
    longest_gap: float


class CiscoStats(msgspec.Struct, frozen=True):
    """The data centre's keepalives; ``line_protocol`` is ``up`` or ``down``, ``rtt`` in seconds."""

    sent: int = 0
    answered: int = 0
    line_protocol: str = "up"
    downs: int = 0
    rtt: float | None = None


class Scene:
    """One scene. As a context manager it is built on entering and leaves nothing behind on leaving."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.folder = Path(f"/run/{self.options.prefix}-lab")
        self.config = self.folder / "mcastd.toml"
        self.dc_ipsec = DcIpsec(psk=secrets.token_urlsafe(24))
        self.exec_time: float | None = None
        self._ours = Ours(self.folder)
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._daemon: Process | None = None

    # Building and taking down

    def __enter__(self) -> Self:
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(self) -> None:
        """Build everything but the daemon; what a crash left of an earlier scene is cleared away first."""
        if os.geteuid() != 0:
            raise LabError("the lab makes network namespaces and needs root: sudo mcastd lab ...")
        require_programs()
        self._ours.lock()
        if self._ours.record.kept and all(process.alive for process in self._ours.record.processes):
            self._ours.unlock()
            raise LabError("the lab is up already: `mcastd lab down` first, or look around with `mcastd lab exec`")
        names = [self.namespace(place) for place in PLACES]
        try:
            self._ours.refuse_foreign(names)
        except LabError:
            self._ours.unlock()
            raise
        self._ours.clear()
        for folder in ("log", "cloud", "dc", "dc/frr"):
            (self.folder / folder).mkdir()
        for name in names:
            self._ours.make_namespace(name)
        self._lay_cables()
        self._start_charons()
        self._start_frr_and_gre()
        self.start_stream(*self.options.groups)
        self.start_receiver(*self.options.groups)
        self._write_config()
        self._wait_until_ready()

    def keep(self) -> None:
        """Leave the scene up when this process ends."""
        self._ours.record.kept = True
        self._ours.save()
        self._ours.unlock()

    def attach(self) -> None:
        """Use a scene that ``lab up`` left; raises LabError if there is none."""
        self._ours.load()
        if not self._ours.record.kept:
            raise LabError("the lab is not up: `mcastd lab up` first")
        self._daemon = next((p for p in reversed(self._ours.record.processes) if p.name == "mcastd"), None)

    def down(self) -> None:
        """Take everything down and leave nothing behind; also what a crash left. Signals wait until it is done."""
        held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            self._ours.lock()
            daemons = {
                process.pid for process in self._ours.record.processes if process.name == "mcastd" and process.alive
            }
            end(daemons, signal.SIGTERM, _GOING_DOWN)
            self._ours.clear()
            for child in self._children.values():
                child.wait()
            self._ours.unlock()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)

    def _lay_cables(self) -> None:
        for place in PLACES:
            sysctls = topology.SYSCTLS_EVERYWHERE | topology.SYSCTLS[place]
            script = "\n".join(f"echo {value} > /proc/sys/net/{name}" for name, value in sysctls.items())
            self.command(place, ["sh", "-ec", script])
        names = {place: self.namespace(place) for place in PLACES}
        for place, lines in topology.LINKS.items():
            command(["ip", "-n", names[place], "-batch", "-"], text=lines.format(**names))
        self.command(INTERNET, ["nft", "-f", "-"], text=topology.NAT)
        self.command(DC, ["nft", "-f", "-"], text=topology.CRYPTO_MAP)

    def _start_charons(self) -> None:
        userspace = not self._kernel_has_esp()
        if userspace:
            require_userspace_esp()
        for place in (CLOUD, DC):
            conf = self.folder / place / "strongswan.conf"
            log = self.folder / "log" / f"charon-{place}.log"
            conf.write_text(topology.strongswan_conf(self._vici(place), log, userspace_esp=userspace))
            self.start(place, f"charon-{place}", ["/usr/sbin/charon-systemd"], {"STRONGSWAN_CONF": str(conf)})

    def _kernel_has_esp(self) -> bool:
        state = ["xfrm", "state", "add", "src", "192.0.2.1", "dst", "192.0.2.2", "proto", "esp", "spi", "0x1000"]
        keys = [
            "mode",
            "tunnel",
            "enc",
            "cbc(aes)",
            f"0x{'0' * 64}",
            "auth-trunc",
            "hmac(sha256)",
            f"0x{'0' * 64}",
            "128",
        ]
        kernel = ["ip", "-n", self.namespace(INTERNET)]
        return works([*kernel, *state, *keys]) and works([*kernel, "xfrm", "state", "flush"])

    def _start_frr_and_gre(self) -> None:
        gre = [topology.TUNNEL, topology.GRE_DC, topology.GRE_CLOUD]
        dc = self.namespace(DC)
        kernel = ["ip", "-n", dc, "link", "add", gre[0], "type", "gre", "local", gre[1], "remote", gre[2], "ttl", "255"]
        if not works(kernel):
            self.start(DC, "gre", python("mcastd.lab.dcgre", *gre))
        frr = self.folder / DC / "frr"
        conf = frr / "pimd.conf"
        conf.write_text(topology.PIMD_CONF)
        (frr / "zebra.conf").touch()
        command(["chown", "-R", "frr:frr", str(frr)])
        common = ["-z", str(frr / "zserv.api"), "--vty_socket", str(frr), "-P", "0", "--log", "stdout"]
        self.start(
            DC,
            "zebra",
            [*_PRIVATE_TMP, str(_FRR / "zebra"), *common, "-i", str(frr / "zebra.pid"), "-f", str(frr / "zebra.conf")],
        )
        self.start(
            DC,
            "cisco",
            python(
                "mcastd.lab.cisco",
                *gre,
                "--period",
                self.options.keepalive_period,
                "--report",
                self.folder / DC / "cisco.json",
            ),
        )
        wait_for("the data centre's GRE interface", lambda: works(["ip", "-n", dc, "link", "show", gre[0]]))
        command(["ip", "-n", dc, "-batch", "-"], text=topology.DC_TUNNEL)
        wait_for("FRR's zebra", (frr / "zserv.api").exists)
        self.start(
            DC, "pimd", [*_PRIVATE_TMP, str(_FRR / "pimd"), *common, "-i", str(frr / "pimd.pid"), "-f", str(conf)]
        )

    def _wait_until_ready(self) -> None:
        for place in (CLOUD, DC):
            wait_for(f"charon in {place}", self._vici(place).exists)
        self.load_dc()
        wait_for("FRR's PIM interfaces", self._pim_is_up, poll=0.05)
        wait_for("keepalives", (self.folder / DC / "cisco.json").exists)
        if any(self.security_associations(place) for place in (CLOUD, DC)) or self.neighbors():
            raise LabError("there is an SA or a PIM neighbour before mcastd was started")

    def _pim_is_up(self) -> bool:
        if not (self.folder / DC / "frr" / "pimd.vty").exists():
            return False
        interfaces = self.frr_json("show ip pim interface")
        rps = self.frr_json("show ip pim rp-info").get(topology.RP, [{}])
        ready = all(interfaces.get(name, {}).get("state") == "up" for name in (topology.TUNNEL, "lan0"))
        return ready and bool(rps[0].get("iAmRP"))

    def _write_config(self) -> None:
        psk = self.folder / CLOUD / "psk"
        psk.touch(0o600)
        psk.write_text(self.dc_ipsec.psk + "\n")
        runtime = self.folder / CLOUD / "run"
        runtime.mkdir()
        vici = self._vici(CLOUD)
        groups = self.options.groups
        self.config.write_text(topology.mcastd_toml(vici=vici, runtime=runtime, psk_file=psk, groups=groups))

    # Looking at it, and running things in it

    def namespace(self, place: str) -> str:
        """The name of a place's network namespace."""
        return f"{self.options.prefix}-{place}"

    def _vici(self, place: str) -> Path:
        return self.folder / place / "charon.vici"

    def argv(self, place: str, argv: Sequence[str]) -> list[str]:
        """A command line for a place: vtysh, swanctl and mcastd find the ones of the scene."""
        program, *rest = argv
        if program == "vtysh":
            argv = [program, "--vty_socket", str(self.folder / DC / "frr"), *rest]
        elif program == "swanctl":
            argv = [program, *rest, "--uri", f"unix://{self._vici(place)}"]
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

    def start(self, place: str, name: str, argv: Sequence[str], environment: dict[str, str] | None = None) -> Process:
        """Start a process in a place; what it prints goes to ``log/NAME.log`` in the scene's folder."""
        with self.log(name).open("ab") as log:
            child = subprocess.Popen(
                self.argv(place, argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=self.environment() | (environment or {}),
            )  # fmt: skip
        self._children[child.pid] = child
        return self._ours.add_process(name, child.pid)

    def log(self, name: str) -> Path:
        """The log of one process."""
        return self.folder / "log" / f"{name}.log"

    def stop(self, process: Process, number: signal.Signals = signal.SIGTERM, patience: float = _GOING_DOWN) -> None:
        """End a process and wait for it; raises LabError if it does not end."""
        if process.alive and not end({process.pid}, number, patience):
            raise LabError(f"{process.name}: still there {patience:.0f} s after {number.name}")
        if child := self._children.pop(process.pid, None):
            child.wait()

    # The daemon

    def start_daemon(self) -> None:
        """Start mcastd; ``exec_time`` is when (monotonic). The data centre's tunnel is as after ``no shutdown``."""
        self.no_shutdown()
        self.exec_time = time.monotonic()
        self._daemon = self.start(CLOUD, "mcastd", ["mcastd", "run"])

    def stop_daemon(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send the daemon a signal that ends it, and wait."""
        if self._daemon is not None:
            self.stop(self._daemon, number)

    @property
    def daemon(self) -> Process:
        """The daemon's process; raises LabError if none was started."""
        if self._daemon is None:
            raise LabError("no mcastd was started in the scene")
        return self._daemon

    def status(self) -> Status:
        """What the daemon says of itself; raises ControlError if it does not."""
        answer = control.ask(self.folder / CLOUD / "run" / "control.sock", "status", timeout=5.0)
        return msgspec.json.decode(answer, type=Status)

    # The data centre

    def load_dc(self, **changes: Any) -> None:
        """Load the data centre's connection and PSK into its charon, with fields of DcIpsec changed."""
        conf = self.folder / DC / "swanctl.conf"
        conf.touch(0o600)
        conf.write_text(topology.swanctl_conf(replace(self.dc_ipsec, **changes)))
        self.command(DC, ["swanctl", "--load-all", "--clear", "--file", str(conf)])

    def security_associations(self, place: str) -> str:
        """What a place's charon lists (``swanctl --list-sas``); nothing where there is none."""
        return self.command(place, ["swanctl", "--list-sas"]).strip()

    def frr(self, question: str) -> str:
        """What the data centre's FRR answers."""
        return self.command(DC, ["vtysh", "-c", question])

    def frr_json(self, question: str) -> dict[str, Any]:
        """What FRR answers to ``QUESTION json``."""
        return msgspec.json.decode(self.frr(f"{question} json"), type=dict[str, Any])

    def neighbors(self) -> list[str]:
        """The addresses of FRR's PIM neighbours on the tunnel."""
        return list(self.frr_json("show ip pim neighbor").get(topology.TUNNEL, {}))

    def cisco(self) -> CiscoStats:
        """How the data centre's keepalives fare."""
        return msgspec.json.decode((self.folder / DC / "cisco.json").read_bytes(), type=CiscoStats)

    def no_shutdown(self) -> None:
        """``shutdown`` and ``no shutdown`` on the data centre's tunnel: up, with no keepalive missed."""
        for process in self._ours.record.processes:
            if process.name == "cisco" and process.alive:
                os.kill(process.pid, signal.SIGUSR1)

    def block(self, *ports: int) -> None:
        """Let the internet lose UDP to these ports; without ports, none."""
        blocked = f"add element ip gateway blocked {{ {', '.join(map(str, ports))} }}\n" if ports else ""
        self.command(INTERNET, ["nft", "-f", "-"], text=f"flush set ip gateway blocked\n{blocked}")

    # Streams

    def start_stream(self, *groups: str, source: str = topology.SOURCE_ADDRESS) -> Process:
        """Send a stream to each of the groups, from ``source``."""
        if source != topology.SOURCE_ADDRESS:
            self.command(SOURCE, ["ip", "address", "replace", f"{source}/24", "dev", "eth0"])
        plain = [group.partition("@")[0] for group in groups]
        argv = python(
            "mcastd.lab.source", *plain, "--source", source, "--port", topology.PORT, "--rate", self.options.rate
        )
        return self.start(SOURCE, "source", argv)

    def start_receiver(self, *groups: str) -> None:
        """Start an application on the VM that joins each of the groups on the tunnel."""
        path = self.folder / CLOUD / f"receiver{len(list((self.folder / CLOUD).glob('receiver*')))}.sock"
        options = ["--interface", topology.TUNNEL, "--port", topology.PORT, "--socket", path]
        self.start(CLOUD, "receiver", python("mcastd.lab.receiver", *groups, *options))
        wait_for("the receiver", path.exists)

    def received(self) -> dict[str, StreamStats]:
        """What arrived of each group, as ``GROUP`` or ``GROUP@SOURCE``."""
        stats: dict[str, StreamStats] = {}
        for path in sorted((self.folder / CLOUD).glob("receiver*.sock")):
            for entry in msgspec.json.decode(ask_receiver(path), type=list[StreamStats]):
                stats[f"{entry.group}@{entry.source}" if entry.source else entry.group] = entry
        return stats
