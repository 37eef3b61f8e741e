"""The metrics of groups that several tunnels can carry. Pure."""

from collections.abc import Container
from typing import Final

from mcastd.metrics.family import Family, Table, ago, ahead, counter, gauge, labels
from mcastd.status import PathStatus

PATHS: Final = Table(
    PathStatus,
    (
        Family(
            "mcastd_path_used", "gauge", "Whether the tunnel carries groups that several can carry.",
            ("PathStatus.tunnel", "PathStatus.leaving"),
            lambda item, _now: _by_tunnel(item, (item.tunnel, item.leaving)), ("tunnel",),
        ),
        Family(
            "mcastd_path_dead", "gauge", "Whether the tunnel cannot carry them.", ("dead",),
            lambda item, _now: _by_tunnel(item, item.dead), ("tunnel",),
        ),
        gauge("mcastd_path_groups", "Groups of the file that these tunnels can carry.", "groups"),
        ago("mcastd_path_since_time_seconds", "Since when the tunnel carries them.", "age"),
        counter("mcastd_path_moves_total", "How often they moved to another tunnel.", "moves"),
        Family(
            "mcastd_path_by_hand", "gauge", "Whether a command prefers the tunnel.", ("by_hand",),
            lambda item, _now: _by_tunnel(item, (item.by_hand,)), ("tunnel",),
        ),
        ahead("mcastd_path_by_hand_end_time_seconds", "When that ends.", "by_hand_left"),
    ),
    {"tunnels": "tunnels", "group": "group"},
)  # fmt: skip


def _by_tunnel(item: PathStatus, which: Container[str | None]) -> list[tuple[str, float]]:
    return [(labels(tunnel=name), name in which) for name in dict.fromkeys((*item.tunnels, *item.dead))]
