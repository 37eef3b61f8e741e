"""Whether all is well, and one line of how things are, from the agents' problems. Pure."""

from collections.abc import Iterable, Sequence

from mcastd.problems import Problem


def independent(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The problems without those that follow from another one: on a tunnel that is down PIM cannot send either."""
    found = tuple(problems)
    down = {problem.subject for problem in found if problem.code == "tunnel_down"}
    return tuple(one for one in found if one.code != "pim_send_failed" or one.subject not in down)


def summary(problems: Sequence[Problem], peers: int, tunnels: int, joins: int) -> str:
    """The problems or, without any, how many peers, tunnels and joins there are, all of which are up."""
    return "; ".join(one.text for one in problems) or f"up: {peers} peer(s), {tunnels} tunnel(s), {joins} join(s)"
