"""The namespaces and the processes of a bench, and one run in them. Nothing of the host is changed.

Each process is killed when this one ends, however it does (PR_SET_PDEATHSIG), and its namespaces are gone with it.
"""

import os
import secrets
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self, TypeVar

import msgspec

from mcastd.errors import HostError, LinkUnsupported
from mcastd.system import sockets, sysctl
from mcastd.tools.bench import report
from mcastd.tools.bench.plan import FAR, LINK, NEAR, SPI, TUNNEL, Buffer, Burst, Counts, Open, Sent, cpu_mask
from mcastd.tools.bench.reader import COUNT
from mcastd.tools.bench.report import Datapath, Run

T = TypeVar("T")

_PACKAGE: Final = Path(__file__).parents[3]
_START: Final = 20.0  # seconds: a busy machine may take long to start a Python
_SETTLED: Final = 2.0  # seconds for what is on its way when the sender has ended
_POLL: Final = 0.02
_SLOWEST: Final = 1e-3  # seconds for a packet: by then a sender is taken to hang
_LINE: Final = 65536
_ADDRESS: Final = "192.0.2.5/30"
_MTU: Final = 2000
_PROGRAMS: Final = ("ip", "unshare", "nsenter", "setpriv")
_MACS: Final = {FAR: "02:00:00:00:00:01", NEAR: "02:00:00:00:00:02"}


class Scene:
    """A sender and a reader in namespaces of their own, and a tunnel between them. Entering it raises HostError.

    ``datapath`` None is the kernel's GRE where it has it. Then ``without_gre`` and ``without_esp`` have what the kernel
    said where it has none.
    """

    def __init__(self, datapath: Datapath | None = None) -> None:
        self._wanted = datapath
        self.datapath: Datapath = datapath or "kernel"
        self.without_gre: str | None = None
        self.without_esp: str | None = None
        self.without_rps: str | None = None
        self.cpus = sorted(os.sched_getaffinity(0))
        self._stack = ExitStack()
        self._pump: _Process | None = None  # where GRE is done in user space

    def __enter__(self) -> Self:
        if missing := [program for program in _PROGRAMS if shutil.which(program) is None]:
            raise HostError(f"bench needs {', '.join(missing)} (Debian packages iproute2 and util-linux)")
        with self._stack:
            # The sender has a CPU of its own, where there is another one: it takes the place of a network card.
            self._others = self.cpus[:-1] or self.cpus
            sender, others = str(self.cpus[-1]), ",".join(map(str, self._others))
            self._reader = self._stack.enter_context(_Process("reader", others, ("unshare", "--net", "--mount")))
            self._sender = self._stack.enter_context(_Process("sender", sender, ("unshare", "--net")))
            self._connect()
            self._encrypt()
            self._tunnel(others)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def run(self, burst: Burst, buffer: Buffer, stall: float) -> Run:
        """Send all bursts to a socket with this buffer. Raises HostError."""
        has_esp = self.without_esp is None
        wanted = Open(group=burst.group, port=burst.port, buffer=buffer, stall=stall)
        before = self._counts(msgspec.json.encode(wanted) + b"\n")
        longest = burst.bursts * (burst.within + burst.pause + stall) + burst.total * _SLOWEST + _START
        sent = self._sender.ask(msgspec.json.encode(burst) + b"\n", Sent, longest)
        end = time.monotonic() + _SETTLED + stall
        while True:
            after = self._counts(COUNT, longest)
            found = report.stages(before, after, sent.packets, has_esp)
            if report.is_settled(found) or time.monotonic() > end:
                return report.run(burst, buffer, stall, sent, before, after, has_esp)
            time.sleep(_POLL)

    def _counts(self, question: bytes, timeout: float = _START) -> Counts:
        """The path's counters from its start to its end, so that none is behind the one before it."""
        dropped = self._pump.ask(COUNT, dict[str, int], timeout) if self._pump is not None else {}
        found = self._reader.ask(question, Counts, timeout)
        return msgspec.structs.replace(
            found, counters=found.counters | {f"pump/{reason}": count for reason, count in dropped.items()}
        )

    def _connect(self) -> None:
        ends = (f"{LINK} mtu {_MTU} address {_MACS[NEAR]}", f"{LINK} mtu {_MTU} address {_MACS[FAR]}")
        self._reader.ip("link set lo up", f"link add {ends[0]} type veth peer name {ends[1]} netns {self._sender.pid}")
        for process, own, other in ((self._reader, NEAR, FAR), (self._sender, FAR, NEAR)):
            process.ip(
                f"address add {own}/30 dev {LINK}",
                f"link set {LINK} up",
                f"neighbour add {other} lladdr {_MACS[other]} dev {LINK} nud permanent",
            )
        if len(self.cpus) == 1:
            self.without_rps = "there is no other one"
        else:
            # As a card's interrupts do: what arrives is received by another CPU than the sender's. The host's sysfs has
            # the host's interfaces.
            rps = f"/sys/class/net/{LINK}/queues/rx-0/rps_cpus"
            try:
                self._reader.shell(f"mount -t sysfs none /sys && echo {cpu_mask(self._others[0])} >{rps}")
            except HostError as error:
                self.without_rps = str(error)

    def _encrypt(self) -> None:
        keys = f"enc cbc(aes) 0x{secrets.token_hex(32)} auth-trunc hmac(sha256) 0x{secrets.token_hex(32)} 128"
        ends = f"src {FAR} dst {NEAR}"
        state = f"xfrm state add {ends} proto esp spi {SPI:#x} reqid 1 mode tunnel replay-window 32 {keys}"
        template = f"tmpl {ends} proto esp reqid 1 mode tunnel"
        try:
            for process, direction in ((self._reader, "in"), (self._sender, "out")):
                process.ip(state, f"xfrm policy add {ends} proto gre dir {direction} {template}")
        except HostError as error:
            self.without_esp = str(error)

    def _tunnel(self, cpus: str) -> None:
        if self._wanted != "userspace":
            try:
                self._reader.ip(f"link add {TUNNEL} type gre local {NEAR} remote {FAR} ttl 255")
                # The far end takes the reader's IGMP reports: otherwise its ICMP errors would be counted as arrived.
                far = f"link add {TUNNEL} type gre local {FAR} remote {NEAR} ttl 255"
                self._sender.ip(far, f"link set {TUNNEL} up")
            except HostError as error:
                if self._wanted == "kernel":
                    raise LinkUnsupported(f"this kernel has no GRE: {error}") from error
                self.without_gre, self.datapath = str(error), "userspace"
        if self.datapath == "userspace":
            inside = ("nsenter", f"--net=/proc/{self._reader.pid}/ns/net")
            self._pump = self._stack.enter_context(_Process("pump", cpus, inside))
        self._reader.ip(f"address add {_ADDRESS} dev {TUNNEL}", f"link set {TUNNEL} up multicast on")


