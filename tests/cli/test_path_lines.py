"""Which of several tunnels carries groups, as ``mcastd status`` says it."""

from mcastd.cli.path_lines import lines
from mcastd.status import PathStatus

FIRST = PathStatus(tunnels=("gre1", "gre2"), groups=250, tunnel="gre1", age=90.0, why="it comes first")


def test_what_carries_since_when_and_why_and_what_else_there_is() -> None:
    moved = PathStatus(
        tunnels=("gre1", "gre2", "gre3"), groups=1, group="239.1.1.1", tunnel="gre2", age=5.0, why="by hand",
        leaving="gre3", by_hand="gre2", by_hand_left=3600.0, moves=1, dead={"gre1": "CHILD_SA dc is down"},
    )  # fmt: skip
    dead = PathStatus(
        tunnels=("gre1", "gre2"), groups=2, tunnel="gre1", age=1.0, why="x", dead={"gre1": "a", "gre2": "b"}
    )
    assert [(one.text, one.style) for one in lines((FIRST, moved, dead))] == [
        ("250 groups on gre1 for 1m30s: it comes first; otherwise: gre2 (alive)", "plain"),
        (
            "239.1.1.1 on gre2, and still gre3 for 5.0s: by hand; by command gre2 for 1h00m more; "
            "otherwise: gre1 (dead: CHILD_SA dc is down)",
            "warn",
        ),
        ("2 groups on gre1 (dead: a) for 1.0s: x; otherwise: gre2 (dead: b)", "bad"),
    ]
