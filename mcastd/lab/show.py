"""What ``mcastd lab run`` and ``lab up`` print."""

from mcastd.lab.scene import Scene


def up(scene: Scene, *, daemon: bool) -> int:
    """Build the scene and leave it up."""
    scene.up()
    if daemon:
        scene.start_daemon()
    scene.keep()
    return 0


def run(scene: Scene, *, seconds: float | None, as_json: bool) -> int:
    """Build the scene, watch it and take it down."""
    raise NotImplementedError