class _Process:
    """One of the modules of this package, running by itself. Entering it raises HostError."""

    def __init__(self, name: str, cpus: str, inside: tuple[str, ...]) -> None:
        self._name = name
        python = (sys.executable, "-m", f"mcastd.tools.bench.{name}", cpus)
        self._argv = ("setpriv", "--pdeathsig", "KILL", *inside, *python)

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(_PACKAGE)},
            start_new_session=True,  # Ctrl-C is for the command, which ends them
        )
        try:
            self.pid = self.ask(b"", int, _START)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._child.kill()
        self._child.communicate()

    def ask(self, question: bytes, kind: type[T], timeout: float) -> T:
        """Write a line, and read the answer. Raises HostError."""
        child, answer = self._child, b""
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            os.write(child.stdin.fileno(), question)
            while not answer.endswith(b"\n"):
                if not sockets.readable((child.stdout,), timeout):
                    raise HostError(f"bench: the {self._name} does not answer")
                if not (part := os.read(child.stdout.fileno(), _LINE)):
                    raise BrokenPipeError
                answer += part
        except BrokenPipeError:
            last = child.stderr.read().decode(errors="replace").strip().splitlines()[-1:]
            raise HostError(f"bench: the {self._name} ended: {''.join(last) or 'without a reason'}") from None
        return msgspec.json.decode(answer, type=kind)

    def ip(self, *commands: str) -> None:
        """Run commands of ip(8) in its namespace. Raises HostError."""
        self._run(("ip", "-batch", "-"), "\n".join(commands))

    def shell(self, script: str) -> None:
        """Run a script in its namespaces. Raises HostError."""
        self._run(("sh", "-c", script), "")

    def _run(self, argv: tuple[str, ...], text: str) -> None:
        # Keys are on standard input, not among the arguments that all users can read.
        namespaces = (f"--net=/proc/{self.pid}/ns/net", f"--mount=/proc/{self.pid}/ns/mnt")
        done = subprocess.run(("nsenter", *namespaces, *argv), input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if not line.startswith("Command failed")]
            raise HostError(" ".join(lines).removeprefix("Error: ").rstrip(".") or f"{argv[0]} failed")


def limit(name: str) -> int:
    """A sysctl of receive buffers: ``rmem_default`` or ``rmem_max``, in bytes. Raises HostError."""
    return int(sysctl.read(f"net/core/{name}") or 0)
