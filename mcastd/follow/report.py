"""What status says of applications, and what is wrong. Pure."""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from mcastd.follow.applications import Applications
from mcastd.listed import listed
from mcastd.membership import NOTHING, Membership
from mcastd.problems import Problem
from mcastd.status import ApplicationsStatus, NotFollowedStatus
from mcastd.wanted import APPLICATION

_SHOWN: Final = 100  # groups in status
_NAMED: Final = 5  # groups in the text of a problem


def status(applications: Applications, desired: Membership, problem: str | None) -> ApplicationsStatus:
    """What the applications of one tunnel have joined; what others desire anyway is not named as not followed."""
    refused = (
        NotFollowedStatus(str(group), reason)
        for group, reason in applications.refused.items()
        if reason == "limit" or desired.desired(group, without=APPLICATION) == NOTHING
    )
    return ApplicationsStatus(
        joins=applications.live,
        not_followed=tuple(islice(refused, _SHOWN)),
        beyond_limit=len(applications.waiting),
        lost=tuple(map(str, islice(applications.lost, _SHOWN))),
        problem=problem,
    )


def problems(applications: Applications, problem: str | None, refused: str | None) -> Iterator[Problem]:
    """What is wrong on one tunnel; costs the same however many groups there are. ``refused`` is why a join was."""
    name = applications.tunnel.name
    if problem is not None:
        yield Problem("follow_failed", name, f"not all that applications join on {name} is seen: {problem}")
    if count := len(applications.waiting):
        limit = f"tunnels.{name}.follow_limit = {applications.tunnel.limit}"
        text = f"{limit} is reached: {count} more that applications have joined are not joined upstream"
        yield Problem("follow_limit_reached", name, f"{text}: {listed(applications.waiting, _NAMED)}")
    elif refused is not None:
        yield Problem("follow_limit_reached", name, refused)
    if applications.lost:
        text = f"{name} was deleted and made again, and applications lost what they had joined on it: "
        yield Problem("memberships_lost", name, f"{text}{listed(applications.lost, _NAMED)}; restart them")
