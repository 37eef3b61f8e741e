"""The steps of faults: commands in a node, signals, processes that run while a fault lasts."""

import os
import signal

from mcastd.lab.charon import start_charon, wait_for_charons
from mcastd.lab.commands import wait_for
from mcastd.lab.topology import CLOUD, DC
from tests.faults.fault import Step
from tests.faults.lab import Lab


def sh(node: str, script: str) -> Step:
    """Run a shell script in a node."""
    return lambda lab: lab.sh(node, script)


def sysctl(name: str, value: object) -> Step:
    """Set a sysctl of the VM below ``net.ipv4``."""
    return sh(CLOUD, f"echo {value} >/proc/sys/net/ipv4/{name.replace('.', '/')}")


def both(*steps: Step) -> Step:
    """Do all of these in order."""

    def run(lab: Lab) -> None:
        for step in steps:
            step(lab)

    return run


def kill(name: str, number: signal.Signals = signal.SIGKILL) -> Step:
    """Send a signal to the processes of the scene that have a name, such as ``charon-dc``."""
    return lambda lab: lab.scene.kill(name, number)


def signal_daemon(number: signal.Signals) -> Step:
    """Send a signal to the daemon."""
    return lambda lab: os.kill(lab.daemon(), number)


def process(node: str, code: str) -> Step:
    """Run a Python program in a node until the fault is undone; it has begun when it has printed something."""

    def run(lab: Lab) -> None:
        before = lab.scene.tail("fault")
        started = lab.scene.start(node, "fault", ["python3", "-uc", code])
        lab.injected.callback(lab.scene.stop, started, signal.SIGKILL)
        wait_for("the program of the fault", lambda: lab.scene.tail("fault") != before or not started.alive)

    return run


def between_keepalives(step: Step) -> Step:
    """Do something for which their keepalives pause: one a second comes here, and three missed take their line down.

    A Cisco's come every 10 seconds, so that it notices nothing of a restart.
    """
    return both(kill("cisco", signal.SIGSTOP), step, kill("cisco", signal.SIGCONT))


def edit(old: str, new: str) -> Step:
    """Change the daemon's configuration."""
    return lambda lab: lab.edit(old, new)


def mcastd(*arguments: str) -> Step:
    """Run a command of mcastd in the VM."""
    return lambda lab: lab.mcastd(*arguments)


def charon_back(node: str) -> Step:
    """Start a node's charon again; the data centre's loads its connections."""

    def run(lab: Lab) -> None:
        start_charon(lab.scene, node)
        wait_for_charons(lab.scene)
        if node == DC:
            lab.scene.dc.load()

    return run
