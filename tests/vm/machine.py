"""A machine with a kernel of its own over this machine's files, that runs one command.

What the guest writes goes away with it, but for ``/vm/results``. All processes of a machine are in a PID namespace of
their own whose end is theirs, and which ends with the process that started it, whatever ends that one.
"""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from mcastd.lab.commands import signals_held
from tests.vm.kernels import PROJECT, Kernel, Kind

# Set inside of a machine, to its kind.
INSIDE = "MCASTD_TEST_VM"
HERE = Path(__file__).parent
_ALONE = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
_POLL = 0.05


class MachineError(Exception):
    """The machine did not come up, or died before its command had ended; with the end of its console."""


class TimeLimitError(MachineError):
    """The command had not ended within the time limit."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """``memory`` in MB, ``limit`` in seconds from the start; with ``systemd`` as PID 1 the command is a service.

    ``processors`` is for ``qemu``, a machine of kind ``uml`` has one; ``parameters`` are for the kernel's command line
    (``ipv6.disable=1``).
    """

    kind: Kind = "uml"
    systemd: bool = False
    memory: int = 2048
    processors: int = 2
    limit: float = 600.0
    environment: Mapping[str, str] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()


class Machine:
    """As a context manager it starts on entering, and on leaving it is off and nothing of it is left."""

    def __init__(self, command: Sequence[str], options: Options) -> None:
        self._command = command
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._deadline = 0.0

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="mcastd-vm-"))
        self._shared = self._folder / "shared"
        self.results = self._shared / "results"
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _start(self) -> None:
        self.results.mkdir(parents=True)
        for name in ("run.sh", "command.service"):
            shutil.copy(HERE / name, self._shared)
        variables = {INSIDE: self._options.kind, **self._options.environment}
        environment = [f"{name}={value}" for name, value in variables.items()]
        line = shlex.join(["exec", "env", *environment, *self._command])
        (self._shared / "command").write_text(f"cd {shlex.quote(str(PROJECT))}\n{line}\n")
        (self._shared / "output").touch()
        kernel = Kernel(self._options.kind)
        initrd = self._make_initrd(kernel)
        options = self._options
        script = kernel.script(
            self._folder, self._shared, initrd, options.memory, options.processors, options.parameters
        )
        self._living, living = os.pipe()
        with (self._folder / "console").open("wb") as console, signals_held() as mask:
            self._process = subprocess.Popen(
                [*_ALONE, "sh", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                pass_fds=[living],
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, mask),
            )
            os.close(living)
        self._deadline = time.monotonic() + self._options.limit

    def _make_initrd(self, kernel: Kernel) -> Path:
        tree = self._folder / "initrd"
        for name in ("bin", "dev", "modules"):
            (tree / name).mkdir(parents=True)
        busybox = shutil.which("busybox")
        assert busybox, "busybox is missing: ./dev vm installs it"
        shutil.copy(busybox, tree / "bin" / "busybox")
        shutil.copy(HERE / "init.sh", tree / "init")
        (tree / "init").chmod(0o755)
        early = kernel.early_modules()
        for module in early:
            shutil.copy(module, tree / "modules")
        settings = {
            "KIND": kernel.kind,
            "FOLDER": str(self._shared),
            "PROJECT": str(PROJECT),
            "MODULES": str(kernel.modules),
            "RELEASE": kernel.modules.name,
            "INSMOD": " ".join(module.name for module in early),
            "SYSTEMD": "yes" if self._options.systemd else "no",
        }
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in settings.items()]
        (tree / "settings").write_text("".join(lines))
        initrd = self._folder / "initrd.cpio"
        pack = "find . | busybox cpio -o -H newc"
        with initrd.open("wb") as file:
            subprocess.run(["sh", "-c", pack], cwd=tree, stdout=file, stderr=subprocess.DEVNULL, check=True)
        return initrd

    def step(self) -> int | None:
        """Wait a moment; the command's exit status once it has ended. Raises MachineError if it will not end."""
        assert self._process is not None
        ended = self._process.poll() is not None
        try:
            return int((self._shared / "status").read_text())
        except FileNotFoundError:
            pass
        if ended:
            came_up = (self._shared / "started").exists()
            raise MachineError(f"the machine {'died' if came_up else 'did not come up'}{self._console()}")
        if time.monotonic() > self._deadline:
            raise TimeLimitError(f"not done after {self._options.limit:.0f} s{self._console()}")
        time.sleep(_POLL)
        return None

    def wait(self) -> int:
        """The command's exit status, when it has ended. Raises MachineError if it will not end."""
        while (status := self.step()) is None:
            pass
        return status

    def output(self, offset: int = 0) -> bytes:
        """What the command has printed so far, from a byte on."""
        with (self._shared / "output").open("rb") as file:
            file.seek(offset)
            return file.read()

    def _console(self) -> str:
        text = (self._folder / "console").read_text(errors="replace")
        last = [line.rstrip() for line in text.splitlines() if line.strip()][-40:]
        return "".join(f"\n  {line}" for line in ("; its console:", *last)) if last else ", its console is empty"

    def _end(self) -> None:
        with signals_held():
            if self._process is not None:
                if self._process.poll() is None:
                    # The group, as at first the namespace may not depend on its maker yet.
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
                # The end of the pipe that every process of the machine has inherited: it closes with the last of them.
                os.read(self._living, 1)
                os.close(self._living)
            shutil.rmtree(self._folder)
