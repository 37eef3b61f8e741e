"""What says that the path of a tunnel is dead: a function of the configuration, and of what is up. Pure."""

from mcastd.config.model import Config, Tunnel
from mcastd.wiring import Up


def causes(config: Config, up: Up) -> dict[str, str | None]:
    """By the tunnel's name why its path is dead, as far as ``[paths]`` asks; None if it is alive."""
    return {tunnel.name: _cause(config, tunnel, up) for tunnel in config.tunnels}


def silent(up: Up) -> frozenset[str]:
    """The tunnels on which nothing has arrived for ``max_silence``, while something is desired there."""
    return frozenset(name for name, one in up.arrivals.items() if one.quiet and up.joins.get(name))


def _cause(config: Config, tunnel: Tunnel, up: Up) -> str | None:
    name, signs = tunnel.name, config.paths.dead
    if "sa" in signs:
        child = up.children.get(tunnel.child or "")
        if tunnel.child is not None and (child is None or not child.up):
            return f"CHILD_SA {tunnel.child} is down"
        link = up.links.get(name)
        if link is None or not link.up:
            return f"interface {name} is down"
    if "keepalive" in signs and name in up.paths_dead:
        return "our keepalives are not answered"
    if "keepalive" in signs and name in up.keepalives_stopped:
        return "the far end's keepalives have stopped"
    if "neighbor" in signs and tunnel.pim is not None and name not in up.neighbors:
        return "there is no PIM neighbor"
    return None
