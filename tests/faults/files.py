"""The daemon's runtime directory is full, gone or read-only, and its files are damaged."""

import os
import shutil
import signal
from functools import partial

from mcastd.lab.topology import TUNNEL
from tests.faults.fault import Fault, Group, Step
from tests.faults.lab import Lab
from tests.faults.steps import between_keepalives, both, mcastd

_files = partial(Fault, group=Group.FILES)
_JOINED = "239.1.1.7"

_DAMAGED: tuple[bytes | None, ...] = (
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b'{"schema": 999, "version": 999}',
    b'{"sysctls": {"net/ipv4/ip_forward": {"a": [1, 2]}}, "addresses": 7}',
    b'{"sysctls": {"../../../tmp/x": "1"}, "links": {"lo": "", "eth0": "up"}, "routes": {"default": null}}',
    os.urandom(4096),
    None,  # a folder in its place
)


def _own_file_system(lab: Lab) -> None:
    """Put the runtime directory on a file system of its own, of 64 KiB."""
    mount(lab, "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(lab.runtime))
    lab.set_up.callback(lab.host_command, ["umount", "-l", str(lab.runtime)])


def mount(lab: Lab, *options: str) -> None:
    """mount(8), in the mount namespace that the scene's processes are started from."""
    lab.host_command(["mount", *options])


def _fill(lab: Lab) -> None:
    with (lab.runtime / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"x" * 512)
        except OSError:
            return


def _damage(name: str) -> Step:
    """Kill the daemon, damage one of its files and start it again, once for each way."""

    def run(lab: Lab) -> None:
        for content in _DAMAGED:
            lab.manager.stop(signal.SIGKILL)
            path = lab.runtime / name
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            if content is None:
                path.mkdir()
            else:
                path.write_bytes(content)
            lab.manager.start()

    return run


FAULTS = (
    _files(
        name="runtime-full",
        what="the runtime directory is full, and a group is joined by command",
        setup=_own_file_system,
        inject=both(_fill, mcastd("join", _JOINED)),
        undo=lambda lab: (lab.runtime / "filler").unlink(),
        codes=("state_not_saved",),
        health=("degraded",),
    ),
    _files(
        name="runtime-full-tunnel-deleted",
        what="the runtime directory is full, and the tunnel's interface is deleted",
        setup=_own_file_system,
        inject=both(_fill, lambda lab: lab.sh("cloud", f"ip link del {TUNNEL}")),
        undo=lambda lab: (lab.runtime / "filler").unlink(),
        lost=5.0,
        health=("ok", "degraded", "down"),
    ),
    _files(
        name="runtime-removed",
        what="the runtime directory is removed",
        inject=lambda lab: shutil.rmtree(lab.runtime),
        lasts=10.0,
        health=("ok", "degraded", "down"),
    ),
    _files(
        name="runtime-read-only",
        what="the runtime directory becomes read-only, and a group is joined by command",
        setup=_own_file_system,
        inject=both(lambda lab: mount(lab, "-o", "remount,ro", str(lab.runtime)), mcastd("join", _JOINED)),
        undo=lambda lab: mount(lab, "-o", "remount,rw", str(lab.runtime)),
        codes=("state_not_saved",),
        health=("degraded",),
    ),
    _files(
        name="ledger-damaged",
        what="the daemon is killed, its ledger is damaged, and it is started again: in ten ways",
        inject=between_keepalives(_damage("ledger.json")),
        health=("ok", "degraded"),
        # Settings from before, which are lost with the file, and what was unreadable, which is kept for people.
        left=("conf/", "missing: conf/", "file ledger.json.unreadable"),
    ),
    _files(
        name="handover-damaged",
        what="the daemon is killed, what it hands over is damaged, and it is started again: in ten ways",
        inject=between_keepalives(_damage("handover.json")),
        lost=1.0,
        health=("ok", "degraded"),
        left=("file handover.json.unreadable",),  # kept for people
    ),
)
