"""The lab with all that has metrics: a feed of two sides with sequence numbers, keepalives of our own, forwarding."""

from collections.abc import Iterator
from contextlib import contextmanager

from mcastd.lab.scene import Scene
from mcastd.lab.topology import GROUP
from tests.alerts.prometheus import METRICS

OTHER = "239.1.1.2"
GROUPS = (GROUP, OTHER)
_MORE = f"""
[metrics]
listen = "{METRICS}"

[[feeds]]
name = "trades"
pair = ["{GROUP}", "{OTHER}"]
sequence = {{ offset = 0, size = 8, order = "big" }}

[forward.eth1]
static = ["{GROUP}"]
"""


def configure(scene: Scene) -> None:
    """Let the daemon of a scene with both groups have all of it."""
    text = scene.config.read_text()
    text = text.replace("keepalive.reply = true", 'keepalive.reply = true\nkeepalive.period = "1s"')
    scene.config.write_text(text.replace("[peers.dc]\n", "[peers.dc]\nreauthentication = true\n") + _MORE)


@contextmanager
def losing(scene: Scene, node: str, rule: str) -> Iterator[None]:
    """Drop packets in a node by a rule of nftables that ends with what is dropped."""
    hook = "forward" if node == "internet" else "input"
    chain = f"chain there {{ type filter hook {hook} priority -10; {rule} drop; }};"
    scene.command(node, ["nft", f"table ip lossy {{ {chain} }}"])
    try:
        yield
    finally:
        scene.command(node, ["nft", "delete", "table", "ip", "lossy"])
