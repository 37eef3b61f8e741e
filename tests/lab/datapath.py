"""Which datapath the lab has, and that it is the one which the tests are meant to run over."""

import json
import os

from mcastd.lab.commands import wait_for
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CHILD_GRE, CLOUD, TUNNEL
from mcastd.status import ChildStatus
from tests.vm import abilities
from tests.vm.machine import INSIDE
from tests.vm.plugin import DATAPATH

# Packets a second: fewer in a machine, where each costs far more. There it is the service's tests that have 1,000.
RATE = {"qemu": 50.0, "uml": 200.0}.get(os.environ.get(INSIDE, ""), 1000.0)

# Seconds between the data centre's keepalives. When three are not answered its line goes down until one is, which must
# not be just after the feed has begun: here a daemon answers long before, in qemu long after it. Where all else has
# ended they are what the doctor hears, so that one has to come while it observes.
KEEPALIVE_PERIOD = {"uml": 1.5}.get(os.environ.get(INSIDE, ""), 0.5)


def kernel_does(protocol: str) -> bool:
    """Whether ``gre`` or ``esp`` is the kernel's: where it can, and where that was asked for it must."""
    return os.environ.get(DATAPATH) == "kernel" or abilities.has(protocol)


def child(scene: Scene) -> ChildStatus:
    """The child that carries the tunnel."""
    return next(child for child in scene.status().peers[0].children if child.name == CHILD_GRE)


def assert_datapath(scene: Scene) -> None:
    """The tunnel's link is of the kind that it should be, and the feed, which arrives, comes through the SA."""
    kind, datapath = ("gre", "kernel") if kernel_does("gre") else ("tun", "userspace")
    (link,) = json.loads(scene.command(CLOUD, ["ip", "-j", "-d", "link", "show", TUNNEL]))
    assert link["linkinfo"]["info_kind"] == kind
    assert scene.status().tunnels[0].datapath == datapath
    assert ("proto esp" in scene.command(CLOUD, ["ip", "xfrm", "state"])) == kernel_does("esp")
    before = child(scene)
    wait_for("packets from the SA", lambda: child(scene).packets_in > before.packets_in)
    wait_for("packets into the SA", lambda: child(scene).packets_out > before.packets_out)
