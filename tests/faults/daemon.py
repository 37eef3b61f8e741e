"""Signals, restarts, limits, and clients of the control socket."""

import signal
import time
from functools import partial

from mcastd.daemon import HAND_OVER
from mcastd.lab.commands import wait_for
from mcastd.lab.topology import CLOUD
from tests.faults.fault import Fault, Group, Step
from tests.faults.lab import Lab
from tests.faults.steps import between_keepalives, process, sh, signal_daemon

_daemon = partial(Fault, group=Group.DAEMON)
_TIMES = 20

_CLIENTS = """
import socket, time
clients = []
for number in range(COUNT):
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect("SOCKET")
        client.send(b"WORDS")
    except OSError:
        pass
    clients.append(client)
print("connected")
while True:
    MORE
    time.sleep(0.01)
"""
_ENDLESS = """
    for client in clients:
        try:
            client.send(b"x" * 65536, socket.MSG_DONTWAIT)
        except OSError:
            pass
"""


def _clients(count: int, words: str, more: str = "pass") -> Step:
    """Clients of the control socket that stay."""

    def run(lab: Lab) -> None:
        code = _CLIENTS.replace("COUNT", str(count)).replace("WORDS", words).replace("MORE", more.strip())
        process(
            CLOUD,
            "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))\n"
            + code.replace("SOCKET", str(lab.runtime / "control.sock")),
        )(lab)

    return run


def _restarts(number: signal.Signals) -> Step:
    def run(lab: Lab) -> None:
        for _ in range(_TIMES):
            lab.manager.restart(number)

    return run


def _hang_ups(lab: Lab) -> None:
    for _ in range(200):
        signal_daemon(signal.SIGHUP)(lab)
        time.sleep(0.05)


def _limit(resource: str, used: str) -> Step:
    """Limit the running daemon to little more than it has."""
    return lambda lab: lab.sh(CLOUD, f"prlimit --pid {lab.daemon()} --{resource}=$({used.format(pid=lab.daemon())}):")


def _unlimit(resource: str, value: str) -> Step:
    return lambda lab: lab.sh(CLOUD, f"prlimit --pid {lab.daemon()} --{resource}={value}:")


def _few_tasks(lab: Lab) -> None:
    """Limit the running daemon as ``TasksMax`` does, to what it has."""
    cgroup, pid = f"/sys/fs/cgroup/pids/{lab.scene.options.prefix}", lab.daemon()
    back = f"for task in $(cat {cgroup}/cgroup.procs); do echo $task >/sys/fs/cgroup/pids/cgroup.procs; done"
    lab.injected.callback(lab.host_command, ["sh", "-c", f"{back}; rmdir {cgroup}"])
    lab.host_command(["sh", "-ec", f"mkdir -p {cgroup}; echo {pid} >{cgroup}/cgroup.procs"])
    lab.host_command(["sh", "-ec", f"cat {cgroup}/pids.current >{cgroup}/pids.max"])


def _stopped_for_a_second(lab: Lab) -> None:
    """Not longer, as it would be while status is waited for."""
    signal_daemon(signal.SIGSTOP)(lab)
    time.sleep(1.0)
    signal_daemon(signal.SIGCONT)(lab)


def _run_raising(lab: Lab) -> None:
    lab.module = "tests.faults.raising"
    lab.set_up.callback(setattr, lab, "module", "mcastd")


def _raise(lab: Lab) -> None:
    """Let a random agent raise, twenty times."""
    log = lab.scene.log("mcastd")

    def failed(times: int) -> bool:
        return log.read_text().count("an agent failed and is restarted") >= times

    for number in range(_TIMES):
        signal_daemon(signal.SIGRTMIN)(lab)
        wait_for(f"error {number}", partial(failed, number + 1), 60.0, 0.2)
        time.sleep(1.0)  # the same agent's next turn comes after the pause before its restart


FAULTS = (
    _daemon(
        name="agents-raise-20",
        what="a random agent raises, 20 times",
        setup=_run_raising,
        inject=_raise,
        codes=("agent_failed",),
        health=("ok", "degraded"),
    ),
    _daemon(
        name="killed-20-times",
        what="the daemon is killed (SIGKILL) and started again, 20 times",
        inject=between_keepalives(_restarts(signal.SIGKILL)),
        lost=0.02,  # in user space, the packet in hand of each
        health=("ok", "degraded"),
    ),
    _daemon(
        name="restarted-20-times",
        what="the daemon is restarted by a handover (SIGUSR2), 20 times",
        inject=between_keepalives(_restarts(HAND_OVER)),
        health=("ok", "degraded"),
    ),
    _daemon(
        name="stopped-1",
        what="the daemon is stopped (SIGSTOP) for a second, with GRE in user space",
        inject=_stopped_for_a_second,
        lost=1.5,
        health=("ok", "degraded", "down"),
    ),
    _daemon(
        name="stopped-10",
        what="the daemon is stopped (SIGSTOP) for ten seconds, with GRE in user space",
        inject=signal_daemon(signal.SIGSTOP),
        undo=signal_daemon(signal.SIGCONT),
        lasts=10.0,
        lost=16.0,  # the doctor and status wait for an answer meanwhile
        health=("down",),
        doctor=("daemon_silent",),
    ),
    _daemon(name="reloads-200", what="200 SIGHUPs in ten seconds", inject=_hang_ups),
    _daemon(
        name="few-descriptors",
        what="the daemon may open no more descriptors than it has",
        inject=_limit("nofile", "ls /proc/{pid}/fd | wc -l"),
        undo=_unlimit("nofile", "1024"),
        lasts=15.0,
        health=("ok", "degraded", "down"),
    ),
    _daemon(
        name="few-threads",
        what="the daemon may start no more threads and processes (TasksMax)",
        inject=_few_tasks,
        lasts=15.0,
        health=("ok", "degraded", "down"),
        needs=("pids-cgroup",),
    ),
    _daemon(
        name="little-memory",
        what="the daemon's address space may not grow",
        inject=_limit("as", "awk '/VmSize/ {{ print ($2 + 1024) * 1024 }}' /proc/{pid}/status"),
        undo=_unlimit("as", "unlimited"),
        lasts=15.0,
        health=("ok", "degraded", "down"),
    ),
    _daemon(
        name="idle-clients",
        what="1,300 clients connect to the control socket and say nothing",
        inject=_clients(1300, ""),
        lasts=15.0,
        health=("ok", "degraded", "down"),
    ),
    _daemon(
        name="half-requests",
        what="300 clients of the control socket send half a request",
        inject=_clients(300, '{\\"command\\": \\"sta'),
        lasts=10.0,
    ),
    _daemon(
        name="endless-lines",
        what="20 clients of the control socket send lines without an end",
        inject=_clients(20, "{", _ENDLESS),
        lasts=10.0,
    ),
    _daemon(
        name="nft-broken",
        what="nft(8) cannot be run",
        inject=lambda lab: lab.nft_broken.touch(),
        undo=lambda lab: lab.nft_broken.unlink(),
        lasts=40.0,
        health=("ok", "degraded"),
    ),
    _daemon(
        name="clock-jump",
        what="the system clock jumps by a day, and back",
        inject=sh(CLOUD, "date -s @$(($(date +%s) + 86400))"),
        undo=sh(CLOUD, "date -s @$(($(date +%s) - 86400))"),
        machine=True,
    ),
)
