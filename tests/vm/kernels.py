"""The two kernels, as ``./dev`` has unpacked them into ``.cache/vm``, and how each is started."""

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["uml", "qemu"]

PROJECT = Path(__file__).resolve().parents[2]
CACHE = (PROJECT / ".cache" / "vm").resolve()
# What is needed before there is a root; the rest is loaded on demand.
_MODULES: dict[Kind, tuple[str, ...]] = {"uml": ("overlay",), "qemu": ("virtio_pci", "virtiofs", "overlay")}
_VIRTIOFSD = Path("/usr/libexec/virtiofsd")
"""Debian 13's, of the package virtiofsd."""
_QEMU_VIRTIOFSD = "/usr/lib/qemu/virtiofsd"
"""Debian 12's, of QEMU itself."""


@dataclass(frozen=True)
class Kernel:
    """One kernel and its modules."""

    kind: Kind

    @property
    def image(self) -> Path:
        return CACHE / self.kind / "kernel"

    @property
    def modules(self) -> Path:
        """The folder of its modules, whose name is its release."""
        (found,) = (CACHE / self.kind / "lib" / "modules").iterdir()
        return found

    def early_modules(self) -> list[Path]:
        """The files of the modules that init.sh loads, in this order."""
        found: dict[Path, None] = {}
        base = ["modprobe", "--dirname", str(CACHE / self.kind), "--set-version", self.modules.name, "--show-depends"]
        for name in _MODULES[self.kind]:
            for line in subprocess.run([*base, name], check=True, capture_output=True, text=True).stdout.splitlines():
                word, _, path = line.strip().partition(" ")
                if word == "insmod":
                    found[Path(path)] = None
        return list(found)

    def script(
        self, folder: Path, shared: Path, initrd: Path, memory: int, processors: int, parameters: tuple[str, ...]
    ) -> str:
        """The shell script that is the machine; ``memory`` in MB. Its standard output is the console."""
        if self.kind == "uml":
            lines = _uml(self.image, folder, initrd, memory, parameters)
        else:
            lines = _qemu(self.image, folder, shared, initrd, memory, processors, parameters)
        # The shell stays, as the first process of the PID namespace: that one cannot abort, which is how a panic ends.
        return "\n".join(["set -e", "ulimit -c 0", *lines, "exit 0"])


def _uml(image: Path, folder: Path, initrd: Path, memory: int, parameters: tuple[str, ...]) -> list[str]:
    # It has one processor, and its processes take turns: to wake each other on another one of ours would take longer.
    argv = ["taskset", "--cpu-list", str(_processor())]
    # ptrace.c; relative, since a space would end the name.
    argv += ["env", f"--chdir={CACHE}", "LD_PRELOAD=./ptrace.so", str(image)]
    argv += [f"mem={memory}M", f"initrd={initrd}", f"uml_dir={folder}", "umid=uml", "quiet"]
    return [shlex.join([*argv, "con=null", "con0=null,fd:1", *parameters])]


def _processor() -> int:
    """One of this machine's processors, in each lane of a test session another one."""
    lane = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    usable = sorted(os.sched_getaffinity(0))
    return usable[int(lane) % len(usable)]


def _qemu(
    image: Path, folder: Path, shared: Path, initrd: Path, memory: int, processors: int, parameters: tuple[str, ...]
) -> list[str]:
    # The real machine's files are taken not to change meanwhile; what is shared is seen by both sides at once.
    exports = {"host": (Path("/"), "always"), "folder": (shared, "never")}
    lines, argv = [], ["qemu-system-x86_64", "-cpu", "max", "-smp", str(processors), "-m", str(memory)]
    # Emulated everywhere: a /dev/kvm that is there does not always work, and timing should not depend on it.
    argv += ["-accel", f"tcg,thread={'multi' if processors > 1 else 'single'}"]
    argv += ["-object", f"memory-backend-memfd,id=memory,size={memory}M,share=on", "-numa", "node,memdev=memory"]
    for tag, (source, cache) in exports.items():
        path = folder / f"{tag}.sock"
        daemon = [*_virtiofsd(source, cache), f"--socket-path={path}"]
        lines.append(f"{shlex.join(daemon)} & daemon=$!")
        lines.append(f"until [ -S {shlex.quote(str(path))} ]; do kill -0 $daemon; sleep 0.05; done")
        argv += ["-chardev", f"socket,id={tag},path={path}"]
        argv += ["-device", f"vhost-user-fs-pci,chardev={tag},tag={tag}"]
    argv += ["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-kernel", str(image)]
    line = " ".join(["console=ttyS0 panic=-1 quiet mitigations=off", *parameters])
    argv += ["-initrd", str(initrd), "-append", line]
    return [*lines, shlex.join(argv)]


def _virtiofsd(source: Path, cache: str) -> list[str]:
    """The daemon that shares a folder, with all that is mounted in it."""
    if _VIRTIOFSD.exists():
        # The guest's overlay does not cross mounts, so it must not see any.
        options = ["--no-announce-submounts", "--sandbox=chroot", f"--cache={cache}", f"--shared-dir={source}"]
        return [str(_VIRTIOFSD), *options]
    cache = cache.replace("never", "none")
    return [_QEMU_VIRTIOFSD, "-o", f"source={source}", "-o", f"sandbox=chroot,cache={cache}"]
