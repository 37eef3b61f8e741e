"""Whether all is well, and one line of how things are, from the agents' problems. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final

from mcastd.config.model import Config, Peer
from mcastd.problems import Problem, ProblemCode
from mcastd.status import Health

# What says that nothing can arrive through the tunnel, CHILD_SA or peer that it names. The rest is evidence.
# These may have the same name: a peer and its CHILD_SA often do.
_TUNNEL: Final[frozenset[ProblemCode]] = frozenset({"tunnel_down", "path_dead", "nothing_joined"})
_CHILD: Final[frozenset[ProblemCode]] = frozenset({"child_sa_down", "child_sa_silent"})
_PEER: Final[frozenset[ProblemCode]] = frozenset({"peer_down"})

# What follows from tunnel_down, on the tunnel that it names.
_FOLLOWS: Final[frozenset[ProblemCode]] = frozenset(
    {"pim_send_failed", "all_silent", "group_silent", "nothing_ever_arrived"}
)

_SUMMED: Final = 5  # problems in the summary, which is a line of systemctl status
_LONGEST: Final = 300  # characters of each


def health(problems: Iterable[Problem], config: Config) -> Health:
    """``down`` if nothing that is desired can arrive by any tunnel of a peer, ``degraded`` if anything is wrong."""
    found = tuple(problems)
    if any(_is_down(peer, config, found) for peer in config.peers):
        return "down"
    return "degraded" if found else "ok"


def _is_down(peer: Peer, config: Config, problems: Iterable[Problem]) -> bool:
    """A peer is down by itself, or with each of its tunnels or, without any tunnel, with each of its CHILD_SAs."""
    tunnels, children, peers = (
        {problem.subject for problem in problems if problem.code in codes} for codes in (_TUNNEL, _CHILD, _PEER)
    )
    names = {child.name for child in peer.children}
    ways = [tunnel for tunnel in config.tunnels if tunnel.child in names]
    if peer.name in peers or not ways:
        return peer.name in peers or names <= children
    return all(tunnel.name in tunnels or tunnel.child in children for tunnel in ways)


def independent(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The problems without those that follow from another one: on a tunnel that is down PIM cannot send either."""
    found = tuple(problems)
    down = {problem.subject for problem in found if problem.code == "tunnel_down"}
    return tuple(one for one in found if one.code not in _FOLLOWS or one.subject not in down)


def summary(problems: Sequence[Problem], peers: int, tunnels: int, joins: int) -> str:
    """The first problems or, without any, how many peers, tunnels and joins there are, all of which are up."""
    if not problems:
        return f"up: {peers} peer(s), {tunnels} tunnel(s), {joins} join(s)"
    more = [f"and {len(problems) - _SUMMED} more"] if len(problems) > _SUMMED else []
    return "; ".join([*(_shortened(one.text) for one in problems[:_SUMMED]), *more])


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
