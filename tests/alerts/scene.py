"""The lab with all that has metrics: a feed of two sides with sequence numbers, keepalives of our own, forwarding."""

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
